"""Predicts the scores of untried rule lists from the gold probabilities of earlier trials.

The effects of rules are closer to additive in log-odds than in scores: an example that is right
cannot gain, and a rule that helps one label costs others. So the regression is on single answers, not
on list means.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
from scipy.optimize import brentq
from scipy.special import ndtr

from pld_dspy.errors import DataError

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

_FAR = 4.5
"""Log-odds are clipped to this absolute value."""
_SCALES = {"inside": 0.4, "label": 0.4, "place": 0.2, "first": 0.1, "both": 0.15}
"""Prior standard deviations of the effects, in units of the standard deviation of the log-odds:
rule in the list, the same for one gold label, place of a rule, order of two rules, both of two rules
in the list."""
_LEVEL = 1.5
"""Prior standard deviation of the level of an example, in the same unit."""
_ROUNDS = 2
"""Number of times the noise is re-estimated from the residuals."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Forecast:
    """A fitted regression of log-odds; see `fit_forecast`."""

    n_rules: int
    labels: Ints
    """Gold label of each example, as an integer."""
    weights: Floats
    """Weights of the examples; they sum to 1."""
    levels: Floats
    """Log-odds of each example without rules."""
    unsure: Floats
    """Standard deviation of these levels."""
    effects: Floats
    """Effects of all features, then those of `inside` by label."""
    root: Floats
    """Lower Cholesky factor of the covariance of the effects."""
    noise: float
    """Standard deviation of the residuals."""
    threshold: float
    """Log-odds at which an answer is right with probability 1/2."""

    def expected(self, lists: Sequence[tuple[int, ...]]) -> Floats:
        """Return the expected weighted accuracy of each list, in [0, 1], shape `(lists,)`.

        The weights are those of the fit.
        """
        return np.asarray(self.by_example(lists) @ self.weights)

    def by_example(self, lists: Sequence[tuple[int, ...]]) -> Floats:
        """Return the probability of a right answer, shape `(lists, examples)`, in [0, 1]."""
        log_odds = self.levels + self._shifts(lists)[:, self.labels] - self.threshold
        return np.asarray(ndtr(log_odds / np.hypot(self.noise, self.unsure)))

    def drawn(self, rng: np.random.Generator) -> "Forecast":
        """Return a forecast with effects drawn from their posterior (Thompson sampling, 1933).

        All lists are compared by the same draw, so uncertain lists sometimes come first.
        """
        effects = self.effects + self.root @ rng.standard_normal(len(self.effects))
        return replace(self, effects=effects)

    def _shifts(self, lists: Sequence[tuple[int, ...]]) -> Floats:
        """Return the effect of each list on the log-odds by gold label, shape `(lists, labels)`."""
        rows = features(lists, self.n_rules)
        label_effect = self.effects[rows.shape[1] :].reshape(-1, self.n_rules)
        inside = rows[:, : self.n_rules]
        return np.asarray((rows @ self.effects[: rows.shape[1]])[:, None] + inside @ label_effect.T)


def fit_forecast(
    lists: Sequence[tuple[int, ...]],
    odds: Sequence[Mapping[int, float]],
    right: Sequence[Mapping[int, float]],
    gold: Sequence[str],
    n_rules: int,
    *,
    weights: Sequence[float],
) -> Forecast:
    """Return a Bayesian linear regression of the log-odds of the gold label.

    `log-odds = level of the example + effects of the list + effects of its rules on the label`, with
    normal priors around 0. The threshold makes the fitted share of right answers the observed one.

    Args:
        lists: Tried lists, as rule numbers in order.
        odds: Per list, the probability of the gold label by example number, in [0, 1].
        right: Per list, 1.0 or 0.0 by example number, for the same examples.
        gold: Gold label of each example.
        n_rules: Number of rules in the pool.
        weights: Weight of each example, positive.

    Raises:
        DataError: No answer has a probability, or the lengths differ.
    """
    if not (len(lists) == len(odds) == len(right)) or not any(odds):
        msg = (
            f"{len(lists)} lists with {sum(map(len, odds))} probabilities; score at least one list"
        )
        raise DataError(msg)
    names = {label: number for number, label in enumerate(dict.fromkeys(gold))}
    labels = np.array([names[label] for label in gold])
    pairs = [(row, example) for row, seen in enumerate(odds) for example in seen]
    row, example = np.array(pairs).T
    seen = np.array([odds[r][e] for r, e in pairs])
    hits = np.array([right[r][e] for r, e in pairs])
    log_odds = _log_odds(seen)
    unit = max(float(log_odds.std()), 0.1)
    design, scales = _design(features(lists, n_rules)[row], labels[example], n_rules, len(names))
    precision = (scales * unit) ** -2.0
    level, effects, covariance, noise = _solve(
        design, log_odds, example, len(gold), precision, unit
    )
    fitted = level[example] + design @ effects
    return Forecast(
        n_rules=n_rules,
        labels=labels,
        weights=np.asarray(weights) / np.sum(weights),
        levels=level,
        unsure=np.sqrt(
            noise**2 / (np.bincount(example, minlength=len(gold)) + (noise / (_LEVEL * unit)) ** 2)
        ),
        effects=effects,
        root=np.asarray(np.linalg.cholesky(covariance + 1e-10 * np.eye(len(covariance)))),
        noise=noise,
        threshold=_threshold(fitted, hits, noise),
    )


def _log_odds(p: Floats) -> Floats:
    odds = np.log(np.maximum(p, 1e-9)) - np.log(np.maximum(1 - p, 1e-9))
    return np.asarray(np.clip(odds, -_FAR, _FAR))


def features(lists: Sequence[tuple[int, ...]], n_rules: int) -> Floats:
    """Return one row per list: rules in the list, their places, order of each two, both of each two.

    The place is from -1/2 (first) to 1/2 (last), and 0 for a rule that is alone or not in the list.
    """
    inside = np.zeros((len(lists), n_rules))
    place = np.zeros((len(lists), n_rules))
    for row, rules in enumerate(lists):
        inside[row, list(rules)] = 1.0
        if len(rules) > 1:
            place[row, list(rules)] = np.arange(len(rules)) / (len(rules) - 1) - 0.5
    i, j = np.triu_indices(n_rules, 1)
    both = inside[:, i] * inside[:, j]
    first = both * np.sign(place[:, j] - place[:, i]) / 2
    return np.concatenate([inside, place, first, both], axis=1)


def _design(rows: Floats, labels: Ints, n_rules: int, n_labels: int) -> tuple[Floats, Floats]:
    """Return the features of each answer, those by label last, and their prior scales."""
    by_label = np.zeros((len(rows), n_labels, n_rules))
    by_label[np.arange(len(rows)), labels] = rows[:, :n_rules]
    pairs = n_rules * (n_rules - 1) // 2
    sizes = [n_rules, n_rules, pairs, pairs, n_labels * n_rules]
    names = ["inside", "place", "first", "both", "label"]
    scales = np.repeat([_SCALES[name] for name in names], sizes)
    return np.concatenate([rows, by_label.reshape(len(rows), -1)], axis=1), scales


def _solve(
    design: Floats, log_odds: Floats, example: Ints, n: int, precision: Floats, unit: float
) -> tuple[Floats, Floats, Floats, float]:
    """Return levels, effects, covariance of the effects, and standard deviation of the noise.

    The levels, one per example, are eliminated first, because their block of the matrix is diagonal.
    """
    counts = np.bincount(example, minlength=n).astype(np.float64)
    sums = np.zeros((n, design.shape[1]))
    np.add.at(sums, example, design)
    log_odds_sums = np.bincount(example, weights=log_odds, minlength=n)
    square, side, total = design.T @ design, design.T @ log_odds, design.sum(0)
    mean = float(log_odds.mean())

    def solved(noise: float) -> tuple[Floats, Floats, Floats]:
        share = 1 / (counts + noise / (_LEVEL * unit) ** 2)
        gram = square - sums.T @ (share[:, None] * sums) + noise * np.diag(precision)
        target = side - sums.T @ (share * log_odds_sums)
        # The prior of the levels is around the mean log-odds.
        target = target - mean * (total - sums.T @ (share * counts))
        inverse = np.asarray(np.linalg.inv(gram), dtype=np.float64)
        effects = inverse @ target
        return mean + share * (log_odds_sums - counts * mean - sums @ effects), effects, inverse

    noise = 0.3 * unit**2
    dof = max(
        len(log_odds) - float((counts > 0).sum()) - 0.5 * design.shape[1], 0.2 * len(log_odds)
    )
    level, effects, inverse = solved(noise)
    for _ in range(_ROUNDS):
        residuals = log_odds - level[example] - design @ effects
        noise = max(float(residuals @ residuals) / dof, 1e-3 * unit**2)
        level, effects, inverse = solved(noise)
    return level, effects, noise * inverse, float(np.sqrt(noise))


def _threshold(fitted: Floats, hits: Floats, noise: float) -> float:
    """Return the threshold at which the fitted share of right answers is the observed one."""
    share = float(np.clip(hits.mean(), 0.02, 0.98))

    def surplus(threshold: float) -> float:
        return float(ndtr((fitted - threshold) / noise).mean()) - share

    far = float(np.abs(fitted).max()) + 5 * noise
    return float(brentq(surplus, -far, far))
