"""Matches the beginning of an answer to the labels that it may become."""

import re
from collections.abc import Iterator, Sequence
from typing import NamedTuple, Self

from pld_dspy.models.reading.label_set import MARKUP, STOPS, LabelSet, label_set

_NEEDED = re.compile(r"^[_-]\S|\d[_-]\d")
"""A `_` or `-` that distinguishes labels."""


def text_of(data: bytes) -> str:
    """Return the bytes as text."""
    # An incomplete character at the end is ignored.
    return data.decode("utf-8", errors="ignore")


class _Reading(NamedTuple):
    """Differences to ignore when an answer is matched token by token."""

    folds_case: bool
    gaps: str
    """Characters that may be inserted or left out between the characters of a label."""

    def form(self, text: str) -> str:
        text = text.casefold() if self.folds_case else text
        return text.translate(dict.fromkeys(map(ord, self.gaps)))

    def fits(self, labels: Sequence[str]) -> bool:
        """Return whether no label depends on a gap character, such as a sign or between two digits."""
        forms = {self.form(label) for label in labels}
        needs = "-" in self.gaps and any(_NEEDED.search(label) for label in labels)
        return not needs and len(forms) == len(labels) and all(forms)


_READINGS = (_Reading(True, "_- \t"), _Reading(True, " \t"), _Reading(False, ""))


class Prefixes(NamedTuple):
    """A closed label set, prepared for matching token by token."""

    reading: _Reading
    known: LabelSet
    by_label: dict[str, str]

    @classmethod
    def of(cls, labels: Sequence[str]) -> Self | None:
        """Return the labels in the most lenient reading that distinguishes them; None if none does."""
        known = label_set(tuple(labels))
        plain = [known.forms[label] for label in labels]
        reading = next((reading for reading in _READINGS if reading.fits(plain)), None)
        if reading is None:
            return None
        return cls(reading, known, {name: reading.form(known.forms[name]) for name in labels})

    def text(self, data: bytes) -> str:
        """Return the bytes as text in the normal form of the labels."""
        return self.known.normal(text_of(data))

    def reached(self, text: str) -> list[str]:
        """Return the labels that `text` may still become, or the one that it starts with."""
        for start in self._starts(text):
            typed = self.reading.form(start)
            growing = [name for name, form in self.by_label.items() if form.startswith(typed)]
            place = self.known.at(start, 0)
            ended = place is not None and not start[place.end :].strip(STOPS)
            if place is not None and (ended or not growing):
                return list(dict.fromkeys((*growing, place.label)))
            if growing:
                return growing
        return []

    def ended(self, text: str) -> list[str]:
        """Return the labels that `text` is as a complete answer."""
        starts = [*self._starts(text)]
        ends = {end for start in starts for end in (start, start.rstrip(STOPS))}
        typed = {self.reading.form(end) for end in ends}
        return [label for label, form in self.by_label.items() if form in typed]

    def _starts(self, text: str) -> Iterator[str]:
        """Yield the text, then the text without its leading markup, one character at a time."""
        text = text.lstrip()
        yield text
        while text and text[0] in MARKUP:
            if text[0] in "+-" and text[1:2].isdigit():
                return  # a minus sign
            text = text[1:].lstrip()
            yield text
