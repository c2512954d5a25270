"""Asks some examples and returns the checkup."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import dspy
from filelock import FileLock, Timeout

from pld_dspy.config.base import Wording
from pld_dspy.config.run import RunConfig
from pld_dspy.errors import ConfigError, PLDError, StorageError
from pld_dspy.ledger.store import StageStore
from pld_dspy.ledger.usage import total
from pld_dspy.models.teacher import Teacher
from pld_dspy.records import Evaluation, Progress, silent
from pld_dspy.runs.artifacts import write_text
from pld_dspy.runs.diagnose.advice import clearly
from pld_dspy.runs.diagnose.ask import WORDINGS, Answers, Asking
from pld_dspy.runs.diagnose.checkup import Asked, Checkup, Step
from pld_dspy.runs.diagnose.measure import Tried, label_shares, rungs, tried
from pld_dspy.runs.diagnose.sample import draw_examples, halves
from pld_dspy.runs.setup import Loaded, Models, load, make_evaluator, make_models
from pld_dspy.scoring.evaluator import Evaluator
from pld_dspy.scoring.metrics import CorpusMetric, accuracy
from pld_dspy.scoring.statistics import PairedResult

EXAMPLES = 40
FOLDER = "diagnose"
"""Folder inside the run folder."""
CHECKUP_FILE = "checkup.json"


def run_diagnose(
    config: RunConfig,
    *,
    examples: int = EXAMPLES,
    loaded: Loaded | None = None,
    progress: Progress = silent,
) -> Checkup:
    """Return what student and teacher do with some examples of train and val; test is not looked at.

    All answers are kept in the folder `diagnose` of the run folder, and nothing is asked twice; the
    result is there as `checkup.json`. A metric of single examples is replaced by accuracy.

    Args:
        config: The settings of the run to be judged.
        examples: Number of labelled examples to ask about.
        loaded: The task and its splits, where the caller has loaded them from this config.
        progress: Called with an `Event` after each call, also from worker threads.

    Raises:
        PLDError: A setting, the data, a model or the folder cannot be used.
    """
    loaded = load(config) if loaded is None else loaded
    chosen = choose(config, loaded, examples)
    folder = config.run_dir / FOLDER
    with _alone(folder) as store:
        models = make_models(config, progress=progress)
        checkup = _checkup(_asking(config, loaded, chosen, models, store, progress), config, store)
        write_text(folder / CHECKUP_FILE, checkup.to_json())
    return checkup


def choose(config: RunConfig, loaded: Loaded, examples: int) -> tuple[dspy.Example, ...]:
    """Return the examples to ask about.

    Raises:
        ConfigError: Too few are wanted, or the task has no closed label set.
        DataError: There are too few, or they have one label only.
    """
    if not loaded.task.labels:
        msg = f"the task {loaded.task.name} has no closed label set; diagnose needs one"
        raise ConfigError(msg)
    splits = loaded.splits
    return draw_examples(
        (*splits.train, *splits.val),
        examples,
        label_key=loaded.task.label_key,
        balance=config.split.balance,
        seed=config.seed,
    )


def wordings(config: RunConfig) -> tuple[Wording, ...]:
    """Return the wordings to ask in, that of the config first."""
    set_to = config.student.wording
    first: Wording = "sentence" if set_to == "auto" else set_to
    return tuple(dict.fromkeys((first, *WORDINGS)))


def _asking(
    config: RunConfig,
    loaded: Loaded,
    chosen: tuple[dspy.Example, ...],
    models: Models,
    store: StageStore,
    progress: Progress,
) -> Asking:
    task, splits = loaded.task, loaded.splits
    evaluator = make_evaluator(config, task, models.student, store, progress)
    metric = evaluator.metric if isinstance(evaluator.metric, CorpusMetric) else accuracy
    pool = (*splits.train, *splits.val)
    return Asking(
        task=task,
        examples=chosen,
        halves=halves(chosen, pool, task=task, by=config.split.by, seed=config.seed),
        form=loaded.form,
        evaluator=replace(evaluator, metric=metric, decide="calibrated"),
        teacher=Teacher(
            lm=models.teacher,
            store=store,
            threads=config.pld_config.teacher_threads,
            progress=progress,
        ),
    )


class _Noted:
    """Makes figures of answers, and collects notes."""

    def __init__(self, asking: Asking) -> None:
        self._asking = asking
        self.notes: list[str] = []

    def __call__(self, name: str, answers: Answers) -> Tried | None:
        if answers.note:
            self.notes.append(answers.note)
        if not answers.answers:
            return None
        asking = self._asking
        return tried(name, answers.answers, asking.examples, asking.evaluator)


def _checkup(asking: Asking, config: RunConfig, store: StageStore) -> Checkup:
    noted, evaluator = _Noted(asking), asking.evaluator
    forms = wordings(config)
    said = {wording: asking.plain(wording) for wording in forms}
    if all(answers.note for answers in said.values()):
        raise PLDError(said[forms[0]].note)
    plain = [t for w in forms if (t := noted(w, said[w])) is not None]
    if all(t.calibrated is None for t in plain):
        noted.notes.append(
            f"{config.student.model} gives no log-probabilities: calibration and separability are unknown"
        )
    best = max(range(len(plain)), key=lambda place: plain[place].best.score)
    shown = _shown(asking, noted, forms[best])
    made, leader = rungs(plain, shown, evaluator)
    teacher = _taught(asking, noted, plain[best].best)
    ceiling = max((t.read for t in teacher), key=lambda e: e.score, default=None)
    return Checkup(
        task=asking.task.name,
        metric=evaluator.metric_name,
        student=config.student.model,
        teacher=config.teacher_or_student.model,
        examples=len(asking.examples),
        gold=label_shares(plain[0].read.answers),
        asked=_figures(plain),
        shown=_figures(t for _, t in shown),
        taught=_figures(teacher),
        rungs=made,
        headroom=_ahead(evaluator, plain[best].best, ceiling),
        remaining=_ahead(evaluator, leader, ceiling),
        notes=tuple(noted.notes),
        usage=total(store.spent()),
    )


def _shown(asking: Asking, noted: _Noted, wording: Wording) -> list[tuple[Step, Tried]]:
    """Return the student with something more in its prompt, cheaper steps first."""
    found: list[tuple[Step, Tried | None]] = [
        ("examples", noted(f"{wording}, worked examples", asking.with_examples(wording))),
        ("rules", noted(f"{wording}, quick rules", asking.with_rules(wording))),
        ("rules", noted(f"{wording}, words for labels", asking.with_words(wording))),
    ]
    return [(step, t) for step, t in found if t is not None]


def _taught(asking: Asking, noted: _Noted, student: Evaluation) -> list[Tried]:
    """Return the teacher's answers; with worked examples only if it is not ahead without."""
    alone = noted("chain of thought", asking.taught(with_examples=False))
    if alone is not None and clearly(asking.evaluator.compare(student, alone.read)):
        return [alone]
    told = None
    if all(half.worked for half in asking.halves):
        name = "chain of thought, worked examples"
        told = noted(name, asking.taught(with_examples=True))
    return [t for t in (alone, told) if t is not None]


def _figures(found: Iterable[Tried]) -> tuple[Asked, ...]:
    return tuple(t.asked for t in found)


def _ahead(
    evaluator: Evaluator, student: Evaluation, teacher: Evaluation | None
) -> PairedResult | None:
    return None if teacher is None else evaluator.compare(student, teacher)


@contextmanager
def _alone(folder: Path) -> Iterator[StageStore]:
    """Give the folder to this process alone.

    Raises:
        StorageError: The folder cannot be written, or another process works in it.
    """
    store = StageStore(folder)
    store.check()
    try:
        with FileLock(folder / "diagnose.lock", timeout=0):
            yield store
    except Timeout as error:
        msg = f"another process works in {folder}; wait for it, or give another run_dir"
        raise StorageError(msg) from error
