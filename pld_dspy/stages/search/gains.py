"""What each rule of a pool adds to the score, from the lists that were tried.

A list is an ordered tuple of rule numbers `0 .. n_rules - 1`. Scores are of one example under one
list, in [0, 1]: right or wrong, or the probability of the gold label. Examples carry weights, so
that a mean can be of balanced accuracy; without weights each example counts alike.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from scipy.stats import t as student_t

from pld_dspy.errors import DataError
from pld_dspy.records import Interval

Floats = npt.NDArray[np.float64]

_TOLD = 1 - 1e-6
"""A gain is told apart from the others if the regression reproduces it but for rounding."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """What the student scored under one list; a list that was stopped early has fewer examples."""

    rules: tuple[int, ...]
    """Rule numbers, in the order of the list; empty is the prompt without rules."""
    scores: Mapping[int, float]
    """Score in [0, 1] by example number; failed examples are left out."""


class Table(NamedTuple):
    """The observations as arrays; lists without a score and examples without one are left out."""

    lists: tuple[tuple[int, ...], ...]
    """Each list once."""
    inside: Floats
    """Shape `(lists, rules)`: 1.0 where the rule is in."""
    scores: Floats
    """Shape `(lists, examples)`; 0.0 where not seen."""
    seen: Floats
    """Shape `(lists, examples)`: 1.0 where seen."""
    weight: Floats
    """Shape `(examples,)`."""


def tabulate(observations: Sequence[Seen], n_rules: int, weights: Sequence[float] | None) -> Table:
    """Return the observations as arrays; of a list seen twice, the later score of an example counts.

    Raises:
        DataError: A score is outside [0, 1], a rule number outside the pool or twice in a list, or
            an example has no positive weight.
    """
    by_list: dict[tuple[int, ...], dict[int, float]] = {}
    for seen in observations:
        _check(seen, n_rules, weights)
        if seen.scores:
            by_list.setdefault(seen.rules, {}).update(seen.scores)
    examples = sorted({e for scores in by_list.values() for e in scores})
    inside = np.zeros((len(by_list), n_rules))
    scores = np.zeros((len(by_list), len(examples)))
    known = np.zeros_like(scores)
    column = {example: at for at, example in enumerate(examples)}
    for row, (rules, scored) in enumerate(by_list.items()):
        inside[row, list(rules)] = 1.0
        at = [column[e] for e in scored]
        scores[row, at] = list(scored.values())
        known[row, at] = 1.0
    weight = np.array([1.0 if weights is None else weights[e] for e in examples])
    return Table(tuple(by_list), inside, scores, known, weight)


def marginal_gains(
    observations: Sequence[Seen],
    n_rules: int,
    *,
    weights: Sequence[float] | None = None,
    seed: int,
    n: int = 1000,
) -> tuple[Interval, ...]:
    """Return by rule how much the mean score changes when it is in the list, in score units.

    Least squares of the scores on which rules are in, with a level for each example; over complete
    balanced lists it is the mean with the rule less the mean without. The 95% interval joins two
    parts as independent: `n` resamples of the examples, and the spread of the lists about the
    regression (rules that work together, order), by Student's t. It does not cover how many rules
    are looked at, nor that lists were tried or stopped because of their scores. A gain that the
    lists cannot tell, or cannot tell from other gains, has the interval -1 to 1; so have all where
    no list is left over to show the spread.

    Args:
        observations: Tried lists of any kind, in any order.
        n_rules: Size of the pool.
        weights: One positive weight an example number, such as N / (K * n_label).
        seed: Seed of the resamples.
        n: Number of resamples.

    Raises:
        DataError: A score is outside [0, 1], a rule number outside the pool or twice in a list, or
            an example has no positive weight.
    """
    table = tabulate(observations, n_rules, weights)
    if len(table.weight) < 2:
        return (Interval(estimate=0.0, low=-1.0, high=1.0),) * n_rules
    # Of each example by itself, so that a resample is a weighted sum of them.
    mean_inside = table.inside.T @ table.seen / table.seen.sum(axis=0)
    offsets = (table.inside.T[:, :, None] - mean_inside[:, None, :]) * table.seen
    grams = np.einsum("pln,qln->npq", offsets, offsets)
    sides = np.einsum("pln,ln->np", offsets, table.scores)

    gram = np.tensordot(table.weight, grams, 1)
    inverse = _inverse(gram)
    gains = inverse @ (table.weight @ sides)
    drawn = _resample(len(table.weight), n, seed) * table.weight
    resampled = np.einsum("rpq,rq->rp", _inverse(np.tensordot(drawn, grams, 1)), drawn @ sides)
    low, high = np.quantile(resampled, [0.025, 0.975], axis=0)

    told = np.diag(inverse @ gram)
    pull = np.linalg.norm(inverse @ (offsets @ table.weight), axis=1)
    reach = _list_reach(table, gains, spare=len(table.lists) - 1 - round(float(told.sum())))
    return tuple(
        _joined(gains[j], low[j], high[j], reach * float(pull[j]) if told[j] > _TOLD else math.inf)
        for j in range(n_rules)
    )


def leave_one_out(
    observations: Sequence[Seen],
    rules: tuple[int, ...],
    *,
    weights: Sequence[float] | None = None,
    seed: int,
    n: int = 1000,
) -> Mapping[int, Interval]:
    """Return by rule the mean score of `rules` less that of the same list without the rule.

    Only rules whose two lists were both scored on some example are in the answer. Means and 95%
    intervals are over the examples that both lists have, by `n` resamples; with one such example
    the interval is -1 to 1. It holds for this list and order only.

    Raises:
        DataError: As in `marginal_gains`.
    """
    n_rules = 1 + max((j for seen in observations for j in seen.rules), default=0)
    table = tabulate(observations, n_rules, weights)
    row = {known: at for at, known in enumerate(table.lists)}
    found: dict[int, Interval] = {}
    for j in rules:
        whole, less = row.get(rules), row.get(tuple(k for k in rules if k != j))
        if whole is None or less is None:
            continue
        shared = np.flatnonzero(table.seen[whole] * table.seen[less])
        if not len(shared):
            continue
        change = (table.scores[whole] - table.scores[less])[shared]
        drawn = _resample(len(shared), n, seed) * table.weight[shared]
        low, high = np.quantile(drawn @ change / drawn.sum(axis=1), [0.025, 0.975])
        mean = np.average(change, weights=table.weight[shared])
        found[j] = _joined(mean, low, high, 0.0 if len(shared) > 1 else math.inf)
    return found


def _list_reach(table: Table, gains: Floats, *, spare: int) -> float:
    """Return half a 95% interval of a list's own deviation from the regression, in score units.

    What examples add to the deviation is left in, though the resamples hold it too: taking it out
    left the intervals short where few lists are to spare (82% instead of 95% in simulation).
    """
    if table.inside.shape[1] == 1:
        return 0.0
    if spare < 1:
        return math.inf
    left = table.scores - (table.inside @ gains)[:, None]
    left = table.seen * (left - (table.seen * left).sum(0) / table.seen.sum(0))
    means = left @ table.weight / (table.seen @ table.weight)
    return float(student_t.ppf(0.975, spare)) * math.sqrt(float(means @ means) / spare)


def _inverse(grams: Floats) -> Floats:
    """Return the pseudo-inverse, which gives 0 to what the lists cannot tell."""
    return np.asarray(np.linalg.pinv(grams, rcond=1e-9, hermitian=True), dtype=np.float64)


def _check(seen: Seen, n_rules: int, weights: Sequence[float] | None) -> None:
    if len(set(seen.rules)) < len(seen.rules) or not set(seen.rules) <= set(range(n_rules)):
        msg = (
            f"list {seen.rules} is not of different rules of 0 to {n_rules - 1}; check its numbers"
        )
        raise DataError(msg)
    for example, score in seen.scores.items():
        if not 0.0 <= score <= 1.0:
            msg = (
                f"example {example} of list {seen.rules} has score {score}, which is outside "
                "[0, 1]; leave failed examples out"
            )
            raise DataError(msg)
        if weights is not None and not (0 <= example < len(weights) and weights[example] > 0):
            msg = f"example {example} has no positive weight among {len(weights)}; give each one"
            raise DataError(msg)


def _resample(size: int, n: int, seed: int) -> Floats:
    """Return shape `(n, size)`: how often each example is drawn."""
    rng = np.random.default_rng(seed)
    return rng.multinomial(size, np.full(size, 1 / size), size=n).astype(np.float64)


def _joined(estimate: float, low: float, high: float, reach: float) -> Interval:
    """Return the interval widened by an independent deviation, within what a difference can be."""
    kept = min(1.0, max(-1.0, float(estimate)))
    return Interval(
        estimate=kept,
        low=max(-1.0, kept - math.hypot(max(0.0, estimate - low), reach)),
        high=min(1.0, kept + math.hypot(max(0.0, high - estimate), reach)),
    )
