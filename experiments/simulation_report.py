"""Which parts of the search pay: paired differences between arms of the simulation.

`python -m experiments.simulation_report` reads `experiments/results/simulation.jsonl` and prints
Markdown tables.
"""

import json
from collections.abc import Mapping, Sequence
from statistics import mean
from typing import Any

import numpy as np
import typer

from experiments.simulated import STUDENTS
from experiments.simulation import ARMS, PACKAGE, RESULTS, TRIALS

PAIRS = (
    # Parts of the package's search.
    ("as it is", "without designed subsets"),
    ("as it is", "right and wrong only"),
    ("as it is", "as it is, in full"),
    # The whole of it against simpler ones.
    ("as it is", "anchors only"),
    ("as it is", "anchors, then TPE, racing"),
    ("as it is", "anchors, then forecasts, racing"),
    ("as it is", "anchors, then TPE and forecasts, racing"),
    ("as it is", "half anchors, then TPE, racing"),
    ("as it is", "half anchors, then TPE and forecasts, racing"),
    # Its regression of scores, where there are no log-probabilities.
    ("right and wrong only", "anchors, then TPE, racing"),
    ("right and wrong only", "half anchors, then TPE, racing"),
    (
        "half anchors, then TPE and forecasts, right and wrong only",
        "half anchors, then TPE, racing",
    ),
    ("right and wrong only", "half anchors, then TPE and forecasts, right and wrong only"),
    (
        "right and wrong only",
        "half anchors, then TPE and forecasts, right and wrong only, expected answers",
    ),
    (
        "half anchors, then TPE and forecasts, right and wrong only",
        "half anchors, then TPE and forecasts, right and wrong only, expected answers",
    ),
    # Forecasts.
    ("anchors, then forecasts, racing", "anchors, then TPE, racing"),
    ("anchors, then TPE and forecasts, racing", "anchors, then TPE, racing"),
    ("half anchors, then TPE and forecasts, racing", "half anchors, then TPE, racing"),
    ("anchors, then TPE and forecasts, racing", "anchors, then forecasts, racing"),
    # Log-probabilities.
    (
        "half anchors, then TPE and forecasts, racing by expected answers",
        "half anchors, then TPE and forecasts, right and wrong only, expected answers",
    ),
    # Starts.
    ("anchors, then TPE, racing", "anchors only"),
    ("anchors, then TPE, racing", "TPE, racing"),
    ("half anchors, then TPE, racing", "TPE, racing"),
    ("half anchors, then TPE, racing", "anchors, then TPE, racing"),
    ("2 anchors, then forecasts, racing", "anchors, then forecasts, racing"),
    ("2 anchors, then TPE and forecasts, racing", "anchors, then TPE and forecasts, racing"),
    (
        "half anchors, then TPE and forecasts, racing",
        "anchors, then TPE and forecasts, racing",
    ),
    # The sampler.
    ("anchors, then TPE, racing", "anchors, then random, racing"),
    ("anchors, then TPE, racing", "anchors, then neighbours, racing"),
    ("TPE, racing", "random"),
    # What stops a list.
    ("anchors, then TPE, racing", "anchors, then TPE, in full"),
    ("anchors, then TPE, racing", "anchors, then TPE, Wilcoxon"),
    ("TPE, racing", "TPE, Wilcoxon"),
    (
        "half anchors, then TPE and forecasts, racing",
        "half anchors, then TPE and forecasts, Wilcoxon 0.3",
    ),
    (
        "half anchors, then TPE and forecasts, racing",
        "half anchors, then TPE and forecasts, Wilcoxon by probability",
    ),
    (
        "half anchors, then TPE and forecasts, racing",
        "half anchors, then TPE and forecasts, racing by differences",
    ),
    (
        "half anchors, then TPE and forecasts, racing by differences and forecast",
        "half anchors, then TPE and forecasts, racing by differences",
    ),
    (
        "half anchors, then TPE and forecasts, racing by forecast",
        "half anchors, then TPE and forecasts, racing by differences and forecast",
    ),
    (
        "half anchors, then TPE and forecasts, racing by expected answers",
        "half anchors, then TPE and forecasts, racing by differences",
    ),
    (
        "half anchors, then TPE and forecasts, racing by forecast",
        "half anchors, then TPE and forecasts, racing by expected answers",
    ),
    (
        "half anchors, then TPE and forecasts, racing",
        "half anchors, then TPE and forecasts, racing by expected answers",
    ),
    ("as it is", "half anchors, then TPE and forecasts, racing by expected answers"),
    ("as it is", "half anchors, then TPE and forecasts, racing by differences and forecast"),
    ("as it is", "half anchors, then TPE and forecasts, racing by differences"),
    ("anchors, then forecasts, racing by forecast", "anchors, then forecasts, racing"),
    (
        "half anchors, then TPE and forecasts, racing by forecast",
        "half anchors, then TPE and forecasts, racing",
    ),
)
"""The arm with a part, and the simpler one."""

Lines = Sequence[Mapping[str, Any]]
Cells = Mapping[tuple[str, str, int], Mapping[int, Mapping[str, Any]]]
"""Lines by seed, by arm, kind and number of lists."""


def cells(lines: Lines) -> Cells:
    """Return the lines by arm, kind and number of lists, then by seed."""
    found: dict[tuple[str, str, int], dict[int, Mapping[str, Any]]] = {}
    for line in lines:
        key = (line["arm"], line["kind"], line["trials"])
        found.setdefault(key, {})[line["seed"]] = line
    return found


def difference(
    first: Mapping[int, Mapping[str, Any]],
    second: Mapping[int, Mapping[str, Any]],
    what: tuple[str, str],
) -> list[float]:
    """Return by seed that both have the one's value less the other's."""
    return [first[s][what[0]] - second[s][what[1]] for s in sorted(first) if s in second]


def interval(groups: Sequence[Sequence[float]], *, draws: int = 4000) -> tuple[float, float, float]:
    """Return the mean of the groups' means with its 95% interval, by resampling within each group."""
    rng = np.random.default_rng(0)
    drawn = [np.asarray(g)[rng.integers(len(g), size=(draws, len(g)))].mean(1) for g in groups]
    low, high = np.quantile(np.mean(drawn, axis=0), [0.025, 0.975])
    return mean(mean(g) for g in groups), float(low), float(high)


def levels(found: Cells) -> str:
    """Return a table of gap closed and calls by arm, number of lists and kind of student."""
    kinds = list(STUDENTS)
    rows = [
        f"| lists | arm | {' | '.join(kinds)} | mean | true macro-F1 | calls |",
        "| --- | --- " + "| --- " * (len(kinds) + 3) + "|",
    ]
    for trials in TRIALS:
        for arm in (*PACKAGE, *ARMS):
            own = [found.get((arm, kind, trials), {}) for kind in kinds]
            if not all(own):
                continue
            closed = [mean(x["closed"] for x in lines.values()) for lines in own]
            score, calls = (
                mean(mean(x[what] for x in lines.values()) for lines in own)
                for what in ("chosen", "calls")
            )
            shown = " | ".join(f"{share:.0%}" for share in closed)
            rows.append(
                f"| {trials} | {arm} | {shown} | {mean(closed):.0%} | {score:.3f} | {calls:.0f} |"
            )
    return "\n".join(rows)


def pairs(found: Cells) -> str:
    """Return a table of paired differences, in points of the gap and in calls."""
    rows = [
        "| lists | arm | less | n | gap closed | by kind | calls |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    for trials in TRIALS:
        for arm, simpler in PAIRS:
            own = [
                (found.get((arm, kind, trials), {}), found.get((simpler, kind, trials), {}))
                for kind in STUDENTS
            ]
            row = _row(own, ("closed", "closed"))
            if row is not None:
                rows.append(f"| {trials} | {arm} | {simpler} | {row} |")
    return "\n".join(rows)


def choices(found: Cells) -> str:
    """Return a table of what choosing by the mean of score and forecast closes more than by the score."""
    rows = ["| lists | arm | n | gap closed | by kind | calls |", "| --- " * 6 + "|"]
    for trials in TRIALS:
        for arm in (*PACKAGE, *ARMS):
            own = [(found.get((arm, kind, trials), {}),) * 2 for kind in STUDENTS]
            if any(x["closed_by_mean"] is None for one, _ in own for x in one.values()):
                continue
            row = _row(own, ("closed_by_mean", "closed"))
            if row is not None:
                rows.append(f"| {trials} | {arm} | {row} |")
    return "\n".join(rows)


def _row(
    own: Sequence[tuple[Mapping[int, Any], Mapping[int, Any]]], what: tuple[str, str]
) -> str | None:
    gaps = [difference(one, other, what) for one, other in own]
    if not all(len(gap) > 1 for gap in gaps):
        return None
    calls = interval([difference(one, other, ("calls", "calls")) for one, other in own])
    middle, low, high = (100 * x for x in interval(gaps))
    clear = "**" if low > 0 or high < 0 else ""
    by_kind = ", ".join(f"{100 * mean(gap):+.0f}" for gap in gaps)
    return (
        f"{sum(map(len, gaps))} | {clear}{middle:+.1f} [{low:+.1f}, {high:+.1f}]{clear} "
        f"| {by_kind} | {calls[0]:+.0f} [{calls[1]:+.0f}, {calls[2]:+.0f}]"
    )


def main() -> None:
    """Print the tables."""
    text = RESULTS.read_text(encoding="utf-8")
    found = cells([json.loads(line) for line in text.splitlines()])
    typer.echo("\n\n".join((levels(found), pairs(found), choices(found))))


if __name__ == "__main__":
    typer.run(main)
