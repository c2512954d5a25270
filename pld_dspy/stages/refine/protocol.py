"""What a refiner gets and returns, and the check of what one returned."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from pld_dspy.config.callables import described
from pld_dspy.data.examples import example_id
from pld_dspy.errors import DataError
from pld_dspy.models.teacher import Teacher
from pld_dspy.records import Candidate, Edit, Evaluation, Trace
from pld_dspy.scoring.evaluator import Evaluator
from pld_dspy.stages.common.problem import Problem


class Refinement(NamedTuple):
    """The refined list, and everything that was tried on the way to it."""

    best: Candidate
    candidates: tuple[Candidate, ...] = ()
    """The lists that were scored on validation, in order."""
    evaluations: tuple[Evaluation, ...] = ()
    """Their evaluations, in the same order."""
    edits: tuple[Edit, ...] = ()
    """The edit that made each of these lists, in the same order; empty if none was recorded."""
    unreadable: int = 0
    """Edit lines that could not be read."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RefineContext:
    """What a refiner works with. Fields may be added; none goes without a major version."""

    start: Candidate
    """The list to improve; it has at least one rule."""
    score: Evaluation
    """Evaluation of `start` on the validation examples."""
    problem: Problem
    evaluator: Evaluator
    """Scores programs of the student; answers that are stored are not paid for again."""
    teacher: Teacher
    traces: Sequence[Trace]
    """Explanations of training examples, the evidence for new rules."""


class Refiner(Protocol):
    """Improves a rule list from the errors of the student (PLD phase 3).

    It is called once per predictor, after merging and before the search. It may score lists on
    `context.problem.train` and `.val`; `.select` is kept for the final selection. Every list that it
    scored on validation belongs into the result, so that the search and the selection see it. An
    exception ends the compile; what was answered is kept.

    >>> class KeepAsIs:
    ...     def __call__(self, context: RefineContext) -> Refinement:
    ...         return Refinement(best=context.start)
    >>> refiner: Refiner = KeepAsIs()  # PLD(refiner=KeepAsIs(), ...)
    """

    def __call__(self, context: RefineContext) -> Refinement:
        """Return a list that is no worse than `context.start` on the validation examples."""


def run_refiner(refiner: Refiner, context: RefineContext) -> Refinement:
    """Return the checked refinement of a refiner.

    Raises:
        DataError: It returned something else than a `Refinement`, or lists without their
            evaluations on the validation examples.
    """
    name = getattr(refiner, "__name__", type(refiner).__name__)
    found = refiner(context)
    if not isinstance(found, Refinement):
        msg = f"refiner {name} returned {described(found)}; return a Refinement"
        raise DataError(msg)
    made, scores = len(found.candidates), len(found.evaluations)
    if made != scores:
        msg = f"refiner {name} returned {made} candidates with {scores} evaluations; return one evaluation per candidate"
        raise DataError(msg)
    if found.edits and len(found.edits) != made:
        msg = f"refiner {name} returned {made} candidates with {len(found.edits)} edits; return one edit per candidate, or none"
        raise DataError(msg)
    examples = {example_id(example) for example in context.problem.val}
    for candidate, score in zip(found.candidates, found.evaluations, strict=True):
        told = {answer.example_id for answer in score.answers}
        if (score.candidate_id, score.split) != (candidate.id, "val") or told != examples:
            msg = f"refiner {name} returned the list {candidate.id} with an evaluation of {score.candidate_id} on {len(told)} {score.split} examples; score it on all {len(examples)} of context.problem.val"
            raise DataError(msg)
    if found.best.id not in {context.start.id, *(c.id for c in found.candidates)}:
        msg = f"refiner {name} returned the list {found.best.id} as best, which it did not score; return it among the candidates, with its evaluation"
        raise DataError(msg)
    return found
