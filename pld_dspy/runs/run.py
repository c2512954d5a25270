"""Distils once from a config: scores the student, compiles, scores again, and writes the report."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import dspy
from filelock import FileLock, Timeout

from pld_dspy.config.run import RunConfig
from pld_dspy.errors import StorageError
from pld_dspy.ledger.clock import Clock
from pld_dspy.ledger.mlflow.tracker import MlflowTracker
from pld_dspy.ledger.store import StageStore
from pld_dspy.ledger.tracker import InOpenRun, NullTracker, Status, Tracker
from pld_dspy.models.embedder import check_embedder, make_embedder
from pld_dspy.models.forms import form_of
from pld_dspy.optimizer import PLD
from pld_dspy.records import Evaluation, PLDResult, Progress, silent
from pld_dspy.runs.artifacts import Pictures, write_json, write_pictures, write_program, write_text
from pld_dspy.runs.estimate import ASKED, COMPILED, GIVEN
from pld_dspy.runs.report import REPORT_FILE, Report, Tested, make_report
from pld_dspy.runs.setup import Loaded, Models, check_rules, load, make_evaluator, make_models
from pld_dspy.runs.waterfall import Reference, references, stages_of, step_measures, waterfall
from pld_dspy.runs.wording import (
    AskedBest,
    asked_in,
    calls_of,
    calls_of_chosen,
    choose_form,
    reworded,
)
from pld_dspy.scoring.evaluator import Evaluator
from pld_dspy.scoring.metrics import metric_by_name
from pld_dspy.stages.search.sampler import check_search

__all__ = ["Loaded", "Models", "Report", "load", "make_evaluator", "make_models", "run_distill"]

CONFIG_FILE = "config.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Session:
    """This process's work on a run folder."""

    config: RunConfig
    loaded: Loaded
    store: StageStore
    clock: Clock
    tracker: Tracker


def run_distill(
    config: RunConfig, *, loaded: Loaded | None = None, progress: Progress = silent
) -> Report:
    """Return the report of the run; it and all the other files are in the run folder too.

    The student as given and the compiled program are each scored once on the test examples, which
    nothing else sees. A run that was stopped resumes from its folder: nothing is paid for twice.
    The folder, the storage of the search and the tracking are checked before the first call.

    Args:
        config: The settings.
        loaded: The task and its splits, where the caller has loaded them from this config.
        progress: Called with an `Event` after each call, also from worker threads.

    Raises:
        PLDError: A setting, the data, a model or the folder cannot be used.
    """
    make_embedder(config.embedder)
    tracker = _tracker(config)
    loaded = load(config) if loaded is None else loaded
    check_rules(config, loaded)
    with _clocked(config) as (store, clock):
        check_search(config.pld_config.search, config.run_dir)
        write_json(config.run_dir / CONFIG_FILE, config.model_dump(mode="json"))
        session = _Session(config=config, loaded=loaded, store=store, clock=clock, tracker=tracker)
        _start(session)
        status: Status = "FAILED"
        try:
            report = _run(session, clock.noting(progress))
            status = "FINISHED"
        except KeyboardInterrupt:
            status = "KILLED"
            raise
        finally:
            tracker.finish(status)
    return report


def _run(session: _Session, progress: Progress) -> Report:
    config, loaded, tracker = session.config, session.loaded, session.tracker
    test = loaded.splits.test
    models = make_models(config, progress=progress)
    check_embedder(make_embedder(config.embedder))
    evaluator = make_evaluator(
        config,
        loaded.task,
        models.student,
        session.store,
        progress,
        probabilities=config.pld.search.probabilities,
        decide=config.pld.decide,
    )
    given = loaded.baseline
    before = evaluator.run(given, test, candidate_id=GIVEN, split="test")
    asked = _ask_best(session, evaluator)
    if asked is not None:
        config, loaded = asked_in(config, asked.choice.best), reworded(loaded, asked.choice)
    compiled = compile_program(config, loaded, models, InOpenRun(tracker), progress)
    result: PLDResult = compiled.pld_result
    written = write_program(config.run_dir, compiled, result, loaded.splits.train)
    after = evaluator.run(compiled, test, candidate_id=COMPILED, split="test")
    first = None if loaded.form == form_of(given) else given
    steps = waterfall(stages_of(loaded.baseline, compiled, result, first=first), evaluator, test)
    report = make_report(
        session.config,
        loaded,
        models,
        result,
        Tested(before, after, steps, _references(loaded, evaluator)),
        wall_s=session.clock.wall_s,
        asked=asked,
    )
    pictures = _pictures(session, result, (before, after), report)
    write_text(config.run_dir / REPORT_FILE, report.to_json())
    tracker.metrics({f"test.{name}": value for name, value in report.test_measures.items()})
    tracker.metrics({f"search.{name}": value for name, value in report.search_measures.items()})
    tracker.metrics({f"steps.{name}": value for name, value in step_measures(steps).items()})
    for path in (*pictures, *written, config.run_dir / REPORT_FILE):
        tracker.file(path)
    return report


def _ask_best(session: _Session, evaluator: Evaluator) -> AskedBest | None:
    """Return the forms of asking that were compared; None if the config sets the form."""
    config, loaded = session.config, session.loaded
    # As in the compile, so that its answers on validation are these.
    likely = replace(evaluator, probabilities=config.pld.search.probabilities)
    before = calls_of(session.store)
    choice = choose_form(config, loaded, likely)
    if choice is None:
        return None
    calls = calls_of(session.store) - before - calls_of_chosen(choice)
    tested = None
    if choice.best != choice.plain:
        student, test = reworded(loaded, choice).baseline, loaded.splits.test
        tested = evaluator.run(student, test, candidate_id=ASKED, split="test")
    return AskedBest(choice=choice, calls=calls, tested=tested)


def compile_program(
    config: RunConfig, loaded: Loaded, models: Models, tracker: Tracker, progress: Progress
) -> Any:
    """Return the program that the settings make, with `pld_result` attached; test examples are not seen."""
    optimizer = PLD(
        metric=metric_by_name(loaded.task.metric),
        teacher_lm=models.teacher,
        embedder=config.embedder,
        config=config.pld_config,
        tracker=tracker,
        run_dir=config.run_dir,
        seed=config.seed,
        traces=config.traces.paths if config.traces.imported else None,
        initial_rules=config.rules.path,
        progress=progress,
        run_config=config.model_dump(mode="json"),
    )
    splits = loaded.splits
    with dspy.context(lm=models.student):
        return optimizer.compile(
            loaded.baseline,
            trainset=list(splits.train),
            valset=list(splits.val),
            selectset=list(splits.select),
        )


def _pictures(
    session: _Session, result: PLDResult, tested: tuple[Evaluation, Evaluation], report: Report
) -> list[Any]:
    before, after = tested
    return write_pictures(
        Pictures(
            task=session.loaded.task,
            result=result,
            before=before,
            after=after,
            embedder=session.config.embedder,
            store=session.store,
            intervals=(report.baseline_ci95, report.compiled_ci95),
        ),
        session.config.run_dir,
    )


def _references(loaded: Loaded, evaluator: Evaluator) -> tuple[Reference, ...]:
    task, splits = loaded.task, loaded.splits
    return references(
        evaluator.metric,
        (*splits.train, *splits.val, *splits.select),
        splits.test,
        keys=task.input_keys,
        label_key=task.label_key,
        labels=task.labels,
        seed=evaluator.seed,
    )


@contextmanager
def _clocked(config: RunConfig) -> Iterator[tuple[StageStore, Clock]]:
    """Give the run folder to this process alone, and note how long it was worked on.

    Raises:
        StorageError: The folder cannot be written, or another process works in it.
    """
    run_dir = config.run_dir
    store = StageStore(run_dir)
    store.check()
    try:
        with FileLock(run_dir / "distill.lock", timeout=0):
            clock = Clock(store, "run")
            try:
                yield store, clock
            finally:
                clock.note()
    except Timeout as error:
        msg = f"another process works in {run_dir}; wait for it, or give another run_dir"
        raise StorageError(msg) from error


def _tracker(config: RunConfig) -> Tracker:
    if not config.mlflow.enabled:
        return NullTracker()
    return MlflowTracker(
        config.mlflow.experiment,
        tracking_uri=config.mlflow.tracking_uri,
        register_prompt=config.mlflow.register_prompt,
    )


def _start(session: _Session) -> None:
    config = session.config
    session.tracker.start(
        name=config.run_dir.name,
        params={"run": config.model_dump(mode="json")},
        tags={
            "optimizer": "PLD",
            "pld.student": config.student.model,
            "pld.teacher": config.teacher_or_student.model,
        },
        run_dir=config.run_dir,
        digests={str(split): d for split, d in session.loaded.splits.digests.items()},
    )
