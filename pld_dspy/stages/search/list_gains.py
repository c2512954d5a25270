"""Gains of the rules of a list over the list without them."""

from collections.abc import Sequence

from pld_dspy.records import Interval
from pld_dspy.stages.search.contest import Tried, observations
from pld_dspy.stages.search.gains import leave_one_out
from pld_dspy.stages.search.space import RuleList


def list_gains(
    tried: Sequence[Tried], *, weights: Sequence[float], seed: int
) -> dict[RuleList, dict[int, Interval]]:
    """Return by complete list and rule the score minus that of the list without the rule.

    Only if the list without the rule was tried too, at least on some examples; the common examples
    count. As lists are stopped early when they score badly, such gains are biased upwards.

    Args:
        tried: All evaluated lists.
        weights: One positive weight per example.
        seed: Seed of the intervals' resamples.
    """
    seen = list(zip(tried, observations(tried), strict=True))
    by_list: dict[RuleList, dict[int, Interval]] = {}
    for whole in tried:
        rules, header = whole.listing.rules, whole.listing.header
        if whole.stopped or not rules:
            continue
        near = {rules, *(tuple(k for k in rules if k != j) for j in rules)}
        # The list without rules has no header.
        comparable = [
            scores
            for other, scores in seen
            if scores.rules in near and (other.listing.header == header or not scores.rules)
        ]
        gains = leave_one_out(comparable, rules, weights=weights, seed=seed)
        if gains:
            by_list[whole.listing] = dict(gains)
    return by_list
