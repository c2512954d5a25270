"""Which parts of the search pay: paired differences between arms of the simulation, as a table.

The table stands in docs/searching.md; `python -m experiments report` writes it there from
`experiments/results/simulation/` alone.
"""

from collections.abc import Mapping, Sequence
from statistics import mean
from typing import Any, NamedTuple

import numpy as np

from experiments.simulation.command import LONG, TRIALS
from experiments.simulation.students import STUDENTS

_WAS = "as it is"  # what the earlier search is called in its lines
_WAS_HARD = "right and wrong only"
_WHOLE = "anchors, then TPE and forecasts, racing"
_HALVES = "half anchors, then TPE and forecasts, racing"
_CHOSEN = "half anchors, then TPE and forecasts, racing by expected answers"
_CHOSEN_HARD = "half anchors, then TPE and forecasts, right and wrong only, expected answers"


class Pair(NamedTuple):
    """Two arms, and what the first less the second shows."""

    question: str
    first: str
    second: str


PAIRS = (
    Pair("the earlier search, less the new design", _WAS, _CHOSEN),
    Pair("the earlier search, less the package's of now", _WAS, "search"),
    Pair("designed subsets, less none", _WAS, "without designed subsets"),
    Pair(
        "no log-probabilities: earlier search with a regression of list scores, less new design with"
        " right and wrong as 0.9 and 0.1 in the regression of log-odds",
        _WAS_HARD,
        _CHOSEN_HARD,
    ),
    Pair(
        "TPE and forecasts in turn, less TPE; half starts",
        _HALVES,
        "half anchors, then TPE, racing",
    ),
    Pair("TPE and forecasts in turn, less TPE; whole starts", _WHOLE, "anchors, then TPE, racing"),
    Pair("TPE and forecasts in turn, less TPE; now", "search", "search, without forecasts"),
    Pair("TPE and forecasts in turn, less forecasts", _WHOLE, "anchors, then forecasts, racing"),
    Pair("half starts, less whole ones; TPE and forecasts", _HALVES, _WHOLE),
    Pair(
        "half starts, less whole ones; TPE",
        "half anchors, then TPE, racing",
        "anchors, then TPE, racing",
    ),
    Pair("beta-binomial race, less race by expected answers", _HALVES, _CHOSEN),
    Pair(
        "race by expected answers, less Wilcoxon's test at 0.3",
        _CHOSEN,
        "half anchors, then TPE and forecasts, Wilcoxon 0.3",
    ),
    Pair(
        "beta-binomial race, less Wilcoxon's test at 0.1; whole starts, TPE",
        "anchors, then TPE, racing",
        "anchors, then TPE, Wilcoxon",
    ),
    Pair("race by expected answers, less every list in full; now", "search", "search, in full"),
    Pair(
        "TPE, less a random change of the best list; whole starts",
        "anchors, then TPE, racing",
        "anchors, then neighbours, racing",
    ),
    Pair("new design, less eight whole orders and no more", _CHOSEN, "anchors only"),
    Pair("new design, less random lists in full", _CHOSEN, "random"),
    Pair(
        "the search, less its starts and then random lists in full; now",
        "search",
        "starts, then random",
    ),
    Pair(
        "log-probabilities, less right and wrong only; now",
        "search",
        "search, right and wrong only",
    ),
)
"""Questions that decided what stayed; those with `now` are asked of the package's search."""

Line = Mapping[str, Any]
Cells = Mapping[tuple[str, str, int], Mapping[int, Line]]
"""Lines by seed, by arm, kind and number of lists."""


def cells(lines: Sequence[Line]) -> Cells:
    """Return the lines by arm, kind and number of lists, then by seed."""
    found: dict[tuple[str, str, int], dict[int, Line]] = {}
    for line in lines:
        found.setdefault((line["arm"], line["kind"], line["trials"]), {})[line["seed"]] = line
    return found


def difference(first: Mapping[int, Line], second: Mapping[int, Line], what: str) -> list[float]:
    """Return the first's value less the second's, one a seed that both have."""
    return [first[seed][what] - second[seed][what] for seed in sorted(first) if seed in second]


def interval(groups: Sequence[Sequence[float]], *, draws: int = 4000) -> tuple[float, float, float]:
    """Return the mean of the groups' means with its 95% interval, by resampling within each group."""
    rng = np.random.default_rng(0)
    drawn = [np.asarray(g)[rng.integers(len(g), size=(draws, len(g)))].mean(1) for g in groups]
    low, high = np.quantile(np.mean(drawn, axis=0), [0.025, 0.975])
    return mean(mean(g) for g in groups), float(low), float(high)


def table(lines: Sequence[Line]) -> str:
    """Return a Markdown table: one row a question and number of lists, clear differences in bold."""
    found = cells(lines)
    rows = [
        f"| first arm, less second | lists | students | gap closed, points | {', '.join(STUDENTS)} | calls |",
        "| --- " * 6 + "|",
    ]
    for question, first, second in PAIRS:
        for trials in (*TRIALS, LONG):
            own = [
                (found.get((first, kind, trials), {}), found.get((second, kind, trials), {}))
                for kind in STUDENTS
            ]
            closed = [difference(*both, "closed") for both in own]
            calls = [difference(*both, "calls") for both in own]
            told = all(len(gaps) > 1 for gaps in closed)
            # Four lists are the starts alone: two arms with the same ones are the same.
            if told and any(map(any, (*closed, *calls))):
                rows.append(f"| {question} | {trials} | {_row(closed, calls)} |")
                question = ""  # named once, above its rows
    return "\n".join(rows)


def _row(closed: Sequence[Sequence[float]], calls: Sequence[Sequence[float]]) -> str:
    middle, low, high = (100 * x for x in interval(closed))
    bold = "**" if low > 0 or high < 0 else ""
    fewer, least, most = interval(calls)
    by_kind = ", ".join(f"{100 * mean(gaps):+.0f}" for gaps in closed)
    return (
        f"{sum(map(len, closed))} | {bold}{middle:+.1f} [{low:+.1f}, {high:+.1f}]{bold} "
        f"| {by_kind} | {fewer:+.0f} [{least:+.0f}, {most:+.0f}]"
    )
