"""A run with forms of asking: which is chosen, what is reported, and what a loaded program does."""

import json

import pytest
from typer.testing import CliRunner

from fakes import RuleFollower, follow
from pld_dspy.cli.commands import app
from pld_dspy.config.run import read_config
from pld_dspy.errors import ConfigError
from pld_dspy.models.reading.label_words import LabelWords
from pld_dspy.runs.estimate import plan
from pld_dspy.runs.page import verdict, write_markdown
from pld_dspy.runs.run import load, run_distill
from small_runs import TASK, Models, write_config

LABELS = tuple(sorted({label for _, label in TASK.rows}))
WORDS = {label: f"team{n}" for n, label in enumerate(LABELS, 1)}


class AsksForWords(RuleFollower):
    """Knows some answers and follows rules, if it may answer in words; else it says the first label."""

    def answer(self, prompt, call):
        words = LabelWords.of(LABELS, WORDS)
        if words.choices not in prompt.user:
            return "A" if "one letter" in prompt.user else LABELS[0]
        rules = prompt.system
        for label, word in WORDS.items():
            rules = rules.replace(word, label)
        known = "\n".join(TASK.rules[:2]) if "Rules:" not in rules else ""
        return WORDS[follow(rules + known, prompt.user, TASK.default)]


@pytest.fixture
def models(monkeypatch):
    return Models(monkeypatch, student=AsksForWords(TASK.default))


def config_of(folder, *overrides):
    words = ", ".join(f'{label} = "{word}"' for label, word in WORDS.items())
    return read_config(write_config(folder), [f"task.table.label_words={{{words}}}", *overrides])


def test_the_best_form_is_found_reported_and_kept(tmp_path, models):
    config = config_of(tmp_path, "student.wording=auto", "student.labels_as=auto")
    planned = plan(config)
    report = run_distill(config)
    run = config.run_dir

    assert [one.form for one in report.wordings if one.chosen] == [report.form]
    assert report.form == f"sentence, labels as {', '.join(WORDS.values())}"
    assert report.wordings[0].form == "sentence, names"
    assert len(report.wordings) == 5
    assert report.asked_best is not None
    assert report.baseline < report.asked_best.score < report.compiled
    asked = report.student_calls + report.wording_calls + report.test_calls
    assert asked == models.student.calls - 1  # the one that shows that it answers
    assert asked <= planned.calls("student")
    assert {"forms of asking", "test, as asked best"} <= {s.name for s in planned.stages}
    assert [step.name for step in report.steps] == ["as given", "wording", "rules"]
    assert " by the rules: " in verdict(report)
    assert verdict(report).endswith("from the student as given.")

    prompt = (run / "prompt.txt").read_text(encoding="utf-8").strip()
    asked = {p.system for p in models.student.prompts}
    assert prompt in asked
    rules = json.loads((run / "rules.json").read_text(encoding="utf-8"))
    shown = [rule["shown"] for chosen in rules.values() for rule in chosen["rules"]]
    assert shown
    assert all(text in prompt for text in shown)
    assert any(word in prompt for word in WORDS.values())
    write_markdown(report, rules, run / "report.md")
    page = (run / "report.md").read_text(encoding="utf-8")
    assert "## Forms of asking" in page
    assert all(text in page for text in shown)


def test_a_finished_run_asks_nothing_again_and_its_program_is_evaluated_in_its_form(
    tmp_path, models
):
    config = config_of(tmp_path, "student.wording=auto", "student.labels_as=auto")
    report = run_distill(config)
    calls = models.student.calls
    again = run_distill(config)
    assert models.student.calls == calls + 1  # the one that shows that it answers
    assert again.wordings == report.wordings
    assert again.compiled == report.compiled

    result = CliRunner().invoke(app, ["evaluate", str(config.run_dir)])
    assert result.exit_code == 0, result.output
    assert f"{report.compiled:.3f}" in result.output
    assert models.student.calls == calls + 2
    shown = CliRunner().invoke(app, ["show", str(config.run_dir)])
    assert "Forms of asking" in shown.output
    assert "asked best" in shown.output


def test_a_form_that_is_set_is_not_compared(tmp_path, models):
    config = config_of(tmp_path, "student.labels_as=words")
    report = run_distill(config)
    assert report.wordings == ()
    assert report.asked_best is None
    assert report.form == f"sentence, labels as {', '.join(WORDS.values())}"


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (['student.labels_as={nobody = "x"}'], "'nobody', which is no label"),
        (["task.table.label_words={}", "student.labels_as=words"], "the task table has none"),
        (['task.table.label_words={nobody = "x"}'], "'nobody', which is no label"),
        (['student.inputs_first=["txt"]'], "'txt', which is no input; did you mean 'text'"),
    ],
)
def test_a_form_that_does_not_fit_is_refused_before_a_model_is_made(
    tmp_path, models, overrides, message
):
    config = config_of(tmp_path, *overrides)
    with pytest.raises(ConfigError, match=message):
        load(config)
    with pytest.raises(ConfigError, match=message):
        run_distill(config)
    assert models.asked == []
