"""Pictures of a search: what is drawn and said, and that nothing of it lingers."""

import io
import logging
import threading
import warnings

import matplotlib as mpl
import numpy as np
import optuna
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib import pyplot as plt
from matplotlib.collections import PathCollection
from optuna.distributions import CategoricalDistribution, FloatDistribution
from optuna.trial import TrialState, create_trial

from pld_dspy.records import Answer, Evaluation, Interval, SearchRecord
from pld_dspy.runs.plots.search import front_figure, gains_figure, validation_points
from pld_dspy.scoring.front import Point, pareto
from pld_dspy.stages.common.rule_text import make_rule, make_trace
from pld_dspy.stages.search.figures import save_study_figures, study_figures

POINTS = (
    Point("given", 0.45, 40),
    Point("worse", 0.40, 90),
    Point("short", 0.60, 80),
    Point("best", 0.70, 100),
    Point("long", 0.65, 130),
)


def title(figure):
    return " ".join(figure.get_suptitle().split())


def dots(axes):
    return [tuple(map(tuple, c.get_offsets())) for c in axes.collections]


def words(axes):
    return {text.get_text(): text.xy for text in axes.texts}


def draw(figure):
    """Render the figure; the warnings of a failed layout or a missing glyph are errors here."""
    figure.savefig(io.BytesIO(), format="png", dpi=50)


def test_each_list_is_a_dot_and_the_front_a_line_up_to_the_longest_list():
    figure = front_figure(POINTS, given="given", chosen="best")
    (axes,) = figure.axes
    (line,) = axes.lines

    assert dots(axes)[0] == tuple((p.tokens, p.score) for p in POINTS)
    assert list(zip(*line.get_data(), strict=True)) == [
        (40, 0.45),
        (80, 0.60),
        (100, 0.70),
        (130, 0.70),
    ]
    assert line.get_drawstyle() == "steps-post"
    assert dots(axes)[1] == ((40, 0.45), (80, 0.60), (100, 0.70))
    draw(figure)


def test_the_student_as_given_and_the_chosen_list_are_named_at_their_places():
    figure = front_figure(POINTS, given="given", chosen="short")

    assert words(figure.axes[0]) == {"student as given": (40, 0.45), "chosen": (80, 0.60)}
    assert title(figure) == (
        "3 of 5 lists are on the front; chosen: macro-F1 0.60 at 80 tokens, as given 0.45 at 40"
    )


def test_a_student_that_stays_as_given_is_named_once():
    figure = front_figure(POINTS, given="given", chosen="given", metric="mcc")

    assert words(figure.axes[0]) == {"student as given, kept": (40, 0.45)}
    assert title(figure) == "3 of 5 lists are on the front; chosen: MCC 0.45 at 40 tokens"


@pytest.mark.parametrize("points", [POINTS[:1], POINTS[:1] * 3])
def test_one_place_is_enough_for_a_picture(points):
    figure = front_figure(points, chosen="elsewhere")

    assert words(figure.axes[0]) == {}
    draw(figure)


@settings(max_examples=15, deadline=None)
@given(
    st.lists(
        st.tuples(st.sampled_from([0.1, 0.2, 0.5, 0.9]), st.integers(1, 400)),
        min_size=1,
        max_size=12,
    )
)
def test_no_dot_lies_above_the_front(values):
    points = [Point(str(n), score, tokens) for n, (score, tokens) in enumerate(values)]
    (line,) = front_figure(points).axes[0].lines
    xs, ys = line.get_data()

    assert len(xs) == len(pareto(points)) + 1
    for point in points:
        reach = np.searchsorted(xs, point.tokens, side="right") - 1
        assert reach >= 0
        assert point.score <= ys[reach]


def evaluation(name, score, tokens, split="val"):
    answers = tuple(
        Answer(example_id=str(n), gold="a", answer="a", input_tokens=count)
        for n, count in enumerate(tokens)
    )
    return Evaluation(
        candidate_id=name, split=split, metric="macro_f1", score=score, answers=answers
    )


def test_points_are_the_lists_with_counted_tokens_on_validation():
    found = validation_points(
        [
            evaluation("a", 0.5, [10, 30]),
            evaluation("b", 0.6, [0, 0]),
            evaluation("a", 0.9, [10, 30], split="select"),
        ]
    )
    assert found == (Point("a", 0.5, 20.0),)


def rule(text):
    return make_rule(text, [make_trace("e", "red", "why", text)], origin="synthesis")


RULES = [rule("If it barks, answer dog."), rule("If it meows, answer cat."), rule("x " * 200)]


def record(gains):
    intervals = {
        name: Interval(estimate=mid, low=low, high=high) for name, (low, mid, high) in gains.items()
    }
    return SearchRecord(study="s", trials=(), gains=intervals, calls=0, full_calls=0)


def test_gains_stand_from_the_greatest_to_the_least_with_their_intervals():
    gains = {
        RULES[0].id: (-0.30, -0.20, -0.10),
        RULES[1].id: (0.05, 0.10, 0.15),
        RULES[2].id: (-0.02, 0.01, 0.04),
    }
    figure = gains_figure(record(gains), RULES, chosen={RULES[1].id})
    (axes,) = figure.axes
    _, *intervals = axes.lines  # the first one stands at zero

    assert [tuple(line.get_xdata()) for line in intervals] == [
        (0.05, 0.15),
        (-0.02, 0.04),
        (-0.30, -0.10),
    ]
    assert [d[0] for d in dots(axes)] == [(0.10, 0), (0.01, 1), (-0.20, 2)]
    assert len({line.get_color() for line in intervals}) == 3
    filled = [bool((c.get_facecolors()[0, :3] < 1).any()) for c in axes.collections]
    assert filled == [True, False, False]
    low, high = axes.get_ylim()
    assert low > high, "the first is on top"
    assert title(figure) == (
        "1 of 3 rules clearly help, 1 clearly harm; 1 have an interval that holds 0"
    )
    draw(figure)


def test_rule_texts_are_shortened_and_one_that_is_not_known_has_its_id():
    gains = {RULES[2].id: (0, 0.2, 0.3), "r0": (0, 0.1, 0.3)}
    axes = gains_figure(record(gains), RULES).axes[0]
    long, unknown = (label.get_text() for label in axes.get_yticklabels())

    assert unknown == "r0"
    assert len(long) < 140
    assert long.endswith("…")


def test_a_dollar_sign_in_a_rule_is_no_formula():
    money = rule("If it costs $5 or $$6_a, answer dear.")
    draw(gains_figure(record({money.id: (0, 0.1, 0.2)}), [money]))


def study(values, *, pruned=0, keys=3, seed=0):
    rng = np.random.default_rng(seed)
    made = optuna.create_study(direction="maximize")
    distributions = {
        "order": CategoricalDistribution(["a", "b"]),
        **{f"key{n}": FloatDistribution(0, 1) for n in range(keys)},
    }
    for value in values:
        params = {"order": "ab"[rng.integers(2)]}
        params |= {f"key{n}": rng.random() for n in range(1, keys)}
        params |= {"key0": value} if keys else {}
        made.add_trial(create_trial(value=value, params=params, distributions=distributions))
    for _ in range(pruned):
        made.add_trial(create_trial(state=TrialState.PRUNED, intermediate_values={3: 0.1}))
    return made


@pytest.fixture(autouse=True)
def _quiet():
    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    yield
    optuna.logging.set_verbosity(before)


GROWING = [n / 20 for n in range(20)]


def test_the_history_shows_each_complete_trial_and_the_best_so_far():
    figure = study_figures(study([0.4, 0.3, 0.6, 0.5], pruned=6), metric="macro_f1")[
        "search_history"
    ]
    (axes,) = figure.axes
    shown = [tuple(place) for c in axes.collections for place in c.get_offsets()]

    assert isinstance(axes.collections[0], PathCollection)
    assert shown == [(0, 0.4), (1, 0.3), (2, 0.6), (3, 0.5)]
    assert list(axes.lines[0].get_ydata()[:4]) == [0.4, 0.4, 0.6, 0.6]
    assert axes.get_ylabel() == "macro-F1 on validation"
    assert title(figure) == "4 of 10 lists were evaluated on every example"
    draw(figure)


def test_the_parameter_that_decides_is_on_top():
    figure = study_figures(study(GROWING))["search_importances"]
    (axes,) = figure.axes
    names = [label.get_text() for label in axes.get_yticklabels()]

    assert set(names) == {"order", "key0", "key1", "key2"}
    assert names[-1] == "key0"
    assert axes.get_ylim()[1] > 3 > axes.get_ylim()[0]
    draw(figure)


def test_of_many_parameters_the_strongest_are_shown():
    figure = study_figures(study(GROWING, keys=40))["search_importances"]
    axes = figure.axes[0]

    assert sum(text.get_visible() for text in axes.texts) == 20
    assert "the 20 strongest of 41 parameters" in title(figure)
    assert figure.get_size_inches()[1] < 9
    draw(figure)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([], []),
        ([0.5], []),
        ([0.5, 0.6], ["search_history"]),
        (GROWING[:7], ["search_history"]),
        (GROWING, ["search_history", "search_importances"]),
    ],
)
def test_a_picture_that_a_study_is_too_small_for_is_left_out(values, expected, caplog):
    with caplog.at_level(logging.INFO, logger="pld_dspy"):
        found = study_figures(study(values, pruned=5))

    assert list(found) == expected
    assert bool(caplog.records) == (len(expected) < 2)
    assert all(r.levelno == logging.INFO for r in caplog.records)


def test_trials_that_tell_no_parameter_from_another_have_no_importances(caplog):
    with caplog.at_level(logging.INFO, logger="pld_dspy"):
        found = study_figures(study([0.5] * 12, keys=0))

    assert list(found) == ["search_history"]
    assert "all importances are equal" in caplog.text


def test_neither_pyplot_nor_the_style_remembers_the_pictures():
    mine = plt.figure()
    before = dict(mpl.rcParams)
    try:
        study_figures(study(GROWING))
        assert plt.get_fignums() == [mine.number]
        assert plt.gcf() is mine
        assert dict(mpl.rcParams) == before
    finally:
        plt.close(mine)


def test_nobody_is_warned_in_whatever_thread():
    seen = []

    def work():
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            seen.append((len(study_figures(study(GROWING))), list(caught)))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [(2, [])]


def test_saved_pictures_are_pngs_in_the_folder(tmp_path):
    paths = save_study_figures(study(GROWING), tmp_path, metric="macro_f1")

    assert [path.name for path in paths] == ["search_history.png", "search_importances.png"]
    assert all(path.read_bytes().startswith(b"\x89PNG") for path in paths)


def test_a_folder_that_is_gone_is_a_warning(tmp_path, caplog):
    assert save_study_figures(study(GROWING), tmp_path / "gone") == []
    assert [r.levelname for r in caplog.records if r.name.startswith("pld_dspy")] == ["WARNING"]


def test_a_picture_that_fails_is_a_warning_and_leaves_nothing_open(tmp_path, caplog, monkeypatch):
    def broken(*args, **kwargs):
        plt.figure()
        raise ZeroDivisionError

    monkeypatch.setattr("optuna.visualization.matplotlib.plot_param_importances", broken)
    assert save_study_figures(study(GROWING), tmp_path) == []

    assert [r.levelname for r in caplog.records if r.name.startswith("pld_dspy")] == ["WARNING"]
    assert plt.get_fignums() == []
