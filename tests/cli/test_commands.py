import json
import re
import subprocess
import sys
from types import SimpleNamespace

import pytest
from typer.testing import CliRunner

from fakes import RuleFollower
from pld_dspy.cli.commands import app
from pld_dspy.data.tasks import task_from_table
from pld_dspy.errors import ModelError
from small_runs import TASK, Models, write_config


def pld(*args):
    """Run the command line; every error of the test itself is raised."""
    result = CliRunner().invoke(app, [str(arg) for arg in args])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


def error_of(*args, code=2):
    """Return the one line that a command that fails prints."""
    result = pld(*args)
    assert result.exit_code == code, result.output
    lines = result.stderr.strip().splitlines()
    assert len(lines) == 1, result.stderr
    return lines[0]


@pytest.fixture
def models(monkeypatch):
    return Models(monkeypatch)


@pytest.fixture
def config(tmp_path):
    return write_config(tmp_path)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """The folder of a finished run."""
    folder = tmp_path_factory.mktemp("cli")
    with pytest.MonkeyPatch.context() as patch:
        Models(patch)
        result = pld("distill", write_config(folder))
    assert result.exit_code == 0, result.output
    return folder / "run"


def test_help_lists_the_commands():
    shown = pld("--help").stdout

    assert {"distill", "evaluate", "show", "models", "ui"} <= set(
        re.findall(r"^  (\w+)", shown, re.M)
    )


def test_the_command_line_module_imports_nothing_heavy():
    code = (
        "import sys, types; p = types.ModuleType('pld_dspy'); p.__path__ = ['pld_dspy'];"
        "sys.modules['pld_dspy'] = p; import pld_dspy.cli.commands;"
        "print(sorted({'dspy', 'mlflow', 'optuna', 'sklearn', 'matplotlib'} & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )

    assert done.stdout.strip() == "[]"


@pytest.mark.slow
def test_distill_prints_the_result_and_writes_the_page(finished):
    assert (finished / "report.md").is_file()
    assert json.loads((finished / "report.json").read_text())["test_n"] == 24


def test_a_dry_run_calls_nothing_and_writes_nothing(config, models):
    result = pld("distill", config, "--dry-run", "split.test=5")

    assert result.exit_code == 0
    assert "test 5" in result.stdout
    assert models.asked == []
    assert not (config.parent / "run").exists()


def test_the_run_folder_can_be_given_as_an_option(config, models, monkeypatch, tmp_path):
    seen = []

    def run(settings, loaded, progress):
        seen.append(settings.run_dir)
        raise ModelError("enough")

    monkeypatch.setattr("pld_dspy.runs.run.run_distill", run)

    assert error_of("distill", config, "--run-dir", tmp_path / "o ther") == "error: enough"
    assert seen == [tmp_path / "o ther"]


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        (["sead=1"], "sead: unknown setting; did you mean 'seed'?"),
        (["split.train=x"], "split: train: 'x' is not allowed, should be a valid integer"),
        (["task.table.path=no.csv"], "no.csv cannot be read"),
        (["task.table.label=lable"], "has no column 'lable'"),
        (["split.train=4000"], "ask for fewer"),
        (["embedder=tfidv"], "unknown embedder 'tfidv'"),
        (["student.model=local/qwen"], "no local model 'qwen'"),
    ],
)
def test_bad_settings_and_data_end_with_one_line(config, models, changes, line):
    assert line in error_of("distill", config, *changes)
    assert models.asked == []


def test_a_missing_config_ends_with_one_line(tmp_path):
    assert "cannot be read: No such file" in error_of("distill", tmp_path / "no.toml")


def test_data_of_one_class_ends_with_one_line(tmp_path, models):
    config = write_config(tmp_path, [(f"text {n}", "red") for n in range(90)])

    assert "at least two are needed" in error_of("distill", config)


def test_an_endpoint_that_is_away_ends_with_one_line(config):
    line = error_of(
        "distill", config, "student.model=openai/x", "student.api_base=http://127.0.0.1:9/v1"
    )

    assert "openai/x" in line
    assert "does not answer" in line


@pytest.mark.slow
def test_ctrl_c_says_how_to_resume(config, monkeypatch):
    class Impatient(RuleFollower):
        def answer(self, prompt, call):
            if call == 30:
                raise KeyboardInterrupt
            return super().answer(prompt, call)

    Models(monkeypatch, student=Impatient(TASK.default))
    result = pld("distill", config, "seed=3")

    assert result.exit_code == 130
    last = result.stderr.strip().splitlines()[-1]
    assert last.endswith(f"resume with: pld distill {config} seed=3")
    assert (config.parent / "run" / "answers.jsonl").is_file()


def test_a_defect_is_one_line_without_v_and_a_traceback_with_it(config, models, monkeypatch):
    def run(*args, **kwargs):
        raise ZeroDivisionError("nothing there")

    monkeypatch.setattr("pld_dspy.runs.run.run_distill", run)

    line = error_of("distill", config, code=1)
    assert line.startswith("error: unexpected ZeroDivisionError: nothing there; ")
    with pytest.raises(ZeroDivisionError, match="nothing there"):
        pld("distill", config, "-v")


def test_the_data_is_loaded_once_for_a_run(config, monkeypatch):
    loaded = []

    def load(table):
        loaded.append(table)
        return task_from_table(table)

    def refuse(name, **settings):
        raise ModelError("no model today")

    monkeypatch.setattr("pld_dspy.runs.setup.task_from_table", load)
    monkeypatch.setattr("pld_dspy.runs.setup.make_lm", refuse)

    assert error_of("distill", config) == "error: no model today"
    assert len(loaded) == 1


def test_unknown_options_and_commands_get_the_nearest_name(config):
    option, command = pld("distill", config, "--dryrun"), pld("distil")

    assert (option.exit_code, command.exit_code) == (2, 2)
    assert "--dry-run" in option.stderr
    assert "'distill'" in command.stderr


@pytest.mark.slow
def test_show_gives_the_rules_and_the_evidence_of_one(finished):
    rules = json.loads((finished / "rules.json").read_text())["predict"]["rules"]
    text = pld("show", finished).stdout
    assert all(rule["id"] in text for rule in rules)

    by_id, by_number = (pld("show", finished, "--rule", r).stdout for r in (rules[0]["id"], 1))
    assert by_id == by_number
    for trace in rules[0]["traces"]:
        assert trace["id"] in by_id
        assert trace["source_id"] in by_id
    held = [text for text, _ in TASK.rows if f"Text: {text}" in by_id]
    assert len(held) == len(rules[0]["traces"])


@pytest.mark.slow
def test_a_rule_or_a_run_that_is_not_there_ends_with_one_line(finished, tmp_path):
    assert "no rule 'r1234'" in error_of("show", finished, "--rule", "r1234")
    assert "rules.json cannot be read" in error_of("show", tmp_path)
    assert "config.json cannot be read" in error_of("evaluate", tmp_path)


@pytest.mark.slow
def test_evaluate_scores_a_split_from_the_stored_answers(finished, models):
    report = json.loads((finished / "report.json").read_text())
    result = pld("evaluate", finished)

    assert f"macro_f1 on test, 24 examples: {report['compiled']:.3f} [" in result.stdout
    assert models.student.calls == 1
    assert pld("evaluate", finished, "--fresh").exit_code == 0
    assert models.student.calls == 1 + 25


@pytest.mark.slow
def test_evaluate_scores_a_table_with_the_columns_of_the_task(finished, models, tmp_path):
    table = tmp_path / "new.csv"
    table.write_text("label,text\nred,an alpha\ngreen,a beta\n", encoding="utf-8")

    assert "2 examples" in pld("evaluate", finished, "--file", table).stdout

    table.write_text("label,words\nred,an alpha\n", encoding="utf-8")
    assert "has no column 'text'" in error_of("evaluate", finished, "--file", table)
    table.write_text("label,text\npurple,an alpha\nred,a\n", encoding="utf-8")
    assert "purple" in error_of("evaluate", finished, "--file", table)


@pytest.mark.slow
def test_evaluate_refuses_a_split_that_is_none(finished):
    assert "no split is called 'tset'; did you mean 'test'?" in error_of(
        "evaluate", finished, "--split", "tset"
    )


def test_the_models_are_listed_with_whether_they_are_here():
    shown = pld("models", "list").stdout

    assert re.search(r"local/qwen2\.5-coder-0\.5b\W+491\W+no", shown)


def test_an_unknown_model_gets_the_nearest_name():
    assert "did you mean 'smollm2-135m'?" in error_of("models", "fetch", "local/smollm-135m")


def test_ui_starts_mlflow_on_the_store_of_the_run(tmp_path, monkeypatch):
    started = []

    def run(command, *, env, check):
        started.append(command)
        return subprocess.CompletedProcess(command, 0)

    monkeypatch.setattr("pld_dspy.cli.commands.subprocess", SimpleNamespace(run=run))
    uri = f"sqlite:///{tmp_path}/m.db"

    assert pld("ui", "--port", 5055, "--tracking-uri", uri).exit_code == 0
    assert uri in started[0]
    assert "5055" in started[0]
    assert "out of range" in error_of("ui", "--port", 0, "--tracking-uri", uri)
