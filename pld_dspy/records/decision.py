"""How a label is chosen from the label probabilities of an answer."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from typing import Any, Literal, Self, get_args

from pld_dspy.errors import ConfigError, DataError

Decide = Literal["greedy", "probable", "calibrated"]
"""How a label is chosen: the label that the answer names (`greedy`), the label with the largest
probability (`probable`), or the latter after a correction fitted to labelled answers (`calibrated`)."""

Kind = Literal[
    "greedy", "probable", "mean", "offsets", "offsets and temperature", "offsets by topic"
]
"""Forms of a fitted decision; `mean` is batch calibration (Zhou et al., arXiv 2309.17249)."""

FLOOR = 1e-6
"""Smallest probability that a label is given, so that its logarithm exists."""

MOST = 100.0
"""Largest token bias that endpoints take."""

LIFT = 30.0
"""Bias of the first tokens of all labels, in nats, so that no other token comes first."""

Tokenizer = Callable[[str], Sequence[int]]
"""Returns the token ids of a text, without a token for its beginning."""


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

    def logit_bias(
        self, words: Mapping[str, Sequence[str]], tokens: Tokenizer, *, topic: str | None = None
    ) -> dict[int, float]:
        """Return the bias by token id under which an endpoint itself answers as this decides.

        Each first token of a label gets the label's offset in units of its log-probability,
        temperature times offset, and `LIFT`. At temperature 0 the first token of the answer then
        begins the label that is chosen here; where several spellings share its probability, close
        cases may differ. Ask for one token only: the bias holds for later ones too, and spoils them.
        Empty for a decision that corrects nothing.

        Args:
            words: The words that the student sees for each label.
            tokens: Of the model that is asked.
            topic: For offsets by topic: each topic has a bias of its own.

        Raises:
            ConfigError: Two labels begin with the same token, a label has several words, or a bias is
                above `MOST`.
        """
        if self.kind == "greedy":
            return {}
        for label, several in words.items():
            if len(several) > 1:
                msg = f"the label {label!r} has several words ({', '.join(several)}), whose probabilities a bias cannot add up; choose labels from log-probabilities, or show the label as one word"
                raise ConfigError(msg)
        first = {label: _first_tokens(own[0], tokens) for label, own in words.items()}
        for one, two in combinations(first, 2):
            if shared := first[one] & first[two]:
                msg = f"the labels {one!r} and {two!r} begin with the same token ({min(shared)}), and a bias cannot tell them apart; show the labels as letters (labels_as)"
                raise ConfigError(msg)
        extra = self.topic_offsets.get(topic, {}) if topic is not None else {}
        bias: dict[int, float] = {}
        for label, ids in first.items():
            offset = self.offsets.get(label, 0.0) + extra.get(label, 0.0)
            value = LIFT + self.temperature * offset
            if abs(value) > MOST:
                msg = f"the bias of {label!r} is {value:.0f}, and endpoints take at most {MOST:.0f}; choose labels from log-probabilities instead"
                raise ConfigError(msg)
            bias |= dict.fromkeys(sorted(ids), round(value, 4))
        return bias

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


def _first_tokens(word: str, tokens: Tokenizer) -> frozenset[int]:
    spellings = {space + form for form in (word, word.capitalize()) for space in ("", " ")}
    return frozenset(ids[0] for text in spellings if (ids := tokens(text)))
