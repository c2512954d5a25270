"""Label probabilities from the log-probabilities of an answer's tokens."""

import logging
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Any, NamedTuple

from pld_dspy.models.reading.label_prefix import Prefixes, text_of
from pld_dspy.models.reading.labels import LEAD_IN, read_label

logger = logging.getLogger(__name__)

TOP = 20
"""Number of alternatives requested per token; the maximum of OpenAI's endpoint."""

_HEADING = re.compile(
    r"\W*(?:\[\[ ## \w+ ## \]\]|[^:\n]{1,60}:|(?:the\s+)?(?:\w+\s+)?"
    r"(?:answer|label|option|choice|category|domain|class)\s+is\b)",
    re.IGNORECASE,
)


class Token(NamedTuple):
    """One generated token. Its text is in bytes, because a token may end inside a character."""

    text: bytes
    logprob: float
    """Natural logarithm of its probability given the earlier tokens."""
    top: tuple[tuple[bytes, float], ...] = ()
    """The most probable tokens at this position with their log-probabilities; may include this one."""


def label_probabilities(
    tokens: Sequence[Token], labels: Sequence[str], *, answer: str | None = None
) -> dict[str, float]:
    """Return the probabilities of the labels, which sum to 1; labels without any are left out.

    The tokens are read until only one label remains possible. The probability of each alternative
    token is added to the label that it begins; case, leading markup, and spaces inside a label do
    not matter. An alternative that begins several labels is split evenly among them; one that begins
    none or all is ignored, and the rest is normalised. A lead-in such as `Answer:` is skipped.

    The probabilities are those that the endpoint reports, usually before temperature and other
    sampling settings. A label that is not among the returned alternatives has none.

    Args:
        tokens: The tokens of the answer, in order.
        labels: The closed label set.
        answer: The label read from the answer; None reads it from `tokens`.

    Returns:
        Empty if there are no alternatives, no label was read, or the tokens spell another label.

    >>> tokens = [Token(b" ra", -0.5, ((b" ra", -0.5), (b"Gen", -1.0), (b"The", -4.0)))]
    >>> probabilities = label_probabilities(tokens, ["gender", "race"], answer="race")
    >>> {label: round(p, 3) for label, p in probabilities.items()}
    {'gender': 0.378, 'race': 0.622}
    """
    mass = _label_mass(tokens, labels, answer)
    total = math.fsum(mass.values())
    return {name: part / total for name, part in mass.items() if part > 0} if total > 0 else {}


def label_distribution(
    tokens: Sequence[Token],
    labels: Sequence[str],
    *,
    answer: str | None = None,
    shown: Mapping[str, Sequence[str]] | None = None,
) -> dict[str, float]:
    """Return the probability of every label; they sum to 1, and none is 0.

    That of a label with several words is the sum of theirs. As `label_probabilities`, with two additions
    that a decision needs. If the answer names no label, the alternatives to its first token count, so
    that an answer that begins with other words still has a most probable label. And a label that is not
    among the alternatives gets the probability of the least probable one, which it cannot exceed.

    Args:
        tokens: The tokens of the answer, in order.
        labels: The closed label set.
        answer: The label read from the answer; None if it names none.
        shown: The words that the student sees for each label, as of `shown_labels`; None is the label.

    Returns:
        Empty if no alternative begins a label.

    >>> tokens = [Token(b"To", -0.1, ((b"To", -0.1), (b"b", -3.0), (b"a", -4.0)))]
    >>> found = label_distribution(tokens, ["a", "b", "c"])
    >>> {label: round(p, 3) for label, p in found.items()}
    {'a': 0.212, 'b': 0.576, 'c': 0.212}
    """
    words = {label: (label,) for label in labels} if shown is None else shown
    spelled = _spelled(words)
    said = _said(words, answer)
    mass = _label_mass(tokens, spelled, said) or _first_token_mass(tokens, spelled)
    if not any(mass.values()):
        return {}
    least = min((math.exp(p) for token in tokens[:1] for _, p in token.top), default=0.0)
    floor = min(least or 1.0, *(part for part in mass.values() if part > 0))
    filled = {name: max(_sum(mass, own), floor) for name, own in words.items()}
    total = math.fsum(filled.values())
    return {name: part / total for name, part in filled.items()}


def _label_mass(
    tokens: Sequence[Token], labels: Sequence[str], answer: str | None
) -> dict[str, float]:
    """Return the probability mass by label, not normalised; empty if no label was read."""
    whole = b"".join(token.text for token in tokens)
    label = read_label(text_of(whole), labels) if answer is None else answer
    forms = Prefixes.of(labels)
    if label is None or forms is None:
        return {}
    text = forms.text(whole)
    leads = (match.group() for match in (_HEADING.match(text), LEAD_IN.match(text)) if match)
    for lead in ("", *leads):
        if label not in forms.reached(text.removeprefix(lead)):
            continue
        mass = _walk(tokens, forms, lead, label)
        if math.fsum(mass.values()) > 0:
            return mass
    return {}


def _first_token_mass(tokens: Sequence[Token], labels: Sequence[str]) -> dict[str, float]:
    """Return the probability mass by label that the alternatives to the first token begin."""
    forms = Prefixes.of(labels)
    mass = dict.fromkeys(labels, 0.0)
    if forms is None or not tokens:
        return mass
    for text, logprob in {tokens[0].text: tokens[0].logprob, **dict(tokens[0].top)}.items():
        reached = forms.reached(forms.text(text)) if text.strip() else []
        for label in reached if len(reached) < len(labels) else ():
            mass[label] += math.exp(min(logprob, 0.0)) / len(reached)
    return mass


def read_tokens(logprobs: Any) -> list[Token]:
    """Return the tokens of `prediction.logprobs`; empty if it is None or of another format."""
    content = _get(logprobs, "content")
    tokens = []
    for entry in content if isinstance(content, list | tuple) else ():
        pair = _pair(entry)
        if pair is None:
            return []  # without this token the text would be wrong
        top = _get(entry, "top_logprobs")
        pairs = map(_pair, top) if isinstance(top, list | tuple) else ()
        tokens.append(Token(*pair, tuple(other for other in pairs if other is not None)))
    return tokens


def gold_probability(
    prediction: Any,
    labels: Sequence[str],
    answer: str | None,
    gold: str,
    *,
    shown: Mapping[str, Sequence[str]] | None = None,
) -> float | None:
    """Return the probability of `gold`, in [0, 1], rounded to 6 digits; None if it is unknown.

    Args:
        prediction: With the log-probabilities of its tokens.
        labels: The closed label set.
        answer: The label that was read.
        gold: The right label.
        shown: The words that the student sees for each label, as of `shown_labels`; None is the label.
    """
    if answer is None or gold not in labels:
        return None
    words = {label: (label,) for label in labels} if shown is None else shown
    tokens = read_tokens(prediction.get("logprobs", None))
    said = _said(words, answer)
    probabilities = label_probabilities(tokens, _spelled(words), answer=said)
    return round(_sum(probabilities, words[gold]), 6) if probabilities else None


def _spelled(words: Mapping[str, Sequence[str]]) -> tuple[str, ...]:
    return tuple(word for own in words.values() for word in own)


def _said(words: Mapping[str, Sequence[str]], answer: str | None) -> str | None:
    """Return the word with which an answer names its label; None leaves that to the tokens."""
    if answer is None or len(words[answer]) > 1:
        return None
    return words[answer][0]


def _sum(mass: Mapping[str, float], words: Sequence[str]) -> float:
    return math.fsum(mass.get(word, 0.0) for word in words)


def _walk(tokens: Sequence[Token], forms: Prefixes, lead: str, answer: str) -> dict[str, float]:
    """Return the probability mass by label, or {} if the tokens do not spell `answer`."""
    mass = dict.fromkeys(forms.by_label, 0.0)
    path, probability = b"", 1.0
    compared = False
    possible: list[str] = []
    for token in tokens:
        for text, share in _others(token):
            compared = True
            other = forms.text(path + text).removeprefix(lead)
            # Some endpoints report the end of the answer as a token without text.
            labels = forms.reached(other) if text else forms.ended(other)
            for label in labels if len(labels) < len(mass) else ():
                mass[label] += probability * share / len(labels)
        path += token.text
        probability *= math.exp(min(token.logprob, 0.0))
        whole = forms.text(path)
        if lead and not whole.startswith(lead):
            continue
        possible = forms.reached(whole.removeprefix(lead))
        if len(possible) < 2:
            break
    if len(possible) > 1:
        possible = forms.ended(forms.text(path).removeprefix(lead))
    if possible != [answer] or not compared:
        return {}
    mass[answer] += probability
    return mass


def _others(token: Token) -> Iterator[tuple[bytes, float]]:
    """Yield the alternatives to `token`, each with its probability."""
    rest = list(token.top)
    itself = next((pair for pair in rest if pair[0] == token.text), None)
    if itself is not None:
        rest.remove(itself)
    yield from ((text, math.exp(min(logprob, 0.0))) for text, logprob in rest)


def _pair(entry: Any) -> tuple[bytes, float] | None:
    text, data, logprob = _get(entry, "token"), _get(entry, "bytes"), _get(entry, "logprob")
    if not isinstance(text, str) or not isinstance(logprob, int | float) or math.isnan(logprob):
        return None
    if isinstance(data, list | tuple) and data:
        with suppress(TypeError, ValueError):
            return bytes(data), float(logprob)
    return text.encode("utf-8", errors="replace"), float(logprob)


def _get(item: Any, name: str) -> Any:
    return item.get(name) if isinstance(item, dict) else getattr(item, name, None)
