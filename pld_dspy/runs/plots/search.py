"""Pictures of a search: score against tokens, what each rule adds, and Optuna's own two."""

import logging
from collections.abc import Collection, Iterable, Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from pld_dspy.ledger.figure_style import (
    BLUE,
    GREY,
    INK,
    ORANGE,
    figure_title,
    metric_name,
    styled,
    wrap,
)
from pld_dspy.records import Evaluation, Rule, SearchRecord
from pld_dspy.scoring.front import Point, pareto

logger = logging.getLogger(__name__)

_FAINT = "#9FB8CC"


def validation_points(evaluations: Iterable[Evaluation]) -> tuple[Point, ...]:
    """Return score and tokens of each candidate that was evaluated on every validation example.

    Those whose endpoint reports no tokens are left out.
    """
    found = {
        e.candidate_id: Point(e.candidate_id, e.score, e.prompt_tokens)
        for e in evaluations
        if e.split == "val" and e.prompt_tokens
    }
    return tuple(found.values())


@styled
def front_figure(
    points: Sequence[Point],
    *,
    given: str | None = None,
    chosen: str | None = None,
    metric: str = "macro_f1",
) -> Figure:
    """Return the score of each list against its tokens, and the best score that a budget buys.

    Args:
        points: One or more lists that were evaluated on every validation example.
        given: Id of the student as given; None, or one that is not among the points, marks none.
        chosen: Id of the list that was kept.
        metric: Name of the score.
    """
    front = pareto(points)
    figure = Figure(figsize=(8.6, 5), layout="constrained")
    axes = figure.add_subplot()
    axes.scatter([p.tokens for p in points], [p.score for p in points], s=34, color=_FAINT)
    # A budget beyond the last list of the front still buys that list.
    xs = [*(p.tokens for p in front), max(p.tokens for p in points)]
    ys = [*(p.score for p in front), front[-1].score]
    axes.step(xs, ys, where="post", color=BLUE, lw=1.6, zorder=2)
    axes.scatter(xs[:-1], ys[:-1], s=34, color=BLUE, zorder=3)
    by_id = {p.candidate_id: p for p in points}
    start, kept = by_id.get(given or ""), by_id.get(chosen or "")
    axes.margins(x=0.08, y=0.14)
    # The line climbs to the right of the student as given, so its words lie below.
    same = start is not None and start == kept
    _mark(axes, start, "student as given, kept" if same else "student as given", rise=-9)
    _mark(axes, None if same else kept, "chosen", rise=9, colour=ORANGE)
    axes.set_xlabel("mean input tokens per call")
    axes.set_ylabel(f"{metric_name(metric)} on validation")
    axes.grid()
    figure_title(figure, wrap(_front_finding(points, front, start, kept, metric), 92, 3))
    handles = [
        Line2D([], [], ls="", marker="o", color=_FAINT),
        Line2D([], [], marker="o", color=BLUE, lw=1.6),
    ]
    names = ["list evaluated on every example", "front: no other scores as high with as few tokens"]
    figure.legend(handles, names, loc="outside lower right", ncols=2)
    return figure


@styled
def gains_figure(
    record: SearchRecord, rules: Iterable[Rule], *, chosen: Collection[str] = ()
) -> Figure:
    """Return the measured gain of each rule with its 95% interval, the greatest on top.

    Args:
        record: Of a search with at least one rule.
        rules: Their texts; a rule that is not among them is shown by its id.
        chosen: Ids of the rules in the list that was kept, which are filled.
    """
    texts = {rule.id: rule.text for rule in rules}
    ranked = sorted(record.gains.items(), key=lambda item: (-item[1].estimate, item[0]))
    figure = Figure(figsize=(9.5, 1.7 + 0.4 * len(ranked)), layout="constrained")
    axes = figure.add_subplot()
    axes.axvline(0, color=GREY, lw=1)
    for place, (rule_id, gain) in enumerate(ranked):
        colour = BLUE if gain.low > 0 else ORANGE if gain.high < 0 else GREY
        axes.plot([gain.low, gain.high], [place, place], color=colour, lw=1.8)
        face = colour if rule_id in chosen else "white"
        axes.scatter(
            [gain.estimate], [place], s=44, facecolors=face, edgecolors=colour, lw=1.6, zorder=3
        )
    names = [wrap(texts.get(rule_id, rule_id), 62, 2) for rule_id, _ in ranked]
    axes.set_yticks(range(len(ranked)), names, fontsize=8.5)
    axes.tick_params(axis="y", length=0)
    axes.set_ylim(len(ranked) - 0.5, -0.5)
    axes.grid(axis="x")
    axes.set_xlabel("change of the mean score by the rule, with its 95% interval")
    gains = [gain for _, gain in ranked]
    helps, harms = sum(g.low > 0 for g in gains), sum(g.high < 0 for g in gains)
    figure_title(
        figure,
        f"{helps} of {len(gains)} rules clearly help, {harms} clearly harm; "
        f"{len(gains) - helps - harms} have an interval that holds 0",
    )
    if chosen:
        filled = [
            Line2D([], [], ls="", marker="o", color=INK, mfc=face, mew=1.6)
            for face in (INK, "white")
        ]
        figure.legend(
            filled, ["in the chosen list", "not in it"], loc="outside lower right", ncols=2
        )
    return figure


def _mark(axes: Axes, point: Point | None, words: str, *, rise: float, colour: str = INK) -> None:
    """Circle a point and write `words` beside it, `rise` points higher, towards the middle."""
    if point is None:
        return
    axes.scatter(
        [point.tokens], [point.score], s=130, facecolors="none", edgecolors=colour, lw=2, zorder=4
    )
    left, right = axes.get_xlim()
    on_right = point.tokens > (left + right) / 2
    axes.annotate(
        words,
        (point.tokens, point.score),
        xytext=(-10 if on_right else 10, rise),
        textcoords="offset points",
        ha="right" if on_right else "left",
        va="bottom" if rise > 0 else "top",
        color=colour,
        fontweight="bold",
        fontsize=9.5,
    )


def _front_finding(
    points: Sequence[Point],
    front: Sequence[Point],
    start: Point | None,
    kept: Point | None,
    metric: str,
) -> str:
    found = f"{len(front)} of {len(points)} lists are on the front"
    if kept is not None:
        found += f"; chosen: {metric_name(metric)} {kept.score:.2f} at {kept.tokens:.0f} tokens"
    if start is not None and kept is not None and start != kept:
        found += f", as given {start.score:.2f} at {start.tokens:.0f}"
    return found
