"""Finds labels in a text."""

import re
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import lru_cache
from typing import NamedTuple

MARKUP = "*_`#\"'()[]{}<>.,;:!?|~- \t\r\n«»「」『』【】《》、。،؛؟।…"
"""Characters that are removed around an answer, unless a label contains them there."""

STOPS = ".,;:!?、。،؛؟।…"
"""Characters that end a sentence or clause."""

SHORT = 2
"""Labels up to this length (option letters, digits) are often ordinary words, so they are not
searched inside a sentence."""

_PLAIN = str.maketrans(
    {"−": "-", "‘": "'", "’": "'", "“": '"', "”": '"', "„": '"'}  # noqa: RUF001 - models write these
    | dict.fromkeys(map(chr, (*range(0x200B, 0x2010), *range(0x202A, 0x202F), 0x2060)), "")
    | dict.fromkeys(map(chr, (*range(0x2066, 0x206A), 0xFEFF, 0xFE0E, 0xFE0F)), "")
)
_WORD = re.compile(r"[A-Z]?[a-z]+\d*|[A-Z]+(?![a-z])\d*|\d+|[^\W\d_A-Za-z]+|\s+|.", re.DOTALL)
_SEPARATOR = r"[\s_-]*"
_SPACELESS = (
    (0x0E00, 0x0EFF),  # Thai, Lao
    (0x1000, 0x109F),  # Burmese
    (0x1780, 0x17FF),  # Khmer
    (0x3040, 0x30FF),  # Hiragana, Katakana
    (0x3400, 0x9FFF),  # Han
    (0xAC00, 0xD7A3),  # Hangul, whose particles follow without a space
    (0xF900, 0xFAFF),
    (0x20000, 0x3FFFF),
)
_SIGN = re.compile(r"(?:^|[^\w.,)\]])[+-]$")
_NUMBER_BEFORE = re.compile(r"\d[.,]$")
_NUMBER_AFTER = re.compile(r"[.,]\d")
_SUFFIX = re.compile(r"[+#]+(?!\w)")


def full_form(text: str) -> str:
    """Return the text in NFKC, with ASCII signs and quotes and without invisible characters."""
    return unicodedata.normalize("NFKC", text).translate(_PLAIN)


def _canonical(text: str) -> str:
    return unicodedata.normalize("NFC", text)


def folded(text: str) -> str:
    """Return the full form, case-folded."""
    return full_form(text).casefold()


def loose_form(text: str) -> str:
    """Return letters, digits and the signs in numbers; "" if there are fewer than three letters.

    >>> loose_form("not-mentioned!"), loose_form("GPT 3.5"), loose_form("C++")
    ('notmentioned', 'gpt3.5', '')
    """
    text = folded(text)
    if sum(character.isalpha() for character in text) < 3:
        return ""
    kept = []
    for at, character in enumerate(text):
        before, after = text[at - 1 : at], text[at + 1 : at + 2]
        number = before.isdigit() or (after.isdigit() and not before.isalpha())
        if is_word(character) or (number and not character.isspace() and character != "_"):
            kept.append(character)
    return "".join(kept)


def variants(labels: Iterable[str]) -> list[list[str]]:
    """Return groups of labels that differ only in case, spaces or Unicode normal form.

    >>> variants(["red", "blue", "red ", "Red"])
    [['red', 'red ', 'Red']]
    """
    found: dict[str, list[str]] = {}
    for label in labels:
        found.setdefault(" ".join(folded(label).split()), []).append(label)
    return [alike for alike in found.values() if len(alike) > 1]


def is_word(character: str) -> bool:
    """Return whether the character is a letter, a digit, or a mark on one."""
    return character.isalnum() or unicodedata.category(character)[0] == "M"


def is_spaceless(character: str) -> bool:
    """Return whether words of the character's script are written without spaces between them."""
    return any(first <= ord(character) <= last for first, last in _SPACELESS)


class Place(NamedTuple):
    """Position of a label in a text."""

    start: int
    end: int
    label: str


class LabelSet:
    """A closed label set, prepared for reading.

    Texts are compared in the most lenient normal form that distinguishes all labels, and without
    case unless labels differ only in case.
    """

    def __init__(self, labels: Sequence[str]) -> None:
        self.labels = tuple(dict.fromkeys(labels))
        self.normal = self._normal()
        self.forms = {label: self.normal(label).strip() for label in self.labels}
        forms = (self.normal, _canonical, full_form, folded)
        self._strictest_first = [self._index(form) for form in forms]
        self._loose = self._index(loose_form)
        self.patterns = {label: self._compiled(label) for label in self.labels if self.forms[label]}

    def _normal(self) -> Callable[[str], str]:
        for form in (full_form, _canonical):
            if len({form(label).strip() for label in self.labels}) == len(self.labels):
                return form
        return str

    def _index(
        self, form: Callable[[str], str]
    ) -> tuple[Callable[[str], str], dict[str, list[str]]]:
        found: dict[str, list[str]] = {}
        for label in self.labels:
            found.setdefault(form(label).strip(), []).append(label)
        return form, found

    def _compiled(self, label: str) -> re.Pattern[str]:
        """Return the most lenient pattern that matches no other label."""
        form = self.forms[label]
        others = [other for name, other in self.forms.items() if name != label]
        strict = re.escape(form)
        for text, flags in ((_pattern(form), re.I), (_pattern(form), 0), (strict, re.I)):
            pattern = re.compile(text, flags)
            if not any(pattern.fullmatch(other) for other in others):
                return pattern
        return re.compile(strict)

    def same(self, text: str) -> str | None:
        """Return the label equal to the text, by the strictest comparison that matches a single label."""
        if text in self.forms:
            return text
        for form, known in self._strictest_first:
            found = known.get(form(text).strip(), ())
            if len(found) == 1:
                return found[0]
        return None

    def loosely_same(self, text: str) -> str | None:
        """Return the label with the same letters and digits as the text."""
        form = loose_form(text)
        found = self._loose[1].get(form, ()) if form else ()
        return found[0] if len(found) == 1 else None

    def places(self, text: str) -> list[Place]:
        """Return the positions of labels as whole words, without those inside a longer label."""
        found = [
            Place(*match.span(), label)
            for label, pattern in self.patterns.items()
            for match in pattern.finditer(text)
            if bounded(text, *match.span())
        ]
        return [
            place
            for place in found
            if not any(
                other.start <= place.start
                and place.end <= other.end
                and other.end - other.start > place.end - place.start
                for other in found
            )
        ]

    def at(self, text: str, start: int) -> Place | None:
        """Return the longest label at `start`."""
        matches = ((label, p.match(text, start)) for label, p in self.patterns.items())
        found = [
            Place(start, match.end(), label)
            for label, match in matches
            if match is not None and bounded(text, start, match.end())
        ]
        return max(found) if found else None

    def is_short(self, label: str) -> bool:
        """Return whether the label is searched only after words that announce an answer."""
        form = self.forms[label]
        if len(form) > SHORT or any(unicodedata.category(c) in {"So", "Sk"} for c in form):
            return False
        return len(form) < SHORT or not all(map(is_spaceless, form))


@lru_cache(maxsize=256)
def label_set(labels: tuple[str, ...]) -> LabelSet:
    """Return the prepared set of these labels, cached."""
    return LabelSet(labels)


def bounded(text: str, start: int, end: int) -> bool:
    """Return whether `text[start:end]` is not part of a longer word, number or sign.

    >>> bounded("-1", 1, 2), bounded("C# or C", 0, 1), bounded("C# or C", 6, 7)
    (False, False, True)
    """
    first, last = text[start : start + 1], text[end - 1 : end]
    before, after = text[start - 1 : start] if start else "", text[end : end + 1]
    if _joined(before, first) or _joined(last, after) or (after and _extends(after)):
        return False
    if _repeated(before, first) or _repeated(last, after):
        return False
    head, tail = text[max(0, start - 2) : start], text[end : end + 40]
    if first.isdigit() and (_SIGN.search(head) or _NUMBER_BEFORE.search(head)):
        return False
    if first in "+-" and text[start + 1 : start + 2].isdigit() and before and is_word(before):
        return False
    if last.isdigit() and _NUMBER_AFTER.match(tail):
        return False
    return not (is_word(last) and _SUFFIX.match(tail))


def _joined(left: str, right: str) -> bool:
    """Return whether two characters are within one word."""
    if not left or not right or not (_in_word(left) and _in_word(right)):
        return False
    return not (is_spaceless(left) or is_spaceless(right))


def _repeated(left: str, right: str) -> bool:
    """Return whether a sign is repeated, as `+` is in `++`; a full stop may follow another."""
    return bool(left) and left == right and not is_word(left) and left not in STOPS


def _in_word(character: str) -> bool:
    return character == "_" or is_word(character)


def _extends(character: str) -> bool:
    """Return whether the character changes the one before it: a mark, a joiner, a skin tone."""
    tone = 0x1F3FB <= ord(character) <= 0x1F3FF
    return tone or character == "\u200d" or unicodedata.category(character)[0] == "M"


def _pattern(form: str) -> str:
    """Return a regular expression for the label with any joiners between its words."""
    words = _WORD.findall(form)
    return "".join(_pieces(words))


def _pieces(words: Sequence[str]) -> Iterator[str]:
    for at, word in enumerate(words):
        before = words[at - 1] if at else ""
        after = words[at + 1] if at + 1 < len(words) else ""
        between = before.isalnum() and after.isalnum()
        if between and not (before.isdigit() and after.isdigit()) and not word.strip(" \t\n_-"):
            yield _SEPARATOR
        elif word.isspace():
            yield r"\s+"
        else:
            camel = before.isalpha() and before.isascii() and word.isascii() and word[0].isupper()
            yield (_SEPARATOR if camel and word.isalnum() else "") + re.escape(word)
