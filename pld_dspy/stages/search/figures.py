"""Plots of the Optuna study: history and parameter importances."""

import logging
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import optuna
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from optuna.trial import TrialState

from pld_dspy.ledger.figure_style import (
    BLUE,
    GREY,
    INK,
    ORANGE,
    figure_title,
    metric_name,
    picture_file,
    styled,
)

logger = logging.getLogger(__name__)

_DPI = 150


_FEW_FOR_HISTORY = 2


# Importances compare the best tenth of the complete trials with all of them.
_FEW_FOR_IMPORTANCES = 8


_MOST_BARS = 20


def study_figures(study: optuna.Study, *, metric: str = "score") -> dict[str, Figure]:
    """Return Optuna's plots `search_history` and `search_importances`.

    A plot is left out, and this is logged, if there are too few complete trials.

    Args:
        study: Study of the search; pruned trials are in neither plot.
        metric: Name of the score.
    """
    drawn: dict[str, Figure] = {}
    full = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    if len(full) < _FEW_FOR_HISTORY:
        logger.info("no plot of the search history: %s complete trials", len(full))
        return drawn
    drawn["search_history"] = _history(study, metric)
    if len(full) < _FEW_FOR_IMPORTANCES:
        logger.info("no plot of parameter importances: %s complete trials", len(full))
        return drawn
    try:
        drawn["search_importances"] = _importances(study, len(full))
    except (ValueError, RuntimeError) as error:
        logger.info("no plot of parameter importances: %s", error)
    return drawn


def save_study_figures(
    study: optuna.Study, folder: Path, *, metric: str = "score", predictor: str = ""
) -> list[Path]:
    """Save the plots of `study_figures` and return their paths; an error is logged as a warning.

    Args:
        study: Study of the search.
        folder: Folder of the files.
        metric: Name of the score.
        predictor: Path of the predictor, part of the file names; "" if there is only one.
    """
    paths = []
    try:
        for stem, figure in study_figures(study, metric=metric).items():
            path = folder / picture_file(stem, predictor)
            figure.savefig(path, dpi=_DPI)
            paths.append(path)
    except Exception as error:  # noqa: BLE001 - a plot must not end the run
        logger.warning("no plot of the study: %s", error)
    return paths


@styled
def _history(study: optuna.Study, metric: str) -> Figure:
    import optuna.visualization.matplotlib as pictures

    axes = _drawn(lambda: pictures.plot_optimization_history(study, target_name="score"))
    figure = _owned(axes, (8.6, 4.6))
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, steps=[1, 2, 5, 10]))
    for line in axes.lines:
        line.set(drawstyle="steps-post", color=ORANGE)  # the best score changes at trials only
    axes.set_xlabel("trial")
    axes.set_ylabel(f"{metric_name(metric)} on validation")
    handles, _ = axes.get_legend_handles_labels()
    if (legend := axes.get_legend()) is not None:
        legend.remove()
    names = ["list evaluated on every example", "best so far"]
    figure.legend(handles, names, loc="outside lower right", ncols=2)
    states = (TrialState.COMPLETE, TrialState.PRUNED)
    trials = study.get_trials(deepcopy=False, states=states)
    full = sum(t.state is TrialState.COMPLETE for t in trials)
    figure_title(figure, f"{full} of {len(trials)} lists were evaluated on every example")
    return figure


@styled
def _importances(study: optuna.Study, full: int) -> Figure:
    """Return the plot; ValueError if all importances are equal."""
    import optuna.visualization.matplotlib as pictures

    axes = _drawn(lambda: pictures.plot_param_importances(study))
    widths = [bar.get_width() for bar in axes.containers[0]] if axes.containers else []
    if not widths or max(widths) - min(widths) < 1e-9:
        msg = f"all importances are equal after {full} complete trials"
        raise ValueError(msg)
    shown = min(len(widths), _MOST_BARS)
    figure = _owned(axes, (8.6, 1.6 + 0.32 * shown))
    if (legend := axes.get_legend()) is not None:
        legend.remove()  # the only colour is explained in the title
    # Optuna draws the most important parameter last, at the top.
    cut = len(widths) - shown
    for place, (bar, text) in enumerate(zip(axes.containers[0], axes.texts, strict=True)):
        bar.set_color(BLUE)
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
    """Return the axes that Optuna drew, with pyplot's figures closed and without warnings."""
    from matplotlib import pyplot as plt

    before = set(plt.get_fignums())
    try:
        # Optuna warns that the functions are experimental, and that trials were left out.
        with plt.ioff(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return draw()
    finally:
        for number in set(plt.get_fignums()) - before:
            plt.close(number)


def _owned(axes: Axes, size: tuple[float, float]) -> Figure:
    """Return the figure of the axes, detached from pyplot, in the style of the other plots."""
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
