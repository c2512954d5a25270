"""What `pld diagnose` foretells for the settings of a config, with fakes for both models."""

import json
from dataclasses import replace

import pytest
from dspy.lm15 import TransportError
from typer.testing import CliRunner

import experiments.bench.forecast as forecast
from compare_runs import World
from experiments.__main__ import app
from experiments.bench.cells import Cell
from experiments.bench.forecast import read_forecasts, settings_of
from experiments.bench.plan import run_config
from pld_dspy.runs.setup import load

TEXT = """
[[grid]]
tasks = ["keywords"]
optimizers = ["zero-shot", "pld-rules"]
students = ["small"]
teachers = ["large"]
traces = ["teacher", "recorded"]
seeds = [3, 4]
"""
NAME = "keywords/diagnose/small/large/teacher/item/3/own"


@pytest.fixture
def command(tmp_path, monkeypatch):
    world = World(tmp_path / "world", monkeypatch)
    config, results = tmp_path / "bench.toml", tmp_path / "lines.jsonl"
    config.write_text(TEXT, encoding="utf-8")

    def run(*options):
        places = ["--results", str(results), "--runs", str(tmp_path / "runs")]
        return CliRunner().invoke(app, ["forecast", str(config), *places, *options])

    def run_here(cells, arguments, *, logs, begun, ended):
        for cell in cells:
            begun(cell, logs / "log")
            done = run(*arguments(cell)[4:])
            ended(cell, None if done.exit_code == 0 else "it died")

    monkeypatch.setattr(forecast, "run_here", run_here)
    run.world, run.results = world, results
    return run


def test_a_setting_is_foretold_once_for_its_first_seed(command):
    first = command()
    asked = command.world.student.calls
    again = command()

    assert first.exit_code == 0, first.output
    (found,), broken = read_forecasts(command.results)
    assert (found.cell, broken) == (NAME, ())
    assert found.where.seed == 3
    assert set(found.scores) >= {"as given", "wording"}
    assert all(0 <= score <= 1 for score in found.scores.values())
    assert found.calls["student"] > 0
    assert "1 settings, 0 done, 1 to do" in first.output
    assert "1 settings, 1 done, 0 to do" in again.output
    assert command.world.student.calls == asked


def test_no_test_example_is_asked_about(command):
    command()
    cell = Cell.named(NAME)
    plan = command.world.plan()
    splits = load(run_config(cell, plan)).splits
    asked = "\n".join(map(str, [*command.world.student.prompts, *command.world.teacher.prompts]))
    assert any(example.text in asked for example in splits.val)
    assert not any(example.text in asked for example in splits.test)


def test_a_dry_run_asks_nothing(command):
    shown = command("--dry-run")
    assert f"to do  {NAME}" in shown.output
    assert command.world.student.calls == 0
    assert "0 settings" in command("--dry-run", "--only", "logiqa").output


def test_a_model_may_be_asked_at_an_address(command, monkeypatch):
    seen, foretell = [], forecast.foretell

    def asked(cell, plan):
        seen.append(plan.endpoints)
        return foretell(cell, replace(plan, endpoints={}))

    monkeypatch.setattr(forecast, "foretell", asked)
    done = command("--endpoint", "small=http://127.0.0.1:1/v1")
    refused = command("--endpoint", "small")
    assert done.exit_code == 0, done.output
    assert seen == [{"small": "http://127.0.0.1:1/v1"}]
    assert refused.exit_code == 2
    assert "'small' is no MODEL=URL" in refused.output


def test_answers_are_kept_when_the_line_is_lost(command):
    command()
    asked = command.world.student.calls
    line = json.loads((command.results.parent / "lines_forecasts.jsonl").read_text())
    (command.results.parent / "lines_forecasts.jsonl").unlink()
    command()
    (found,), _ = read_forecasts(command.results)
    # Whether the model answers is asked anew.
    assert command.world.student.calls - asked <= 1
    assert (found.step, found.scores) == (line["step"], line["scores"])


def test_a_setting_that_cannot_be_asked_is_named_and_has_no_line(command):
    def broken(prompt):
        raise TransportError("down")

    command.world.student._answer = broken
    done = command()
    assert done.exit_code == 2
    assert "1 of 1 settings have no forecast" in done.output
    assert read_forecasts(command.results) == ((), ())


def test_traces_budgets_and_optimizers_make_no_other_setting():
    cell = Cell.named(NAME)
    others = [
        cell._replace(optimizer="gepa", budget="x1"),
        cell._replace(optimizer="pld-rules", traces="recorded", seed=4),
        cell._replace(optimizer="pld-rules", student="other"),
    ]
    assert settings_of(others) == [cell, cell._replace(student="other")]


def test_a_broken_forecast_is_named(tmp_path):
    (tmp_path / "lines_forecasts.jsonl").write_text('{"cell": 1}\n', encoding="utf-8")
    found, (broken,) = read_forecasts(tmp_path / "lines.jsonl")
    assert found == ()
    assert broken.number == 1
