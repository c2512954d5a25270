"""Bootstrap intervals, paired comparisons, McNemar's test, Holm's correction.

Examples are resampled with replacement, without strata. A corpus metric depends only on how often
each row of gold label and answers occurs, so a resample is one multinomial draw over these rows.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from scipy.stats import binomtest

from pld_dspy.errors import ConfigError, DataError
from pld_dspy.records import Evaluation, Interval
from pld_dspy.scoring.metrics import CorpusMetric, Metric, accuracy, check_paired, macro_f1, mcc

Floats = npt.NDArray[np.float64]
Row = tuple[str | None, ...]

TIE = 1e-12
"""Differences below this are rounding errors and count as ties."""

_BLOCK = 2_000_000
"""Maximum numbers in one block of resamples (16 MB)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PairedResult:
    """Second minus first on the same examples."""

    delta: Interval
    """In metric units; above 0, the second is better."""
    p_worse: float
    """Share of the resamples in which the second is worse, plus half the ties, in [0, 1]."""


def bootstrap_interval(
    metric: CorpusMetric,
    gold: Sequence[str],
    predicted: Sequence[str | None],
    *,
    n: int = 2000,
    seed: int,
) -> Interval:
    """Return the metric with its 95% percentile interval from `n` resamples of the examples.

    A gold label that does not occur in a resample is not a class of that resample.

    Raises:
        DataError: There is no example, or the lengths differ.
        ConfigError: `n` is below 1.
    """
    check_paired(gold, predicted)
    rows, counts = _distinct_rows(gold, predicted)
    scores = np.concatenate(
        [_scores(metric, rows, 1, drawn) for drawn in _resamples(counts, n=n, seed=seed)]
    )
    return _interval(metric(gold, predicted), scores)


def interval(metric: Metric, evaluation: Evaluation, *, seed: int) -> Interval:
    """Return the score of an evaluation with its 95% bootstrap interval.

    For a DSPy metric, answers with an error are left out; for a corpus metric they are wrong.
    """
    answers = evaluation.answers
    if not isinstance(metric, CorpusMetric):
        values = [answer.score for answer in answers if answer.error is None]
        return paired_bootstrap_scores([0.0] * len(values), values, seed=seed).delta
    gold, said = [a.gold for a in answers], [a.counted for a in answers]
    return bootstrap_interval(metric, gold, said, seed=seed)


def paired_bootstrap(
    metric: CorpusMetric,
    gold: Sequence[str],
    first: Sequence[str | None],
    second: Sequence[str | None],
    *,
    n: int = 2000,
    seed: int,
) -> PairedResult:
    """Return the metric of `second` minus that of `first`, both on the same `n` resamples.

    Raises:
        DataError: There is no example, or the lengths differ.
        ConfigError: `n` is below 1.
    """
    check_paired(gold, first, second)
    rows, counts = _distinct_rows(gold, first, second)
    deltas = np.concatenate(
        [
            _scores(metric, rows, 2, drawn) - _scores(metric, rows, 1, drawn)
            for drawn in _resamples(counts, n=n, seed=seed)
        ]
    )
    return _paired(metric(gold, second) - metric(gold, first), deltas)


def paired_bootstrap_scores(
    first: Sequence[float], second: Sequence[float], *, n: int = 2000, seed: int
) -> PairedResult:
    """Return the mean of `second` minus that of `first`, for scores of one example each.

    Args:
        first: One score per example, in any unit.
        second: Scores of the same examples in the same order.
        n: Number of resamples.
        seed: Seed of the resamples.

    Raises:
        DataError: There is no example, the lengths differ, or a score is not finite.
        ConfigError: `n` is below 1.
    """
    if not first or len(first) != len(second):
        msg = f"{len(first)} first and {len(second)} second scores; give one of each per example"
        raise DataError(msg)
    change = np.asarray(second, dtype=np.float64) - np.asarray(first, dtype=np.float64)
    if not np.isfinite(change).all():
        bad = int(np.flatnonzero(~np.isfinite(change))[0])
        msg = (
            f"scores of example {bad} are {first[bad]} and {second[bad]}; leave failed examples out"
        )
        raise DataError(msg)
    values, counts = np.unique(change, return_counts=True)
    size = len(change)
    deltas = np.concatenate([drawn @ values / size for drawn in _resamples(counts, n=n, seed=seed)])
    return _paired(float(change.mean()), deltas)


def mcnemar(
    gold: Sequence[str], first: Sequence[str | None], second: Sequence[str | None]
) -> float:
    """Return the exact two-sided p-value that both answer lists are equally often right.

    Only examples that exactly one of them has right count; 1.0 if there are none.

    Raises:
        DataError: There is no example, or the lengths differ.
    """
    check_paired(gold, first, second)
    kinds = Counter((g == a, g == b) for g, a, b in zip(gold, first, second, strict=True))
    lost, won = kinds[True, False], kinds[False, True]
    return float(binomtest(won, won + lost, 0.5).pvalue) if won + lost else 1.0


def holm(pvalues: Sequence[float]) -> tuple[float, ...]:
    """Return the p-values after Holm's step-down correction, in the input order.

    Raises:
        DataError: A value is outside [0, 1].

    >>> holm([0.01, 0.04, 0.03])
    (0.03, 0.06, 0.06)
    """
    for p in pvalues:
        if not 0.0 <= p <= 1.0:
            msg = f"p value {p} is outside [0, 1]; give probabilities"
            raise DataError(msg)
    adjusted = [0.0] * len(pvalues)
    floor = 0.0
    for rank, place in enumerate(sorted(range(len(pvalues)), key=lambda i: pvalues[i])):
        floor = max(floor, min(1.0, (len(pvalues) - rank) * pvalues[place]))
        adjusted[place] = floor
    return tuple(adjusted)


def _distinct_rows(*columns: Sequence[str | None]) -> tuple[list[Row], npt.NDArray[np.int64]]:
    """Return the distinct rows and their counts, sorted so that draws do not depend on the input order."""
    counts = Counter(zip(*columns, strict=True))
    rows = sorted(counts, key=lambda row: tuple((v is not None, v or "") for v in row))
    return rows, np.array([counts[row] for row in rows], dtype=np.int64)


def _resamples(
    counts: npt.NDArray[np.int64], *, n: int, seed: int
) -> Iterator[npt.NDArray[np.int64]]:
    """Yield blocks of shape `(resamples, len(counts))`: how often each row is drawn."""
    if n < 1:
        msg = f"{n} resamples; give n of at least 1"
        raise ConfigError(msg)
    rng = np.random.default_rng(seed)
    size = int(counts.sum())
    step = max(1, _BLOCK // len(counts))
    for start in range(0, n, step):
        yield rng.multinomial(size, counts / size, size=min(step, n - start))


class Counts(NamedTuple):
    """Counts by label of a block of answer lists, each of shape `(lists, labels)`."""

    gold: Floats
    predicted: Floats
    hits: Floats


def _scores(
    metric: CorpusMetric, rows: Sequence[Row], column: int, drawn: npt.NDArray[np.int64]
) -> Floats:
    """Return the metric of column `column` against column 0 for each resample."""
    if metric in FROM_COUNTS:
        return FROM_COUNTS[metric](_count(rows, column, drawn))
    gold = [row[0] for row in rows if row[0] is not None]
    values = []
    for times in drawn:
        picked = np.repeat(np.arange(len(rows)), times).tolist()
        values.append(metric([gold[i] for i in picked], [rows[i][column] for i in picked]))
    return np.array(values, dtype=np.float64)


def _count(rows: Sequence[Row], column: int, drawn: npt.NDArray[np.int64]) -> Counts:
    codes: dict[str | None, int] = {}
    for row in rows:
        codes.setdefault(row[0], len(codes))
        codes.setdefault(row[column], len(codes))
    labels = np.eye(len(codes))
    gold = labels[[codes[row[0]] for row in rows]]
    predicted = labels[[codes[row[column]] for row in rows]]
    times = drawn.astype(np.float64)
    return Counts(times @ gold, times @ predicted, times @ (gold * predicted))


def _accuracy(counts: Counts) -> Floats:
    return np.asarray(counts.hits.sum(axis=1) / counts.gold.sum(axis=1))


def _macro_f1(counts: Counts) -> Floats:
    present = counts.gold > 0
    f1 = 2 * counts.hits / np.where(present, counts.gold + counts.predicted, 1.0)
    return np.asarray((f1 * present).sum(axis=1) / present.sum(axis=1))


def _mcc(counts: Counts) -> Floats:
    size = counts.gold.sum(axis=1)
    # R_K of Gorodkin 2004, from the margins and the number of right answers.
    covariance = counts.hits.sum(axis=1) * size - (counts.gold * counts.predicted).sum(axis=1)
    spread_gold = size**2 - (counts.gold**2).sum(axis=1)
    spread_predicted = size**2 - (counts.predicted**2).sum(axis=1)
    scale = np.sqrt(spread_gold * spread_predicted)
    return np.asarray(np.divide(covariance, scale, out=np.zeros_like(size), where=scale > 0))


FROM_COUNTS: dict[CorpusMetric, Callable[[Counts], Floats]] = {
    macro_f1: _macro_f1,
    accuracy: _accuracy,
    mcc: _mcc,
}
"""Metrics that are computed from counts: functions from counts to scores of shape `(lists,)`."""


def _interval(estimate: float, resampled: Floats) -> Interval:
    low, high = np.quantile(resampled, [0.025, 0.975])
    return Interval(estimate=estimate, low=float(low), high=float(high))


def _paired(estimate: float, deltas: Floats) -> PairedResult:
    ties = np.abs(deltas) < TIE
    worse = (deltas < 0) & ~ties
    return PairedResult(
        delta=_interval(estimate, deltas), p_worse=float(np.mean(worse + 0.5 * ties))
    )
