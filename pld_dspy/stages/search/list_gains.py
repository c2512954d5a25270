"""What each rule is worth in one list, from that list and the same one without the rule."""

from collections.abc import Sequence

from pld_dspy.records import Interval
from pld_dspy.stages.search.gains import leave_one_out
from pld_dspy.stages.search.space import RuleList
from pld_dspy.stages.search.trials import Tried, observations


def list_gains(
    tried: Sequence[Tried], *, weights: Sequence[float], seed: int
) -> dict[RuleList, dict[int, Interval]]:
    """Return by complete list and rule what the list loses without the rule, in score units.

    Only where the list without the rule was tried too, if only on a part of the examples: those that
    both were asked count. A list that was stopped early was stopped because it did badly, so what
    such a comparison tells is rather too much than too little.

    Args:
        tried: Every list that was tried.
        weights: One positive weight an example.
        seed: Seed of the intervals' resamples.
    """
    seen = list(zip(tried, observations(tried), strict=True))
    found: dict[RuleList, dict[int, Interval]] = {}
    for whole in tried:
        rules, header = whole.listing.rules, whole.listing.header
        if whole.stopped or not rules:
            continue
        near = {rules, *(tuple(k for k in rules if k != j) for j in rules)}
        # Without rules there is no header that could differ.
        comparable = [
            scores
            for other, scores in seen
            if scores.rules in near and (other.listing.header == header or not scores.rules)
        ]
        gains = leave_one_out(comparable, rules, weights=weights, seed=seed)
        if gains:
            found[whole.listing] = dict(gains)
    return found
