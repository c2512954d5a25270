"""Pictures of a search: score against tokens, what each rule adds, and Optuna's own two."""

import logging
import warnings
from collections.abc import Callable, Collection, Iterable, Sequence
from pathlib import Path
from typing import Any

import optuna
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator
from optuna.trial import TrialState

from pld_dspy.front import Point, pareto
from pld_dspy.plot_style import GREY, INK, figure_title, metric_name, picture_file, styled, wrap
from pld_dspy.types import Evaluation, Rule, SearchRecord

logger = logging.getLogger(__name__)

_BLUE, _ORANGE, _FAINT = "#0072B2", "#D55E00", "#9FB8CC"
_DPI = 150
_FEW_FOR_HISTORY = 2
# Importances compare the best tenth of the complete trials with all of them.
_FEW_FOR_IMPORTANCES = 8
_MOST_BARS = 20


def validation_points(evaluations: Iterable[Evaluation]) -> tuple[Point, ...]:
    """Return score and tokens of each candidate that was asked about every validation example.

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
        points: One or more lists that were asked about every validation example.
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
    axes.step(xs, ys, where="post", color=_BLUE, lw=1.6, zorder=2)
    axes.scatter(xs[:-1], ys[:-1], s=34, color=_BLUE, zorder=3)
    by_id = {p.candidate_id: p for p in points}
    start, kept = by_id.get(given or ""), by_id.get(chosen or "")
    axes.margins(x=0.08, y=0.14)
    # The line climbs to the right of the student as given, so its words lie below.
    same = start is not None and start == kept
    _mark(axes, start, "student as given, kept" if same else "student as given", rise=-9)
    _mark(axes, None if same else kept, "chosen", rise=9, colour=_ORANGE)
    axes.set_xlabel("mean input tokens of a call")
    axes.set_ylabel(f"{metric_name(metric)} on validation")
    axes.grid()
    figure_title(figure, wrap(_front_finding(points, front, start, kept, metric), 92, 3))
    handles = [
        Line2D([], [], ls="", marker="o", color=_FAINT),
        Line2D([], [], marker="o", color=_BLUE, lw=1.6),
    ]
    names = ["list asked about every example", "front: no other scores as high with as few tokens"]
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
        colour = _BLUE if gain.low > 0 else _ORANGE if gain.high < 0 else GREY
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


def study_figures(study: optuna.Study, *, metric: str = "score") -> dict[str, Figure]:
    """Return `search_history` and `search_importances` as Optuna draws them.

    One that the study has too few complete trials for is left out, with a line in the log.

    Args:
        study: Of the search; its trials that were stopped early count for neither picture.
        metric: Name of the score.
    """
    drawn: dict[str, Figure] = {}
    full = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    if len(full) < _FEW_FOR_HISTORY:
        logger.info("no picture of the search's history: %s complete trials", len(full))
        return drawn
    drawn["search_history"] = _history(study, metric)
    if len(full) < _FEW_FOR_IMPORTANCES:
        logger.info("no picture of the parameters' importances: %s complete trials", len(full))
        return drawn
    try:
        drawn["search_importances"] = _importances(study, len(full))
    except (ValueError, RuntimeError) as error:
        logger.info("no picture of the parameters' importances: %s", error)
    return drawn


def save_study_figures(
    study: optuna.Study, folder: Path, *, metric: str = "score", predictor: str = ""
) -> list[Path]:
    """Return the pictures of `study_figures`, saved; whatever goes wrong is a warning in the log.

    Args:
        study: Of the search.
        folder: Where the pictures go.
        metric: Name of the score.
        predictor: Goes into the file names, where a program has several.
    """
    paths = []
    try:
        for stem, figure in study_figures(study, metric=metric).items():
            path = folder / picture_file(stem, predictor)
            figure.savefig(path, dpi=_DPI)
            paths.append(path)
    except Exception as error:  # noqa: BLE001 - the search is done and paid for
        logger.warning("no picture of the study: %s", error)
    return paths


@styled
def _history(study: optuna.Study, metric: str) -> Figure:
    import optuna.visualization.matplotlib as pictures

    axes = _drawn(lambda: pictures.plot_optimization_history(study, target_name="score"))
    figure = _owned(axes, (8.6, 4.6))
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, steps=[1, 2, 5, 10]))
    for line in axes.lines:
        line.set(drawstyle="steps-post", color=_ORANGE)  # the best does not rise between trials
    axes.set_xlabel("trial")
    axes.set_ylabel(f"{metric_name(metric)} on validation")
    handles, _ = axes.get_legend_handles_labels()
    if (legend := axes.get_legend()) is not None:
        legend.remove()
    names = ["list asked about every example", "best so far"]
    figure.legend(handles, names, loc="outside lower right", ncols=2)
    states = (TrialState.COMPLETE, TrialState.PRUNED)
    trials = study.get_trials(deepcopy=False, states=states)
    full = sum(t.state is TrialState.COMPLETE for t in trials)
    figure_title(figure, f"{full} of {len(trials)} lists were asked about every example")
    return figure


@styled
def _importances(study: optuna.Study, full: int) -> Figure:
    """Return the picture; ValueError if the trials tell no parameter from another."""
    import optuna.visualization.matplotlib as pictures

    axes = _drawn(lambda: pictures.plot_param_importances(study))
    widths = [bar.get_width() for bar in axes.containers[0]] if axes.containers else []
    if not widths or max(widths) - min(widths) < 1e-9:
        msg = f"{full} complete trials tell no parameter from another"
        raise ValueError(msg)
    shown = min(len(widths), _MOST_BARS)
    figure = _owned(axes, (8.6, 1.6 + 0.32 * shown))
    if (legend := axes.get_legend()) is not None:
        legend.remove()  # one colour, which the title explains
    # Optuna puts the most important one on top, at the highest place.
    cut = len(widths) - shown
    for place, (bar, text) in enumerate(zip(axes.containers[0], axes.texts, strict=True)):
        bar.set_color(_BLUE)
        text.set_text(f" {text.get_text()}")
        text.set_visible(place >= cut)
    axes.set_ylim(cut - 0.6, len(widths) - 0.4)
    axes.grid(visible=False, axis="y")
    axes.set_xlabel(
        "share in what sets the best tenth apart (PED-ANOVA); keyN is the priority of rule N"
    )
    axes.set_ylabel("")
    most = f", the {shown} strongest of {len(widths)} parameters" if cut else ""
    figure_title(figure, f"What decides the score, by {full} complete trials{most}")
    return figure


def _drawn(draw: Callable[[], Axes]) -> Axes:
    """Return what Optuna drew; none of pyplot's figures is left open, and no warning shown."""
    from matplotlib import pyplot as plt

    before = set(plt.get_fignums())
    try:
        # Optuna's functions are marked experimental, and warn of what the titles say.
        with plt.ioff(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return draw()
    finally:
        for number in set(plt.get_fignums()) - before:
            plt.close(number)


def _owned(axes: Axes, size: tuple[float, float]) -> Figure:
    """Return the figure of the axes, freed of pyplot's canvas, in the style of the other pictures."""
    figure: Any = axes.figure
    FigureCanvasAgg(figure)
    figure.set_layout_engine("constrained")
    figure.set_size_inches(*size)
    figure.set_facecolor("white")
    axes.set_title("", loc="left")
    axes.set_title("")
    axes.set_facecolor("white")
    axes.grid(color="#E6E6E6")
    axes.tick_params(colors=INK)
    for side, spine in axes.spines.items():
        spine.set_visible(side in {"left", "bottom"})
        spine.set_color(GREY)
    for label in (axes.xaxis.label, axes.yaxis.label):
        label.set_color(INK)
        label.set_fontsize(10)
    return figure  # type: ignore[no-any-return]


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
