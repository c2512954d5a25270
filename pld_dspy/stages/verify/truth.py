"""Coverage and precision of a rule on the judged examples."""

from collections import defaultdict
from collections.abc import Mapping, Sequence, Set
from statistics import fmean
from typing import Any

from scipy.stats import binomtest

from pld_dspy.records import Interval, Truth


def truth_of(
    answer: str,
    holds: Mapping[str, bool],
    gold: Mapping[str, str],
    groups: Mapping[str, str] | None = None,
) -> Truth | None:
    """Return what the judged examples say about a rule; None if none of them has its label.

    The intervals are Wilson's, 95%.

    Args:
        answer: The label that the rule answers.
        holds: By example id, whether the condition holds; only judged examples.
        gold: Label of each example, by id.
        groups: Group of each example, by id; None if they have none.
    """
    labelled = [key for key in holds if gold[key] == answer]
    if not labelled:
        return None
    held = [key for key, true in holds.items() if true]
    bears = tuple(key for key in held if gold[key] == answer)
    return Truth(
        answer=answer,
        borne_by=bears,
        holds=len(held),
        labelled=len(labelled),
        judged=len(holds),
        coverage=share(len(bears), len(labelled)),
        precision=share(len(bears), len(held)),
        **({} if groups is None else _of_groups(labelled, set(bears), groups)),
    )


def _of_groups(
    labelled: Sequence[str], bears: Set[str], groups: Mapping[str, str]
) -> dict[str, Any]:
    members: dict[str, list[bool]] = defaultdict(list)
    for key in labelled:
        members[groups[key]].append(key in bears)
    return {
        "groups": sum(map(any, members.values())),
        "groups_labelled": len(members),
        "coverage_of_groups": fmean(map(fmean, members.values())),
    }


def share(part: int, whole: int) -> Interval:
    """Return `part / whole` with Wilson's 95% interval; 0.0 with [0, 1] if `whole` is 0."""
    if whole == 0:
        return Interval(estimate=0.0, low=0.0, high=1.0)
    found = binomtest(part, whole).proportion_ci(confidence_level=0.95, method="wilson")
    return Interval(estimate=part / whole, low=float(found.low), high=float(found.high))


def p_chance(truth: Truth) -> float:
    """Return the probability that a condition without a relation to the label is as precise.

    One-sided binomial test against the label's share of the judged examples; 1.0 where the condition
    holds for none.
    """
    if truth.holds == 0:
        return 1.0
    base = truth.labelled / truth.judged
    return float(binomtest(len(truth.borne_by), truth.holds, base, alternative="greater").pvalue)
