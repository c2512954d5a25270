"""Worked examples in a whole run: its plan, its files, its report, and a worker that joins."""

import json

import pytest
from rich.console import Console

from fakes import FakeEngine
from pld_dspy.cli.show import show_rules
from pld_dspy.config.run import read_config
from pld_dspy.errors import StorageError
from pld_dspy.runs.estimate import plan
from pld_dspy.runs.page import verdict, write_markdown
from pld_dspy.runs.run import run_distill
from pld_dspy.runs.search_worker import join_search
from small_runs import TASK, Models, right_answer, write_config


class Imitator(FakeEngine):
    """Says one label to everything until it sees eight worked examples, and then the right one."""

    def __init__(self):
        def answer(prompt):
            before = prompt.count("Text: ") - prompt.user.count("Text: ")
            return right_answer(prompt.user) if before >= 8 else TASK.default

        super().__init__(answer)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """One run: its config, its plan, its report, and both engines."""
    folder = tmp_path_factory.mktemp("demos")
    config = read_config(
        write_config(folder),
        [
            "pld.demos.per_label=[1, 2]",
            f"pld.search.storage=journal:{folder / 'study.journal'}",
            "pld.search.study=shared",
        ],
    )
    with pytest.MonkeyPatch.context() as patch:
        models = Models(patch, student=Imitator())
        return config, plan(config), run_distill(config), models


def test_the_report_tells_that_the_examples_helped(run):
    _, _, report, _ = run
    assert (report.rules, report.demos) == (0, 8)
    assert not report.kept_as_given
    assert report.compiled == 1.0
    assert verdict(report).startswith("The worked examples help: +")
    both = report.model_copy(update={"rules": 2})
    assert verdict(both).startswith("The rules and worked examples help: +")


def test_the_plan_bounds_the_calls(run):
    _, planned, report, _ = run
    assert "worked examples" in [stage.name for stage in planned.stages]
    assert report.student_calls + report.test_calls <= planned.calls("student")
    assert report.student_input_tokens <= planned.tokens("student")[0] * 4


def test_the_files_hold_the_examples_and_their_ids(run):
    config, _, report, _ = run
    folder = config.run_dir
    rules = json.loads((folder / "rules.json").read_text(encoding="utf-8"))
    demos = rules["predict"]["demos"]
    state = json.loads((folder / "program.json").read_text(encoding="utf-8"))

    assert [demo["label"] for demo in demos] == [d["label"] for d in state["predict"]["demos"]]
    assert all(demo["label"] == right_answer(demo["inputs"]["text"]) for demo in demos)
    assert all(demo["example_id"] and demo["source_id"] for demo in demos)
    write_markdown(report, rules, folder / "page.md")
    line = "8 worked examples before the question: "
    assert line in (folder / "page.md").read_text(encoding="utf-8")
    console = Console(width=200, record=True)
    show_rules(rules, console)
    shown = console.export_text()
    assert line in shown
    assert "stays as given" not in shown


def test_a_worker_elsewhere_asks_the_student_with_the_examples(run, monkeypatch):
    config, _, _, _ = run
    models = Models(monkeypatch, student=Imitator())
    found = join_search(config.pld.search.storage, "shared")
    assert (found.asked, found.tried) == (0, 2)
    assert models.teacher.calls == 0


def test_a_worker_without_the_examples_is_refused(run, monkeypatch, tmp_path):
    config, _, _, _ = run
    Models(monkeypatch, student=Imitator())
    table = config.run_dir.parent / "table.csv"
    kept = table.read_text(encoding="utf-8")
    lines = kept.splitlines()
    try:
        table.write_text("\n".join([lines[0], *(f"new {line}" for line in lines[1:])]), "utf-8")
        with pytest.raises(StorageError, match=r"worked example .* is not on this machine"):
            join_search(config.pld.search.storage, "shared")
    finally:
        table.write_text(kept, encoding="utf-8")
