"""What to do first, row by row."""

from dataclasses import replace

import pytest

from pld_dspy.records import Interval
from pld_dspy.runs.diagnose.advice import CHANCE, GOOD, LEAST, NOISE, PERFECT, advise
from pld_dspy.runs.diagnose.checkup import Asked, Checkup, Rung
from pld_dspy.scoring.statistics import PairedResult


def around(estimate):
    return Interval(estimate=estimate, low=estimate - 0.1, high=estimate + 0.1)


def change(estimate, p_worse=None):
    if p_worse is None:
        p_worse = 0.01 if estimate >= 0.1 else 0.4
    return PairedResult(delta=around(estimate), p_worse=p_worse)


def asked(score, name="field", *, calibrated=None, separability=None):
    return Asked(
        name=name,
        score=around(score),
        calibrated=None if calibrated is None else around(calibrated),
        shares={"a": 1.0},
        separability=separability,
    )


def rung(step, gain, ahead=None, *, given=0.5):
    return Rung(
        step=step,
        name=step,
        score=given + gain,
        change=change(gain),
        ahead=change(gain if ahead is None else ahead),
    )


def checkup(given, *rungs, teacher=None, separability=None, **settings):
    best = asked(given, separability=separability)
    leader = next((r for r in reversed(rungs) if r.ahead.p_worse <= NOISE), None)
    top = leader.score if leader else given
    made = Checkup(
        task="colours",
        metric="accuracy",
        student="s",
        teacher="t",
        examples=40,
        gold={"a": 0.5, "b": 0.5},
        asked=(best,),
        taught=() if teacher is None else (asked(teacher, "chain of thought"),),
        rungs=rungs,
        headroom=None if teacher is None else change(teacher - given),
        remaining=None if teacher is None else change(teacher - top),
        usage={},
    )
    return replace(made, **settings)


WORDING, CALIBRATION = rung("wording", 0.2), rung("calibration", 0.35, 0.15)
EXAMPLES, RULES = rung("examples", 0.3), rung("rules", 0.4)
NO_GAIN = tuple(rung(s, 0.05) for s in ("wording", "calibration", "examples", "rules"))
EXAMPLES_TRIED = (asked(0.9, "cot"), asked(0.95, "cot, worked examples"))

ROWS = [
    ("perfect", checkup(PERFECT, teacher=1.0), "nothing"),
    ("good, and nothing ahead", checkup(GOOD, *NO_GAIN, teacher=0.93), "nothing"),
    ("good, no teacher", checkup(GOOD, *NO_GAIN), "nothing"),
    ("good, but a wording is ahead", checkup(0.9, rung("wording", 0.1, given=0.9)), "wording"),
    ("one wording", checkup(0.5, WORDING, teacher=0.7), "wording"),
    ("wording as good as calibration", checkup(0.5, WORDING, rung("calibration", 0.2, 0.0)), "wording"),
    ("calibration ahead of wording", checkup(0.5, WORDING, CALIBRATION, teacher=0.9), "calibration"),
    ("only calibration", checkup(0.5, rung("wording", 0.0), rung("calibration", 0.3)), "calibration"),
    ("examples", checkup(0.5, EXAMPLES, teacher=0.85), "examples"),
    ("rules measured", checkup(0.5, EXAMPLES, rung("rules", 0.45, 0.15), teacher=0.95), "rules"),
    ("rules no better than examples", checkup(0.5, EXAMPLES, rung("rules", 0.3, 0.0)), "examples"),
    ("teacher far ahead, unknown", checkup(0.3, rung("wording", 0.1, given=0.3), teacher=0.9), "rules"),
    ("teacher far ahead, lacks knowledge", checkup(0.3, rung("calibration", 0.15, given=0.3), teacher=0.9, separability=0.65), "rules"),
    ("teacher far ahead, has knowledge", checkup(0.3, rung("calibration", 0.15, given=0.3), teacher=0.9, separability=0.9), "calibration"),
    ("more gained than left", checkup(0.3, rung("calibration", 0.4, given=0.3), teacher=0.9, separability=0.6), "calibration"),
    ("nothing helps, teacher ahead", checkup(0.3, *NO_GAIN, teacher=0.9), "rules"),
    ("knows nothing, names say something", checkup(0.3, *NO_GAIN, teacher=0.9, separability=CHANCE), "stronger student"),
    ("knows nothing, but teacher needed examples", checkup(0.3, *NO_GAIN, teacher=0.9, separability=0.5, taught=EXAMPLES_TRIED), "rules"),
    ("knows something with examples", checkup(0.3, *NO_GAIN, teacher=0.9, separability=0.5, shown=(asked(0.3, separability=0.8),)), "rules"),
    ("teacher no better", checkup(0.5, *NO_GAIN, teacher=0.5), "stronger teacher"),
    ("teacher worse", checkup(0.5, *NO_GAIN, teacher=0.3, separability=0.5), "stronger teacher"),
    ("no teacher", checkup(0.5, *NO_GAIN), "stronger teacher"),
    ("the same model", checkup(0.5, teacher=0.5, student="t"), "stronger teacher"),
]  # fmt: skip


@pytest.mark.parametrize(("made", "step"), [row[1:] for row in ROWS], ids=[row[0] for row in ROWS])
def test_the_step_of_each_case_in_one_line(made, step):
    advice = advise(made)

    assert advice.step == step
    assert advice.line
    assert "\n" not in advice.line


@pytest.mark.parametrize(
    ("result", "step"),
    [
        (change(0.3, NOISE), "wording"),
        (change(0.3, NOISE + 0.01), "stronger teacher"),
        (change(LEAST, 0.0), "wording"),
        (change(LEAST - 0.001, 0.0), "stronger teacher"),
    ],
)
def test_a_gain_counts_beyond_noise_only(result, step):
    step_taken = replace(WORDING, change=result, ahead=result)

    assert advise(checkup(0.5, step_taken)).step == step


def test_the_line_has_the_figures_and_what_to_set():
    line = advise(checkup(0.5, replace(WORDING, name="sentence"), teacher=0.7)).line

    assert line == (
        "sentence scores 0.700, +0.200 [+0.100, +0.300] over as given; "
        'set student.wording = "sentence"'
    )
    assert "being the same model" in advise(checkup(0.5, teacher=0.5, student="t")).line


def test_a_label_that_is_answered_too_often_is_named():
    made = checkup(0.5)

    assert made.favourite(replace(asked(0.5), shares={"a": 0.8, "b": 0.2})) == (
        "a",
        pytest.approx(0.3),
    )
    assert made.favourite(replace(asked(0.5), shares={})) is None
    assert made.favourite(replace(asked(0.5), shares={"a": 0.5, "b": 0.5})) is None
