"""What brought what: the steps of a run from the student as given to the compiled program."""

import json

import pytest

from biased import BiasedFollower
from pld_dspy.config.run import read_config
from pld_dspy.runs.page import verdict, write_markdown
from pld_dspy.runs.plots.search import gains_figure
from pld_dspy.runs.report import Report
from pld_dspy.runs.run import run_distill
from pld_dspy.runs.waterfall import (
    STEP_HEADS,
    decision_line,
    knowledge_line,
    reference_line,
    right_line,
    step_rows,
)
from small_runs import TASK, Models, write_config

BIAS = {"grey": 6.0, "red": -2.0}


@pytest.fixture(scope="module")
def biased_run(tmp_path_factory):
    """Return the report of a run whose student is biased, its engine, and the folder."""
    folder = tmp_path_factory.mktemp("biased")
    engine = BiasedFollower(TASK, BIAS)
    with pytest.MonkeyPatch.context() as patch:
        Models(patch, student=engine)
        patch.setattr("pld_dspy.runs.artifacts.gains_figure", drawn_gains)
        config = read_config(write_config(folder))
        return run_distill(config), engine, folder / "run"


DRAWN = []


def drawn_gains(record, rules, *, chosen):
    DRAWN.append((record.gains, chosen))
    return gains_figure(record, rules, chosen=chosen)


def test_the_picture_of_the_gains_is_of_rules_left_out_where_that_was_measured(biased_run):
    _, _, run_dir = biased_run
    rules = json.loads((run_dir / "rules.json").read_text(encoding="utf-8"))["predict"]["rules"]
    [(gains, chosen)] = DRAWN
    assert gains.keys() == {rule["id"] for rule in rules} <= chosen
    for rule in rules:
        assert rule["left_out"][0] == gains[rule["id"]].estimate


def test_the_steps_go_from_the_student_as_given_to_the_rules(biased_run):
    report, _, _ = biased_run
    names = [step.name for step in report.steps]
    assert names[0] == "as given"
    assert names[-1] == "rules"
    assert report.steps[0].score == report.baseline
    assert report.steps[-1].score == report.compiled
    assert report.steps[0].change is None
    for before, after in zip(report.steps, report.steps[1:], strict=False):
        assert after.change == pytest.approx(after.score - before.score)
        assert after.change_ci95[0] <= after.change <= after.change_ci95[1]


def test_each_step_counts_the_right_answers_by_label(biased_run):
    report, _, _ = biased_run
    for step in report.steps:
        right, all_of = map(sum, zip(*step.right.values(), strict=True))
        assert all_of == report.test_n
        assert set(step.right) == set(TASK.labels)
    own, every = report.steps[-1].right["red"]
    assert f"red {own} of {every}" in right_line(report.steps)
    assert right_line(()) is None
    assert right / all_of == pytest.approx(report.compiled_accuracy)


def test_rules_that_the_student_did_not_know_add_separability(biased_run):
    report, _, _ = biased_run
    assert report.steps[0].separability == pytest.approx(0.5, abs=0.3)
    assert report.rules_step.separability > 0.95
    assert report.rules_step.separability_ci95[0] > 0
    assert knowledge_line(report.steps).startswith("The rules add knowledge: ")
    assert report.compiled > 0.9


def test_the_steps_take_no_call_of_their_own(biased_run, tmp_path):
    report, _, _ = biased_run
    greedy = BiasedFollower(TASK, BIAS)
    with pytest.MonkeyPatch.context() as patch:
        Models(patch, student=greedy)
        plain = run_distill(read_config(write_config(tmp_path), ["pld.decide=greedy"]))
    assert plain.decision is None
    assert [step.name for step in plain.steps] in (["as given", "rules"], ["as given"])
    assert report.test_calls == plain.test_calls


def test_the_page_and_the_report_hold_the_steps_and_the_decision(biased_run):
    report, _, run_dir = biased_run
    rules = json.loads((run_dir / "rules.json").read_text(encoding="utf-8"))
    write_markdown(report, rules, run_dir / "report.md")
    page = (run_dir / "report.md").read_text(encoding="utf-8")
    assert "## What brought what" in page
    line = decision_line(report.decision, report.steps)
    assert line in page
    assert right_line(report.steps) in page
    assert "log-odds" in line
    assert line.endswith(f"Read from the text, they score {report.steps[-1].as_read:.3f}.")
    assert report.steps[-1].as_read < report.compiled
    assert report.steps[0].as_read is None
    rows = step_rows(report.steps)
    assert len(rows) == len(report.steps)
    assert {len(row) for row in rows} == {2 + len(STEP_HEADS)}
    assert "in all" in verdict(report).lower() or len(report.steps) < 3
    stored = json.loads((run_dir / "report.json").read_text(encoding="utf-8"))
    assert stored["decision"]["kind"] == report.decision["kind"]
    assert Report.read(run_dir) == report
    program = json.loads((run_dir / "program.json").read_text(encoding="utf-8"))
    assert program["predict"]["decision"] == report.decision


def test_the_report_says_what_needs_no_language_model(biased_run):
    report, _, _ = biased_run
    names = {reference.name: reference for reference in report.references}
    assert set(names) == {"bag of words", "majority"}
    assert names["majority"].score < names["bag of words"].score
    assert names["bag of words"].labelled == 24 + 16 + 16
    low, high = names["bag of words"].ci95
    assert low <= names["bag of words"].score <= high
    assert reference_line(report.references).startswith("Without a language model")
    assert reference_line(()) is None


def test_rules_that_only_move_the_bias_are_called_so(biased_run):
    report, _, _ = biased_run
    step = report.rules_step
    moved = step.model_copy(update={"separability_change": 0.0, "separability_ci95": (-0.1, 0.1)})
    same = report.model_copy(update={"steps": (*report.steps[:-1], moved)})
    assert "add nothing that the student did not know" in knowledge_line(same.steps)
    unknown = step.model_copy(update={"separability_change": None, "separability_ci95": None})
    assert knowledge_line((unknown,)) is None
