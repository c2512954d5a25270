"""The candidates of one predictor with their scores, logged as they come."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal

from pld_dspy.ledger.tracker import Tracker
from pld_dspy.records import Candidate, Evaluation, Rule
from pld_dspy.scoring.evaluator import Evaluator
from pld_dspy.stages.common.problem import Problem


class Board:
    """Every candidate of one predictor with its scores, logged as they come."""

    def __init__(
        self, problem: Problem, evaluator: Evaluator, tracker: Tracker, *, predictor: str = ""
    ) -> None:
        """Start empty.

        Args:
            problem: The predictor under work.
            evaluator: Scores candidates.
            tracker: Where they are logged.
            predictor: Path of the predictor, where the program has several: it tells apart what they
                log and draw.
        """
        self.problem = problem
        self.predictor = predictor
        self._curves = re.sub(r"[^\w./-]+", "_", f"{predictor}/") if predictor else ""
        self._evaluator = evaluator
        self._tracker = tracker
        self.candidates: dict[str, Candidate] = {}
        self.evaluations: list[Evaluation] = []
        self.scores: dict[str, dict[str, Evaluation]] = {"val": {}, "select": {}}

    def run(self, candidate: Candidate, split: Literal["val", "select"]) -> Evaluation:
        """Return the evaluation on that split, made now unless it is known."""
        known = self.scores[split].get(candidate.id)
        if known is not None:
            return known
        evaluation = self._evaluator.run(
            self.problem.build(candidate),
            self.problem.val if split == "val" else self.problem.select,
            candidate_id=candidate.id,
            split=split,
        )
        self.add(candidate, evaluation)
        return evaluation

    def add(self, candidate: Candidate, evaluation: Evaluation) -> None:
        """Note an evaluation that was made elsewhere."""
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

    def keep(self, path: Path) -> None:
        """Keep a file among the artifacts of the tracked run."""
        self._tracker.file(path)

    def ranked(self, pools: Mapping[str, Sequence[Rule]]) -> dict[str, Sequence[Rule]]:
        """Return the pools, those whose whole list scored best on validation first."""

        def score(rules: Sequence[Rule]) -> float:
            whole = self.problem.candidate(rules, origin="search")
            known = self.scores["val"].get(whole.id)
            return known.score if known is not None else float("-inf")

        return dict(sorted(pools.items(), key=lambda item: -score(item[1])))

    def best(self, *, with_rules: bool) -> Candidate:
        """Return the best candidate on validation; ties go to the shorter prompt."""
        pool = [c for c in self.candidates.values() if c.rules or not with_rules]
        return min(pool, key=lambda c: (-self.scores["val"][c.id].score, len(c.prompt), c.id))
