import io

import matplotlib as mpl
import numpy as np
import pytest
from matplotlib.collections import PathCollection
from matplotlib.figure import Figure

from pld_dspy.records import (
    Answer,
    Candidate,
    Cluster,
    Clustering,
    Diagnosis,
    Evaluation,
    Interval,
    Trace,
)
from pld_dspy.runs.plots.scores import (
    BeforeAfter,
    before_after_figure,
    cluster_map,
    confusion_pair,
    score_over_candidates,
)


def evaluation(pairs, *, name="c1", split="val", score=0.5, errors=0):
    answers = [
        Answer(example_id=str(n), gold=gold, answer=said) for n, (gold, said) in enumerate(pairs)
    ]
    answers += [Answer(example_id="x", gold="a", answer=None, error="crash")] * errors
    return Evaluation(
        candidate_id=name, split=split, metric="macro_f1", score=score, answers=tuple(answers)
    )


def written(axes):
    return [text.get_text() for text in axes.texts if text.get_text()]


def title(figure):
    return " ".join(figure.get_suptitle().split())


def legend_names(figure):
    return [text.get_text() for legend in figure.legends for text in legend.get_texts()]


def draw(figure):
    """Render the figure; the warnings of a failed layout or a missing glyph are errors here."""
    stream = io.BytesIO()
    figure.savefig(stream, format="png", dpi=60)
    return stream.getvalue()


PAIRS = [("a", "a"), ("a", "a"), ("a", "b"), ("a", None), ("b", "b"), ("b", None)]


def test_confusion_shows_counts_row_shares_and_missing_answers():
    scored = evaluation(PAIRS, errors=3)
    axes, _ = confusion_pair(scored, scored, ["a", "b"]).axes
    assert written(axes) == ["2\n50%", "1\n25%", "1\n25%", "1\n50%", "1\n50%"]
    assert [t.get_text() for t in axes.get_xticklabels()] == ["a", "b", "no answer"]
    assert [t.get_text() for t in axes.get_yticklabels()] == ["a (4)", "b (2)"]
    assert axes.get_title(loc="left") == "As given: 0.50, 3 of 6 wrong"


def test_confusion_loses_no_label_that_was_not_announced():
    scored = evaluation([("a", "new"), ("odd", "a")])
    figure = confusion_pair(scored, scored, ["a"])
    labels = [t.get_text() for t in figure.axes[0].get_xticklabels()]
    assert labels == ["a", "odd", "new", "no answer"]
    assert len(written(figure.axes[0])) == 2


def test_confusion_pair_has_one_scale_and_states_the_change():
    before = evaluation([("a", "b"), ("b", "b")], score=0.33)
    after = evaluation([("a", "a"), ("b", "b")], score=1.0)
    figure = confusion_pair(before, after, ["a", "b"], "demo")
    left, right = figure.axes
    assert left.images[0].get_clim() == right.images[0].get_clim()
    assert left.get_title(loc="left") == "As given: 0.33, 1 of 2 wrong"
    assert right.get_title(loc="left") == "Compiled: 1.00, 0 of 2 wrong"
    assert title(figure) == "demo: macro-F1 on val rises by 0.67"


@pytest.mark.parametrize(
    ("before", "after", "words"),
    [(0.5, 0.5, "macro-F1 on val stays the same"), (0.5, 0.4, "macro-F1 on val falls by 0.10")],
)
def test_confusion_pair_does_not_flatter(before, after, words):
    pair = (evaluation(PAIRS, score=before), evaluation(PAIRS, score=after))
    assert title(confusion_pair(*pair, ["a", "b"])) == words


def clustered(labels, clusters, size=6, noise=3):
    rng = np.random.default_rng(0)
    owner = np.repeat(np.arange(-1, clusters), [noise] + [size] * clusters)
    centres = rng.normal(scale=5, size=(clusters + 1, 8))
    vectors = centres[owner] + rng.normal(size=(len(owner), 8))
    traces = [
        Trace(id=f"t{n}", example_id=f"e{n}", label=labels[n % len(labels)], rationale="", rule="")
        for n in range(len(owner))
    ]
    ids = {own: tuple(f"t{n}" for n in np.flatnonzero(owner == own)) for own in set(owner)}
    found = tuple(
        Cluster(id=f"k{n}", trace_ids=ids[n], medoid_id=ids[n][0], labels={})
        for n in range(clusters)
    )
    diagnosis = Diagnosis(
        method="made up",
        clusters=clusters,
        noise_share=0.1,
        largest_share=0.2,
        label_mix=0.1,
        labels_without_rule=(),
        warnings=(),
    )
    clustering = Clustering(clusters=found, noise=ids.get(-1, ()), diagnosis=diagnosis)
    return vectors, clustering, traces


def drawn_points(axes):
    return sum(len(c.get_offsets()) for c in axes.collections if isinstance(c, PathCollection))


def test_the_map_draws_every_trace_once_and_numbers_the_clusters():
    figure = cluster_map(*clustered(["yes", "no"], clusters=4))
    (axes,) = figure.axes
    assert drawn_points(axes) == 4 * 6 + 3
    assert written(axes) == ["1", "2", "3", "4"]
    assert legend_names(figure) == ["no", "yes", "noise, any label"]
    assert title(figure) == "4 clusters hold 24 of 27 traces; the largest has 6, 3 are noise"


def test_the_map_gives_each_of_17_labels_its_own_look():
    figure = cluster_map(*clustered([f"label {n:02}" for n in range(17)], clusters=5))
    handles = figure.legends[0].legend_handles[:-1]
    looks = {(h.get_markerfacecolor(), h.get_markeredgecolor()) for h in handles}
    assert len(looks) == 17


def test_the_axes_of_the_map_keep_the_largest_variance():
    vectors = np.array([[0.0, 0, 3], [0, 0, -3], [1, 0, 0], [-1, 0, 0]])
    _, clustering, traces = clustered(["a"], clusters=1, size=4, noise=0)
    (axes,) = cluster_map(vectors, clustering, traces).axes
    assert axes.get_xlabel() == "first principal component (90% of the variance)"
    points = np.concatenate([c.get_offsets() for c in axes.collections])
    np.testing.assert_allclose(np.abs(points), [[3, 0], [3, 0], [0, 1], [0, 1]], atol=1e-9)


@pytest.mark.parametrize("dim", [1, 2, 5])
def test_the_map_takes_few_and_equal_vectors(dim):
    _, clustering, traces = clustered(["a"], clusters=1, size=2, noise=0)
    figure = cluster_map(np.ones((2, dim)), clustering, traces)
    assert drawn_points(figure.axes[0]) == 2
    assert draw(figure)


def interval(estimate, width=0.05):
    return Interval(estimate=estimate, low=estimate - width, high=estimate + width)


def test_before_and_after_print_their_values_and_draw_their_intervals():
    rows = [
        BeforeAfter(name="StereoSet", before=interval(0.57), after=interval(0.9)),
        BeforeAfter(name="LogiQA", before=interval(0.41), after=interval(0.4)),
    ]
    figure = before_after_figure(rows)
    (axes,) = figure.axes
    assert written(axes) == ["0.57", "0.90", "0.41", "0.40"]
    assert [bar.get_width() for bar in axes.patches] == [0.57, 0.9, 0.41, 0.4]
    spans = [tuple(line.get_xdata()) for line in axes.lines[:4]]
    assert spans == [pytest.approx((v - 0.05, v + 0.05)) for v in (0.57, 0.9, 0.41, 0.4)]
    assert axes.get_xlabel() == "macro-F1 (bar), with its 95% interval (line)"
    found = "The compiled program scores higher on 1 of 2; changes from -0.01 to +0.33"
    assert title(figure) == found


def test_before_and_after_keeps_a_negative_score_in_sight():
    rows = [
        BeforeAfter(name="a", before=interval(-0.3), after=interval(0.2), metric="mcc"),
        BeforeAfter(name="b", before=interval(0.3), after=interval(0.5)),
    ]
    (axes,) = before_after_figure(rows).axes
    assert axes.get_xlim()[0] < -0.35
    assert [t.get_text() for t in axes.get_yticklabels()] == ["a, MCC", "b, macro-F1"]


def candidates(origins):
    return [
        Candidate(id=f"c{n}", rules=(), prompt="", origin=origin)
        for n, origin in enumerate(origins)
    ]


def test_scores_stand_at_the_place_of_their_candidate():
    given = candidates(["as given", "synthesis", "search", "search"])
    scored = [
        evaluation([], name=f"c{n}", score=s) for n, s in enumerate([0.5, 0.7, 0.6, 0.8]) if n != 2
    ]
    scored.append(evaluation([], name="c3", split="select", score=0.72))
    figure = score_over_candidates(scored, given)
    (axes,) = figure.axes
    points = [tuple(p) for c in axes.collections for p in c.get_offsets()]
    assert points == [(1, 0.5), (2, 0.7), (4, 0.8), (4, 0.72)]
    assert "level of the student as given" in legend_names(figure)
    assert "any, on selection examples" in legend_names(figure)
    assert title(figure) == (
        "Best of 3 candidates: macro-F1 0.80 on validation (+0.30), 0.72 on selection examples"
    )


def test_of_equals_on_validation_the_title_has_the_best_on_selection_examples():
    scored = [evaluation([], name=f"c{n}", score=s) for n, s in enumerate([0.5, 0.8, 0.8])]
    scored += [evaluation([], name=f"c{n}", split="select", score=0.5 + n / 10) for n in (1, 2)]
    figure = score_over_candidates(scored, candidates(["as given", "synthesis", "search"]))
    assert title(figure).endswith("0.80 on validation (+0.30), 0.70 on selection examples")


def test_the_title_tells_of_the_candidate_that_was_chosen():
    scored = [evaluation([], name=f"c{n}", score=s) for n, s in enumerate([0.5, 0.8, 0.9])]
    scored += [
        evaluation([], name=f"c{n}", split="select", score=s) for n, s in ((1, 0.9), (2, 0.7))
    ]
    made = candidates(["as given", "synthesis", "search"])
    assert title(score_over_candidates(scored, made, chosen="c1")) == (
        "Chosen of 3 candidates: macro-F1 0.80 on validation (+0.30), 0.90 on selection examples"
    )
    best = score_over_candidates(scored, made, chosen="c2")
    assert title(best).startswith("Best of 3 candidates: macro-F1 0.90")


@pytest.mark.parametrize(
    ("draw_it", "arguments"), [(before_after_figure, [[]]), (score_over_candidates, [[], []])]
)
def test_nothing_to_show_is_said_in_the_picture(draw_it, arguments):
    assert draw_it(*arguments).texts[0].get_text().startswith("Nothing to show: no ")


LONG = [f"Permissible acquirement of similar information under clause {n}" for n in range(17)]
ODD = ["$a_b$", "_hidden", "x" * 60]


@pytest.mark.parametrize("labels", [ODD, LONG], ids=["odd", "long"])
def test_no_label_is_cut_by_the_edge_of_the_picture(labels):
    scored = evaluation([(gold, said) for gold in labels for said in (gold, labels[0], None)])
    for figure in (
        confusion_pair(scored, scored, labels),
        cluster_map(*clustered(labels, clusters=3)),
    ):
        draw(figure)
        frame = figure.bbox
        for axes in figure.axes:
            inside = axes.get_tightbbox()
            assert inside.x0 >= frame.x0 - 1
            assert inside.y0 >= frame.y0 - 1
            assert inside.x1 <= frame.x1 + 1
        for legend in figure.legends:
            assert legend.get_window_extent().y1 <= frame.y1 + 1
            assert legend.get_window_extent().y0 >= frame.y0 - 1


def test_the_style_of_the_session_neither_matters_nor_changes():
    with mpl.rc_context({"axes.facecolor": "black", "figure.facecolor": "black", "font.size": 30}):
        before = dict(mpl.rcParams)
        figure = confusion_pair(evaluation(PAIRS), evaluation(PAIRS), ["a", "b"])
        assert figure.get_facecolor() == (1, 1, 1, 1)
        assert figure.axes[0].texts[0].get_fontsize() < 12
        assert dict(mpl.rcParams) == before
    assert isinstance(figure, Figure)
