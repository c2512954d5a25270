"""One cell, in this process: the search for a program under the meter, then the test."""

import importlib.metadata
import importlib.util
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import dspy

from experiments.bench.archive import Archive, State
from experiments.bench.cells import Cell
from experiments.bench.configs import task_file
from experiments.bench.decided import Layer, have_probabilities, program_note
from experiments.bench.lines import Line, Status
from experiments.bench.meter import ROLES, BudgetSpentError, Meter, Role, Tape, metered_lm
from experiments.bench.plan import Plan, run_config
from experiments.optimizers import Found, Job, Optimizer
from experiments.optimizers.table import MAX_ERRORS
from pld_dspy.config.paths import data_file
from pld_dspy.config.run import TracesConfig
from pld_dspy.errors import ConfigError, DataError, LeakageError
from pld_dspy.ledger.versions import commit, package_versions
from pld_dspy.records import Evaluation
from pld_dspy.runs.setup import Loaded, Models, load, make_models
from pld_dspy.scoring.evaluator import Evaluator, decision_of
from pld_dspy.scoring.metrics import CorpusMetric, corpus_metric_by_name
from pld_dspy.stages.common.targets import in_turn

PACKAGES = ("gepa", "textgrad", "xllamacpp")
"""Besides those that the package itself names."""


def run_cell(cell: Cell, plan: Plan, budget: int | None) -> Line:
    """Return the cell's line. A crash of any kind is a failed line, never a score.

    Args:
        cell: What is run.
        plan: How cells are run.
        budget: Student and teacher calls that it may make; None is no limit.
    """
    # An earlier cell of this process must leave nothing behind; the disk would outlive them all.
    dspy.configure_cache(enable_disk_cache=False, enable_memory_cache=True)
    started = time.monotonic()
    facts = _facts(cell) | {"budget_calls": budget, "alone": plan.alone}
    try:
        line = _Run(cell, plan, budget, facts).line()
    except Exception as error:  # noqa: BLE001 - an optimizer may raise anything, and is reported
        facts.setdefault("metric", "unknown")
        wall = {"wall_s": time.monotonic() - started}
        line = Line(**{**wall, **facts}, status="failed", error=one_line(error))
    return line.model_copy(update={"cell_s": time.monotonic() - started})


def failed_line(cell: Cell, problem: str) -> Line:
    """Return the line of a cell that could not run."""
    return Line(**_facts(cell), metric="unknown", status="failed", error=problem)


def _facts(cell: Cell) -> dict[str, Any]:
    return {"cell": cell.name, **cell._asdict(), "versions": _versions(), "commit": commit()}


def one_line(error: BaseException) -> str:
    """Return the error in one line, with its type unless it is of this package."""
    text = " ".join(str(error).split())[:500]
    name = type(error).__name__
    if not text and error.__context__ is not None:
        text = f"while handling {one_line(error.__context__)}"
    return text if isinstance(error, ConfigError | DataError) else f"{name}: {text}".rstrip(": ")


class _Run:
    """The parts of one cell, in the order in which they are made."""

    def __init__(self, cell: Cell, plan: Plan, budget: int | None, facts: dict[str, Any]) -> None:
        self.cell = cell
        self.budget = budget
        self.facts = facts
        self.plan = plan
        self.config = plan.config
        self.optimizer: Optimizer = self.config.optimizer(cell.optimizer)
        self.task = task_file(cell.task)
        self.notes: list[str] = []
        _check_module(self.optimizer)
        self.settings = run_config(cell, plan)
        self.loaded = self._load()
        self.guides = self._guides()
        self.metric: CorpusMetric = corpus_metric_by_name(self.loaded.task.metric)
        splits = self.loaded.splits
        facts["metric"] = self.metric.name
        facts["test_n"] = len(splits.test)
        facts["digests"] = {str(split): digest for split, digest in splits.digests.items()}
        self.layer = Layer.of(
            self.loaded.task, self.metric, splits.train, topic=self.task.topic, seed=cell.seed
        )
        self.models: Models = make_models(self.settings)
        self.tapes: Mapping[Role, Tape] = {role: self._tape(role) for role in ROLES}

    def line(self) -> Line:
        """Return the line of a cell that did not crash."""
        # First: an optimizer that writes into a shared Signature must not reach the student as given.
        before = self._test(Found(self.loaded.baseline), Meter())
        found, status = self._search()
        meter = Meter()
        after = self._test(found, meter)
        same = State.of(found.program).key == State.of(self.loaded.baseline).key
        if same and decision_of(found.program) is None:
            self.notes.append("the program is the student as given")
        self._decide(found, after)
        return Line(
            **self.facts,
            status=status,
            note="; ".join(dict.fromkeys(note for note in [found.note, *self.notes] if note)),
            **self.layer.scores(before, after),
            prompt_tokens=after.prompt_tokens or None,
            answer_tokens=after.answer_tokens or None,
            test_latency_s=meter.median_s(found.answers),
            program=program_note(found.program),
        )

    def _decide(self, found: Found, after: Evaluation) -> None:
        """Note what the decision layer makes of the answers; the program is asked for more of them."""
        splits = self.loaded.splits
        known = [*splits.val, *splits.select]
        pool = len(splits.train) + len(known)
        self.facts["labelled"] = pool if found.labelled is None else found.labelled
        if not have_probabilities(after.answers):
            return
        meter = Meter()
        with dspy.context(callbacks=[]):
            answers = self._evaluator(found, meter).answers(
                found.program, known, candidate_id=self.cell.optimizer, split="val"
            )
        self.facts |= {
            "decision_calls": meter.calls,
            **self.layer.decisions(after, splits.test, answers, known),
            **self.layer.of_its_own(found.program, after, answers, known),
        }

    def _load(self) -> Loaded:
        try:
            return load(self.settings)
        except DataError:
            # Recorded traces only draw the split here, and are not everybody's.
            if self.cell.traces == "recorded" or self.settings.traces.file is None:
                raise
            self.notes.append("split drawn without the recorded traces, which are not here")
            self.settings = self.settings.model_copy(update={"traces": TracesConfig()})
            return load(self.settings)

    def _search(self) -> tuple[Found, Status]:
        meter = Meter(self.budget)
        student = self._lm("student", meter)
        archive = self._archive(student, meter)
        job = self._job(student, meter)
        started = time.monotonic()
        status: Status = "done"
        try:
            with dspy.context(
                lm=student, callbacks=[meter, archive], num_threads=1, max_errors=MAX_ERRORS
            ):
                found = self.optimizer.run(job)
        except BudgetSpentError:
            found, status = self._best(archive), "stopped by budget"
        if meter.stopped and status == "done":
            self.notes.append("the optimizer went on after the budget was spent")
            found, status = self._best(archive), "stopped by budget"
        if archive.leaks:
            msg = f"the optimizer asked {archive.leaks} times about test examples"
            raise LeakageError(msg)
        self._count(meter, archive, found, time.monotonic() - started)
        return found, status

    def _best(self, archive: Archive) -> Found:
        best = archive.best()
        if best is None:
            note = "no program was scored on all validation examples before the budget was spent"
            return Found(self.loaded.baseline, note)
        return Found(best.put_into(self.loaded.baseline))

    def _count(self, meter: Meter, archive: Archive, found: Found, seconds: float) -> None:
        counts = meter.counts
        curve = list(archive.curve)
        if curve and curve[-1][0] < meter.calls:
            curve.append((meter.calls, curve[-1][1]))
        self.facts |= {
            "student_calls": counts["student"].calls,
            "teacher_calls": counts["teacher"].calls,
            "cached_calls": meter.cached_calls,
            "replayed_calls": sum(count.replayed for count in counts.values()),
            "input_tokens": sum(count.input_tokens for count in counts.values()),
            "output_tokens": sum(count.output_tokens for count in counts.values()),
            "cost_usd": meter.cost_usd(),
            "wall_s": seconds + meter.replayed_s,
            "curve": curve,
            "val_score": archive.score(found.program),
        }

    def _job(self, student: dspy.LM, meter: Meter) -> Job:
        splits = self.loaded.splits
        variant = self.config.variants.get(self.cell.optimizer)
        most = None if variant is None else variant.train
        train = tuple(in_turn(splits.train, self.loaded.task.label_key, most))
        traces = self.settings.traces
        return Job(
            task=self.loaded.task,
            train=train,
            val=splits.val,
            select=splits.select,
            student_lm=student,
            teacher_lm=self._lm("teacher", meter),
            budget=self.budget,
            seed=self.cell.seed,
            meter=meter,
            corpus_metric=self.metric,
            layer=self.layer,
            context_tokens=self.task.context_tokens,
            guidelines=self.task.guidelines,
            wording=self.loaded.form.wording,
            pld=self.config.pld_settings(self.task, self.cell.optimizer),
            embedder=self.config.embedder,
            traces=traces.paths if traces.imported else None,
            guides=self.guides,
        )

    def _guides(self) -> Path | None:
        given, imported = self.task.guides, self.settings.traces.imported
        return data_file(given, "guides") if given is not None and imported else None

    def _archive(self, student: dspy.LM, meter: Meter) -> Archive:
        splits = self.loaded.splits
        return Archive(
            task=self.loaded.task,
            metric=self.metric,
            val=[*splits.val, *splits.select],
            curve=splits.val,
            test=splits.test,
            student=student,
            meter=meter,
        )

    def _inner(self, role: Role) -> dspy.LM:
        return self.models.student if role == "student" else self.models.teacher

    def _tape(self, role: Role) -> Tape:
        """Return the tape that all cells of this task, split, seed, and model of the role share.

        A teacher that explains for one student need not be asked again for another.
        """
        cell = self.cell
        model = cell.student if role == "student" else cell.teacher
        shared = (cell.task, role, model, cell.split_by, str(cell.seed))
        return Tape(self.plan.runs / "tapes" / "-".join(shared), cell.name.replace("/", "-"))

    def _lm(self, role: Role, meter: Meter, **changes: Any) -> dspy.LM:
        return metered_lm(self._inner(role), role, meter, self.tapes[role], **changes)

    def _test(self, found: Found, meter: Meter) -> Evaluation:
        with dspy.context(callbacks=[]):
            return self._evaluator(found, meter).run(
                found.program,
                self.loaded.splits.test,
                candidate_id=self.cell.optimizer,
                split="test",
            )

    def _evaluator(self, found: Found, meter: Meter) -> Evaluator:
        changes: dict[str, Any] = {}
        if found.max_tokens is not None:
            usual = self._inner(found.answers).kwargs.get("max_tokens") or 0
            changes["max_tokens"] = max(found.max_tokens, usual)
        return self.layer.evaluator(self._lm(found.answers, meter, cache=False, **changes))


def _check_module(optimizer: Optimizer) -> None:
    if optimizer.module is None:
        return
    # Not imported here: TextGrad makes a folder for its logs when it is.
    if importlib.util.find_spec(optimizer.module) is None:
        msg = f"{optimizer.name} needs {optimizer.module} of the extra `compare`; run `make rivals`"
        raise ConfigError(msg)


def _versions() -> dict[str, str]:
    found = package_versions()
    for package in PACKAGES:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found
