"""How well label probabilities separate the labels, whatever their bias."""

from collections.abc import Sequence

import numpy as np
from sklearn.metrics import roc_auc_score

from pld_dspy.records import Answer
from pld_dspy.records.decision import FLOOR


def separability(answers: Sequence[Answer], labels: Sequence[str]) -> float | None:
    """Return the mean area under the ROC curve of each label against the rest, in [0, 1].

    The score of a label is its log-probability minus the mean over the labels of the same answer. A
    bias towards a label shifts its scores for all examples alike and does not change the area, so it
    tells what the student knows, as the metric does not: 0.5 is nothing, 1.0 is everything.

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
    known = [(a.gold, a.probabilities) for a in answers if a.probabilities and a.error is None]
    golds = {gold for gold, _ in known}
    if len(golds) < 2 or len(known) < len(answers) / 2:
        return None
    logs = np.log([[max(p.get(label, 0.0), FLOOR) for label in labels] for _, p in known])
    centred = logs - logs.mean(axis=1, keepdims=True)
    areas = [
        roc_auc_score([gold == label for gold, _ in known], centred[:, place])
        for place, label in enumerate(labels)
        if label in golds
    ]
    return float(np.mean(areas))
