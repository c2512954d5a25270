"""The contract of a selector: what it gets, and what it returns."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from pld_dspy.config.callables import described
from pld_dspy.errors import DataError
from pld_dspy.records import Candidate, Evaluation, Interval
from pld_dspy.scoring.evaluator import Evaluator


@dataclass(frozen=True, slots=True, kw_only=True)
class SelectContext:
    """Input of a selector. Fields may be added; removing one needs a major version."""

    candidates: Sequence[Candidate]
    """All candidates; the first is the student as given."""
    val: Mapping[str, Evaluation]
    """Validation evaluations by candidate id; candidates without one must not be chosen."""
    run: Callable[[Candidate], Evaluation]
    """Scores a candidate on the selection examples, which are held out from all earlier stages."""
    evaluator: Evaluator
    """Compares two evaluations of the same examples."""
    max_prompt_tokens: int | None = None
    """Maximum mean input tokens per call of the chosen candidate; None means no limit."""
    forecasts: Mapping[str, float] = field(default_factory=dict)
    """Expected validation score by candidate id, from `SearchRecord.forecasts`; may be empty."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """The chosen candidate, and the evaluations behind the choice."""

    chosen: Candidate
    evaluations: tuple[Evaluation, ...]
    """On the selection examples: the student as given first, then the finalists."""
    delta: Interval | None = None
    """Chosen candidate minus student as given, on the selection examples; None for the latter."""
    reason: str
    """One sentence for the report."""


class Selector(Protocol):
    """Chooses the final candidate (the paper keeps the last state).

    It is called once per predictor, after the search. It may score candidates on the selection
    examples by `context.run`, and must return one of `context.candidates`. The student as given
    may always be returned; any other candidate only if it has a validation score and is within
    `context.max_prompt_tokens`.

    >>> class BestOnValidation:
    ...     def __call__(self, context: SelectContext) -> Verdict:
    ...         as_given, limit = context.candidates[0], context.max_prompt_tokens
    ...         tokens = {i: e.prompt_tokens for i, e in context.val.items()}
    ...         fitting = [i for i in tokens if limit is None or tokens[i] <= limit]
    ...         best = max(fitting, key=lambda i: context.val[i].score, default=as_given.id)
    ...         chosen = next(c for c in context.candidates if c.id == best)
    ...         scored = (context.run(as_given), context.run(chosen))
    ...         return Verdict(chosen=chosen, evaluations=scored, reason="best on validation")
    >>> selector: Selector = BestOnValidation()  # PLD(selector=BestOnValidation(), ...)
    """

    def __call__(self, context: SelectContext) -> Verdict:
        """Return the chosen candidate, its evaluations, and the reason in one sentence."""


def run_selector(selector: Selector, context: SelectContext) -> Verdict:
    """Return the validated verdict of a selector.

    Raises:
        DataError: It returned no `Verdict`, or one with a candidate not in the context.
    """
    name = getattr(selector, "__name__", type(selector).__name__)
    verdict = selector(context)
    if not isinstance(verdict, Verdict):
        msg = f"selector {name} returned {described(verdict)}; return a Verdict"
        raise DataError(msg)
    chosen = getattr(verdict.chosen, "id", None)
    if chosen not in {candidate.id for candidate in context.candidates}:
        what = described(verdict.chosen) if chosen is None else chosen
        msg = f"selector {name} chose {what}, which is not among the {len(context.candidates)} candidates; return one of context.candidates"
        raise DataError(msg)
    return verdict
