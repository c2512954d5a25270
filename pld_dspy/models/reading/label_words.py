"""Shows labels in other words, and reads these words back as labels."""

import re
import string
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from typing import NamedTuple, Self

from pld_dspy.errors import ConfigError, nearest
from pld_dspy.models.reading.label_set import LabelSet, Place, label_set, variants
from pld_dspy.models.reading.labels import LEAD_IN, occurring, read_label
from pld_dspy.records import LabelsAs

_ANSWER = re.compile(
    rf"""(?:(?<![^\W_])|(?<=[\u3040-\u9fff\uac00-\ud7a3]))
    (?: {LEAD_IN.pattern}
      | (?:say|reply|respond|return|output|choose|select|pick|give|write|classif(?:y|ied))\s+
      | (?:mark|label|classif(?:y|ied)|tag|count|treat)(?:\s+\w+){{0,3}}\s+as\s+
      | (?:otherwise|else|->|=>|→|⇒)[,:]?\s*
    )
    (?:(?:with|as|only|not|never|one\s+of:?|option|label|the\s+label)\s+)*
    [\s"'`*_(\[«「『“‘]*$""",  # noqa: RUF001 - quotes that models write
    re.IGNORECASE | re.VERBOSE,
)
"""Text before a label that is given as the answer."""
_JOINED = re.compile(
    r"""[\s"'`*_()\[\]”’]*(?:,|/|\||,?\s(?:or|and|nor|not|but\s+not|never|rather\s+than|instead\s+of|over))
    [\s"'`*_()\[\]“‘]*(?:(?:or|and|nor|not)\s+)?[\s"'`*_(]*""",  # noqa: RUF001
    re.IGNORECASE | re.VERBOSE,
)
"""Text between two labels of one list."""
_LIST_GOES_ON = re.compile(
    r"""[\s"'`*_)\]]*(?:[,./|;:!?]|(?:or|and|if|when|unless|otherwise)\b|$)""", re.IGNORECASE
)
_GLOSSED = re.compile(r"""["'`*_]*\s*(?::|=|-\s|–\s|—|means\b)""", re.IGNORECASE)  # noqa: RUF001
_LINE_START = re.compile(r"""\s*(?:[-*•]\s+)?["'`*_]*$""")
_NUMBERED = re.compile(r"\s*\d+[.)]\s")


BETWEEN = " / "
"""Stands between several words for one label."""


class LabelWords(NamedTuple):
    """A closed label set with the word, or the words, that the student sees for each label.

    >>> words = LabelWords.of(("gender", "race"), "letters")
    >>> words.choices, words.read("b."), words.shown("1. If race is named, answer race.")
    ('A (gender), B (race)', 'race', '1. If race is named, answer B.')
    >>> words = LabelWords.of(("q1", "q2"), {"q1": "job / career", "q2": "country"})
    >>> words.choices, words.read("Career."), words.shown("1. If a job is named, answer q1.")
    ('job, career, country', 'q1', '1. If a job is named, answer job.')
    """

    labels: tuple[str, ...]
    words: tuple[tuple[str, ...], ...]
    """By position, the words for each label, the one that rules and demos use first."""
    letters: bool

    @classmethod
    def of(cls, labels: Sequence[str], labels_as: LabelsAs) -> Self:
        """Return the words for these labels.

        Args:
            labels: The closed label set.
            labels_as: A label with several words has them with `BETWEEN` between.

        Raises:
            ConfigError: A label has no word, an empty one, or one that is read as another's; a word
                is for an unknown label; or there are more labels than letters.
        """
        pairs = labels_as if isinstance(labels_as, str) else tuple(labels_as.items())
        return cls(*_made(tuple(labels), pairs))

    @property
    def by_label(self) -> Mapping[str, str]:
        """The first word for each label."""
        return {label: words[0] for label, words in self.every.items()}

    @property
    def every(self) -> Mapping[str, tuple[str, ...]]:
        """All words for each label."""
        return dict(zip(self.labels, self.words, strict=True))

    @property
    def choices(self) -> str:
        """The words as the request lists them; letters have the names beside them."""
        if not self.letters:
            return ", ".join(word for words in self.words for word in words)
        return ", ".join(
            word if word == label else f"{word} ({label})" for label, word in self.by_label.items()
        )

    def read(self, text: str) -> str | None:
        """Return the label whose word `text` names; None if it names none or several.

        Beside letters the request has the names, so a name is read where no letter is. Several words of
        one label name it as well.
        """
        label_of = {word: label for label, words in self.every.items() for word in words}
        word = read_label(text, tuple(label_of))
        if word is not None:
            return label_of[word]
        if self.letters:
            return read_label(text, self.labels)
        if len(label_of) == len(self.labels):
            return None
        named = {label_of[word] for word in occurring(text, tuple(label_of))}
        return named.pop() if len(named) == 1 else None

    def shown(self, text: str) -> str:
        """Return `text` with the word in place of each label that stands as an answer.

        That is a label after `answer`, `label it as`, `->` and the like, in a list that begins so, or
        at the start of a line that explains it (`gender: ...`). In a numbered rule without any such
        place it is the last label. Other mentions stay, because there the word would mean nothing.
        """
        return (
            text
            if all(label == word for label, word in self.by_label.items())
            else _shown(self, text)
        )


@lru_cache(maxsize=256)
def _shown(words: LabelWords, text: str) -> str:
    return "\n".join(_line(words, line) for line in text.split("\n"))


def _line(words: LabelWords, line: str) -> str:
    known = label_set(words.labels)
    normal = known.normal(line)
    places = list(_answers(normal, known))
    if not places:
        return line
    by_label, done, parts = words.by_label, 0, []
    for place in places:
        parts += [normal[done : place.start], by_label[place.label]]
        done = place.end
    return "".join((*parts, normal[done:]))


@lru_cache(maxsize=256)
def _made(labels: tuple[str, ...], labels_as: str | tuple[tuple[str, str], ...]) -> LabelWords:
    if labels_as == "names":
        return LabelWords(labels, tuple((label,) for label in labels), False)
    if labels_as == "letters":
        if len(labels) > len(string.ascii_uppercase):
            msg = f"labels_as is 'letters', and there are {len(labels)} labels for 26 letters; use 'names', or a word for each label"
            raise ConfigError(msg)
        return LabelWords(
            labels, tuple((letter,) for letter in string.ascii_uppercase[: len(labels)]), True
        )
    if isinstance(labels_as, str):
        msg = f"labels_as is {labels_as!r}; give 'names', 'letters', or a word for each label"
        raise ConfigError(msg)
    given = dict(labels_as)
    _check(labels, given)
    return LabelWords(labels, tuple(words_in(given[label], label) for label in labels), False)


def words_in(words: str, label: str) -> tuple[str, ...]:
    """Return the words for a label, one by one; its own name is one word, whatever it has in it.

    >>> words_in("job / career", "q1"), words_in("work / life", "work / life")
    (('job', 'career'), ('work / life',))
    """
    return (words,) if words == label else tuple(words.split(BETWEEN))


def _pairs(given: Mapping[str, str]) -> list[tuple[str, str]]:
    """Return each label with each of its words."""
    return [(label, word) for label, words in given.items() for word in words_in(words, label)]


def _check(labels: tuple[str, ...], given: Mapping[str, str]) -> None:
    """Raise ConfigError if a word is missing, not wanted, or cannot be read back."""
    unknown = next((label for label in given if label not in labels), None)
    if unknown is not None:
        msg = f"labels_as has a word for {unknown!r}, which is no label{nearest(unknown, labels)}"
        raise ConfigError(msg)
    check_words(given)
    missing = next((label for label in labels if label not in given), None)
    if missing is not None:
        msg = f"labels_as has no word for the label {missing!r}; give one for each label"
        raise ConfigError(msg)
    pairs = _pairs(given)
    every = tuple(word for _, word in pairs)
    for label, word in pairs:
        if read_label(word, every) != word:
            msg = f"labels_as shows {label!r} as {word!r}, which cannot be read back as an answer; give it another word"
            raise ConfigError(msg)


def check_words(given: Mapping[str, str]) -> None:
    """Raise ConfigError if a word is empty or has line breaks, or two are alike."""
    pairs = _pairs(given)
    for label, word in pairs:
        if not word.strip() or word != word.strip() or len(word.splitlines()) > 1:
            msg = f"labels_as shows {label!r} as {word!r}; give it a word without outer spaces and line breaks"
            raise ConfigError(msg)
    alike = next(iter(variants(word for _, word in pairs)), None)
    if alike is not None:
        names = list(dict.fromkeys(label for label, word in pairs if word in alike))
        if len(names) == 1:
            msg = f"labels_as has {alike[0]!r} twice for {names[0]!r}; give each word once"
            raise ConfigError(msg)
        msg = f"labels_as shows {' and '.join(map(repr, names))} alike, as {alike[0]!r}; give each label a word of its own"
        raise ConfigError(msg)


def _answers(line: str, known: LabelSet) -> Iterator[Place]:
    """Yield the labels in a line that stand as answers, from left to right."""
    found: list[Place] = []
    places = [p for p in sorted(known.places(line)) if p.end > p.start]
    for place in places:
        last = found[-1] if found else None
        if last is not None and place.start < last.end:
            continue
        if _is_answer(line, place, last):
            found.append(place)
    if not found and places and _NUMBERED.match(line):
        found = [places[-1]]
    yield from found


def _is_answer(line: str, place: Place, last: Place | None) -> bool:
    before, after = line[: place.start], line[place.end :]
    if _ANSWER.search(before):
        return True
    if _LINE_START.match(before) and _GLOSSED.match(after):
        return True
    between = "" if last is None else line[last.end : place.start]
    return bool(between and _JOINED.fullmatch(between) and _LIST_GOES_ON.match(after))
