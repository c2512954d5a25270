"""Reads the label from an answer or a rule."""

import re
import unicodedata
from collections.abc import Iterator, Sequence

from pld_dspy.models.reading.label_set import MARKUP, SHORT, STOPS, LabelSet, Place, label_set
from pld_dspy.models.reading.thoughts import answer_part

LEAD_IN = re.compile(
    r"""(?:
      (?:the\s+)?(?:final\s+|correct\s+|best\s+)*
        (?:answer|label|option|choice|category|domain|class)(?![^\W_])(?:\s*is\b)?
    | (?:die\s+)?(?:richtige\s+)?antwort(?![^\W_])(?:\s*(?:ist|lautet)\b)?
    | (?:la\s+)?(?:bonne\s+)?réponse(?![^\W_])(?:\s*est\b)?
    | (?:la\s+)?respuesta(?![^\W_])(?:\s+correcta)?(?:\s*es\b)?
    | (?:la\s+)?risposta(?![^\W_])(?:\s*è\b)?
    | (?:a\s+)?resposta(?![^\W_])(?:\s*é\b)?
    | (?:правильный\s+)?ответ(?![^\W_])(?:\s*это\b|\s*[—–])?
    | (?:الإجابة|الجواب|التصنيف)(?![^\W_])(?:\s+(?:هي|هو)(?![^\W_]))?
    | (?:最终|最終|正确|正確|最佳)?(?:答案|回答|标签|標籤|类别|類別|分类|選項|选项|情感|答え|正解|ラベル)
        (?:应该|應該)?(?:是|为|為|は)?
    | (?:정답|답변|답)(?:은|는)?
    )[\s*_]*[:=]?\s*""",  # noqa: RUF001 - words of other languages
    re.IGNORECASE | re.VERBOSE,
)
"""Words that announce an answer, in several languages."""

_ANNOUNCED = re.compile(
    rf"(?:(?<![^\W_])|(?<=[\u3040-\u9fff\uac00-\ud7a3]))(?:{LEAD_IN.pattern})"
    r"(?:option\b)?[\s\"'`*_(\[]*$",
    re.IGNORECASE | re.VERBOSE,
)
_NEGATED = re.compile(
    r"(?:\b(?:not|isn't|neither|nor|never|nicht|keine?[nmrs]?|ne|pas|не|ليس|ليست)\s+"
    r"(?:about\s+|an?\s+|the\s+)?|\bnon-|(?:不是|并非|並非|没有|不|非)\s*)$",
    re.IGNORECASE,
)
_CONTINUES = re.compile(r"[ \t]+(?!(?:because|since|is)\b)\w", re.IGNORECASE)
_PAIRS = (
    *(("**", "**"), ("__", "__"), ("*", "*"), ("_", "_"), ("`", "`"), ('"', '"'), ("'", "'")),
    *(("(", ")"), ("[", "]"), ("{", "}"), ("<", ">"), ("«", "»"), ("「", "」"), ("『", "』")),
    *(("【", "】"), ("《", "》"), ("$", "$")),
)
_LEAD_CHARACTERS = 60
_SPARE_CHARACTERS = 64
_END = re.compile(r"[,;]|\.(?!\d)")


def read_label(text: str, labels: Sequence[str]) -> str | None:
    """Return the label that `text` names, or None if it names none or several.

    Case, quotes, markup, Unicode normal form, spaces inside a label, a full stop, and a lead-in such
    as `Answer:` are ignored, unless labels differ only in these. Reasoning text is ignored. A label
    at the start of the answer wins; otherwise exactly one label must occur. A label after `not` or
    inside a longer label does not count.

    >>> read_label("Answer: **Not mentioned**.", ["Entailment", "NotMentioned"])
    'NotMentioned'
    >>> read_label("**-1**.", ["-1", "0", "1"])
    '-1'
    >>> read_label("gender or race", ["gender", "race"]) is None
    True
    """
    known = label_set(tuple(labels))
    if text.strip() in known.forms:  # even if it looks like the mark of a thought
        return text.strip()
    text = known.normal(answer_part(text)).strip()
    lines = [line for line in text.splitlines() if line.strip(MARKUP) or known.same(line)] or [""]
    for piece in dict.fromkeys((text, lines[0], lines[-1])):
        found = _whole(piece, known)
        if found is not None:
            return found
        for rest in _after_lead_in(piece, known):
            found = _whole(rest, known)
            if found is not None:
                return found
    first = _first(text, known)
    if first is not None and len(_mentions(lines[0], known)) <= 1:
        return first
    mentioned = _mentions(text, known)
    return mentioned[0] if len(mentioned) == 1 else None


def occurring(text: str, labels: Sequence[str]) -> tuple[str, ...]:
    """Return the labels that occur in the text as whole words.

    >>> occurring("neither C++ nor C", ["C", "C++", "C#"])
    ('C++', 'C')
    """
    known = label_set(tuple(labels))
    places = sorted(known.places(known.normal(text)))
    return tuple(dict.fromkeys(place.label for place in places))


def clause(text: str, labels: Sequence[str]) -> str:
    """Return the text up to the first comma, semicolon or full stop that is not part of a label.

    >>> clause("1.5, or else 2.", ["1", "1.5", "2"]), clause("a, b.", ["a", "a, b"])
    ('1.5', 'a, b')
    """
    known = label_set(tuple(labels))
    text = known.normal(text)
    inside = {at for start, end, _ in known.places(text) for at in range(start, end)}
    ends = (match.start() for match in _END.finditer(text) if match.start() not in inside)
    return text[: next(ends, len(text))].strip()


def _whole(piece: str, known: LabelSet) -> str | None:
    """Return the label that the piece is after removing quotes, stops and markup step by step."""
    for form in _unwrapped(piece):
        found = known.same(form)
        if found is not None:
            return found
    return _amid_markup(piece.strip(), known) or known.loosely_same(piece.strip(MARKUP))


def _unwrapped(piece: str) -> Iterator[str]:
    """Yield the piece, then the piece without a pair of quotes or a final full stop, repeatedly."""
    piece = piece.strip()
    yield piece
    while piece:
        for left, right in _PAIRS:
            inner = piece[len(left) : -len(right)]
            if inner and piece.startswith(left) and piece.endswith(right):
                piece = inner.strip()
                break
        else:
            if piece[-1] not in STOPS:
                return
            piece = piece[:-1].rstrip()
        yield piece


def _amid_markup(piece: str, known: LabelSet) -> str | None:
    """Return the longest label that is surrounded by markup only."""
    longest = max(map(len, known.forms.values()), default=0)
    if len(piece) > longest + _SPARE_CHARACTERS:
        return None
    found = [
        (place.end - place.start, place.label)
        for place in known.places(piece)
        if not piece[: place.start].strip(MARKUP) and not piece[place.end :].strip(MARKUP)
    ]
    best = {label for length, label in found if length == max(found)[0]}
    return best.pop() if len(best) == 1 else None


def _after_lead_in(piece: str, known: LabelSet) -> Iterator[str]:
    """Yield the text after a lead-in: a known one, or words without a label before a colon."""
    in_label = {at for start, end, _ in known.places(piece) for at in range(start, end)}
    for at in (match.start() for match in re.finditer(":", piece)):
        if at in in_label:  # the colon of `3:1` announces nothing
            continue
        head = piece[:at].strip()
        if len(head) > _LEAD_CHARACTERS or "\n" in head:
            break
        if _whole(head, known) is not None or _mentions(head, known):
            break
        yield piece[at + 1 :]
    match = LEAD_IN.match(piece.lstrip(MARKUP))
    if match is not None:
        yield piece.lstrip(MARKUP)[match.end() :]


def _first(text: str, known: LabelSet) -> str | None:
    """Return the label that the text starts with, after a lead-in and markup."""
    lead_in = LEAD_IN.match(text, len(text) - len(text.lstrip(MARKUP)))
    for begin in (0,) if lead_in is None else (0, lead_in.end()):
        for at in range(begin, min(len(text), begin + _SPARE_CHARACTERS)):
            place = known.at(text, at)
            if place is not None:
                return place.label if _is_answer(place.label, text[place.end :]) else None
            if text[at] not in MARKUP:
                break
    return None


def _is_answer(label: str, rest: str) -> bool:
    # `a. Some text` answers with the letter; `A man ...` does not. Other letters are not words.
    letter = len(label) == 1 and label.isalpha() and label.lower() not in {"a", "i"}
    picture = any(unicodedata.category(character) == "So" for character in label)
    return len(label) > SHORT or letter or picture or not _CONTINUES.match(rest)


def _mentions(text: str, known: LabelSet) -> list[str]:
    """Return the labels that the text names, each once."""
    found = [place for place in known.places(text) if _is_mentioned(place, text, known)]
    return list(dict.fromkeys(place.label for place in found))


def _is_mentioned(place: Place, text: str, known: LabelSet) -> bool:
    before, after = text[: place.start], text[place.end :]
    if known.is_short(place.label) and _ANNOUNCED.search(before[-_SPARE_CHARACTERS:]) is None:
        return False
    return _NEGATED.search(before) is None and _is_answer(place.label, after)
