"""Loads the task with its splits, and the models, each of which has answered one tiny call."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import dspy

from pld_dspy.config.base import Wording
from pld_dspy.config.run import ModelConfig, RunConfig
from pld_dspy.config.table import TableConfig
from pld_dspy.data.files import parse_jsonl, read_text
from pld_dspy.data.splits import Splits, check_disjoint
from pld_dspy.data.tasks import Task, load_task, task_from_table
from pld_dspy.ledger.store import StageStore
from pld_dspy.models.embedder import make_embedder
from pld_dspy.models.lm import check_lm, make_lm
from pld_dspy.models.local.server import ServerSettings
from pld_dspy.models.student import DirectStudent
from pld_dspy.records import Event, Progress, silent
from pld_dspy.scoring.evaluator import Evaluator
from pld_dspy.scoring.metrics import metric_by_name
from pld_dspy.stages.cluster.methods import resolve_clusterer
from pld_dspy.stages.common.initial import initial_rules
from pld_dspy.stages.common.topics import Topics, find_topics


@dataclass(frozen=True, slots=True, kw_only=True)
class Loaded:
    """The task with its splits."""

    task: Task
    splits: Splits
    wording: Wording = "field"

    @property
    def baseline(self) -> dspy.Module:
        """The student as given: the task's own sentence, no rules."""
        return DirectStudent(self.task.signature, wording=self.wording)


@dataclass(frozen=True, slots=True, kw_only=True)
class Models:
    """The two roles; they may be one model."""

    student: dspy.LM
    teacher: dspy.LM


def load(config: RunConfig) -> Loaded:
    """Return the task and its splits, checked for leaks; recorded traces' examples go to train first.

    Raises:
        ConfigError: The task, one of its options, the metric, the embedder or the clusterer is unknown.
        DataError: The data is not available, or too small.
        LeakageError: An example is in two splits.
    """
    recorded = config.traces.path
    prefer = frozenset(_trace_ids(recorded)) if recorded is not None else frozenset()
    table = config.task.table
    if table is not None:
        task = task_from_table(table)
    else:
        task = load_task(str(config.task.name), **config.task.options)
    metric_by_name(task.metric)
    make_embedder(config.embedder)
    resolve_clusterer(config.pld.clusterer, config.pld.clusters)
    chosen = config.split
    splits = task.split(
        chosen.sizes,
        seed=config.split_seed,
        by=chosen.by,
        balance=chosen.balance,
        prefer=prefer,
    )
    check_disjoint(splits, by=chosen.by)
    return Loaded(task=task, splits=splits, wording=config.student.wording)


def check_rules(config: RunConfig, loaded: Loaded) -> Topics | None:
    """Return the topics, checked with the given rules before anything is paid for.

    Raises:
        ConfigError: The topic field is unknown or has no value that occurs often enough, or a given
            rule cannot be used.
        DataError: There is no such file of rules.
    """
    splits, signature = loaded.splits, loaded.task.signature
    others = (*splits.val, *splits.select)
    topics = find_topics(config.pld.topics, loaded.baseline, signature, splits.train, others)
    initial_rules(config.rules.path, labels=loaded.task.labels, topics=topics)
    return topics


def load_table(config: RunConfig, task: Task, path: Path) -> tuple[dspy.Example, ...]:
    """Return the examples of another table with the columns of the task.

    A file with the suffix of the task's own files has their format, delimiter and encoding too.

    Raises:
        DataError: The file or a column is missing, or a label is not one of the task's.
    """
    own = config.task.table
    suffixes = {file.suffix for file in own.files.values()} if own is not None else set()
    alike = own is not None and path.suffix in suffixes
    table = TableConfig(
        path=path,
        **(own.model_dump(include={"format", "delimiter", "encoding"}) if own and alike else {}),
        inputs=task.input_keys if own is None else own.inputs,
        label=task.label_key if own is None else own.label,
        labels=task.labels,
    )
    return task_from_table(table).examples


def make_student(config: RunConfig, *, progress: Progress = silent) -> dspy.LM:
    """Return the student's model, which has answered one tiny call.

    Raises:
        ModelError: It is not available, or does not load or answer.
    """
    student = _make(config.student, progress)
    check_lm(student)
    return student


def make_models(config: RunConfig, *, progress: Progress = silent) -> Models:
    """Return the models, each of which has answered one tiny call.

    DSPy's disk cache is turned off for this process: the run folder keeps every answer, and an answer
    from elsewhere has no tokens to report.

    Raises:
        ModelError: A model is not available, or does not load or answer.
        StorageError: There is no room for a download.
    """
    dspy.configure_cache(enable_disk_cache=False, enable_memory_cache=True)
    student = make_student(config, progress=progress)
    asked = config.teacher_or_student
    if asked == config.student:
        return Models(student=student, teacher=student)
    teacher = _make(asked, progress)
    check_lm(teacher)
    return Models(student=student, teacher=teacher)


def make_evaluator(
    config: RunConfig,
    task: Task,
    lm: dspy.LM,
    store: StageStore,
    progress: Progress = silent,
    *,
    probabilities: bool = False,
) -> Evaluator:
    """Return what scores programs on this task; answers in `store` are not asked for again."""
    return Evaluator(
        lm=lm,
        metric=metric_by_name(task.metric),
        label_key=task.label_key,
        labels=task.labels,
        store=store,
        threads=config.pld_config.threads,
        progress=progress,
        seed=config.seed,
        probabilities=probabilities,
    )


def _make(model: ModelConfig, progress: Progress) -> dspy.LM:
    # Parts of a download have names of their own, and are shown as one.
    def show(event: Event) -> None:
        progress(replace(event, item=model.model))

    server = ServerSettings(**model.server.model_dump()) if model.server is not None else None
    address: dict[str, Any] = {} if model.api_base is None else {"api_base": model.api_base}
    return make_lm(
        model.model,
        temperature=model.temperature,
        max_tokens=model.max_tokens,
        server=server,
        progress=show,
        **address,
    )


def _trace_ids(path: Path) -> Iterator[str]:
    text, _ = read_text(path)
    return (str(row["id"]) for _, row in parse_jsonl(text, str(path)) if "id" in row)
