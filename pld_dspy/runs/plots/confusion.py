"""Confusion matrices of the student as given and the compiled program."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from pld_dspy.ledger.figure_style import GREY, INK, figure_title, metric_name, styled, wrap
from pld_dspy.records import Evaluation

NO_ANSWER = "no answer"


@styled
def confusion_pair(
    before: Evaluation, after: Evaluation, labels: Sequence[str], title: str = ""
) -> Figure:
    """Return the confusion of the student as given and of the compiled program, side by side.

    Gold labels are in rows, predicted ones and "no answer" in columns, with counts and row shares.
    Examples on which the program crashed are left out, as they are from the score. The title states
    the change of the score, after `title`.
    """
    names = _all_labels(labels, before, after)
    figure = Figure(figsize=_matrix_size(names, 2), layout="constrained")
    left, right = figure.subplots(1, 2)
    for axes, evaluation, name in ((left, before, "As given"), (right, after, "Compiled")):
        counts = _confusion(evaluation, names)
        _draw_matrix(axes, counts, names, row_labels=axes is left)
        wrong = int(counts.sum() - np.trace(counts))
        axes.set_title(
            f"{name}: {evaluation.score:.2f}, {wrong} of {counts.sum()} wrong", fontsize=10.5
        )
    change = after.score - before.score
    verb = "stays the same" if abs(change) < 0.0005 else "rises" if change > 0 else "falls"
    by = f" by {abs(change):.2f}" if abs(change) >= 0.0005 else ""
    head = f"{title}: " if title else ""
    figure_title(figure, f"{head}{metric_name(after.metric)} on {after.split} {verb}{by}")
    return figure


def _all_labels(labels: Sequence[str], *evaluations: Evaluation) -> list[str]:
    """Return `labels`, then any other that occurs, so that nothing is lost from the matrix."""
    answers = [a for e in evaluations for a in e.answers if a.error is None]
    found = [*(a.gold for a in answers), *(a.answer for a in answers if a.answer is not None)]
    return list(dict.fromkeys([*labels, *found]))


def _confusion(evaluation: Evaluation, names: Sequence[str]) -> npt.NDArray[np.int64]:
    """Return counts of shape `(labels, labels + 1)`; the last column is "no answer"."""
    place = {name: number for number, name in enumerate(names)}
    counts = np.zeros((len(names), len(names) + 1), dtype=np.int64)
    for answer in evaluation.answers:
        if answer.error is None:
            column = len(names) if answer.answer is None else place[answer.answer]
            counts[place[answer.gold], column] += 1
    return counts


def _matrix_size(names: Sequence[str], panels: int) -> tuple[float, float]:
    cell = 0.85 if len(names) <= 6 else 0.56
    width = panels * max(cell * (len(names) + 1), 2.9) + 2.6
    return max(width, 6.4), max(cell * len(names), 1.8) + 2.4


def _draw_matrix(
    axes: Axes, counts: npt.NDArray[np.int64], names: Sequence[str], *, row_labels: bool
) -> None:
    totals = counts.sum(axis=1, keepdims=True)
    shares = counts / np.maximum(totals, 1)
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1.15, aspect="auto")
    size = 9.5 if len(names) <= 6 else 7
    for (line, column), count in np.ndenumerate(counts):
        if count:
            share = shares[line, column]
            axes.text(
                column,
                line,
                f"{count}\n{share:.0%}",
                ha="center",
                va="center",
                fontsize=size,
                linespacing=1.15,
                color="white" if share > 0.6 else INK,
            )
    for place in range(len(names)):
        box = Rectangle((place - 0.5, place - 0.5), 1, 1, fill=False, ec=GREY, lw=1)
        axes.add_patch(box)
    axes.axvline(len(names) - 0.5, color="white", lw=5)
    columns = [wrap(name, 22, 2) for name in (*names, NO_ANSWER)]
    axes.set_xticks(range(len(names) + 1), columns)
    if max(map(len, columns)) > 10 or len(names) > 6:
        axes.tick_params(axis="x", labelrotation=45)
        for tick in axes.get_xticklabels():
            tick.set(ha="right", rotation_mode="anchor")
    rows = [f"{wrap(n, 24, 2)} ({t})" for n, t in zip(names, totals[:, 0], strict=True)]
    axes.set_yticks(range(len(names)), rows if row_labels else [""] * len(names))
    axes.tick_params(length=0, labelsize=9)
    axes.spines[:].set_visible(False)
    axes.set_xlabel("predicted label")
    if row_labels:
        axes.set_ylabel("gold label (examples)")
