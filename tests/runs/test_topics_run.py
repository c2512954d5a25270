"""A run with rules by topic, from its config to its pages."""

import csv
import json
import re

import pytest
from typer.testing import CliRunner

from fakes import FakeEngine, fake_lm, keyword_rule
from pld_dspy.cli.commands import app
from topic_runs import DESKS, MEANING, WORDS, examples, student, teach

CONFIG = """
run_dir = "{folder}/run"
[task.table]
path = "{folder}/table.csv"
inputs = ["desk", "text"]
label = "label"
description = "Name the colour of the order."
[split]
train = 54
val = 36
select = 36
test = 36
[student]
model = "fake/student"
[teacher]
model = "fake/teacher"
[pld.topics]
by = "desk"
[pld.search]
trials = 3
"""


@pytest.fixture
def models(monkeypatch):
    made = {"fake/student": student(), "fake/teacher": FakeEngine(teach)}
    monkeypatch.setattr(
        "pld_dspy.runs.setup.make_lm", lambda name, **_: fake_lm(made[name], name=name)
    )
    return made


def write(folder, *, more=""):
    rows = [[e.desk, e.text, e.label] for e in examples(180)]
    with (folder / "table.csv").open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([["desk", "text", "label"], *rows])
    path = folder / "run.toml"
    path.write_text(CONFIG.format(folder=folder) + more, encoding="utf-8")
    return path


def invoke(*arguments):
    return CliRunner().invoke(app, [*map(str, arguments)], env={"COLUMNS": "160"})


@pytest.mark.slow
def test_the_files_of_a_run_show_the_topics(tmp_path, models):
    done = invoke("distill", write(tmp_path))
    run_dir = tmp_path / "run"
    report = json.loads((run_dir / "report.json").read_text(encoding="utf-8"))
    [chosen] = json.loads((run_dir / "rules.json").read_text(encoding="utf-8")).values()
    page = (run_dir / "report.md").read_text(encoding="utf-8")
    prompt = (run_dir / "prompt.txt").read_text(encoding="utf-8")

    assert done.exit_code == 0, done.output
    assert (report["compiled"], report["topics"], report["unseen_topics"]) == (1.0, 3, 0)
    assert chosen["topics"] == "desk"
    assert {rule["scope"] for rule in chosen["rules"]} - {None} == set(DESKS)
    for desk in DESKS:
        assert f"### Only for: {desk}" in page
        assert f"Only if Desk is: {desk}" in prompt
        assert f"Only for: {desk}" in done.output
    for rule in chosen["rules"]:
        assert f"\n{rule['number']}. {rule['text']}" in prompt
    assert "3 topics have rules of their own; 0 of 36 test examples" in page
    assert "3 topics have rules of their own" in done.output


@pytest.mark.slow
def test_the_saved_program_scores_the_same_and_its_rules_can_start_another_run(tmp_path, models):
    invoke("distill", write(tmp_path))
    scored = invoke("evaluate", tmp_path / "run", "--fresh")
    [chosen] = json.loads((tmp_path / "run/rules.json").read_text(encoding="utf-8")).values()
    number = next(rule["number"] for rule in chosen["rules"] if rule["scope"])
    shown = invoke("show", tmp_path / "run", "--rule", number)
    changes = [
        f"run_dir={tmp_path}/next",
        f"rules.initial={tmp_path}/run/rules.json",
        "pld.search.trials=0",
    ]
    again = invoke("distill", tmp_path / "run.toml", *changes)
    report = json.loads((tmp_path / "next/report.json").read_text(encoding="utf-8"))

    assert "1.000" in scored.output
    assert re.search(r"only for (north|south|west) desk", shown.output)
    assert again.exit_code == 0, again.output
    assert report["compiled"] == 1.0


@pytest.mark.slow
@pytest.mark.parametrize(
    ("more", "problem"),
    [
        ("pld.topics.by=dask", "topics.by is 'dask', which is no input of the program"),
        ("rules.initial={folder}/none.txt", "no rules file at"),
        ("rules.initial={folder}/bad.txt", "answers no label; the labels are blue, green, red"),
        ("rules.initial={folder}/empty.txt", "has no rule"),
        ("rules.initial={folder}/strange.txt", "the topic 'east side' is no value of 'desk'"),
    ],
)
def test_bad_topics_and_rules_end_the_run_before_a_model_is_loaded(tmp_path, models, more, problem):
    config = write(tmp_path)
    files = {"bad": "If it is new, answer pink.", "empty": "", "strange": "[east side]\nRead."}
    for name, text in files.items():
        (tmp_path / f"{name}.txt").write_text(text, encoding="utf-8")
    for extra in ([], ["--dry-run"]):
        done = invoke("distill", config, more.format(folder=tmp_path), *extra)

        assert done.exit_code == 2
        assert problem in " ".join(done.output.split())
    assert [engine.calls for engine in models.values()] == [0, 0]


@pytest.mark.slow
def test_the_plan_is_a_bound_of_the_calls_of_the_teacher(tmp_path, models):
    from pld_dspy.config.run import read_config
    from pld_dspy.runs.estimate import plan

    guide = tmp_path / "guide.json"
    rules = {d: [keyword_rule(w, MEANING[d][w]) for w in WORDS] for d in DESKS}
    guide.write_text(json.dumps(rules), encoding="utf-8")
    config = write(tmp_path, more=f'[rules]\ninitial = "{guide}"\n')
    planned = plan(read_config(config))
    done = invoke("distill", config)
    report = json.loads((tmp_path / "run/report.json").read_text(encoding="utf-8"))

    assert done.exit_code == 0, done.output
    assert 0 < report["teacher_calls"] <= planned.calls("teacher")
    assert report["student_calls"] + report["test_calls"] <= planned.calls("student")
