"""Every setting of the config runs from the command line, with fakes in the place of the models."""

import csv
import json
from typing import get_args

import datasets
import pytest
from pydantic import BaseModel
from typer.testing import CliRunner

from fakes import FakeTeacher, RuleFollower, fake_lm
from pld_dspy.cli.commands import app
from pld_dspy.config.run import RunConfig
from pld_dspy.config.table import TableConfig
from pld_dspy.data.tasks import task_from_table
from small_runs import TASK, explain_in_sections

COLUMNS = ["text", "label", "topic", "key", "colour"]
FOLDER = "FOLDER"
"""Stands for the test's own folder in a value."""

BASE = {
    "run_dir": f"{FOLDER}/run",
    "task.table.path": f"{FOLDER}/table.csv",
    "task.table.inputs": ["text"],
    "task.table.label": "label",
    "split.train": 12,
    "split.val": 8,
    "split.select": 8,
    "split.test": 6,
    "split.balance": "natural",
    "student.model": "fake/student",
    "teacher.model": "fake/teacher",
    "pld.search.trials": 1,
    "pld.refine.rounds": 1,
}

NO_TABLE = dict.fromkeys(key for key in BASE if key.startswith("task.table"))
LOCAL = {"student.model": "local/qwen2.5-coder-0.5b"}
LOCAL_TEACHER = {"teacher.model": "local/qwen2.5-coder-0.5b"}
MLFLOW = {"mlflow.enabled": True, "mlflow.tracking_uri": f"sqlite:///{FOLDER}/m.db"}
FILES = {
    "task.table.path": None,
    "task.table.train": f"{FOLDER}/table.csv",
    "task.table.test": f"{FOLDER}/test.csv",
}
WORDS = {label: f"team {label}" for label in ("red", "grey", "green", "blue")}
HUB = {
    "task.table.path": None,
    "task.table.hub": "owner/colours",
    "task.table.split": "train",
}
TOPICS = {"task.table.inputs": ["text", "colour"], "pld.topics.by": "colour"}

ROWS = {
    "run_dir": {"run_dir": f"{FOLDER}/another"},
    "seed": {"seed": 1},
    "embedder": {"embedder": "tfidf:4"},
    "task.name": {**NO_TABLE, "task.name": "logiqa"},
    "task.options": {**NO_TABLE, "task.name": "contract_nli", "task.options": {"form": "pairs"}},
    "task.table.name": {"task.table.name": "colours"},
    "task.table.path": {"task.table.path": f"{FOLDER}/another.csv"},
    "task.table.train": FILES,
    "task.table.val": {**FILES, "task.table.val": f"{FOLDER}/val.csv"},
    "task.table.select": {
        **FILES,
        "task.table.val": f"{FOLDER}/val.csv",
        "task.table.select": f"{FOLDER}/select.csv",
    },
    "task.table.test": FILES,
    "task.table.hub": HUB,
    "task.table.subset": {**HUB, "task.table.subset": "small"},
    "task.table.split": {**HUB, "task.table.split": {"train": "train", "test": "test"}},
    "task.table.revision": {**HUB, "task.table.revision": "abc"},
    "task.table.format": {"task.table.format": "csv"},
    "task.table.delimiter": {"task.table.delimiter": ","},
    "task.table.encoding": {"task.table.encoding": "cp1252"},
    "task.table.inputs": {"task.table.inputs": ["text", "topic"]},
    "task.table.label": {"task.table.label": "colour"},
    "task.table.labels": {"task.table.labels": ["red", "grey", "green", "blue"]},
    "task.table.label_words": {"task.table.label_words": WORDS, "student.labels_as": "words"},
    "task.table.description": {"task.table.description": "Say the colour."},
    "task.table.group": {"task.table.group": "topic"},
    "task.table.id": {"task.table.id": "key"},
    "task.table.metric": {"task.table.metric": "accuracy"},
    "split.train": {"split.train": 13},
    "split.val": {"split.val": 9},
    "split.select": {"split.select": 9},
    "split.test": {"split.test": 7},
    "split.by": {"split.by": "group", "task.table.group": "topic"},
    "split.scarce": {
        "split.scarce": "share",
        "split.by": "group",
        "task.table.group": "topic",
    },
    "split.balance": {"split.balance": "equal"},
    "split.seed": {"split.seed": 3},
    "student.model": {"student.model": "fake/other"},
    "student.temperature": {"student.temperature": 0.5},
    "student.max_tokens": {"student.max_tokens": 30},
    "student.api_base": {"student.api_base": "http://127.0.0.1:9/v1"},
    "student.threads": {"student.threads": 2},
    "student.wording": {"student.wording": "auto"},
    "student.labels_as": {"student.labels_as": "letters"},
    "student.inputs_first": {
        "task.table.inputs": ["text", "topic"],
        "student.inputs_first": ["topic"],
    },
    "student.server.parallel": {**LOCAL, "student.server.parallel": 2},
    "student.server.context_tokens": {**LOCAL, "student.server.context_tokens": 4096},
    "student.server.threads": {**LOCAL, "student.server.threads": 2},
    "student.server.reuse_prompt": {**LOCAL, "student.server.reuse_prompt": False},
    "teacher.model": {"teacher.model": "fake/another"},
    "teacher.temperature": {"teacher.temperature": 0.5},
    "teacher.max_tokens": {"teacher.max_tokens": 300},
    "teacher.api_base": {"teacher.api_base": "http://127.0.0.1:9/v1"},
    "teacher.threads": {"teacher.threads": 2},
    "teacher.server.parallel": {**LOCAL_TEACHER, "teacher.server.parallel": 2},
    "teacher.server.context_tokens": {**LOCAL_TEACHER, "teacher.server.context_tokens": 4096},
    "teacher.server.threads": {**LOCAL_TEACHER, "teacher.server.threads": 2},
    "teacher.server.reuse_prompt": {**LOCAL_TEACHER, "teacher.server.reuse_prompt": False},
    "traces.file": {"traces.file": f"{FOLDER}/recorded.jsonl"},
    "traces.use": {"traces.file": f"{FOLDER}/recorded.jsonl", "traces.use": False},
    "rules.initial": {"rules.initial": f"{FOLDER}/guide.txt"},
    "pld.draws": {"pld.draws": 2},
    "pld.explain": {"pld.explain": 6},
    "pld.clusters.method": {"pld.clusters.method": "hdbscan"},
    "pld.clusters.eps": {"pld.clusters.eps": 0.5},
    "pld.clusters.min_samples": {"pld.clusters.min_samples": 2},
    "pld.clusters.n_clusters": {"pld.clusters.method": "kmeans", "pld.clusters.n_clusters": 3},
    "pld.clusters.label_aware": {"pld.clusters.label_aware": True},
    "pld.clusters.noise": {"pld.clusters.noise": "drop"},
    "pld.rules.method": {"pld.rules.method": "medoid"},
    "pld.rules.per_label": {"pld.rules.per_label": False},
    "pld.rules.contrast": {"pld.rules.contrast": 1},
    "pld.rules.examples": {"pld.rules.examples": 0},
    "pld.rules.draws": {"pld.rules.draws": 2},
    "pld.rules.max_notes": {"pld.rules.max_notes": 2},
    "pld.rules.duplicate_cosine": {"pld.rules.duplicate_cosine": 0.5},
    "pld.verify.enabled": {"pld.verify.enabled": False},
    "pld.verify.how": {"pld.verify.how": "each"},
    "pld.verify.max_examples": {"pld.verify.max_examples": 6},
    "pld.verify.max_conditions": {"pld.verify.max_conditions": 2},
    "pld.verify.max_drafts": {"pld.verify.max_drafts": 0},
    "pld.verify.min_precision": {"pld.verify.min_precision": 0.9},
    "pld.verify.max_p_chance": {"pld.verify.max_p_chance": 0.5},
    "pld.verify.same": {"pld.verify.same": 0.5},
    "pld.verify.leave_out": {"pld.verify.leave_out": False},
    "pld.words.drafts": {"pld.words.drafts": 1},
    "pld.words.per_label": {"pld.words.per_label": 2},
    "pld.words.max_length": {"pld.words.max_length": 1},
    "pld.words.most": {"pld.words.most": 1},
    "pld.words.rounds": {"pld.words.rounds": 1},
    "pld.words.rest": {"pld.words.rest": "another thing"},
    "pld.words.sets": {"pld.words.sets": 1},
    "pld.words.max_p_worse": {"pld.words.max_p_worse": 0.2},
    "pld.topics.by": TOPICS,
    "pld.topics.min_examples": {**TOPICS, "pld.topics.min_examples": 1},
    "pld.topics.max_rules": {**TOPICS, "pld.topics.max_rules": 1},
    "pld.demos.per_label": {"pld.demos.per_label": [1]},
    "pld.demos.draws": {"pld.demos.per_label": [1], "pld.demos.draws": 1},
    "pld.demos.max_p_worse": {"pld.demos.per_label": [1], "pld.demos.max_p_worse": 0.5},
    "pld.refine.rounds": {"pld.refine.rounds": 0},
    "pld.refine.patience": {"pld.refine.patience": 2},
    "pld.refine.feedback": {"pld.refine.feedback": 5},
    "pld.refine.failures": {"pld.refine.failures": 1},
    "pld.refine.successes": {"pld.refine.successes": 0},
    "pld.refine.edits": {"pld.refine.edits": 1},
    "pld.refine.max_p_worse": {"pld.refine.max_p_worse": 0.9},
    "pld.search.trials": {"pld.search.trials": 0},
    "pld.search.sampler": {"pld.search.sampler": "random"},
    "pld.search.guided": {"pld.search.guided": False},
    "pld.search.max_rules": {"pld.search.max_rules": 2},
    "pld.search.max_prompt_tokens": {"pld.search.max_prompt_tokens": 500},
    "pld.search.race.enabled": {"pld.search.race.enabled": False},
    "pld.search.race.block": {"pld.search.race.block": 2},
    "pld.search.race.min_chance": {"pld.search.race.min_chance": 0.2},
    "pld.search.probabilities": {"pld.search.probabilities": False},
    "pld.search.storage": {"pld.search.storage": f"sqlite:///{FOLDER}/study.db"},
    "pld.search.study": {"pld.search.study": "mine"},
    "pld.search.grace_s": {"pld.search.grace_s": 5.0},
    "pld.clusterer": {"pld.clusterer": "kmeans"},
    "pld.decide": {"pld.decide": "probable"},
    "pld.finalists": {"pld.finalists": 1},
    "pld.max_p_worse": {"pld.max_p_worse": 0.5},
    "pld.prefer": {"pld.prefer": "shortest-within-noise"},
    "pld.threads": {"pld.threads": 2},
    "pld.teacher_threads": {"pld.teacher_threads": 2},
    "pld.val_share": {"pld.val_share": 0.5},
    "mlflow.enabled": {**MLFLOW, "mlflow.enabled": True},
    "mlflow.tracking_uri": MLFLOW,
    "mlflow.experiment": {**MLFLOW, "mlflow.experiment": "mine"},
    "mlflow.register_prompt": {**MLFLOW, "mlflow.register_prompt": "mine.prompt"},
}
"""By key: the settings of a run that sets it; None leaves a key of `BASE` out."""


def nested(annotation):
    """The settings record inside a type such as `Inner | None`, if there is one."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next((found for arg in get_args(annotation) if (found := nested(arg))), None)


def keys(model, prefix=""):
    for name, field in model.model_fields.items():
        inner = nested(field.annotation)
        if inner is None:
            yield prefix + name
        else:
            yield from keys(inner, f"{prefix}{name}.")


def test_every_setting_has_a_run():
    assert sorted(keys(RunConfig)) == sorted(ROWS)
    assert [key for key, row in ROWS.items() if key not in row] == []


@pytest.fixture
def asked(monkeypatch):
    """The models asked for; every name is answered by a fake, and no picture is drawn."""
    made = []

    def make_lm(name, **settings):
        made.append((name, settings))
        teacher = len({name for name, _ in made}) > 1
        engine = FakeTeacher(explain_in_sections) if teacher else RuleFollower(TASK.default)
        return fake_lm(engine, name=name)

    monkeypatch.setattr("pld_dspy.runs.setup.make_lm", make_lm)
    monkeypatch.setattr("pld_dspy.runs.run.write_pictures", lambda *_: [])
    return made


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder with tables and recorded traces; known tasks and the hub have the same rows."""
    rows = [
        [text, label, f"topic{n // 2}", f"key{n}", label]
        for n, (text, label) in enumerate(TASK.rows)
    ]
    parts = {
        "table": rows[:50],
        "test": rows[50:60],
        "val": rows[60:76],
        "select": rows[76:],
        "another": rows[40:],
    }
    for name, part in parts.items():
        with (tmp_path / f"{name}.csv").open("w", encoding="utf-8", newline="") as file:
            csv.writer(file).writerows([COLUMNS, *part])
    recorded = [
        {"id": f"table.csv:{n}", "rule": f"If the text is like no{n}, answer {label}."}
        for n, (_, label) in enumerate(TASK.rows[:20])
    ]
    lines = "".join(f"{json.dumps(line)}\n" for line in recorded)
    (tmp_path / "recorded.jsonl").write_text(lines, encoding="utf-8")
    (tmp_path / "guide.txt").write_text("\n".join(TASK.rules), encoding="utf-8")

    def load_task(name, **options):
        table = {"path": tmp_path / "table.csv", "inputs": ("text",), "label": "label"}
        return task_from_table(TableConfig(name=f"{name} {options}", **table))

    def load_dataset(name, subset, *, split, **options):
        part = parts["table"] if split == "train" else parts["test"]
        return datasets.Dataset.from_dict(dict(zip(COLUMNS, zip(*part, strict=True), strict=True)))

    monkeypatch.setattr("pld_dspy.runs.setup.load_task", load_task)
    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    monkeypatch.setattr("pld_dspy.data.sources._hub_answers", lambda: True)
    return tmp_path


def toml(value):
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key} = {toml(part)}" for key, part in value.items()) + "}"
    return json.dumps(value)  # strings, numbers, booleans and lists are written alike


def saved(config, key):
    for part in key.split("."):
        config = config[part]
    return config


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::sqlalchemy.exc.SADeprecationWarning")
@pytest.mark.parametrize("key", ROWS)
def test_a_run_with_the_setting_ends_well(key, folder, asked):
    settings = {k: v for k, v in {**BASE, **ROWS[key]}.items() if v is not None}
    text = "".join(f"{k} = {toml(v)}\n" for k, v in settings.items()).replace(FOLDER, str(folder))
    (folder / "run.toml").write_text(text, encoding="utf-8")
    result = CliRunner().invoke(app, ["distill", str(folder / "run.toml")])

    assert result.exit_code == 0, result.output
    assert "student as given" in result.output or "rules" in result.output
    run_dir = folder / ("another" if key == "run_dir" else "run")
    config = json.loads((run_dir / "config.json").read_text(encoding="utf-8"))
    expected = json.loads(json.dumps(ROWS[key][key]).replace(FOLDER, str(folder)))
    assert saved(config, key) == expected
    assert json.loads((run_dir / "report.json").read_text(encoding="utf-8"))["test_n"] > 0
