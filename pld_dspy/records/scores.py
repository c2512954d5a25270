"""Answers, scores and usage."""

from dataclasses import dataclass
from typing import Literal

Split = Literal["train", "val", "select", "test"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What the program said to one example."""

    example_id: str
    gold: str
    answer: str | None
    """The label read from the output; None if none could be read (counted as wrong)."""
    raw: str = ""
    """The output as it came."""
    score: float = 0.0
    """Per-example score in [0, 1]; 1.0 is right."""
    error: str | None = None
    """The error that kept the program from answering; such an answer is wrong, and is counted apart."""
    calls: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    p_gold: float | None = None
    """Probability that the answer is the gold label, in [0, 1], among the labels of the closed set;
    0.0 if the alternatives that the endpoint returned hold none of it. None where it was not asked for,
    or the endpoint returns none, or the answer cannot be followed."""

    @property
    def counted(self) -> str | None:
        """The answer as metrics count it: None, which is wrong, if it is unreadable or crashed."""
        return self.answer if self.error is None else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluation:
    """One candidate on one split."""

    candidate_id: str
    split: Split
    metric: str
    score: float
    """Metric value in [0, 1] (MCC: [-1, 1]); an unreadable or crashed answer is wrong."""
    answers: tuple[Answer, ...]

    @property
    def unparsed_rate(self) -> float:
        """Share of answers from which no label could be read, in [0, 1]."""
        read = [a for a in self.answers if a.error is None]
        return sum(a.answer is None for a in read) / len(read) if read else 0.0

    @property
    def failures(self) -> int:
        """Number of examples on which the program crashed."""
        return sum(a.error is not None for a in self.answers)

    @property
    def prompt_tokens(self) -> float:
        """Mean input tokens of one answered example, counted here where the endpoint reports none."""
        counted = [a.input_tokens for a in self.answers if a.input_tokens]
        return sum(counted) / len(counted) if counted else 0.0

    @property
    def answer_tokens(self) -> float:
        """Mean output tokens of one answered example; 0.0 where the endpoint reports none."""
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
    """Calls and tokens of one role, as counted at the LM."""

    calls: int = 0
    """Requests, answered from a cache or not."""
    cached_calls: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    cost_usd: float | None = None
    """None where the price is not known, which is not the same as free."""
