"""Forecast against outcome: what gained most on test, by more than noise."""

import pytest

from comparison_lines import line
from experiments.bench.cells import Cell
from experiments.bench.forecast import Forecast
from experiments.bench.lines import Results
from experiments.report.forecasts import outcome
from experiments.report.page import compare, page

SETTING = Cell("stereoset", "diagnose", "qwen-0.5b", "qwen-1.5b", "teacher", "item", 0, "own")
N = 200


def foretold(step, **changes):
    return Forecast(
        cell=SETTING._replace(**changes).name,
        step=step,
        line="so",
        examples=40,
        scores={"as given": 0.5, "wording": 0.6},
        metric="macro_f1",
        calls={"student": 160},
        wall_s=60.0,
    )


def right_in(share, of):
    """Answers of which the first `share` are right, the others are another label."""
    wrong = {"gender": "race", "race": "gender", "profession": "religion", "religion": "profession"}
    cut = int(share * N)
    return tuple(g if place < cut else wrong[g] for place, g in enumerate(of))


def measured(wording=0.4, calibration=0.4, examples=0.4, rules=0.4, *, given=0.4):
    """Lines in which each step is right in its share of the answers."""
    gold = line("asked-best", n=N).gold

    def one(optimizer, said, **more):
        found = line(optimizer, n=N, said=right_in(said, gold), budget="own")
        return found.model_copy(update={"baseline_said": right_in(given, gold), **more})

    greedy = {"greedy_score": wording, "greedy_said": right_in(wording, gold)}
    return [
        one("asked-best", calibration, **greedy),
        one("labeled-more-shots", 0.1, decided_said=right_in(examples, gold)),
        one("pld-rules", rules),
    ]


@pytest.mark.parametrize(
    ("scores", "best"),
    [
        ({}, "nothing"),
        ({"wording": 0.7, "calibration": 0.7, "examples": 0.7, "rules": 0.7}, "wording"),
        ({"wording": 0.7, "calibration": 0.9, "examples": 0.9, "rules": 0.9}, "calibration"),
        ({"examples": 0.8, "rules": 0.8}, "examples"),
        ({"calibration": 0.7, "rules": 0.9}, "rules"),
        # Ahead of the step before, but not of the one before that.
        ({"calibration": 0.9, "examples": 0.5, "rules": 0.7}, "calibration"),
        ({"rules": 0.405}, "nothing"),
    ],
)
def test_what_gained_most_is_the_dearest_step_ahead_of_all_cheaper_ones(scores, best):
    found = outcome(measured(**scores))
    assert found.best == best
    assert found.missing == ()


def test_gains_are_over_the_student_as_given():
    gains = outcome(measured(wording=0.6, rules=0.9)).gains
    assert gains["wording"].estimate == pytest.approx(0.2, abs=0.05)
    assert gains["rules"].estimate == pytest.approx(0.5, abs=0.05)
    assert gains["calibration"].estimate == 0


def test_without_the_answers_of_a_step_there_is_no_outcome():
    lines = measured(rules=0.9)
    assert outcome(lines[:2]).missing == ("rules",)
    assert outcome(lines[:2]).best is None
    # A line of before has the score of the text, and not its answers.
    old = lines[0].model_copy(update={"greedy_said": ()})
    assert outcome([old, *lines[1:]]).missing == ("wording",)
    # A program without a decision ships what its text says.
    bare = old.model_copy(update={"greedy_score": None})
    assert outcome([bare, *lines[1:]]).missing == ()


def rows(forecasts, lines):
    text = page(compare(Results(tuple(lines), ()), (), forecasts), {})
    rest = text.partition("## What `pld diagnose` foretold")[2]
    table = [row for row in rest.partition("\n## ")[0].splitlines() if row.startswith("| ")]
    return [[cell.strip() for cell in row.strip("|").split("|")] for row in table[2:]], rest


def test_the_page_sets_each_forecast_against_its_outcome():
    lines = measured(rules=0.9)
    found, text = rows([foretold("rules"), foretold("wording", student="other")], lines)
    assert [row[1] for row in found] == ["wording", "rules"]
    assert [row[-2:] for row in found] == [["-", "-"], ["rules", "yes"]]
    assert "as given 0.50, wording 0.60" in found[0][2]
    assert "Right in 1 of 1 settings whose steps were all measured." in text


@pytest.mark.parametrize(
    ("step", "rules", "verdict"),
    [
        ("calibration", 0.9, "no"),
        ("nothing", 0.4, "yes"),
        ("stronger student", 0.4, "yes"),
        ("stronger teacher", 0.9, "no"),
    ],
)
def test_a_forecast_of_nothing_or_of_another_model_is_right_where_no_step_gains(
    step, rules, verdict
):
    found, _ = rows([foretold(step)], measured(rules=rules))
    assert found[0][-1] == verdict


def test_lines_of_other_traces_or_teachers_are_no_outcome():
    lines = measured(rules=0.9)
    recorded = lines[2].model_copy(update={"traces": "recorded"})
    found, _ = rows([foretold("rules")], [*lines[:2], recorded])
    assert found[0][-1] == "-"


def test_without_a_forecast_the_page_says_nothing_of_them():
    assert "foretold" not in page(compare(Results(tuple(measured()), ()), ()), {})
