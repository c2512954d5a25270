"""Label probabilities from the log-probabilities of an answer's tokens."""

import logging
import math
import re
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, NamedTuple, Self

import dspy
from dspy.utils import exceptions as lm_errors

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

_NOT_THE_PARAMETER = (
    *(lm_errors.LMTransportError, lm_errors.LMTimeoutError, lm_errors.LMRateLimitError),
    *(lm_errors.LMAuthError, lm_errors.LMBillingError),
)
"""Errors that a request without log-probabilities would raise too."""


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
        total = math.fsum(mass.values())
        if total > 0:
            return {name: part / total for name, part in mass.items() if part > 0}
    return {}


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
    shown: Mapping[str, str] | None = None,
) -> float | None:
    """Return the probability of `gold`, in [0, 1], rounded to 6 digits; None if it is unknown.

    Args:
        prediction: With the log-probabilities of its tokens.
        labels: The closed label set.
        answer: The label that was read.
        gold: The right label.
        shown: The word that the student sees for each label, as of `shown_labels`; None is the label.
    """
    if answer is None or gold not in labels:
        return None
    words = {label: label for label in labels} if shown is None else shown
    tokens = read_tokens(prediction.get("logprobs", None))
    probabilities = label_probabilities(tokens, tuple(words.values()), answer=words[answer])
    return round(probabilities.get(words[gold], 0.0), 6) if probabilities else None


class LogprobsUnsupported:
    """Remembers that an endpoint returns no log-probabilities."""

    def __init__(self) -> None:
        self._lock = threading.Lock()

    def __bool__(self) -> bool:
        return self._lock.locked()

    def note(self, lm: dspy.BaseLM, reason: str) -> None:
        """Stop requesting log-probabilities; the first call logs the reason as a warning."""
        if self._lock.acquire(blocking=False):
            logger.warning(
                "%s gives no log-probabilities (%s); they are not requested again, and p_gold is unknown",
                lm.model,
                " ".join(reason.split())[:200],
            )


@dataclass(frozen=True, slots=True)
class LogprobsProgram:
    """Runs a program with log-probabilities where possible."""

    program: dspy.Module
    """The original program."""
    requesting: dspy.Module | None
    """The program with log-probabilities requested by its own LM, if it has one; None requests none."""
    lm: dspy.BaseLM
    """The LM of the context, with log-probabilities requested."""
    unsupported: LogprobsUnsupported

    @classmethod
    def of(
        cls,
        program: dspy.Module,
        lm: dspy.BaseLM,
        unsupported: LogprobsUnsupported,
        *,
        enabled: bool,
    ) -> Self:
        """Return the wrapped program; only one predictor with one output gets log-probabilities."""
        predictors = program.predictors()
        one = len(predictors) == 1 and len(predictors[0].signature.output_fields) == 1
        if not enabled or not one:
            return cls(program, None, lm, unsupported)
        requesting, own = program, predictors[0].lm
        if own is not None:
            requesting = program.deepcopy()
            requesting.predictors()[0].lm = _with_logprobs(own)
        return cls(program, requesting, _with_logprobs(lm), unsupported)

    def __call__(self, inputs: Mapping[str, Any], calls: Callable[[], int]) -> Any:
        """Return the prediction; `calls` returns the number of LM calls answered so far."""
        if self.requesting is None or self.unsupported:
            return self.program(**inputs)
        before = calls()
        try:
            with dspy.context(lm=self.lm):
                prediction = self.requesting(**inputs)
        except (lm_errors.LMError, TypeError, ValueError) as failed:
            if calls() > before or isinstance(failed, _NOT_THE_PARAMETER):
                raise
            try:
                return self.program(**inputs)
            finally:
                # If the same request is answered without the parameter, the parameter was the cause.
                if calls() > before:
                    self.unsupported.note(self.lm, str(failed))
        if not read_tokens(prediction.get("logprobs", None)):
            self.unsupported.note(self.lm, "they are not in its answer")
        return prediction


def _with_logprobs(lm: dspy.BaseLM) -> dspy.BaseLM:
    if lm.model_type != "chat":
        return lm
    copied = lm.copy(logprobs=True, top_logprobs=TOP)
    copied.history = lm.history  # callers read the history of the original LM
    return copied


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
