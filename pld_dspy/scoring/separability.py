"""How well label probabilities separate the labels, whatever their bias."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from scipy.stats import rankdata

from pld_dspy.records import Answer, Interval
from pld_dspy.records.decision import FLOOR


class _Scored(NamedTuple):
    """Answers with probabilities, as arrays."""

    ids: tuple[str, ...]
    gold: npt.NDArray[np.int64]
    """Index of the gold label; -1 for another one."""
    scores: npt.NDArray[np.float64]
    """Shape `(answers, labels)`; log-probabilities minus their mean over the labels."""


def separability(answers: Sequence[Answer], labels: Sequence[str]) -> float | None:
    """Return the mean area under the ROC curve of each label against the rest, in [0, 1].

    The score of a label is its log-probability minus the mean over the labels of the same answer. A
    bias towards a label shifts its scores for all examples alike and does not change the area, so it
    tells what the student knows, where a score also tells how it is biased: 0.5 is nothing, 1.0 is
    everything.

    Args:
        answers: Those without probabilities, or with an error, are left out.
        labels: The closed label set.

    Returns:
        None if fewer than half of the answers have probabilities, or they have one gold label only.

    >>> said = [{"a": 0.9, "b": 0.1}, {"a": 0.7, "b": 0.3}]  # always "a", but in the right order
    >>> answers = [
    ...     Answer(example_id=str(n), gold=gold, answer="a", probabilities=p)
    ...     for n, (gold, p) in enumerate(zip("ab", said))
    ... ]
    >>> separability(answers, ["a", "b"])
    1.0
    """
    scored = _scored(answers, labels)
    return None if scored is None else _area(scored.gold, scored.scores)


def separability_change(
    first: Sequence[Answer],
    second: Sequence[Answer],
    labels: Sequence[str],
    *,
    n: int = 500,
    seed: int = 0,
) -> Interval | None:
    """Return the separability of `second` minus that of `first`, with its 95% paired bootstrap interval.

    None where one of the two is unknown. Only examples that both have probabilities for count.
    """
    one, other = _scored(first, labels), _scored(second, labels)
    if one is None or other is None:
        return None
    place = {key: row for row, key in enumerate(other.ids)}
    rows = [(row, place[key]) for row, key in enumerate(one.ids) if key in place]
    if not rows:
        return None
    before, after = np.array(rows).T
    gold, a, b = one.gold[before], one.scores[before], other.scores[after]
    rng = np.random.default_rng(seed)
    drawn = [rng.integers(len(gold), size=len(gold)) for _ in range(n)]
    changes = [_area(gold[i], b[i]) - _area(gold[i], a[i]) for i in drawn if len(set(gold[i])) > 1]
    low, high = np.quantile(changes, [0.025, 0.975]) if changes else (0.0, 0.0)
    estimate = _area(gold, b) - _area(gold, a)
    return Interval(estimate=estimate, low=float(low), high=float(high))


def _scored(answers: Sequence[Answer], labels: Sequence[str]) -> _Scored | None:
    known = [(a, a.probabilities) for a in answers if a.probabilities and a.error is None]
    if len({a.gold for a, _ in known}) < 2 or len(known) < len(answers) / 2:
        return None
    number = {label: place for place, label in enumerate(labels)}
    logs = np.log([[max(p.get(label, 0.0), FLOOR) for label in labels] for _, p in known])
    return _Scored(
        ids=tuple(a.example_id for a, _ in known),
        gold=np.array([number.get(a.gold, -1) for a, _ in known]),
        scores=logs - logs.mean(axis=1, keepdims=True),
    )


def _area(gold: npt.NDArray[np.int64], scores: npt.NDArray[np.float64]) -> float:
    """Return the mean area over the labels that some but not all rows have (Mann-Whitney)."""
    ranks = rankdata(scores, axis=0)
    areas = []
    for label in range(scores.shape[1]):
        inside = gold == label
        positive = int(inside.sum())
        negative = len(gold) - positive
        if positive and negative:
            above = float(ranks[inside, label].sum()) - positive * (positive + 1) / 2
            areas.append(above / (positive * negative))
    return float(np.mean(areas))
