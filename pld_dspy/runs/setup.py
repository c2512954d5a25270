"""Loads the task with its splits, and the models, each of which has answered one tiny call."""

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import dspy

from pld_dspy.config.run import ModelConfig, RunConfig
from pld_dspy.config.table import TableConfig
from pld_dspy.data.splits import Splits, check_disjoint
from pld_dspy.data.tasks import Task, load_task, task_from_table
from pld_dspy.errors import ConfigError
from pld_dspy.ledger.store import StageStore
from pld_dspy.models.embedder import make_embedder
from pld_dspy.models.forms import check_form
from pld_dspy.models.lm import check_lm, make_lm
from pld_dspy.models.local.server import ServerSettings
from pld_dspy.models.reading.label_words import LabelWords
from pld_dspy.models.student import DirectStudent
from pld_dspy.records import Decide, Event, Form, LabelsAs, Progress, silent
from pld_dspy.scoring.evaluator import Evaluator
from pld_dspy.scoring.metrics import metric_by_name
from pld_dspy.stages.cluster.methods import resolve_clusterer
from pld_dspy.stages.common.initial import initial_rules
from pld_dspy.stages.common.topics import Topics, find_topics
from pld_dspy.stages.explain import trace_ids


@dataclass(frozen=True, slots=True, kw_only=True)
class Loaded:
    """The task with its splits."""

    task: Task
    splits: Splits
    form: Form = field(default_factory=Form)
    """How the student as given is asked."""

    @property
    def baseline(self) -> dspy.Module:
        """The student as given: the task's own sentence, no rules."""
        return DirectStudent(
            self.task.signature,
            wording=self.form.wording,
            labels_as=self.form.labels_as,
            inputs_first=self.form.inputs_first,
        )


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
    prefer = frozenset(trace_ids(config.traces.paths))
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
        scarce=chosen.scarce,
    )
    check_disjoint(splits, by=chosen.by)
    return Loaded(task=task, splits=splits, form=plain_form(config, task))


def plain_form(config: RunConfig, task: Task) -> Form:
    """Return how the student as given is asked; where forms are compared, `sentence` and `names`.

    Raises:
        ConfigError: An input is unknown, `labels_as` does not fit the labels, or the task has no words.
    """
    asked = config.student
    form = Form(
        wording="sentence" if asked.wording == "auto" else asked.wording,
        labels_as=_labels_as(asked.labels_as, task),
        inputs_first=asked.inputs_first,
    )
    check_form(form, task.signature)
    if task.label_words:
        LabelWords.of(task.labels, task.label_words)
    return form


def _labels_as(asked: str | dict[str, str], task: Task) -> LabelsAs:
    if not isinstance(asked, str):
        return asked
    if asked == "words":
        if not task.label_words:
            msg = f"labels_as is 'words', and the task {task.name} has none; give label_words in [task.table], or a word for each label in labels_as"
            raise ConfigError(msg)
        return task.label_words
    return "letters" if asked == "letters" else "names"


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
    decide: Decide = "greedy",
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
        decide=decide,
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
