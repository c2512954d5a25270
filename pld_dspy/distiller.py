"""The order of the stages, and nothing that a stage knows better."""

import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import dspy

from pld_dspy.config.optimizer import PLDConfig
from pld_dspy.data.splits import example_id
from pld_dspy.errors import NoTracesError
from pld_dspy.ledger.clock import Clock
from pld_dspy.ledger.store import StageStore
from pld_dspy.ledger.tracker import Tracker
from pld_dspy.ledger.usage import total
from pld_dspy.ledger.versions import package_versions
from pld_dspy.models.embedder import embed
from pld_dspy.models.teacher import Teacher
from pld_dspy.records import (
    Candidate,
    Edit,
    Embedder,
    Origin,
    PLDResult,
    PredictorResult,
    Progress,
    Rule,
    SearchRecord,
    Split,
    Trace,
)
from pld_dspy.scoring.evaluator import Evaluator, Metric
from pld_dspy.stages.cluster.stage import cluster_traces
from pld_dspy.stages.common.candidates import Board
from pld_dspy.stages.common.dedupe import unique
from pld_dspy.stages.common.problem import Problem, Target
from pld_dspy.stages.common.prompt import make_candidate, with_demos, with_prompt
from pld_dspy.stages.common.targets import in_turn
from pld_dspy.stages.demos import draw_demos, helps, shown, worth
from pld_dspy.stages.explain import Traces, extract_traces, import_traces
from pld_dspy.stages.merge.per_cluster import Synthesis, synthesize
from pld_dspy.stages.merge.side_by_side import contrast
from pld_dspy.stages.merge.with_instances import with_examples
from pld_dspy.stages.refine.stage import refine
from pld_dspy.stages.search.stage import search_lists
from pld_dspy.stages.select import select

logger = logging.getLogger(__name__)

_BOTH = "general and merged"


@dataclass(kw_only=True)
class Distiller:
    """One compile: what the stages share, and their order."""

    metric: Metric
    embedder: Embedder
    config: PLDConfig
    tracker: Tracker
    seed: int
    given: Path | str | Sequence[Trace] | None
    """Recorded traces in place of the teacher's."""
    progress: Progress
    store: StageStore
    lm: dspy.BaseLM
    teacher: dspy.BaseLM
    data: Mapping[Split, Sequence[dspy.Example]]
    label_key: str
    labels: tuple[str, ...]
    spec: Mapping[str, Any] | None = None
    """Settings of the run, from which a worker elsewhere asks the same student; None lets none join."""

    def __post_init__(self) -> None:
        self.clock = Clock(self.store, "compile")
        self.progress = self.clock.noting(self.progress)
        self.dropped: Counter[str] = Counter()
        self.evaluator = Evaluator(
            lm=self.lm,
            metric=self.metric,
            label_key=self.label_key,
            labels=self.labels,
            store=self.store,
            threads=self.config.threads,
            progress=self.progress,
            seed=self.seed,
            probabilities=self.config.search.probabilities,
        )

    def distill(
        self, student: dspy.Module, targets: Sequence[Target], sizes: Mapping[Split, int]
    ) -> dspy.Module:
        """Return the program after one predictor after the other was distilled into."""
        program = student.deepcopy()
        results = []
        for target in targets:
            name = target.path if len(targets) > 1 else ""
            result = self._one(program, target, name)
            program = self._build(program, target, result.chosen)
            self.tracker.prompt(
                target.path, result.chosen.prompt, tags={"candidate": result.chosen_id}
            )
            results.append(result)
        self.clock.note()
        usage = total(self.store.spent())
        program.pld_result = PLDResult(
            predictors=tuple(results),
            usage=usage,
            dropped=dict(self.dropped),
            split_sizes={str(k): v for k, v in sizes.items()},
            seed=self.seed,
            wall_s=self.clock.wall_s,
            versions=package_versions(),
        )
        self.tracker.metrics(
            {
                f"usage/{role}_{name}": float(value)
                for role, spent in usage.items()
                for name, value in asdict(spent).items()
                if value is not None
            }
        )
        program._compiled = False
        return program

    def _one(self, program: dspy.Module, target: Target, name: str) -> PredictorResult:
        config, seed = self.config, self.seed
        teacher = Teacher(
            lm=self.teacher,
            store=self.store,
            threads=config.teacher_threads,
            progress=self.progress,
        )
        problem = Problem(
            task=target.signature.instructions,
            signature=target.signature,
            labels=target.labels,
            build=lambda candidate: self._build(program, target, candidate),
            train=self.data["train"],
            val=self.data["val"],
            select=self.data["select"],
            seed=seed,
        )
        traces = self._traces(teacher, target)
        vectors = embed([trace.rule for trace in traces], self.embedder, self.store)
        clustering = cluster_traces(traces, vectors, config.clusters, seed=seed)
        for warning in clustering.diagnosis.warnings:
            logger.warning("clusters: %s", warning)
        synthesis = synthesize(
            clustering,
            traces,
            teacher,
            task=problem.task,
            labels=target.labels,
            config=config.rules,
        )
        contrasts = contrast(
            traces,
            teacher,
            task=problem.task,
            labels=target.labels,
            draws=config.rules.contrast,
        )
        self.dropped.update(synthesis.dropped + contrasts.dropped)
        board = Board(problem, self.evaluator, self.tracker, predictor=name)
        pools = _pools(synthesis, config.rules.duplicate_cosine)
        for number, rules in enumerate(contrasts.lists, 1):
            pools[f"all labels side by side, {number}"] = rules
        grounded = with_examples(
            synthesis.general,
            traces,
            problem.train,
            target.signature,
            count=config.rules.examples,
        )
        if grounded:
            pools["general with examples"] = grounded
        board.problem = problem = self._shown(board, target)
        for name, rules in pools.items():
            if name == _BOTH:
                continue  # the search takes from it what it needs
            origin: Origin = "medoid" if name == "medoids" else "synthesis"
            board.run(problem.candidate(rules, origin=origin, note=name), "val")
        # Without a pool (all traces are noise, say) there is nothing to edit or to put in order.
        edits: tuple[Edit, ...] = ()
        record: SearchRecord | None = None
        if pools:
            edits, record = self._improve(board, pools, target, teacher, traces)
        chosen = select(
            tuple(board.candidates.values()),
            board.scores["val"],
            run=lambda candidate: board.run(candidate, "select"),
            evaluator=self.evaluator,
            finalists=config.finalists,
            max_p_worse=config.max_p_worse,
            prefer=config.prefer,
            max_prompt_tokens=config.search.max_prompt_tokens,
            forecasts={} if record is None else record.forecasts,
        )
        logger.info("%s: %s", target.path, chosen.reason)
        return PredictorResult(
            predictor=target.path,
            traces=traces,
            clustering=clustering,
            rules=_all_rules(board.candidates.values()),
            edits=edits,
            candidates=tuple(board.candidates.values()),
            evaluations=tuple(board.evaluations),
            chosen_id=chosen.chosen.id,
            select_delta=chosen.delta,
            reason=chosen.reason,
            search=record,
        )

    def _build(self, program: dspy.Module, target: Target, candidate: Candidate) -> dspy.Module:
        changed = with_prompt(program, target.path, candidate.prompt)
        if not candidate.demos:
            return changed
        train, key = self.data["train"], target.label_key
        demos = shown(candidate.demos, train, target.signature, key)
        return with_demos(changed, target.path, demos)

    def _shown(self, board: Board, target: Target) -> Problem:
        """Return the problem with the worked examples that do best on validation, if any help."""
        problem, limit = board.problem, self.config.search.max_prompt_tokens
        best = make_candidate(problem.task, (), origin="as given")
        bare = board.run(best, "val")
        score = worth(bare)
        for ids, note in draw_demos(target, self.data["train"], self.config.demos, seed=self.seed):
            candidate = make_candidate(problem.task, (), origin="demos", note=note, demos=ids)
            evaluation = board.run(candidate, "val")
            if limit is not None and evaluation.prompt_tokens > limit:
                continue
            if worth(evaluation) > score and helps(
                self.evaluator.compare(bare, evaluation), self.config.demos
            ):
                best, score = candidate, worth(evaluation)
        return replace(problem, demos=best.demos)

    def _improve(
        self,
        board: Board,
        pools: Mapping[str, Sequence[Rule]],
        target: Target,
        teacher: Teacher,
        traces: Sequence[Trace],
    ) -> tuple[tuple[Edit, ...], SearchRecord]:
        """Edit the best list, then search sizes and orders; return the edits, and what was searched."""
        config = self.config.refine
        if target.label_key != self.label_key:
            # The answers scored are of another output: they do not show this predictor's mistakes.
            logger.info("%s: no refinement, its output is not the one scored", target.path)
            config = config.model_copy(update={"rounds": 0})
        start = board.best(with_rules=True)
        refined = refine(
            start,
            board.scores["val"][start.id],
            board.problem,
            evaluator=self.evaluator,
            teacher=teacher,
            traces=traces,
            config=config,
        )
        self.dropped["edit lines that could not be read"] += refined.unreadable
        for candidate, evaluation in zip(refined.candidates, refined.evaluations, strict=True):
            board.add(candidate, evaluation)
        record = search_lists(
            board,
            board.ranked({**pools, "refined": refined.best.rules}),
            evaluator=self.evaluator,
            config=self.config.search,
            seed=self.seed,
            spec=None
            if self.spec is None
            else {
                "config": self.spec,
                "predictor": target.path,
                "demos": list(board.problem.demos),
            },
        )
        return refined.edits, record

    def _traces(self, teacher: Teacher, target: Target) -> tuple[Trace, ...]:
        given = self.given
        if given is None:
            found = extract_traces(
                teacher,
                in_turn(self.data["train"], target.label_key, self.config.explain),
                signature=target.signature,
                label_key=target.label_key,
                labels=target.labels,
                draws=self.config.draws,
            )
        elif isinstance(given, Path | str):
            found = import_traces(Path(given), self.data["train"], label_key=target.label_key)
        else:
            found = _of_train(given, self.data["train"])
        self.dropped.update(found.dropped)
        return found.traces


def _pools(synthesis: Synthesis, threshold: float) -> dict[str, tuple[Rule, ...]]:
    pools = {
        "general": synthesis.general,
        "merged": synthesis.merged,
        "medoids": synthesis.medoids,
    }
    if synthesis.general:
        pools[_BOTH] = unique((*synthesis.general, *synthesis.merged), threshold)
    return {name: rules for name, rules in pools.items() if rules}


def _of_train(given: Sequence[Trace], train: Sequence[dspy.Example]) -> Traces:
    """Return the traces about training examples; others would tell of what scores are taken on."""
    known = {example_id(example) for example in train}
    kept = tuple(trace for trace in given if trace.example_id in known)
    if not kept:
        msg = f"none of the {len(given)} traces is about one of the {len(known)} training examples; check the ids"
        raise NoTracesError(msg)
    lost = Counter({"recorded traces of examples that are not in train": len(given) - len(kept)})
    return Traces(kept, +lost)


def _all_rules(candidates: Sequence[Candidate] | Any) -> tuple[Rule, ...]:
    return tuple({rule.id: rule for c in candidates for rule in c.rules}.values())
