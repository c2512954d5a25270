"""Races of candidates over blocks of examples: one stops when it can hardly win any more.

A candidate is compared with the incumbent, the best list that was scored on all examples. Its
unseen answers are drawn by what is seen; the chance to win is the share of draws that end ahead.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Generic, NamedTuple, TypeVar

import numpy as np
import numpy.typing as npt

from pld_dspy.config.optimizer import RaceConfig
from pld_dspy.data.stratify import share_out
from pld_dspy.errors import ConfigError, DataError
from pld_dspy.scoring.metrics import CorpusMetric, check_paired
from pld_dspy.scoring.statistics import FROM_COUNTS, TIE, Counts, Floats

Ints = npt.NDArray[np.int64]
Said = TypeVar("Said")
Answers = Sequence[str | None]
Rights = Callable[[int, np.random.Generator], npt.NDArray[np.bool_]]
"""Draws which examples are right, shape `(draws, examples)`."""

_DISAGREE = 0.5
"""Prior share of answers that are independent of the incumbent's, and as often right; the other
answers repeat the incumbent's. So none of the two is ahead before an example is seen."""
_POOLED = 16.0
"""Weight of that prior, in examples. Of the weights that were tried on simulated pairs of lists,
these gave chances with about the best log loss."""
_LABEL = 8.0
"""Weight of the share over all labels, in examples, on the share of one label."""
_WRONG = 2.0
"""Weight of the incumbent's mistakes, in examples, on which wrong answer a candidate gives."""
_IMAGINED = 4.0
"""Weight of the prior on scores; graded scores tell more an example, so less is enough."""


class Raced(NamedTuple, Generic[Said]):
    """How far a candidate came."""

    seen: tuple[int, ...]
    """Indices of the examples that it answered, in the order of the blocks."""
    answers: tuple[Said, ...]
    """Its answers, in that order."""
    stopped: bool
    """True if examples are left out because it could hardly win."""
    chance: float
    """Chance to win at the last look, in [0, 1]."""


def race(
    answer: Callable[[tuple[int, ...]], Sequence[Said]],
    chance: Callable[[Sequence[Said], Sequence[int]], float],
    *,
    blocks: Sequence[tuple[int, ...]],
    config: RaceConfig,
) -> Raced[Said]:
    """Return what the candidate said until it was stopped, or to all the examples.

    Args:
        answer: Asks the candidate about the examples of one block; one answer each, in order.
        chance: Chance to win from the answers so far and their indices, such as `chance_to_win`
            with the other arguments bound.
        blocks: From `stratified_blocks`, at least one.
        config: Where to stop. If not enabled, all the blocks are asked in one call.
    """
    rounds = blocks if config.enabled else [sum(blocks, ())]
    seen: list[int] = []
    answers: list[Said] = []
    now = 0.5
    for number, block in enumerate(rounds, start=1):
        answers.extend(answer(block))
        seen.extend(block)
        now = chance(answers, seen)
        if now < config.min_chance and number < len(rounds):
            return Raced(tuple(seen), tuple(answers), True, now)
    return Raced(tuple(seen), tuple(answers), False, now)


def stratified_blocks(gold: Sequence[str], size: int, *, seed: int) -> tuple[tuple[int, ...], ...]:
    """Return blocks of `size` indices, the last one shorter if need be; each index stands once.

    Every block has about the label shares of `gold`; rare labels stand in the first, if they fit.

    Raises:
        ConfigError: `size` is below 1.
    """
    if size < 1:
        msg = f"{size} examples a block; give at least 1"
        raise ConfigError(msg)
    rng = np.random.default_rng(seed)
    order = rng.permutation(len(gold)).tolist()
    queues = [[i for i in order if gold[i] == label] for label in dict.fromkeys(gold)]
    starts = range(0, len(gold), size)
    sizes = np.array([min(size, len(gold) - start) for start in starts], dtype=np.int64)
    table = share_out(np.array([len(queue) for queue in queues], dtype=np.int64), sizes)
    return tuple(
        tuple(
            sorted(queue.pop() for queue, k in zip(queues, column, strict=True) for _ in range(k))
        )
        for column in table.T.tolist()
    )


def chance_to_win(  # noqa: PLR0913 - the data, and how the rest of it is drawn
    gold: Sequence[str],
    incumbent: Answers,
    candidate: Answers,
    seen: Sequence[int],
    *,
    metric: CorpusMetric,
    seed: int,
    draws: int = 400,
    forecast: Rights | None = None,
) -> float:
    """Return the chance that the candidate's metric on all examples is the higher, in [0, 1].

    Ties count half. With all examples seen it is 0, 0.5 or 1; with none it is about 0.5. How often
    the candidate is right on unseen examples is Beta-binomial by stratum (gold label, incumbent
    right or wrong), with the share over all labels as prior mean; which wrong answer it gives is
    Dirichlet-multinomial by gold label.

    Args:
        gold: Labels of all `N` examples.
        incumbent: Its `N` answers.
        candidate: Answers to the `seen` examples, in that order.
        seen: Indices into `gold`, each once.
        metric: What is raced; macro-F1, accuracy and MCC are vectorised.
        seed: Seed of the draws.
        draws: Completed answer lists; the chance has a standard error of up to `0.5 / sqrt(draws)`.
        forecast: Draws which of all `N` examples the candidate gets right, in place of the
            Beta-binomial, such as `Margins.rights` with its first arguments bound.

    Raises:
        DataError: There is no example, lengths differ, or `seen` is no set of indices.
        ConfigError: `draws` is below 1.
    """
    check_paired(gold, incumbent)
    _check_seen(len(gold), len(candidate), seen, draws)
    coded = _code(gold, incumbent, candidate, seen)
    first = coded.table(coded.incumbent)[None]
    rng = np.random.default_rng(seed)
    rights = (
        _draw_rights(coded, draws, rng)
        if forecast is None
        else _rights_of(coded, forecast(draws, rng))
    )
    tables = np.concatenate([first, _complete(coded, rights, rng)])
    scores = _score_tables(metric, tables, coded.names)
    return _share_ahead(scores[1:] - scores[0])


def chance_to_win_scores(
    incumbent: Sequence[float],
    candidate: Sequence[float],
    seen: Sequence[int],
    *,
    seed: int,
    draws: int = 400,
) -> float:
    """Return the chance that the candidate's mean score over all examples is the higher, in [0, 1].

    Ties count half. With all examples seen it is 0, 0.5 or 1. An unseen score is the incumbent's
    plus a change seen in the same stratum (incumbent's score below its mean or not), cut to [0, 1],
    under random weights of the changes (Bayesian bootstrap, Rubin 1981). Imagined examples of score
    0 and 1 keep it from certainty.

    Args:
        incumbent: Scores of all examples, in [0, 1].
        candidate: Scores of the `seen` examples, in that order, in [0, 1].
        seen: Indices into `incumbent`, each once.
        seed: Seed of the draws.
        draws: As for `chance_to_win`.

    Raises:
        DataError: There is no example, lengths differ, `seen` is no set of indices, or a score is
            outside [0, 1].
        ConfigError: `draws` is below 1.
    """
    _check_seen(len(incumbent), len(candidate), seen, draws)
    outside = [score for score in (*incumbent, *candidate) if not 0.0 <= score <= 1.0]
    if outside:
        msg = f"score {outside[0]} is outside [0, 1]; scale the scores, leave failed examples out"
        raise DataError(msg)
    base, at = np.asarray(incumbent, np.float64), np.asarray(seen, np.int64)
    shift = np.asarray(candidate, np.float64) - base[at]
    unseen = ~np.isin(np.arange(len(base)), at)
    rng = np.random.default_rng(seed)
    change = np.full(draws, shift.sum())
    level = (base.sum() + 1) / (len(base) + 2)
    high = base >= base.mean()
    for stratum in (high, ~high):
        rest = base[stratum & unseen]
        if len(rest):
            prior = base[stratum].mean() * (1 - _DISAGREE) + level * _DISAGREE
            # A change of 1 makes any score 1, and one of -1 makes it 0.
            changes = np.append(shift[stratum[at]], [1.0, -1.0])
            sizes = [1.0] * (len(changes) - 2) + [_IMAGINED * prior, _IMAGINED * (1 - prior)]
            for draw, shares in enumerate(rng.dirichlet(sizes, size=draws)):
                drawn = rng.choice(changes, size=len(rest), p=shares)
                change[draw] += (np.clip(rest + drawn, 0.0, 1.0) - rest).sum()
    return _share_ahead(change / len(base))


class _Coded(NamedTuple):
    """Answers as places in `names` (the gold `labels` come first), or -1 where unseen."""

    names: list[str | None]
    labels: int
    gold: Ints
    incumbent: Ints
    candidate: Ints

    def table(self, said: Ints) -> Ints:
        """Return how often each answer was given to each gold label, shape `(labels, names)`."""
        counts = np.zeros((self.labels, len(self.names)), dtype=np.int64)
        np.add.at(counts, (self.gold[said >= 0], said[said >= 0]), 1)
        return counts


def _code(gold: Answers, incumbent: Answers, candidate: Answers, seen: Sequence[int]) -> _Coded:
    # None is always among the names, so that there is a wrong answer even if no list gave one.
    names = list(dict.fromkeys([*gold, None, *incumbent, *candidate]))
    codes = {name: code for code, name in enumerate(names)}
    first, second = (np.array([codes[name] for name in column]) for column in (gold, incumbent))
    said = np.full(len(gold), -1, dtype=np.int64)
    said[list(seen)] = [codes[name] for name in candidate]
    return _Coded(names, len(set(gold)), first, second, said)


def _rights_of(coded: _Coded, drawn: npt.NDArray[np.bool_]) -> Ints:
    """Return how many unseen examples of each label are right in each draw, `(draws, labels)`."""
    unseen = (coded.candidate < 0) & drawn
    labels = coded.gold[None] == np.arange(coded.labels)[:, None]
    return np.asarray(unseen.astype(np.int64) @ labels.T.astype(np.int64))


def _complete(coded: _Coded, rights: Ints, rng: np.random.Generator) -> Ints:
    """Return tables of the candidate's answers to all examples, `(draws, labels, names)`."""
    diagonal = np.arange(coded.labels)
    told = coded.table(coded.candidate)
    unseen = np.bincount(coded.gold) - told.sum(axis=1)
    mistakes = coded.table(coded.incumbent) + 1 / len(coded.names)
    mistakes[diagonal, diagonal] = 0.0
    alpha = told + _WRONG * mistakes / mistakes.sum(axis=1, keepdims=True)
    alpha[diagonal, diagonal] = 0.0
    shares = rng.standard_gamma(alpha, size=(len(rights), *alpha.shape))
    drawn = rng.multinomial(unseen - rights, shares / shares.sum(axis=2, keepdims=True))
    drawn[:, diagonal, diagonal] += rights
    return np.asarray(told + drawn)


def _draw_rights(coded: _Coded, draws: int, rng: np.random.Generator) -> Ints:
    """Return how many unseen examples of each label the candidate has right, `(draws, labels)`."""
    kept, hit = coded.gold == coded.incumbent, coded.gold == coded.candidate
    unseen = coded.candidate < 0
    level = (kept.sum() + 1) / (len(kept) + 2)
    rights = np.zeros((draws, coded.labels), dtype=np.int64)
    for stratum, own in ((kept, 1.0), (~kept, 0.0)):
        prior = own + _DISAGREE * (level - own)
        won, lost, left = (
            np.bincount(coded.gold[stratum & mask], minlength=coded.labels)
            for mask in (hit, ~hit & ~unseen, unseen)
        )
        overall = rng.beta(
            won.sum() + _POOLED * prior, lost.sum() + _POOLED * (1 - prior), size=(draws, 1)
        ).clip(0.001, 0.999)  # draws from tiny parameters underflow
        share = rng.beta(won + _LABEL * overall, lost + _LABEL * (1 - overall))
        rights += rng.binomial(left, share)
    return rights


def _score_tables(metric: CorpusMetric, tables: Ints, names: Sequence[str | None]) -> Floats:
    """Return the metric of each table, shape `(tables,)`."""
    if metric in FROM_COUNTS:
        labels = np.arange(tables.shape[1])
        gold, hits = np.zeros((2, len(tables), len(names)))
        gold[:, labels] = tables.sum(axis=2)
        hits[:, labels] = tables[:, labels, labels]
        return FROM_COUNTS[metric](Counts(gold, tables.sum(axis=1).astype(np.float64), hits))
    distinct, back = np.unique(tables, axis=0, return_inverse=True)
    scores = []
    for table in distinct:
        cells = [(g, s) for (g, s), k in np.ndenumerate(table) for _ in range(k)]
        scores.append(metric([str(names[g]) for g, _ in cells], [names[s] for _, s in cells]))
    return np.array(scores)[back.ravel()]


def _share_ahead(change: Floats) -> float:
    return float(np.mean(np.where(np.abs(change) < TIE, 0.5, change > 0)))


def _check_seen(size: int, answers: int, seen: Sequence[int], draws: int) -> None:
    if draws < 1:
        msg = f"{draws} draws; give at least 1"
        raise ConfigError(msg)
    if size < 1 or answers != len(seen):
        msg = f"{answers} answers to {len(seen)} seen of {size} examples; give one answer each"
        raise DataError(msg)
    bad = next((i for i, k in Counter(seen).items() if k > 1 or not 0 <= i < size), None)
    if bad is not None:
        msg = f"seen index {bad} is outside 0 to {size - 1} or stands twice; give each index once"
        raise DataError(msg)
