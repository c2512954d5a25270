"""Sets of words: one word for each label, several, and one for what no word fits."""

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt
from scipy.optimize import linear_sum_assignment

from pld_dspy.config.optimizer import WordsConfig
from pld_dspy.models.reading.label_words import BETWEEN
from pld_dspy.records import LabelWord
from pld_dspy.stages.label_words.measure import LEAST, behind, readable, worth

Floats = npt.NDArray[np.float64]

_STEM = 4
_SURE = 0.95
"""Area of a name that is kept, and of a first word beside which a further one must be named by traces of two
groups or most titles."""
_ELSEWHERE = 0.25
"""Maximum share of other labels in the traces and titles that name a further word."""


def assignments(
    compared: Sequence[LabelWord],
    labels: Sequence[str],
    count: int,
    told: Mapping[str, float] | None = None,
) -> list[dict[str, str]]:
    """Return the best assignments of a word to each label; none that leaves all labels their names.

    The first has the largest sum of areas; each other one is the best without one label's word in it. A
    label that its name tells by an area of 0.95, as `told` has it, keeps the name: another word may tell
    the few groups of these examples as well, such as "bible" for religion, and no others.
    """
    kept = {label for label, area in (told or {}).items() if area >= _SURE}
    compared = [w for w in compared if w.label not in kept or w.word == w.label]
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
    compared: Sequence[LabelWord],
    words: Mapping[str, str],
    config: WordsConfig,
    told: Mapping[str, float] | None = None,
) -> dict[str, str] | None:
    """Return the words with up to `most` for each label, those first that separate it best.

    The probability of a label is then the sum of its words', which depends less on any one of them
    (knowledgeable prompt-tuning, Hu et al., ACL 2022). A further word is no label's name and no form of a
    word that is there, was proposed at least twice, and has an area of at least `LEAST`, which is none
    smaller than the one with which it tells another label. At most a quarter of the traces and titles
    that name it are of other labels: a general word, such as "person", tells any. Where the first word
    of a label has an area of 0.95, traces of two groups or most titles must name a further one: traces
    of one group are about that group. None if no label has one.

    Args:
        compared: The words, with their areas.
        words: The first word of each label.
        config: Maximum number for each label, and of titles.
        told: Area of each label's name when only the names were shown; among other words, names take
            little probability. By default that of `compared`.
    """
    names, chosen = {word.label for word in compared}, set(words.values())
    area = {(word.label, word.word): word.separates or 0.0 for word in compared}
    area |= {(label, label): alone for label, alone in (told or {}).items()}
    found: dict[str, str] = {}
    for label, first in words.items():
        tells = area.get((label, first), 0.0) >= _SURE
        fitting = [
            word
            for word in compared
            # A name with the separator in it can stand only alone.
            if word.label == label
            and BETWEEN not in first
            and word.word not in names | chosen
            and behind(word) > 1
            and (not tells or word.groups > 1 or 2 * word.named > config.drafts)
            and word.elsewhere <= _ELSEWHERE * (word.elsewhere + len(word.trace_ids) + word.named)
            and (word.separates or 0.0) >= max(LEAST, word.confused or 0.0)
        ]
        own = [first]
        for word in sorted(fitting, key=lambda word: (-worth(word), word.word)):
            if len(own) < config.most and not any(
                _near(word.word, other) for other in (*chosen, *own)
            ):
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
