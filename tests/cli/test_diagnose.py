"""`pld diagnose` from the command line."""

import json

import pytest
from typer.testing import CliRunner

from fakes import FakeTeacher, RuleFollower
from pld_dspy.cli.commands import app
from pld_dspy.models.lm_errors import UNREACHABLE
from small_runs import TASK, Models, explain_in_sections, write_config


def pld(*args):
    """Run the command line; every error of the test itself is raised."""
    result = CliRunner(env={"COLUMNS": "200"}).invoke(app, [str(arg) for arg in args])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


def error_of(*args):
    """Return the one line that a command that fails prints."""
    result = pld(*args)
    assert result.exit_code == 2, result.output
    lines = result.stderr.strip().splitlines()
    assert len(lines) == 1, result.stderr
    return lines[0]


def teach(prompt):
    """Answer grey, and requests for rules with none."""
    return explain_in_sections(prompt).replace("Answer: because", "Answer: grey")


@pytest.fixture
def models(monkeypatch):
    return Models(monkeypatch, teacher=FakeTeacher(teach))


@pytest.fixture
def config(tmp_path):
    return write_config(tmp_path)


def test_the_table_ends_with_what_to_do_first(config, models):
    result = pld("diagnose", config, "--examples", 16)

    assert result.exit_code == 0, result.output
    lines = result.stdout.strip().splitlines()
    assert lines[-1].startswith("First: stronger teacher. ")
    assert "fake/student gives no log-probabilities" in result.stdout
    assert {"student, sentence", "teacher, chain of thought"} <= {
        cell.strip() for line in lines for cell in line.split("│")
    }
    assert (config.parent / "run" / "diagnose" / "checkup.json").is_file()


def test_json_has_the_advice_and_the_figures(config, models):
    result = pld("diagnose", config, "--examples", 16, "--json")
    shown = json.loads(result.stdout)

    assert shown["advice"]["step"] == "stronger teacher"
    assert shown["examples"] == 16
    assert [asked["name"] for asked in shown["asked"]] == ["sentence", "field"]


def test_a_dry_run_calls_nothing_and_writes_nothing(config, models):
    result = pld("diagnose", config, "--dry-run", "--examples", 20)

    assert result.exit_code == 0
    assert "up to 20" in result.stdout
    assert models.asked == []
    assert not (config.parent / "run").exists()


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        (["--examples", 4], "examples is 4; give at least 16"),
        (["sead=1"], "sead: unknown setting; did you mean 'seed'?"),
        (["split.train=5", "split.val=5"], "train and val have 10 examples, at least 16"),
        (["student.model=local/qwen"], "no local model 'qwen'"),
    ],
)
def test_bad_input_ends_with_one_line_before_a_call(config, models, changes, line):
    assert line in error_of("diagnose", config, *changes)
    assert models.asked == []


def test_ctrl_c_says_how_to_resume(config, monkeypatch):
    class Impatient(RuleFollower):
        def answer(self, prompt, call):
            if call == 10:
                raise KeyboardInterrupt
            return super().answer(prompt, call)

    Models(monkeypatch, student=Impatient(TASK.default))
    result = pld("diagnose", config, "seed=3")

    assert result.exit_code == 130
    last = result.stderr.strip().splitlines()[-1]
    assert last.endswith(f"resume with: pld diagnose {config} seed=3")
    assert (config.parent / "run" / "diagnose" / "answers.jsonl").is_file()


def test_a_model_that_goes_away_ends_with_one_line(config, monkeypatch):
    class Gone(RuleFollower):
        def answer(self, prompt, call):
            if call > 5:
                raise UNREACHABLE[0]("gone")
            return super().answer(prompt, call)

    Models(monkeypatch, student=Gone(TASK.default))
    result = pld("diagnose", config)

    assert result.exit_code == 2
    assert "run again to resume" in result.stderr.strip().splitlines()[-1]
