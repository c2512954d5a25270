"""The pictures of the comparison: one panel a task and student, one colour an optimizer everywhere."""

from collections.abc import Callable, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from experiments.report.looks import Look, Panel, bar_colour, looks
from experiments.report.statistics import (
    GIVEN,
    OURS,
    REFERENCES,
    Standing,
    mean_of,
    seconds_of,
)
from experiments.report.tables import name
from pld_dspy.ledger.figure_style import GREY, INK, figure_title, metric_name, styled, wrap
from pld_dspy.scoring.front import Point, pareto

_VISIBLE = 0.005
"""Smallest difference of two scores that a bar shows."""


@styled
def bars(panels: Sequence[Panel], title: str) -> Figure:
    """Return each optimizer's score with its 95% interval; the best mean over all panels on top.

    Beside it stands, as a ring, the score of the same program with labels chosen by a fitted decision,
    and the number of seeds, where they are fewer than those of another row of the panel.
    """

    def draw(axes: Axes, panel: Panel, order: Sequence[str]) -> None:
        found = {s.optimizer: s for s in panel.standings}
        most = max(len(s.lines) for s in panel.standings)
        for place, optimizer in enumerate(order):
            if optimizer not in found:
                axes.text(0.01, place, "no score", va="center", fontsize=8, color=GREY)
                continue
            score = found[optimizer].score
            axes.barh(place, score.estimate, height=0.68, color=bar_colour(optimizer))
            axes.plot([score.low, score.high], [place, place], color=INK, lw=1.3)
            words, edge = f"{score.estimate:.2f}", max(score.high, score.estimate)
            layer = mean_of(line.decided_score for line in found[optimizer].lines)
            if layer is not None and abs(layer - score.estimate) > _VISIBLE:
                axes.plot(layer, place, "o", color=INK, mfc="white", ms=5.5, zorder=3)
                words, edge = f"{words}, \N{WHITE CIRCLE} {layer:.2f}", max(edge, layer + 0.02)
            seeds = len(found[optimizer].lines)
            words += f" ({seeds} of {most} seeds)" if seeds < most else ""
            axes.text(edge + 0.02, place, words, va="center", fontsize=8.5)
        if GIVEN in found:
            axes.axvline(found[GIVEN].score.estimate, color=INK, lw=0.9, ls="--")
        axes.set_xlim(0, 1.12)
        axes.set_xticks(np.arange(0, 1.01, 0.25))
        axes.set_xlabel(f"{_metric(panel)} on test")

    note = (
        "Bar: mean over seeds (blue: PLD; grey: references). Line: 95% interval over seeds and examples. "
        "Ring: the same program with labels chosen by a fitted decision. Dashes: student as given."
    )
    return _ranked_bars(panels, title, note, lambda s: s.score.estimate, draw)


@styled
def latency(panels: Sequence[Panel], title: str) -> Figure:
    """Return the median seconds of a test call of each optimizer's program.

    A panel whose cells all ran beside others has no seconds, and is left out if another has some.
    """
    panels = [p for p in panels if any(_latency(s) is not None for s in p.standings)] or panels

    def draw(axes: Axes, panel: Panel, order: Sequence[str]) -> None:
        found = {s.optimizer: _latency(s) for s in panel.standings}
        top = max((v for v in found.values() if v is not None), default=1.0)
        for place, optimizer in enumerate(order):
            value = found.get(optimizer)
            if value is None:
                axes.text(0.01 * top, place, "not measured", va="center", fontsize=8, color=GREY)
                continue
            axes.barh(place, value, height=0.68, color=bar_colour(optimizer))
            axes.text(value + 0.02 * top, place, f"{value:.2f}", va="center", fontsize=8.5)
        axes.set_xlim(0, 1.2 * top)
        axes.set_xlabel("seconds a call on test")

    note = (
        "Bar: median of the test calls that no cache answered, mean over seeds (blue: PLD; grey: "
        "references). Cells of different days may be of different machines."
    )
    return _ranked_bars(
        panels, title, note, lambda s: -v if (v := _latency(s)) is not None else None, draw
    )


@styled
def curves(panels: Sequence[Panel], title: str) -> Figure:
    """Return the best validation score so far over the calls spent, thick for the mean of the seeds."""
    look = looks(panels)
    figure, grid = _grid(panels, height=2.9, legend=len(look))
    for axes, panel in grid:
        drawn = False
        for standing in (s for s in panel.standings if s.optimizer not in REFERENCES):
            runs = [line.curve for line in standing.lines if line.curve]
            style = look[standing.optimizer]
            for run in runs if len(runs) > 1 else ():
                axes.step(
                    *zip(*run, strict=True), where="post", color=style.colour, lw=0.7, alpha=0.4
                )
            xs, ys = mean_curve(runs)
            front = 4 if standing.optimizer == OURS else 3
            axes.step(
                xs, ys, where="post", color=style.colour, ls=style.dash, zorder=front,
                lw=2.6 if standing.optimizer == OURS else 1.6,
                marker=style.marker, markevery=[len(xs) - 1] if len(xs) else [], markersize=6,
            )  # fmt: skip
            drawn = drawn or bool(runs)
        if not drawn:
            _nothing(axes, "no curve")
        axes.set_xlabel("calls of all models so far")
        axes.set_ylabel(f"{_metric(panel)} on validation")
        axes.grid()
    shown = {s.optimizer for p in panels for s in p.standings if any(x.curve for x in s.lines)}
    shown -= set(REFERENCES)
    _legend(figure, {n: v for n, v in look.items() if n in shown}, lines=True)
    _title(figure, title)
    return figure


@styled
def tokens(panels: Sequence[Panel], title: str) -> Figure:
    """Return score against prompt tokens, and the front that no other optimizer beats in both.

    A mark is hollow where it stands for fewer seeds than another one of the panel. Answers with
    reasoning are left out: their cost is not in the prompt.
    """
    reasoned = set(REFERENCES) - {GIVEN}
    panels = [
        Panel(p.setting, [s for s in p.standings if s.optimizer not in reasoned]) for p in panels
    ]
    look = looks(panels)
    figure, grid = _grid(panels, height=3.1, legend=len(look))
    few = False
    for axes, panel in grid:
        known = {s.optimizer: s for s in panel.standings if _tokens(s) is not None}
        points = [Point(n, s.score.estimate, _tokens(s) or 0.0) for n, s in known.items()]
        if not points:
            _nothing(axes, "no prompt tokens")
            continue
        front = pareto(points)
        most = max(len(standing.lines) for standing in panel.standings)
        xs = [*(p.tokens for p in front), max(p.tokens for p in points)]
        ys = [*(p.score for p in front), front[-1].score]
        axes.step(xs, ys, where="post", color=GREY, lw=1.2, zorder=1)
        for point in points:
            style, score = look[point.candidate_id], known[point.candidate_id].score
            hollow = len(known[point.candidate_id].lines) < most
            few = few or hollow
            face, edge = ("white", style.colour) if hollow else (style.colour, "white")
            axes.plot(
                [point.tokens] * 2, [score.low, score.high], color=style.colour, lw=1, alpha=0.5
            )
            axes.scatter(
                point.tokens, point.score, s=95 if point.candidate_id == OURS else 48, color=face, marker=style.marker, zorder=4 if point.candidate_id == OURS else 3,
                edgecolors=edge, linewidths=1.2 if hollow else 0.6,
            )  # fmt: skip
        axes.set_xlabel("mean input tokens of a test call")
        axes.set_ylabel(f"{_metric(panel)} on test")
        axes.margins(x=0.08)
        axes.grid()
    shown = {s.optimizer for p in panels for s in p.standings if _tokens(s) is not None}
    _legend(figure, {n: v for n, v in look.items() if n in shown}, lines=False, few=few)
    _title(figure, title)
    return figure


def mean_curve(
    runs: Sequence[Sequence[tuple[int, float]]],
) -> tuple[list[int], list[float]]:
    """Return calls and mean best score of several runs, from where each run has a score.

    >>> mean_curve([[(1, 0.2), (5, 0.6)], [(3, 0.4)]])
    ([3, 5], [0.30000000000000004, 0.5])
    """
    if not runs:
        return [], []
    start = max(run[0][0] for run in runs)
    xs = sorted({start} | {calls for run in runs for calls, _ in run if calls > start})
    means = [float(np.mean([_at(run, x) for run in runs])) for x in xs]
    return xs, means


def _at(run: Sequence[tuple[int, float]], calls: int) -> float:
    return max(score for at, score in run if at <= calls)


def _latency(standing: Standing) -> float | None:
    return seconds_of(standing.lines, "test_latency_s")


def _tokens(standing: Standing) -> float | None:
    return mean_of(line.prompt_tokens for line in standing.lines)


def _metric(panel: Panel) -> str:
    return metric_name(panel.standings[0].lines[0].metric) if panel.standings else "score"


def _ranked_bars(
    panels: Sequence[Panel],
    title: str,
    note: str,
    value: Callable[[Standing], float | None],
    draw: Callable[[Axes, Panel, Sequence[str]], None],
) -> Figure:
    """Return panels of bars that share one order, best on top and the references last."""
    values: dict[str, list[float]] = {}
    for panel in panels:
        known = {s.optimizer: v for s in panel.standings if (v := value(s)) is not None}
        for standing in panel.standings:
            # Against the panel's mean, as an optimizer may be missing where all score high.
            mine = known.get(standing.optimizer)
            gain = [] if mine is None else [mine - float(np.mean(list(known.values())))]
            values.setdefault(standing.optimizer, []).extend(gain)
    means = {n: float(np.mean(found)) if found else -np.inf for n, found in values.items()}
    order = sorted(means, key=lambda n: (n in REFERENCES, -means[n], n))
    figure, grid = _grid(panels, height=1.1 + 0.27 * len(order))
    for axes, panel in grid:
        draw(axes, panel, order)
        # One order for all: the names stand once a row, left of its first panel.
        place = axes.get_subplotspec()
        first = place is not None and place.is_first_col()
        names = [wrap(name(n), 24, 2) if first else "" for n in order]
        axes.set_yticks(range(len(order)), names, fontsize=9)
        if first and OURS in order:
            axes.get_yticklabels()[order.index(OURS)].set_fontweight("bold")
        axes.tick_params(axis="y", length=0)
        axes.set_ylim(len(order) - 0.5, -0.5)
        axes.grid(axis="x")
    figure.supxlabel(
        wrap(note, int(13 * figure.get_figwidth()), 3),
        x=0.01,
        ha="left",
        fontsize=9,
        color=INK,
    )
    _title(figure, title)
    return figure


def _grid(
    panels: Sequence[Panel], *, height: float, legend: int = 0
) -> tuple[Figure, list[tuple[Axes, Panel]]]:
    """Return a figure and its panels in reading order: by student, then by task, without gaps.

    `height` is that of a row in inches, and `legend` the number of entries beside the panels.
    """
    shown = sorted(
        (p for p in panels if p.standings), key=lambda p: (p.setting.student, p.setting.task)
    )
    # Four as a square: a row of three would leave one alone.
    columns = 2 if len(shown) == 4 else min(3, max(1, len(shown)))
    rows = -(-max(1, len(shown)) // columns)
    width = max(7.6, 2.2 + 3.5 * columns)
    size = (width, max(1.0 + height * rows, 1.2 + 0.22 * legend))
    figure = Figure(figsize=size, layout="constrained")
    places = figure.subplots(rows, columns, squeeze=False).ravel()
    for axes, panel in zip(places, shown, strict=False):
        axes.set_title(f"{panel.setting.task}\n{panel.setting.student}", fontsize=10)
    for axes in places[len(shown) :]:
        axes.set_visible(False)
    return figure, list(zip(places, shown, strict=False))


def _title(figure: Figure, text: str) -> None:
    # Some 12 characters of the title's size are an inch.
    figure_title(figure, wrap(text, int(12 * figure.get_figwidth()), 3))


def _nothing(axes: Axes, words: str) -> None:
    axes.text(0.5, 0.5, words, ha="center", va="center", color=GREY, transform=axes.transAxes)
    axes.tick_params(left=False, bottom=False, labelleft=False, labelbottom=False)


def _legend(figure: Figure, look: dict[str, Look], *, lines: bool, few: bool = False) -> None:
    handles = [
        Line2D([], [], color=v.colour, marker=v.marker, ls=v.dash if lines else "", markersize=7)
        for v in look.values()
    ]
    names = [wrap(name(n), 24, 2) for n in look]
    if not lines:
        handles.append(Line2D([], [], color=GREY, lw=1.2))
        names.append("front: no other scores as\nhigh with as few tokens")
    if few:
        handles.append(Line2D([], [], color=GREY, mfc="white", marker="o", ls="", markersize=7))
        names.append("hollow: fewer seeds than\nothers of the panel")
    figure.legend(handles, names, loc="outside right center", fontsize=9)
