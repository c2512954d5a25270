"""Pictures of a run, each a `Figure` outside of pyplot."""

import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle
from matplotlib.ticker import MaxNLocator

from pld_dspy.ledger.figure_style import GREY, INK, figure_title, metric_name, styled, wrap
from pld_dspy.records import Candidate, Clustering, Evaluation, Interval, Split, Trace, Vectors
from pld_dspy.runs.plots.confusion import confusion_pair

__all__ = [
    "BeforeAfter",
    "before_after_figure",
    "cluster_map",
    "confusion_pair",
    "score_over_candidates",
]

_BEFORE, _AFTER, _FAINT = "#B0B7BF", "#0072B2", "#C9CED3"
# Okabe and Ito's palette, with olive in place of its yellow, which is faint on white.
_COLOURS = (
    "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#222222", "#999933",
)  # fmt: skip
_MARKERS = "osD^vP*h<>p8"


@dataclass(frozen=True, slots=True, kw_only=True)
class BeforeAfter:
    """One pair of bars: the student as given and the compiled program on the same examples."""

    name: str
    """What was scored, for instance the data set and the split."""
    before: Interval
    after: Interval
    metric: str = "macro_f1"


@styled
def cluster_map(vectors: Vectors, clustering: Clustering, traces: Sequence[Trace]) -> Figure:
    """Return the traces in the plane of their first two principal components.

    Args:
        vectors: Shape `(n, dim)`; row `i` belongs to `traces[i]`.
        clustering: Partition of the traces; the marker and the number give the cluster, a grey
            cross is noise.
        traces: The colour, filled or hollow, gives the gold label.
    """
    points, shares = _plane(vectors)
    row = {trace.id: number for number, trace in enumerate(traces)}
    labels = sorted({trace.label for trace in traces})
    named = [wrap(label, 30, 2) for label in labels]
    lines = sum(name.count("\n") + 1 for name in named)
    figure = Figure(figsize=(9, max(5.6, 1.6 + 0.21 * lines)), layout="constrained")
    axes = figure.add_subplot()
    noise = [row[i] for i in clustering.noise]
    axes.scatter(points[noise, 0], points[noise, 1], marker="x", s=26, c="#B5B5B5", linewidths=1)
    for number, cluster in enumerate(clustering.clusters):
        for place, label in enumerate(labels):
            rows = [row[i] for i in cluster.trace_ids if traces[row[i]].label == label]
            face, edge = _label_colours(place)
            axes.scatter(
                points[rows, 0],
                points[rows, 1],
                marker=_MARKERS[number % len(_MARKERS)],
                s=38,
                facecolors=face,
                edgecolors=edge,
                linewidths=1.2 if face == "none" else 0.4,
                alpha=0.85,
            )
    for number, cluster in enumerate(clustering.clusters):
        _write_number(axes, points[[row[i] for i in cluster.trace_ids]], number + 1)
    axes.set_xlabel(f"first principal component ({shares[0]:.0%} of the variance)")
    axes.set_ylabel(f"second principal component ({shares[1]:.0%})")
    inside = len(traces) - len(noise)
    largest = max((len(c.trace_ids) for c in clustering.clusters), default=0)
    figure_title(
        figure,
        f"{len(clustering.clusters)} clusters hold {inside} of {len(traces)} traces; "
        f"the largest has {largest}, {len(noise)} are noise",
    )
    _label_legend(figure, named, noise=bool(noise))
    return figure


@styled
def before_after_figure(rows: Sequence[BeforeAfter]) -> Figure:
    """Return a pair of bars a row, student as given and compiled, with their 95% intervals."""
    if not rows:
        return _nothing("no data set was scored before and after")
    figure = Figure(figsize=(8, 1.7 + 0.85 * len(rows)), layout="constrained")
    axes = figure.add_subplot()
    low = min(0.0, *(i.low for r in rows for i in (r.before, r.after)))
    for place, entry in enumerate(rows):
        pairs = ((entry.before, -0.19, _BEFORE), (entry.after, 0.19, _AFTER))
        for interval, offset, colour in pairs:
            axes.barh(place + offset, interval.estimate, height=0.34, color=colour)
            axes.plot([interval.low, interval.high], [place + offset] * 2, color=INK, lw=1.4)
            edge = max(interval.high, interval.estimate, 0.0)
            words = f"{interval.estimate:.2f}"
            axes.text(edge + 0.012, place + offset, words, va="center", fontsize=9.5, color=INK)
    metrics = {row.metric for row in rows}
    one = metric_name(metrics.pop()) if len(metrics) == 1 else None
    names = [r.name if one else f"{r.name}, {metric_name(r.metric)}" for r in rows]
    axes.set_yticks(range(len(rows)), [wrap(name, 26, 3) for name in names])
    axes.tick_params(axis="y", length=0)
    axes.set_ylim(len(rows) - 0.5, -0.5)
    axes.set_xlim(low - (0.03 if low < 0 else 0), 1.08)
    axes.set_xticks(np.arange(np.ceil(low * 5) / 5, 1.01, 0.2))
    axes.axvline(0, color=GREY, lw=0.8)
    axes.grid(axis="x")
    axes.set_xlabel(f"{one or 'score'} (bar), with its 95% interval (line)")
    figure_title(figure, _gain_finding(rows))
    handles = [Rectangle((0, 0), 1, 1, color=colour) for colour in (_BEFORE, _AFTER)]
    figure.legend(handles, ["student as given", "compiled"], loc="outside lower right", ncols=2)
    return figure


@styled
def score_over_candidates(
    evaluations: Sequence[Evaluation],
    candidates: Sequence[Candidate],
    *,
    chosen: str | None = None,
) -> Figure:
    """Return the score of each candidate on validation, and on selection examples where it has one.

    Args:
        evaluations: Scores on full splits; of several of one candidate on one split the last counts.
        candidates: In order of creation.
        chosen: Id of the candidate that the title tells about; None is the best on validation.
    """
    scores = {(e.candidate_id, e.split): e.score for e in evaluations}
    seen = [c for c in candidates if (c.id, "val") in scores]
    if not seen:
        return _nothing("no candidate was scored on validation")
    metric = metric_name(evaluations[0].metric)
    place = {c.id: number for number, c in enumerate(candidates, start=1)}
    figure = Figure(figsize=(9, 4.6), layout="constrained")
    axes = figure.add_subplot()
    best = np.maximum.accumulate([scores[c.id, "val"] for c in seen])
    axes.step([place[c.id] for c in seen], best, where="post", color=_FAINT, lw=1.5, zorder=1)
    handles = [Line2D([], [], color=_FAINT, lw=1.5)]
    names = ["best so far on validation"]
    given = next((scores[c.id, "val"] for c in seen if c.origin == "as given"), None)
    if given is not None:
        handles.append(axes.axhline(given, color=INK, lw=1, ls="--", zorder=1))
        names.append("level of the student as given")
    for number, origin in enumerate(dict.fromkeys(c.origin for c in seen)):
        mine = [c for c in seen if c.origin == origin]
        colour = _COLOURS[number % len(_COLOURS)]
        xs, ys = [place[c.id] for c in mine], [scores[c.id, "val"] for c in mine]
        axes.scatter(xs, ys, s=40, color=colour, edgecolors="white", linewidths=0.5, zorder=3)
        handles.append(Line2D([], [], ls="", marker="o", color=colour, markersize=7))
        names.append(f"{origin}, on validation")
    again = [c for c in candidates if (c.id, "select") in scores]
    if again:
        xs, ys = [place[c.id] for c in again], [scores[c.id, "select"] for c in again]
        axes.scatter(xs, ys, s=48, marker="D", facecolors="none", edgecolors=INK, zorder=4)
        handles.append(Line2D([], [], ls="", marker="D", mfc="none", color=INK, markersize=7))
        names.append("any, on selection examples")
    axes.set_xlabel("candidate, in order of creation")
    axes.set_ylabel(metric)
    axes.set_xlim(0.5, len(candidates) + 0.5)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.grid(axis="y")
    figure_title(figure, textwrap.fill(_search_finding(seen, scores, given, chosen, metric), 92))
    figure.legend(handles, names, loc="outside right center")
    return figure


def _plane(vectors: Vectors) -> tuple[Vectors, tuple[float, float]]:
    """Return the first two principal components, shape `(n, 2)`, and their shares of variance."""
    centred = np.asarray(vectors, dtype=np.float64)
    centred = centred - centred.mean(axis=0) if len(centred) else centred
    left, strength, _ = np.linalg.svd(centred, full_matrices=False)
    points = np.zeros((len(centred), 2))
    points[:, : min(2, strength.size)] = (left * strength)[:, :2]
    power = np.append(strength**2, (0.0, 0.0))
    total = power.sum() or 1.0
    return points, (float(power[0] / total), float(power[1] / total))


def _label_colours(place: int) -> tuple[str, str]:
    """Return face and edge colour; filled for the first eight labels, hollow for the next."""
    colour = _COLOURS[place % len(_COLOURS)]
    turn = place // len(_COLOURS)
    return {0: (colour, "white"), 1: ("none", colour)}.get(turn, (colour, INK))


def _write_number(axes: Axes, points: Vectors, number: int) -> None:
    middle = np.median(points, axis=0)
    axes.annotate(
        str(number),
        (float(middle[0]), float(middle[1])),
        ha="center",
        va="center",
        fontsize=8.5,
        fontweight="bold",
        color=INK,
        bbox={"boxstyle": "round,pad=0.2", "fc": "white", "ec": GREY, "lw": 0.7, "alpha": 0.9},
    )


def _label_legend(figure: Figure, named: Sequence[str], *, noise: bool) -> None:
    handles = []
    for place in range(len(named)):
        face, edge = _label_colours(place)
        handles.append(Line2D([], [], ls="", marker="o", markersize=7, mfc=face, mec=edge, mew=1.2))
    names = list(named)
    if noise:
        handles.append(Line2D([], [], ls="", marker="x", markersize=6, color="#B5B5B5"))
        names.append("noise, any label")
    key = "colour: gold label\nmarker and number: cluster"
    legend = figure.legend(handles, names, loc="outside right center", title=key, fontsize=9)
    legend.set_alignment("left")


def _gain_finding(rows: Sequence[BeforeAfter]) -> str:
    gains = [row.after.estimate - row.before.estimate for row in rows]
    better = sum(gain > 0.0005 for gain in gains)
    if len(rows) == 1:
        return f"{rows[0].name}: compiled scores {gains[0]:+.2f} against the student as given"
    spread = f"changes from {min(gains):+.2f} to {max(gains):+.2f}"
    return f"The compiled program scores higher on {better} of {len(rows)}; {spread}"


def _search_finding(
    seen: Sequence[Candidate],
    scores: Mapping[tuple[str, Split], float],
    given: float | None,
    chosen: str | None,
    metric: str,
) -> str:
    # Of equals on validation, selection examples decide.
    best = max(seen, key=lambda c: (scores[c.id, "val"], scores.get((c.id, "select"), -1.0)))
    told = next((c for c in seen if c.id == chosen), best)
    top = scores[told.id, "val"]
    which = "Best" if told is best else "Chosen"
    found = f"{which} of {len(seen)} candidates: {metric} {top:.2f} on validation"
    if given is not None:
        found += f" ({top - given:+.2f})"
    if (told.id, "select") in scores:
        found += f", {scores[told.id, 'select']:.2f} on selection examples"
    return found


def _nothing(reason: str) -> Figure:
    figure = Figure(figsize=(6, 2), layout="constrained")
    figure.text(0.5, 0.5, f"Nothing to show: {reason}.", ha="center", va="center", color=INK)
    return figure
