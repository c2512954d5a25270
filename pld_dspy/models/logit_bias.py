"""A fitted decision as `logit_bias`, for deployments that read the text of an answer only."""

from collections.abc import Callable, Mapping, Sequence
from itertools import combinations

import dspy

from pld_dspy.errors import ConfigError
from pld_dspy.models.local.server import is_local, tokenize
from pld_dspy.records import Decision

MOST = 100.0
"""Largest bias that endpoints take."""
LIFT = 30.0
"""Added to the first tokens of all labels, in nats, so that no other token comes first."""

Tokenizer = Callable[[str], Sequence[int]]
"""Returns the token ids of a text, without a token for its beginning."""


def logit_bias(
    decision: Decision | None,
    words: Mapping[str, str],
    tokens: Tokenizer,
    *,
    topic: str | None = None,
) -> dict[int, float]:
    """Return the bias by token id under which the endpoint itself answers as the decision decides.

    Each first token of a label gets the label's offset in units of its log-probability, temperature
    times offset, and `LIFT`. With temperature 0 the answer then begins with the label that the decision
    chooses; where spellings of a label share its probability, it may differ in close cases. Empty for a
    decision that corrects nothing.

    Args:
        decision: How the label is chosen; None reads the text.
        words: The word that the student sees for each label.
        tokens: Of the model that is asked.
        topic: For offsets by topic: each topic has a bias of its own.

    Raises:
        ConfigError: Two labels begin with the same token, or a bias is above what endpoints take.
    """
    if decision is None or decision.kind == "greedy":
        return {}
    first = {label: _first_tokens(word, tokens) for label, word in words.items()}
    for one, two in combinations(first, 2):
        if shared := first[one] & first[two]:
            msg = f"the labels {one!r} and {two!r} begin with the same token ({min(shared)}), and a bias cannot tell them apart; show the labels as letters (labels_as)"
            raise ConfigError(msg)
    extra = decision.topic_offsets.get(topic, {}) if topic is not None else {}
    bias: dict[int, float] = {}
    for label, ids in first.items():
        offset = decision.offsets.get(label, 0.0) + extra.get(label, 0.0)
        value = LIFT + decision.temperature * offset
        if abs(value) > MOST:
            msg = f"the bias of {label!r} is {value:.0f}, and endpoints take at most {MOST:.0f}; choose labels from log-probabilities instead"
            raise ConfigError(msg)
        bias |= dict.fromkeys(sorted(ids), round(value, 4))
    return bias


def _first_tokens(word: str, tokens: Tokenizer) -> frozenset[int]:
    spellings = {space + form for form in (word, word.capitalize()) for space in ("", " ")}
    return frozenset(ids[0] for text in spellings if (ids := tokens(text)))


def tokenizer_of(lm: dspy.BaseLM | None) -> Tokenizer:
    """Return the tokenizer of a model that this process serves.

    Raises:
        ConfigError: It is served elsewhere, and its tokens are not known here.
    """
    address = getattr(lm, "kwargs", {}).get("api_base")
    if not is_local(address):
        model = str(getattr(lm, "model", None))
        msg = f"the tokens of {model} are not known here; give `tokens`, which returns the token ids of a text, such as tiktoken.encoding_for_model('gpt-4o').encode"
        raise ConfigError(msg)
    return lambda text: tokenize(str(address), text)
