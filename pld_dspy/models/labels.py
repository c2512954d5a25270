"""Reads a label from a text."""

import re
from collections.abc import Sequence

_LEAD_IN = re.compile(
    r"^(?:the\s+)?(?:final\s+|correct\s+|best\s+)*"
    r"(?:answer|label|option|choice|category|domain|class)(?![^\W_])\s*(?:is\b)?\s*[:=]?\s*",
    re.IGNORECASE,
)


_NEGATED = re.compile(r"\b(?:not|isn't|neither|nor)\s+(?:about\s+|an?\s+|the\s+)?$", re.IGNORECASE)


_GOES_ON = re.compile(r"[ \t]+(?!(?:because|since|is)\b)\w", re.IGNORECASE)


_MARKUP = "*_`#\"'()[]{}<>.,;:!- \t\n"


_SHORT = 2
"""Labels up to this length (the letters of a multiple-choice task) are words of their own too often to be looked for inside a sentence."""


def read_label(text: str, labels: Sequence[str]) -> str | None:
    """Return the one label that `text` names, or None if it names none or cannot be decided.

    Case, quotes, markup, spaces inside a label, a full stop, and a lead-in such as `Answer:` do not
    matter. A label at the very start wins; otherwise exactly one label must be mentioned. A label
    after `not` is not mentioned, nor is one that only stands inside a longer one.

    >>> read_label("Answer: **Not mentioned**.", ["Entailment", "NotMentioned"])
    'NotMentioned'
    >>> read_label("gender or race", ["gender", "race"]) is None
    True
    """
    lines = text.strip().splitlines() or [""]
    for part in (text, lines[0], lines[-1]):
        stripped = part.strip(_MARKUP)
        for form in (part.strip(), stripped, _LEAD_IN.sub("", stripped).strip(_MARKUP)):
            label = _same(form, labels)
            if label is not None:
                return label
    starts = [label for label in labels if _starts_with(text, label)]
    if starts and len(_mentions(lines[0], labels)) <= 1:
        return max(starts, key=len)
    mentioned = _mentions(text, labels)
    return mentioned[0] if len(mentioned) == 1 else None


def _same(text: str, labels: Sequence[str]) -> str | None:
    # The strictest comparison that fits one label decides, so that `C` and `C++` stay apart.
    for normal in (str, str.casefold, _key):
        same = [label for label in labels if normal(label) == normal(text)]
        if len(same) == 1:
            return same[0]
    return None


def _key(text: str) -> str:
    return re.sub(r"[\W_]+", "", text.casefold()) or text.strip().casefold()


def _pattern(label: str) -> str:
    words = re.findall(r"[A-Z]?[a-z0-9]+|[A-Z]+(?![a-z])|[^\sA-Za-z0-9]", label) or [label]
    return r"(?<!\w)" + r"[\s_-]*".join(re.escape(word) for word in words) + r"(?!\w)"


def _starts_with(text: str, label: str) -> bool:
    body = _LEAD_IN.sub("", text.strip().lstrip(_MARKUP)).lstrip(_MARKUP)
    match = re.match(_pattern(label), body, re.IGNORECASE)
    if match is None:
        return False
    return _stands_alone(label, body[match.end() :])


def _stands_alone(label: str, rest: str) -> bool:
    # `a. Some text` answers with the letter; `A man ...` does not. No other letter is a word.
    letter = len(label) == 1 and label.isalpha() and label.lower() not in {"a", "i"}
    return len(label) > _SHORT or letter or not _GOES_ON.match(rest)


def _mentions(text: str, labels: Sequence[str]) -> list[str]:
    spans = []
    for label in labels:
        pattern = f"(?P<label>{_pattern(label)})"
        if len(label) <= _SHORT:
            pattern = r"\b(?:answer|option|choice)\b\W*(?:is\W*)?(?:option\W*)?" + pattern
        for match in re.finditer(pattern, text, re.IGNORECASE):
            start, end = match.span("label")
            if not _NEGATED.search(text[:start]) and _stands_alone(label, text[end:]):
                spans.append((start, end, label))
    inner = {
        (start, end, label)
        for start, end, label in spans
        if any(s <= start and end <= e and e - s > end - start for s, e, _ in spans)
    }
    return list(dict.fromkeys(label for *place, label in spans if (*place, label) not in inner))
