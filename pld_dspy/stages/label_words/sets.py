"""Sets of words: one word for each label, several, and one for what no word fits."""

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt
from scipy.optimize import linear_sum_assignment

from pld_dspy.models.reading.label_words import BETWEEN
from pld_dspy.records import LabelWord
from pld_dspy.stages.label_words.measure import LEAST, behind, readable, worth

Floats = npt.NDArray[np.float64]

_STEM = 4
_ELSEWHERE = 0.25
"""Maximum share of other labels in the traces and titles that name a further word."""


def assignments(
    compared: Sequence[LabelWord], labels: Sequence[str], count: int
) -> list[dict[str, str]]:
    """Return the best assignments of a word to each label; none that leaves all labels their names.

    The first has the largest sum of areas; each other one is the best without one label's word in it.
    """
    if any(not [w for w in compared if w.label == label and w.separates] for label in labels):
        return []
    first = _assignment(compared, labels)
    if first is None:
        return []
    rests = (
        [w for w in compared if (w.label, w.word) != (label, first[1][label])] for label in labels
    )
    others = [found for rest in rests if (found := _assignment(rest, labels)) is not None]
    ranked = [first, *sorted(others, key=lambda pair: -pair[0])]
    distinct: list[dict[str, str]] = []
    for _, words in ranked:
        if words not in distinct and any(label != word for label, word in words.items()):
            distinct.append(words)
    return distinct[:count]


def with_more(
    compared: Sequence[LabelWord], words: Mapping[str, str], most: int
) -> dict[str, str] | None:
    """Return the words with up to `most` for each label, those first that separate it best.

    The probability of a label is then the sum of its words', which depends less on any one of them
    (knowledgeable prompt-tuning, Hu et al., ACL 2022). A further word is no label's name and no form of a
    word that is there, was proposed at least twice, and has an area of at least `LEAST`, which is none
    smaller than the one with which it tells another label. At most a quarter of the traces and titles
    that name it are of other labels: a general word, such as "person", tells any. None if no label has
    one.
    """
    names, chosen = {word.label for word in compared}, set(words.values())
    found: dict[str, str] = {}
    for label, first in words.items():
        fitting = [
            word
            for word in compared
            # A name with the separator in it can stand only alone.
            if word.label == label
            and BETWEEN not in first
            and word.word not in names | chosen
            and behind(word) > 1
            and word.elsewhere <= _ELSEWHERE * (word.elsewhere + len(word.trace_ids) + word.named)
            and (word.separates or 0.0) >= max(LEAST, word.confused or 0.0)
        ]
        own = [first]
        for word in sorted(fitting, key=lambda word: (-worth(word), word.word)):
            if len(own) < most and not any(_near(word.word, other) for other in (*chosen, *own)):
                own.append(word.word)
        chosen |= set(own)
        found[label] = BETWEEN.join(own)
    return None if found == words else found


def _near(one: str, two: str) -> bool:
    """Return whether two words share a word or a stem, as "profession" and "professional role".

    >>> _near("country", "countries"), _near("family member", "family"), _near("job", "jockey")
    (True, True, False)
    """
    pairs = ((a, b) for a in one.casefold().split() for b in two.casefold().split())
    stems = ((a, b, max(_STEM, min(len(a), len(b)) - 2)) for a, b in pairs)
    return any(a[:stem] == b[:stem] for a, b, stem in stems)


def with_rest(
    compared: Sequence[LabelWord], words: Mapping[str, str], rest: str
) -> tuple[LabelWord, dict[str, str]] | None:
    """Return the words with `rest` for the label that its own word separates least, as a default.

    None if `rest` is empty or would be read as another word.
    """
    area = {word.label: worth(word) for word in compared if words[word.label] == word.word}
    label = min(area, key=area.__getitem__)
    found = {**words, label: rest}
    if not rest or len(readable(found.values())) < len(words):
        return None
    return LabelWord(label=label, word=rest), found


def _assignment(
    compared: Sequence[LabelWord], labels: Sequence[str]
) -> tuple[float, dict[str, str]] | None:
    """Return the sum of areas and the words of the best assignment; None if there is none."""
    pool = list(dict.fromkeys(word.word for word in compared))
    table: Floats = np.full((len(labels), len(pool)), -float(len(labels)))
    for word in compared:
        table[labels.index(word.label), pool.index(word.word)] = worth(word)
    if len(pool) < len(labels):
        return None
    rows, columns = linear_sum_assignment(table, maximize=True)
    total = float(table[rows, columns].sum())
    if table[rows, columns].min() < 0:
        return None
    return total, {labels[r]: pool[c] for r, c in zip(rows, columns, strict=True)}
