"""Words for labels in a whole run: its plan, its files, its report, and a worker that joins."""

import csv
import json

import pytest
from rich.console import Console

from pld_dspy.cli.show import show_rules
from pld_dspy.config.run import read_config
from pld_dspy.runs.estimate import plan
from pld_dspy.runs.page import verdict, write_markdown
from pld_dspy.runs.run import run_distill
from pld_dspy.runs.search_worker import join_search
from pld_dspy.runs.waterfall import knowledge_line
from queues import QUEUES, SELECT, TEST, TRAIN, VAL, Speaker, Teacher
from small_runs import CONFIG, Models


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """One run: its config, its plan, its report, and both engines."""
    folder = tmp_path_factory.mktemp("words")
    with (folder / "table.csv").open("w", encoding="utf-8", newline="") as file:
        rows = [(e.text, e.label) for e in (*TRAIN, *VAL, *SELECT, *TEST)]
        csv.writer(file).writerows([("text", "label"), *rows])
    path = folder / "run.toml"
    path.write_text(CONFIG.format(folder=folder), encoding="utf-8")
    config = read_config(
        path,
        [
            "pld.refine.rounds=0",
            "pld.verify.enabled=false",
            f"pld.search.storage=journal:{folder / 'study.journal'}",
            "pld.search.study=shared",
        ],
    )
    with pytest.MonkeyPatch.context() as patch:
        models = Models(patch, student=Speaker(), teacher=Teacher())
        return config, plan(config), run_distill(config), models


def test_the_report_tells_what_the_words_brought(run):
    _, _, report, _ = run
    assert report.words == QUEUES
    assert not report.kept_as_given
    assert report.compiled == 1.0
    assert "words for the labels" in verdict(report)
    step = next(step for step in report.steps if step.name == "label words")
    assert step.change > 0.5
    assert "add knowledge" in (knowledge_line(report.steps) or "")


def test_the_plan_bounds_the_calls(run):
    _, planned, report, _ = run
    names = [stage.name for stage in planned.stages]
    assert {"names for labels", "label words", "label words, scored"} <= set(names)
    assert report.student_calls + report.test_calls <= planned.calls("student")
    assert report.teacher_calls <= planned.calls("teacher")


def test_the_files_hold_the_words_and_what_speaks_for_them(run):
    config, _, report, _ = run
    folder = config.run_dir
    rules = json.loads((folder / "rules.json").read_text(encoding="utf-8"))
    words = rules["predict"]["words"]
    state = json.loads((folder / "program.json").read_text(encoding="utf-8"))
    assert {word["label"]: word["word"] for word in words} == QUEUES
    assert all(word["named"] and word["separates"] == 1.0 for word in words)
    assert state["predict"]["form"]["labels_as"] == QUEUES
    write_markdown(report, rules, folder / "page.md")
    line = "The student sees words for the labels: food for q1 (named in 4 drafts, separates it by 1.00)"
    assert line in (folder / "page.md").read_text(encoding="utf-8")
    console = Console(width=200, record=True)
    show_rules(rules, console)
    assert line in console.export_text()
    assert "stays as given" not in console.export_text()


def test_a_worker_elsewhere_asks_the_student_in_the_words(run, monkeypatch):
    config, _, _, _ = run
    models = Models(monkeypatch, student=Speaker(), teacher=Teacher())
    found = join_search(config.pld.search.storage, "shared")
    assert (found.asked, found.tried) == (0, 2)
    assert models.teacher.calls == 0
