"""Corpus metrics: macro-F1, accuracy and MCC."""

import inspect
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from sklearn.metrics import matthews_corrcoef

from pld_dspy.config.plugins import METRICS, find, owner
from pld_dspy.errors import ConfigError, DataError

Score = Callable[[Sequence[str], Sequence[str | None]], float]


@dataclass(frozen=True, slots=True)
class CorpusMetric:
    """A metric over all answers at once; the order of the examples does not matter.

    Called as `metric(gold, predicted)`, where `predicted[i]` is None if no label could be read.
    An answer that is None or is not a gold label is wrong.
    """

    name: str
    score: Score
    """Called with two sequences of the same length, at least 1."""

    def __call__(self, gold: Sequence[str], predicted: Sequence[str | None]) -> float:
        """Return the metric of `predicted` against `gold`.

        Raises:
            DataError: There is no example, or the two differ in length.
        """
        check_paired(gold, predicted)
        return self.score(gold, predicted)


Metric = CorpusMetric | Callable[..., Any]
"""A corpus metric, or a DSPy metric `(example, prediction, trace=None) -> bool | float`."""


def metric_name(metric: Metric) -> str:
    """Return the name of the metric, for reports and cache keys."""
    return str(getattr(metric, "name", getattr(metric, "__name__", "metric")))


def check_paired(gold: Sequence[str], *answers: Sequence[str | None]) -> None:
    """Raise DataError unless there is an example and every list of answers is as long as `gold`."""
    if not gold:
        msg = "no gold labels to score against (0 examples); give at least one labelled example"
        raise DataError(msg)
    for answer in answers:
        if len(answer) != len(gold):
            msg = f"{len(gold)} gold labels but {len(answer)} answers; give one answer per example"
            raise DataError(msg)


def weights(gold: Sequence[str]) -> dict[str, float]:
    """Return the weight `N / (K * n_y)` of each gold label, so that every class counts the same.

    `N` examples, `K` labels that occur, `n_y` examples of label `y`. The weights of all examples
    average to 1, so a weighted share of right answers is the mean recall of the classes.

    Raises:
        DataError: `gold` is empty.

    >>> weights(["a", "a", "a", "b"])
    {'a': 0.6666666666666666, 'b': 2.0}
    """
    check_paired(gold)
    counts = Counter(gold)
    return {label: len(gold) / (len(counts) * count) for label, count in counts.items()}


def metric_by_name(name: str) -> Metric:
    """Return the metric called `name`, of this package or of another one.

    Args:
        name: `macro_f1`, `accuracy`, `mcc`, or an entry point of the group `pld_dspy.metrics`: a
            `CorpusMetric`, or a DSPy metric `(example, prediction, trace=None) -> bool | float`.

    Raises:
        ConfigError: There is no such metric, or it is neither of the two; the message has the nearest
            name, or the package.

    >>> metric_by_name("accuracy")(["a", "b"], ["a", None])
    0.5
    """
    found: Metric = find(
        METRICS,
        name,
        _METRICS,
        is_valid=_is_metric,
        expected="a CorpusMetric or a DSPy metric (example, prediction, trace=None)",
    )
    return found


def corpus_metric_by_name(name: str) -> CorpusMetric:
    """Return the metric called `name`, which must be a `CorpusMetric`.

    Raises:
        ConfigError: There is no such metric, or it scores single examples.
    """
    metric = metric_by_name(name)
    if not isinstance(metric, CorpusMetric):
        msg = f"{owner(METRICS, name)} scores single examples; a CorpusMetric is needed here"
        raise ConfigError(msg)
    return metric


def _is_metric(value: object) -> bool:
    if isinstance(value, CorpusMetric):
        return True
    if not callable(value) or isinstance(value, type):
        return False
    try:
        inspect.signature(value).bind("example", "prediction")
    except (TypeError, ValueError):
        return False
    return True


def _macro_f1(gold: Sequence[str], predicted: Sequence[str | None]) -> float:
    gold_counts = Counter(gold)
    said_counts = Counter(predicted)
    hits = Counter(g for g, p in zip(gold, predicted, strict=True) if g == p)
    # 2 tp / (2 tp + fp + fn), where tp + fn are the gold and tp + fp the answered counts.
    f1 = (2 * hits[y] / (count + said_counts[y]) for y, count in gold_counts.items())
    return sum(f1) / len(gold_counts)


def _accuracy(gold: Sequence[str], predicted: Sequence[str | None]) -> float:
    return sum(g == p for g, p in zip(gold, predicted, strict=True)) / len(gold)


def _mcc(gold: Sequence[str], predicted: Sequence[str | None]) -> float:
    # Integers, so that no label can collide with the class of the unread answers.
    codes: dict[str | None, int] = {None: 0}
    for label in (*gold, *predicted):
        codes.setdefault(label, len(codes))
    if len({*gold, *predicted}) == 1:
        return 0.0  # sklearn's value too, but it warns
    return float(matthews_corrcoef([codes[g] for g in gold], [codes[p] for p in predicted]))


macro_f1 = CorpusMetric("macro_f1", _macro_f1)
"""Mean F1 of the labels that occur in gold, in [0, 1]; other answers add no class."""

accuracy = CorpusMetric("accuracy", _accuracy)
"""Share of right answers, in [0, 1]."""

mcc = CorpusMetric("mcc", _mcc)
"""Multi-class Matthews correlation, in [-1, 1]; unread answers are one more class, and so is each
answer that is not a gold label. 0.0 where gold or answers are of a single class."""

_METRICS = {metric.name: metric for metric in (macro_f1, accuracy, mcc)}
