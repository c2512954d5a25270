"""Which lists the search tries besides those that the sampler draws: starts, probes, and neighbours."""

import math
from collections.abc import Iterator, Sequence
from functools import cache
from typing import Any, Literal, NamedTuple

import numpy as np

from pld_dspy.stages.search.designs import designed_subsets
from pld_dspy.stages.search.forecast import Margins
from pld_dspy.stages.search.space import RuleList, Space
from pld_dspy.stages.search.surrogate import Surrogate, fit_surrogate, greedy_forward
from pld_dspy.stages.search.trials import Tried, observations

Kind = Literal["anchor", "probe", "greedy", "neighbour", "sampler"]

_PROBED = 12
"""Most rules whose gains are measured by designed subsets: more need more lists than a search has."""
_OPTIMISM = 0.5
"""Standard deviations added to a forecast, so that what is little known is tried too."""
_STEPS = 8
"""Most changes of one climb."""
_LISTS_A_STEP = 4
"""Lists that must have been tried for each further change of a climb."""
_FEWEST = 16
"""Trials below which none is spent on subsets, and half of the starts are left out."""


_designs = cache(designed_subsets)


class Proposal(NamedTuple):
    """A list to try next, and why."""

    params: dict[str, Any]
    kind: Kind


def anchors(space: Space, trials: int) -> list[Proposal]:
    """Return lists that are worth a try before anything is known, the best first.

    The most promising groups with the labels that the student misses first; the very best group
    twice, since a new best list shows other mistakes; then its other orders, and its first half.
    Half of them where trials are few, so that some are left for what the answers then speak for.
    """
    names = list(space.groups)
    best = names[0]
    starts: list[tuple[str, str, int]] = [
        *((name, "weak first", space.most) for name in names[:2]),
        (best, "weak first", space.most),
        (best, "general first", space.most),
        (best, "label", space.most),
        (best, "support", space.most),
        (best, "support", max(1, len(space.groups[best]) // 2)),
        (best, "exceptions first", space.most),
    ]
    return [
        Proposal(
            {
                "group": group,
                "order": order,
                "size": min(size, space.most),
                "amplitude": 0.0,
                "header": space.headers[0],
            },
            "anchor",
        )
        for group, order, size in starts[: min(trials, 8 if trials >= _FEWEST else 4)]
    ]


def probes(space: Space, trials: int, *, seed: int) -> list[Proposal]:
    """Return designed subsets of the most promising rules; none if there are few trials.

    A third of the trials at most, and two for each rule.
    """
    places = probed(space)
    count = min(2 * len(places), trials // 3)
    if trials < _FEWEST or len(places) < 2:
        return []
    return [
        Proposal(
            space.encode(
                RuleList(tuple(places[i] for i in subset)[: space.most], space.headers[0])
            ),
            "probe",
        )
        for subset in _designs(len(places), count, seed=seed)
    ]


def probed(space: Space) -> tuple[int, ...]:
    """Return the rules whose gains are measured: those of the most promising groups."""
    places = dict.fromkeys(place for held in space.groups.values() for place in held)
    return tuple(places)[:_PROBED]


def guided(
    space: Space, tried: Sequence[Tried], best: Tried, weights: Sequence[float], *, bold: bool
) -> Proposal | None:
    """Return the untried list that the scores so far speak for most, or None if there is none.

    A regression of the scores on which rules are in a list, and where, forecasts the lists that are
    one change away from the best one, and the list that it would build itself.

    Args:
        space: What may be tried.
        tried: Everything that was scored, in part or in full.
        best: The list to start from.
        weights: Of the examples, so that each label counts the same.
        bold: Whether what is little known counts as better than its forecast.
    """
    surrogate = fit_surrogate(observations(tried), len(space.rules), weights=weights)
    known = {t.listing for t in tried}
    built = RuleList(greedy_forward(surrogate, max_rules=space.most), best.listing.header)
    options = [built, *_neighbours(space, best.listing, range(len(space.rules)))]
    fresh = [
        listing for listing in dict.fromkeys(options) if listing not in known and listing.rules
    ]
    if not fresh:
        return None
    listing = max(fresh, key=lambda one: _forecast(surrogate, one, bold=bold))
    kind: Kind = "greedy" if listing == built else "neighbour"
    return Proposal(space.encode(listing), kind)


def climbed(
    space: Space,
    tried: Sequence[Tried],
    margins: Margins,
    *,
    bold: np.random.Generator | None,
) -> Proposal | None:
    """Return the untried list that a climb by the forecast ends at, or None if there is none.

    From the tried list with the best forecast it goes to the neighbour with the best one, as long as
    that rises.

    Args:
        space: What may be tried.
        tried: Everything that was scored, in part or in full.
        margins: Forecasts lists.
        bold: Draws the effects to forecast by; None takes their means.
    """
    effects = None if bold is None else margins.draw(bold)[0]
    # Forecasts are blind to the header: the same rules under another one would come again and again.
    known = {t.listing.rules for t in tried}
    # What was learned of few lists does not reach far, nor to rules that hardly any of them held.
    steps = min(_STEPS, 1 + len(tried) // _LISTS_A_STEP)
    pool = range(len(space.rules)) if len(tried) > 2 * len(space.rules) else probed(space)
    told = margins.forecast([t.listing.rules for t in tried], effects)
    at, height = tried[int(np.argmax(told))].listing, -math.inf
    best_fresh: tuple[float, RuleList] | None = None
    for _ in range(steps):
        options = [one for one in dict.fromkeys(_neighbours(space, at, pool)) if one.rules]
        heights = margins.forecast([one.rules for one in options], effects)
        fresh = [
            (h, one) for h, one in zip(heights, options, strict=True) if one.rules not in known
        ]
        if fresh:
            top = max(fresh, key=lambda pair: pair[0])
            if best_fresh is None or top[0] > best_fresh[0]:
                best_fresh = top
        highest = int(np.argmax(heights))
        if heights[highest] <= height:
            break
        at, height = options[highest], float(heights[highest])
    if best_fresh is None:
        return None
    kind: Kind = "greedy" if bold is None else "neighbour"
    return Proposal(space.encode(best_fresh[1]), kind)


def _forecast(surrogate: Surrogate, listing: RuleList, *, bold: bool) -> float:
    forecast = surrogate.predict(listing.rules)
    return forecast.mean + (_OPTIMISM * forecast.sd if bold else 0.0)


def _neighbours(space: Space, listing: RuleList, pool: Sequence[int]) -> Iterator[RuleList]:
    """Yield the lists one change away: a rule more, less, elsewhere, or another; another header."""
    rules, header = listing
    for at, place in enumerate(rules):
        without = rules[:at] + rules[at + 1 :]
        yield RuleList(without, header)
        for to in range(len(rules)):
            yield RuleList((*without[:to], place, *without[to:]), header)
    for place in pool:
        if place in rules:
            continue
        for at in range(len(rules) + 1):
            if len(rules) < space.most:
                yield RuleList((*rules[:at], place, *rules[at:]), header)
            if at < len(rules):
                yield RuleList((*rules[:at], place, *rules[at + 1 :]), header)
    for other in space.headers:
        yield RuleList(rules, other)
