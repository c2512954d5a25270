"""Bootstrap intervals over seeds and examples at once.

One resample draws as many seeds as there are, with replacement, and for each drawn seed as many of
its test examples as it has, with replacement; its score is the mean of the metric over the drawn
seeds. Two answer lists are compared on the same draws. With one seed only examples are drawn.
Few seeds make the part of the width that comes from seeds too small, by the factor
`(seeds - 1) / seeds` in the variance.
"""

from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from pld_dspy.errors import DataError
from pld_dspy.records import Interval
from pld_dspy.scoring.metrics import CorpusMetric, check_paired
from pld_dspy.scoring.statistics import FROM_COUNTS, TIE, Counts, Floats, PairedResult

RESAMPLES = 2000
SEED = 0


class SeedAnswers(NamedTuple):
    """The test answers of one seed; item `i` of each list belongs to test example `i`."""

    gold: Sequence[str]
    first: Sequence[str | None]
    second: Sequence[str | None]


class _Draw(NamedTuple):
    where: npt.NDArray[np.bool_]
    """Shape `(resamples, seeds)`: the places at which this seed was drawn."""
    times: npt.NDArray[np.int64]
    """Shape `(places, examples)`: how often each example is drawn there."""


def interval_over_seeds(
    metric: CorpusMetric, runs: Sequence[SeedAnswers], *, n: int = RESAMPLES, seed: int = SEED
) -> Interval:
    """Return the mean metric of the second answers over the seeds, with its 95% interval.

    Raises:
        DataError: There is no seed, a seed has no example, or lengths differ.
    """
    _check(runs)
    estimate = float(np.mean([metric(run.gold, run.second) for run in runs]))
    return _interval(estimate, _resampled(metric, runs, column=2, n=n, seed=seed))


def paired_over_seeds(
    metric: CorpusMetric, runs: Sequence[SeedAnswers], *, n: int = RESAMPLES, seed: int = SEED
) -> PairedResult:
    """Return the mean over the seeds of the metric of the second minus that of the first answers.

    Exchanging first and second changes the signs and nothing else: the draws do not depend on the
    answers.

    Raises:
        DataError: There is no seed, a seed has no example, or lengths differ.
    """
    _check(runs)
    estimate = float(
        np.mean([metric(run.gold, run.second) - metric(run.gold, run.first) for run in runs])
    )
    deltas = _resampled(metric, runs, column=2, n=n, seed=seed)
    deltas = deltas - _resampled(metric, runs, column=1, n=n, seed=seed)
    ties = np.abs(deltas) < TIE
    p_worse = float(np.mean(((deltas < 0) & ~ties) + 0.5 * ties))
    return PairedResult(delta=_interval(estimate, deltas), p_worse=p_worse)


def _check(runs: Sequence[SeedAnswers]) -> None:
    if not runs:
        msg = "no seed to compare (0 runs); give the answers of at least one"
        raise DataError(msg)
    for run in runs:
        check_paired(*run)


def _resampled(
    metric: CorpusMetric, runs: Sequence[SeedAnswers], *, column: int, n: int, seed: int
) -> Floats:
    """Return the mean metric of one column of answers in each resample, shape `(n,)`."""
    scores = np.zeros((n, len(runs)))
    for run, draw in zip(runs, _draws(tuple(len(r.gold) for r in runs), n, seed), strict=True):
        scores[draw.where] = _scores(metric, run.gold, run[column], draw.times)
    return np.asarray(scores.mean(axis=1))


@lru_cache(maxsize=4)
def _draws(sizes: tuple[int, ...], n: int, seed: int) -> tuple[_Draw, ...]:
    """Return the draws of each seed, the same for all answers to tests of these sizes."""
    rng = np.random.default_rng(seed)
    picks = rng.integers(len(sizes), size=(n, len(sizes)))
    draws = []
    for number, size in enumerate(sizes):
        where = picks == number
        times = rng.multinomial(size, np.full(size, 1 / size), size=int(where.sum()))
        draws.append(_Draw(where, times))
    return tuple(draws)


def _scores(
    metric: CorpusMetric,
    gold: Sequence[str],
    said: Sequence[str | None],
    times: npt.NDArray[np.int64],
) -> Floats:
    if metric in FROM_COUNTS:
        codes = {label: code for code, label in enumerate(dict.fromkeys([*gold, *said]))}
        # Whole numbers, because the threads of a product of floats wait long on busy cores.
        labels = np.eye(len(codes), dtype=np.int64)
        right, answer = labels[[codes[g] for g in gold]], labels[[codes[s] for s in said]]
        tables = (times @ part for part in (right, answer, right * answer))
        return FROM_COUNTS[metric](Counts(*(table.astype(np.float64) for table in tables)))
    values = []
    for row in times:
        picked = np.repeat(np.arange(len(gold)), row).tolist()
        values.append(metric([gold[i] for i in picked], [said[i] for i in picked]))
    return np.array(values, dtype=np.float64)


def _interval(estimate: float, resampled: Floats) -> Interval:
    low, high = np.quantile(resampled, [0.025, 0.975])
    return Interval(estimate=estimate, low=float(low), high=float(high))
