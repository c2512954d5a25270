"""How a label is chosen from the label probabilities of an answer."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, Self, get_args

from pld_dspy.errors import DataError

Decide = Literal["greedy", "probable", "calibrated"]
"""How a label is chosen: the label that the answer names (`greedy`), the label with the largest
probability (`probable`), or the latter after a correction fitted to labelled answers (`calibrated`)."""

Kind = Literal[
    "greedy", "probable", "mean", "offsets", "offsets and temperature", "offsets by topic"
]
"""Forms of a fitted decision; `mean` is batch calibration (Zhou et al., arXiv 2309.17249)."""

FLOOR = 1e-6
"""Smallest probability that a label is given, so that its logarithm exists."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """A correction of label probabilities: `log p / temperature + offset`; the largest one is chosen.

    >>> decision = Decision(kind="offsets", offsets={"race": 2.0, "gender": 0.0})
    >>> decision.choose({"gender": 0.8, "race": 0.2})
    'race'
    """

    kind: Kind
    """`greedy` corrects nothing and takes the label that the answer names."""
    offsets: Mapping[str, float] = field(default_factory=dict)
    """By label; 0 for others."""
    temperature: float = 1.0
    topic_field: str | None = None
    """Input field whose value is the topic; None means the same offsets for all inputs."""
    topic_offsets: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    """By topic, then label: added to `offsets`; 0 for other topics."""

    def adjusted(
        self, probabilities: Mapping[str, float], topic: str | None = None
    ) -> dict[str, float]:
        """Return the corrected probabilities by label; they sum to 1."""
        extra = self.topic_offsets.get(topic, {}) if topic is not None else {}
        logits = {
            label: math.log(max(p, FLOOR)) / self.temperature
            + self.offsets.get(label, 0.0)
            + extra.get(label, 0.0)
            for label, p in probabilities.items()
        }
        top = max(logits.values())
        parts = {label: math.exp(logit - top) for label, logit in logits.items()}
        total = math.fsum(parts.values())
        return {label: part / total for label, part in parts.items()}

    def choose(self, probabilities: Mapping[str, float], topic: str | None = None) -> str:
        """Return the label with the largest corrected probability; of equals, the first one."""
        adjusted = self.adjusted(probabilities, topic)
        return max(adjusted, key=lambda label: adjusted[label])

    def to_dict(self) -> dict[str, Any]:
        """Return the decision as JSON-compatible values."""
        return {
            "kind": self.kind,
            "offsets": dict(self.offsets),
            "temperature": self.temperature,
            "topic_field": self.topic_field,
            "topic_offsets": {topic: dict(by) for topic, by in self.topic_offsets.items()},
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """Return the decision that `to_dict` made these values of.

        Raises:
            DataError: The values are not those of a decision.
        """
        try:
            made = cls(**values)
        except TypeError as error:
            msg = f"the stored decision cannot be read: {error}; save the program again"
            raise DataError(msg) from error
        numbers = [made.temperature, *made.offsets.values()]
        if made.kind not in get_args(Kind) or not all(math.isfinite(n) for n in numbers):
            msg = f"the stored decision is {made}; save the program again"
            raise DataError(msg)
        return made
