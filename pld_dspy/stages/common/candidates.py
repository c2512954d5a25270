"""Candidates of one predictor and their scores."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal

import dspy

from pld_dspy.ledger.tracker import Tracker
from pld_dspy.records import Candidate, Decision, Evaluation, Event, Rule
from pld_dspy.scoring.evaluator import Evaluator, with_decision
from pld_dspy.stages.common.problem import Problem
from pld_dspy.stages.common.targets import in_turn

STAGE = "decision"
"""Stage of the progress events of training answers that decisions are fitted to."""


class Leaderboard:
    """All candidates of one predictor with their scores; each score is logged once."""

    def __init__(
        self, problem: Problem, evaluator: Evaluator, tracker: Tracker, *, predictor: str = ""
    ) -> None:
        """Set up an empty leaderboard.

        Args:
            problem: Has the examples, and builds the programs.
            evaluator: Scores candidates.
            tracker: Logs the scores.
            predictor: Path of the predictor, for names of metrics and plots; "" if the program
                has only one.
        """
        self.predictor = predictor
        self._build = problem.build
        self._examples = {"val": problem.val, "select": problem.select}
        self._train = problem.train
        self._curves = re.sub(r"[^\w./-]+", "_", f"{predictor}/") if predictor else ""
        self._evaluator = evaluator
        self._tracker = tracker
        self.candidates: dict[str, Candidate] = {}
        self.evaluations: list[Evaluation] = []
        self.scores: dict[str, dict[str, Evaluation]] = {"val": {}, "select": {}}

    def run(self, candidate: Candidate, split: Literal["val", "select"]) -> Evaluation:
        """Return the evaluation of the candidate on the split, from the board or else made now.

        On the selection examples, labels are chosen by the decision that fits the candidate's
        validation answers.
        """
        known = self.scores[split].get(candidate.id)
        if known is not None:
            return known
        program = self._build(candidate)
        if split == "select" and candidate.id in self.scores["val"]:
            program = with_decision(program, self._evaluator.fit(program, self._examples["val"]))
        evaluation = self._evaluator.run(
            program,
            self._examples[split],
            candidate_id=candidate.id,
            split=split,
        )
        self.add(candidate, evaluation)
        return evaluation

    def add(self, candidate: Candidate, evaluation: Evaluation) -> None:
        """Add an existing evaluation; a second one on the same split is ignored."""
        self.candidates.setdefault(candidate.id, candidate)
        if candidate.id in self.scores[evaluation.split]:
            return
        self.scores[evaluation.split][candidate.id] = evaluation
        self.evaluations.append(evaluation)
        self._tracker.candidate(candidate, evaluation)
        scores = [e.score for e in self.scores["val"].values()]
        self._tracker.metrics(
            {
                f"{self._curves}{evaluation.split}/score": evaluation.score,
                f"{self._curves}val/best": max(scores),
            },
            step=len(self.evaluations),
        )

    def decisions(self, chosen: Candidate) -> dict[str, Decision]:
        """Return by id how labels are chosen, for `chosen`, its words and demos alone, and as given.

        Each is fitted to the answers to the validation and selection examples that the candidate was
        scored on, and without rules and demos to at most as many training examples, which are of other
        groups and are asked about now. Rules and demos are made of training examples, so with them the
        student is surer of these than of new ones; and the label shares of topics are those of training,
        so with topics they do not count either. A candidate whose answers are taken as read is left out.
        """
        bare = [
            c
            for c in self.candidates.values()
            if not c.rules and c.demos in ((), chosen.demos) and c.words in ({}, chosen.words)
        ]
        found: dict[str, Decision] = {}
        for candidate in {c.id: c for c in (*bare, chosen)}.values():
            program = self._build(candidate)
            known = self._labelled(candidate)
            fit = self._evaluator.fit(program, known, split="train", progress=self._report)
            if fit is not None and fit.kind != "greedy":
                found[candidate.id] = fit
        return found

    def _report(self, event: Event) -> None:
        self._evaluator.progress(replace(event, stage=STAGE))

    def _labelled(self, candidate: Candidate) -> list[dspy.Example]:
        """Return the examples that the decision for the candidate is fitted to."""
        scored = [split for split in ("val", "select") if candidate.id in self.scores[split]]
        known = [example for split in scored for example in self._examples[split]]
        answers = (a for split in scored for a in self.scores[split][candidate.id].answers)
        fits = self._evaluator.decide == "calibrated" and any(a.probabilities for a in answers)
        if not fits or candidate.rules or candidate.demos or self._evaluator.priors:
            return known
        return [*known, *in_turn(self._train, self._evaluator.label_key, len(known))]

    def keep(self, path: Path) -> None:
        """Log a file as an artifact of the run."""
        self._tracker.file(path)

    def ranked(
        self, pools: Mapping[str, Sequence[Rule]], problem: Problem
    ) -> dict[str, Sequence[Rule]]:
        """Return the pools sorted by the validation score of the whole pool as one list, best first."""

        def score(rules: Sequence[Rule]) -> float:
            whole = problem.candidate(rules, origin="search")
            known = self.scores["val"].get(whole.id)
            return known.score if known is not None else float("-inf")

        return dict(sorted(pools.items(), key=lambda item: -score(item[1])))

    def best(self, *, with_rules: bool) -> Candidate:
        """Return the best candidate on validation; ties go to the shorter prompt."""
        pool = [c for c in self.candidates.values() if c.rules or not with_rules]
        return min(pool, key=lambda c: (-self.scores["val"][c.id].score, len(c.prompt), c.id))

    @property
    def rules(self) -> tuple[Rule, ...]:
        """Every rule of the candidates, each once, in order of creation."""
        return tuple({rule.id: rule for c in self.candidates.values() for rule in c.rules}.values())
