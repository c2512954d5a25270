"""Runs the stages of a compile in order."""

import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import dspy

from pld_dspy.config.optimizer import ClusterConfig, PLDConfig
from pld_dspy.ledger.clock import Clock
from pld_dspy.ledger.store import StageStore
from pld_dspy.ledger.tracker import Tracker
from pld_dspy.ledger.usage import figures, total
from pld_dspy.ledger.versions import package_versions
from pld_dspy.models.forms import shown_text
from pld_dspy.models.lm import is_local_lm, model_name
from pld_dspy.models.prompts import Prompts
from pld_dspy.models.teacher import Teacher
from pld_dspy.records import (
    Embedder,
    PLDResult,
    PredictorResult,
    Progress,
    Rule,
    SearchRecord,
    Split,
    Trace,
)
from pld_dspy.scoring.evaluator import Evaluator, Metric, decision_of, with_decision
from pld_dspy.stages.build import build_program
from pld_dspy.stages.cluster.methods import Clusterer
from pld_dspy.stages.common.candidates import Leaderboard
from pld_dspy.stages.common.checks import Checked
from pld_dspy.stages.common.pools import Pool
from pld_dspy.stages.common.problem import Problem, Target
from pld_dspy.stages.common.topics import Topics, priors_of
from pld_dspy.stages.demos import choose_demos
from pld_dspy.stages.explain import Traces, collect_traces
from pld_dspy.stages.label_words.propose import Sources
from pld_dspy.stages.label_words.stage import Chosen, choose_words
from pld_dspy.stages.pools import Made, PoolMaker
from pld_dspy.stages.refine.protocol import RefineContext, Refinement, Refiner, run_refiner
from pld_dspy.stages.search.stage import search_lists
from pld_dspy.stages.search.topics.stage import search_topics
from pld_dspy.stages.select.selector import SelectContext, Selector, Verdict, run_selector
from pld_dspy.stages.verify.leave_out import leave_out
from pld_dspy.stages.verify.stage import check_rules, left_to_words, verify_pools, warnings_of

logger = logging.getLogger(__name__)


@dataclass(kw_only=True)
class Pipeline:
    """One compile: shared settings and models, and the order of the stages."""

    metric: Metric
    config: PLDConfig
    embedder: Embedder
    clusters: ClusterConfig
    clusterer: Clusterer | None
    """Used instead of the method in `clusters`."""
    refiner: Refiner
    selector: Selector
    tracker: Tracker
    seed: int
    given: Path | str | Sequence[Path | str] | Sequence[Trace] | None
    """Recorded traces, used instead of the teacher's."""
    run_config: Mapping[str, Any] | None
    """Settings with which search workers load the same student; None allows no workers."""
    progress: Progress
    prompts: Prompts
    store: StageStore
    lm: dspy.BaseLM
    teacher_lm: dspy.BaseLM
    data: Mapping[Split, Sequence[dspy.Example]]
    sizes: Mapping[Split, int]
    scored: Target
    """The predictor whose output the metric scores."""
    topics: Topics | None = None
    initial: tuple[Rule, ...] = ()
    """Given rules for the scored predictor; candidates beside those that are distilled."""
    dropped: Counter[str] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        """Set up teacher and evaluator."""
        config = self.config
        self.clock = Clock(self.store, "compile")
        progress = self.clock.noting(self.progress)
        self.teacher = Teacher(
            lm=self.teacher_lm,
            store=self.store,
            threads=config.teacher_threads,
            progress=progress,
            prompts=self.prompts,
        )
        # The same weights judge as well behind the student's server, which reads a prompt once.
        same = model_name(self.lm) == model_name(self.teacher_lm) and is_local_lm(self.lm)
        self.judge = replace(self.teacher, lm=self.lm) if same else self.teacher
        topic_field = None if self.topics is None else self.topics.field
        self.evaluator = Evaluator(
            lm=self.lm,
            metric=self.metric,
            label_key=self.scored.label_key,
            labels=self.scored.labels,
            store=self.store,
            threads=config.threads,
            progress=progress,
            seed=self.seed,
            probabilities=config.search.probabilities,
            decide=config.decide,
            topic_field=topic_field,
            priors=priors_of(
                topic_field, self.data["train"], self.scored.label_key, self.scored.labels
            ),
        )

    def compile(self, student: dspy.Module, targets: Sequence[Target]) -> dspy.Module:
        """Return the program with rules distilled into each target, one after the other."""
        program = student.deepcopy()
        results = []
        for target in targets:
            result = self.distil(program, target, target.path if len(targets) > 1 else "")
            built = build_program(program, target, result.chosen, self.data["train"])
            program = with_decision(built, result.decision or decision_of(built))
            predictor = dict(program.named_predictors())[target.path]
            text = shown_text(predictor, target.labels, result.chosen.prompt)
            self.tracker.prompt(target.path, text, tags={"candidate": result.chosen_id})
            results.append(result)
        self.clock.note()
        program.pld_result = PLDResult(
            predictors=tuple(results),
            usage=total(self.store.spent()),
            dropped=dict(self.dropped),
            split_sizes={str(k): v for k, v in self.sizes.items()},
            seed=self.seed,
            wall_s=self.clock.wall_s,
            versions=package_versions(),
        )
        self.tracker.metrics(figures(program.pld_result.usage))
        program._compiled = False
        return program

    def distil(self, program: dspy.Module, target: Target, name: str) -> PredictorResult:
        """Return the result for one predictor; this is the method, step by step."""
        problem, verifies = self.problem(program, target), self.config.verify
        board = Leaderboard(problem, self.evaluator, self.tracker, predictor=name)
        # Phase 1: the teacher explains labelled examples.
        traces, lost = self.explain(target, problem)
        # Phase 2: clusters of similar traces become rules; those false on training examples go.
        clustering, pools, dropped = self.pools(traces, problem, target)
        sifted = verify_pools(pools, traces, self.judge, target, problem, verifies)
        # Words for labels and demos, if they help; rule lists are scored with both.
        worded = self.words(board, problem, target, Sources(traces, *sifted.checked))
        sifted = left_to_words(sifted, worded.words)
        self.dropped += lost + dropped + sifted.dropped
        pools, problem = sifted.pools, replace(problem, alike=sifted.alike, words=worded.words)
        demos, limit = self.config.demos, self.config.search.max_prompt_tokens
        shown = choose_demos(target, problem, board, self.evaluator, demos, max_prompt_tokens=limit)
        problem = replace(problem, demos=shown)
        for pool in pools:
            if pool.is_candidate:
                board.run(problem.candidate(pool.rules, origin=pool.origin, note=pool.name), "val")
        # Phase 3: edits from the errors, and the search below, need at least one rule.
        refined = self.refine(board, problem, target, traces) if pools else None
        # Size and order, which the paper leaves open.
        record = self.search(board, problem, target, pools, refined) if refined else None
        verdict = self.select(board, record)
        logger.info("%s: %s", target.path, verdict.reason)
        return PredictorResult(
            predictor=target.path,
            traces=traces,
            clustering=clustering,
            rules=board.rules,
            edits=() if refined is None else refined.edits,
            candidates=tuple(board.candidates.values()),
            evaluations=tuple(board.evaluations),
            chosen_id=verdict.chosen.id,
            select_delta=verdict.delta,
            reason=verdict.reason,
            search=record,
            left_out=leave_out(verdict.chosen, board, problem, self.evaluator, verifies),
            decisions=board.decisions(verdict.chosen),
            words=worded.compared,
            warnings=warnings_of(sifted, verdict.chosen, target, problem.train, verifies),
        )

    def explain(self, target: Target, problem: Problem) -> Traces:
        """Return the traces of the training examples, from the teacher or recorded."""
        given, explain, draws = self.given, self.config.explain, self.config.draws
        train = problem.train
        return collect_traces(given, self.teacher, target, train, explain=explain, draws=draws)

    def pools(self, traces: Sequence[Trace], problem: Problem, target: Target) -> Made:
        """Return the clustering of the traces and the rule pools, the given rules last."""
        maker = PoolMaker(
            embedder=self.embedder,
            clusters=self.clusters,
            clusterer=self.clusterer,
            rules=self.config.rules,
            teacher=self.teacher,
            store=self.store,
            progress=self.evaluator.progress,
            seed=self.seed,
        )
        made = maker.make(traces, problem)
        if not self.initial or target != self.scored:
            return made
        return made._replace(pools=(*made.pools, Pool("initial", self.initial, origin="initial")))

    def words(self, board: Leaderboard, problem: Problem, target: Target, of: Sources) -> Chosen:
        """Return the words for the labels that help on validation, if any do."""
        if target != self.scored:
            return Chosen({})
        config = self.config.words
        return choose_words(target, problem, board, self.evaluator, self.teacher, of, config)

    def search(
        self,
        board: Leaderboard,
        problem: Problem,
        target: Target,
        pools: Sequence[Pool],
        refined: Refinement,
    ) -> SearchRecord:
        """Return the record of the search; its lists are added to the leaderboard."""
        lists = {pool.name: pool.rules for pool in pools} | {"refined": refined.best.rules}
        ranked, config = board.ranked(lists, problem), self.config.search
        if any(rule.scope is not None for rules in lists.values() for rule in rules):
            return search_topics(
                board, problem, ranked, evaluator=self.evaluator, config=config, seed=self.seed
            )
        shared = {
            "config": self.run_config,
            "predictor": target.path,
            "demos": problem.demos,
            "words": dict(problem.words),
        }
        return search_lists(
            board,
            problem,
            ranked,
            evaluator=self.evaluator,
            config=config,
            seed=self.seed,
            # With this, search workers load the same student; without a config there are none.
            spec=None if self.run_config is None else shared,
        )

    def select(self, board: Leaderboard, record: SearchRecord | None) -> Verdict:
        """Return the verdict of the selector."""
        context = SelectContext(
            candidates=tuple(board.candidates.values()),
            val=board.scores["val"],
            run=lambda candidate: board.run(candidate, "select"),
            evaluator=self.evaluator,
            max_prompt_tokens=self.config.search.max_prompt_tokens,
            forecasts={} if record is None else record.forecasts,
        )
        return run_selector(self.selector, context)

    def problem(self, program: dspy.Module, target: Target) -> Problem:
        """Return the predictor's task and examples, and how to build its programs."""
        return Problem(
            task=target.signature.instructions,
            signature=target.signature,
            labels=target.labels,
            build=lambda candidate: build_program(program, target, candidate, self.data["train"]),
            train=self.data["train"],
            val=self.data["val"],
            select=self.data["select"],
            seed=self.seed,
            topics=self.topics,
        )

    def refine(
        self, board: Leaderboard, problem: Problem, target: Target, traces: Sequence[Trace]
    ) -> Refinement:
        """Return the refinement of the best list; its lists are added to the leaderboard."""
        start = board.best(with_rules=True)
        if target.label_key != self.scored.label_key:
            logger.info("%s: no refinement, its output is not the one scored", target.path)
            return Refinement(start)
        about: dict[str, Any] = {"problem": problem, "traces": traces, "teacher": self.teacher}
        score, evaluator = board.scores["val"][start.id], self.evaluator

        def check(rules: Sequence[Rule]) -> Checked:
            found = check_rules(rules, self.judge, target, problem, self.config.verify)
            self.dropped.update(found.dropped)
            return found

        context = RefineContext(start=start, score=score, evaluator=evaluator, check=check, **about)
        refined = run_refiner(self.refiner, context)
        self.dropped["edit lines that could not be read"] += refined.unreadable
        self.dropped.update(refined.left_out)
        for candidate, evaluation in zip(refined.candidates, refined.evaluations, strict=True):
            board.add(candidate, evaluation)
        return refined
