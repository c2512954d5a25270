"""One run from a config: score the student, distil, score again on untouched examples, write it down."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import dspy
from filelock import FileLock, Timeout

from pld_dspy.config.run import RunConfig
from pld_dspy.data.splits import Splits
from pld_dspy.errors import StorageError
from pld_dspy.ledger.clock import Clock
from pld_dspy.ledger.mlflow.tracker import MlflowTracker
from pld_dspy.ledger.store import StageStore
from pld_dspy.ledger.tracker import NullTracker, Tracker
from pld_dspy.models.lm import model_name
from pld_dspy.optimizer import PLD
from pld_dspy.records import Evaluation, PLDResult, Progress, Usage, silent
from pld_dspy.runs.artifacts import Pictures, write_json, write_pictures, write_program, write_text
from pld_dspy.runs.estimate import COMPILED, GIVEN
from pld_dspy.runs.report import REPORT_FILE, Report, commit, scores, search_numbers, versions
from pld_dspy.runs.setup import Loaded, Models, load, make_evaluator, make_models
from pld_dspy.scoring.metrics import metric_by_name

__all__ = ["Loaded", "Models", "Report", "load", "make_evaluator", "make_models", "run_distill"]

CONFIG_FILE = "config.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Session:
    """This process's work on a run folder."""

    store: StageStore
    clock: Clock


def run_distill(config: RunConfig, *, progress: Progress = silent) -> Report:
    """Return what the run found; all of it is in the run folder too.

    The student as given and the compiled program are each scored once on the test examples, which
    nothing else sees. A run that was stopped goes on from its folder: nothing is paid for twice.

    Args:
        config: The settings.
        progress: Called with an `Event` after each call, also from worker threads.

    Raises:
        PLDError: A setting, the data, a model or the folder cannot be used.
    """
    loaded = load(config)
    with _session(config.run_dir) as session:
        write_json(config.run_dir / CONFIG_FILE, config.model_dump(mode="json"))
        tracker = _tracker(config)
        _start(tracker, config, loaded.splits)
        status: Literal["FINISHED", "FAILED", "KILLED"] = "FAILED"
        try:
            report = _run(config, loaded, session, tracker, session.clock.noting(progress))
            status = "FINISHED"
        except KeyboardInterrupt:
            status = "KILLED"
            raise
        finally:
            tracker.finish(status)
    return report


def _run(
    config: RunConfig, loaded: Loaded, session: _Session, tracker: Tracker, progress: Progress
) -> Report:
    task, splits = loaded.task, loaded.splits
    models = make_models(config, progress=progress)
    evaluator = make_evaluator(config, task, models.student, session.store, progress)
    before = evaluator.run(loaded.baseline, splits.test, candidate_id=GIVEN, split="test")
    compiled = compile_program(config, loaded, models, tracker, progress)
    result: PLDResult = compiled.pld_result
    written = write_program(config.run_dir, compiled, result, splits.train)
    after = evaluator.run(compiled, splits.test, candidate_id=COMPILED, split="test")
    report = _report(config, loaded, models, result, (before, after), session)
    pictures = write_pictures(
        Pictures(
            task=task,
            result=result,
            before=before,
            after=after,
            embedder=config.embedder,
            intervals=(report.baseline_ci95, report.compiled_ci95),
        ),
        config.run_dir,
    )
    write_text(config.run_dir / REPORT_FILE, report.to_json())
    # The optimizer has closed its tracked run, which this opens again.
    _start(tracker, config, splits)
    tracker.metrics({f"test.{k}": v for k, v in _measures(report).items()})
    tracker.metrics({f"search.{k}": v for k, v in _search_measures(report).items()})
    for path in (*pictures, *written, config.run_dir / REPORT_FILE):
        tracker.file(path)
    return report


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
        traces=config.traces.path if config.traces.imported else None,
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


def _report(
    config: RunConfig,
    loaded: Loaded,
    models: Models,
    result: PLDResult,
    tested: tuple[Evaluation, Evaluation],
    session: _Session,
) -> Report:
    task, splits = loaded.task, loaded.splits
    teacher, student = (result.usage.get(role, Usage()) for role in ("teacher", "student"))
    costs = [usage.cost_usd for usage in result.usage.values()]
    first = result.predictors[0]
    return Report(
        task=task.name,
        task_notes=task.notes,
        student=config.student.model,
        student_weights=model_name(models.student),
        teacher=config.teacher_or_student.model,
        teacher_weights=model_name(models.teacher),
        traces="recorded" if config.traces.imported else "teacher",
        **scores(metric_by_name(task.metric), *tested, seed=config.seed),
        **search_numbers(first),
        rules=len(result.rules),
        demos=sum(len(part.chosen.demos) for part in result.predictors),
        chosen_origin=first.chosen.origin,
        reason=first.reason,
        teacher_calls=teacher.calls,
        teacher_input_tokens=teacher.input_tokens,
        teacher_output_tokens=teacher.output_tokens,
        student_calls=student.calls,
        student_input_tokens=student.input_tokens,
        student_output_tokens=student.output_tokens,
        test_calls=sum(a.calls for e in tested for a in e.answers),
        cost_usd=None if None in costs else sum(cost for cost in costs if cost is not None),
        dropped=dict(result.dropped),
        warnings=first.clustering.diagnosis.warnings,
        wall_s=session.clock.wall_s,
        compile_wall_s=result.wall_s,
        seed=config.seed,
        split={
            "by": config.split.by,
            "balance": config.split.balance,
            "seed": config.split_seed,
            "sizes": splits.sizes,
            "digests": splits.digests,
        },
        versions=versions() | dict(result.versions),
        commit=commit(),
    )


def _measures(report: Report) -> dict[str, float]:
    names = ("baseline", "compiled", "delta", "p_worse", "mcnemar_p", "prompt_tokens", "rules")
    rates = ("unparsed_rate_baseline", "unparsed_rate_compiled", "wall_s")
    return {name: float(getattr(report, name)) for name in (*names, *rates)}


def _search_measures(report: Report) -> dict[str, float]:
    """Return what is known of the search; nothing without one."""
    measures = {
        "val_score": report.search_score,
        "select_score": report.select_score,
        "optimism": report.optimism,
        "trials": report.search_trials,
        "calls": report.search_calls,
        "full_calls": report.search_full_calls,
    }
    return {name: float(value) for name, value in measures.items() if value is not None}


@contextmanager
def _session(run_dir: Path) -> Iterator[_Session]:
    """Give the run folder to this process alone, and note how long it was worked on."""
    lock = FileLock(run_dir / "distill.lock", timeout=0)
    store = StageStore(run_dir)
    try:
        with lock:
            clock = Clock(store, "run")
            try:
                yield _Session(store=store, clock=clock)
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


def _start(tracker: Tracker, config: RunConfig, splits: Splits) -> None:
    tracker.start(
        name=config.run_dir.name,
        params={"run": config.model_dump(mode="json")},
        tags={"pld.student": config.student.model, "pld.teacher": config.teacher_or_student.model},
        run_dir=config.run_dir,
        digests={str(split): digest for split, digest in splits.digests.items()},
    )
