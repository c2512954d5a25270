"""The `Refiner` protocol."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from pld_dspy.config.callables import described
from pld_dspy.data.examples import example_id
from pld_dspy.errors import DataError
from pld_dspy.models.teacher import Teacher
from pld_dspy.records import Candidate, Edit, Evaluation, Trace
from pld_dspy.scoring.evaluator import Evaluator
from pld_dspy.stages.common.checks import Check, unchecked
from pld_dspy.stages.common.problem import Problem


class Refinement(NamedTuple):
    """The refined list, and all lists that were tried."""

    best: Candidate
    candidates: tuple[Candidate, ...] = ()
    """The lists that were scored on validation, in order."""
    evaluations: tuple[Evaluation, ...] = ()
    """Their evaluations, in the same order."""
    edits: tuple[Edit, ...] = ()
    """The edit that made each of these lists, in the same order; empty if none was recorded."""
    unreadable: int = 0
    """Number of edit lines that could not be read."""
    left_out: tuple[str, ...] = ()
    """Why edits were not tried, one reason an edit."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RefineContext:
    """Input of a refiner. Fields may be added; removing one needs a major version."""

    start: Candidate
    """The list to improve; it has at least one rule."""
    score: Evaluation
    """Evaluation of `start` on the validation examples."""
    problem: Problem
    evaluator: Evaluator
    """Scores programs of the student; stored answers are reused."""
    teacher: Teacher
    traces: Sequence[Trace]
    """Traces of the training examples, the evidence for new rules."""
    check: Check = unchecked
    """Tells which new rules are false for the training examples; by default none is."""


class Refiner(Protocol):
    """Improves a rule list from the student's errors (PLD phase 3).

    It is called once per predictor, after merging and before the search. It may score lists on
    `context.problem.train` and `.val`; `.select` is held out for the final selection. The result
    must have every list that was scored on validation, for the search and the selection. An
    exception ends the compile; stored answers are kept.

    >>> class KeepAsIs:
    ...     def __call__(self, context: RefineContext) -> Refinement:
    ...         return Refinement(best=context.start)
    >>> refiner: Refiner = KeepAsIs()  # PLD(refiner=KeepAsIs(), ...)
    """

    def __call__(self, context: RefineContext) -> Refinement:
        """Return a list that is no worse than `context.start` on the validation examples."""


def run_refiner(refiner: Refiner, context: RefineContext) -> Refinement:
    """Return the validated refinement of a refiner.

    Raises:
        DataError: It returned no `Refinement`, or lists without evaluations on all of validation.
    """
    name = getattr(refiner, "__name__", type(refiner).__name__)
    refinement = refiner(context)
    if not isinstance(refinement, Refinement):
        msg = f"refiner {name} returned {described(refinement)}; return a Refinement"
        raise DataError(msg)
    made, scores = len(refinement.candidates), len(refinement.evaluations)
    if made != scores:
        msg = f"refiner {name} returned {made} candidates with {scores} evaluations; return one evaluation per candidate"
        raise DataError(msg)
    if refinement.edits and len(refinement.edits) != made:
        msg = f"refiner {name} returned {made} candidates with {len(refinement.edits)} edits; return one edit per candidate, or none"
        raise DataError(msg)
    examples = {example_id(example) for example in context.problem.val}
    for candidate, score in zip(refinement.candidates, refinement.evaluations, strict=True):
        answered = {answer.example_id for answer in score.answers}
        if (score.candidate_id, score.split) != (candidate.id, "val") or answered != examples:
            msg = f"refiner {name} returned the list {candidate.id} with an evaluation of {score.candidate_id} on {len(answered)} {score.split} examples; score it on all {len(examples)} of context.problem.val"
            raise DataError(msg)
    if refinement.best.id not in {context.start.id, *(c.id for c in refinement.candidates)}:
        msg = f"refiner {name} returned the list {refinement.best.id} as best, which it did not score; return it among the candidates, with its evaluation"
        raise DataError(msg)
    return refinement
