"""Answers, scores, intervals and usage."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

Split = Literal["train", "val", "select", "test"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """Answer of the program to one example, with its score."""

    example_id: str
    gold: str
    answer: str | None
    """The label: the one that was read from the output, or the one that a decision chose; None if
    there is none (counted as wrong)."""
    raw: str = ""
    """The raw output."""
    score: float = 0.0
    """Per-example score in [0, 1]; 1.0 is right."""
    error: str | None = None
    """Message of the error that the program raised; such an answer is wrong, and counted separately."""
    calls: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    p_gold: float | None = None
    """Probability of the gold label among the closed label set, in [0, 1]; 0.0 if it is not among the
    alternatives that the endpoint returned. None if it was not requested, not returned, or cannot be
    computed from the tokens."""
    read: str | None = None
    """The label read from the output, whatever the decision; None if there is none."""
    probabilities: Mapping[str, float] | None = None
    """Probability of each label, before a decision corrects it; they sum to 1. None where `p_gold`
    is, except that an answer without a readable label may have them."""

    @property
    def counted(self) -> str | None:
        """The label for a metric: None, which is wrong, if the answer is unreadable or an error."""
        return self.answer if self.error is None else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluation:
    """Answers and score of one candidate on one split."""

    candidate_id: str
    split: Split
    metric: str
    score: float
    """Metric value in [0, 1] (MCC: [-1, 1]); unreadable answers and errors are wrong."""
    answers: tuple[Answer, ...]

    @property
    def unparsed_rate(self) -> float:
        """Share of the answers without error from which no label could be read, in [0, 1]."""
        read = [a for a in self.answers if a.error is None]
        return sum(a.answer is None for a in read) / len(read) if read else 0.0

    @property
    def failures(self) -> int:
        """Number of examples on which the program crashed."""
        return sum(a.error is not None for a in self.answers)

    @property
    def prompt_tokens(self) -> float:
        """Mean input tokens per answered example; counted locally where the endpoint reports none."""
        counted = [a.input_tokens for a in self.answers if a.input_tokens]
        return sum(counted) / len(counted) if counted else 0.0

    @property
    def answer_tokens(self) -> float:
        """Mean output tokens per answered example; 0.0 where the endpoint reports none."""
        counted = [a.output_tokens for a in self.answers if a.output_tokens]
        return sum(counted) / len(counted) if counted else 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Interval:
    """An estimate with its 95% interval."""

    estimate: float
    low: float
    high: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """Calls and tokens of one role, counted at the LM."""

    calls: int = 0
    """Requests, including those answered from a cache."""
    cached_calls: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    cost_usd: float | None = None
    """None where the price is unknown, which is not the same as free."""
