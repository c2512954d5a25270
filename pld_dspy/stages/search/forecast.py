"""How an untried rule list would score, from how sure the student was of each gold label.

What rules do adds up in log-odds much better than in scores: an example that is right already
cannot gain, and a rule that helps its own label costs others. So the regression is of single
answers, not of list means.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.optimize import brentq
from scipy.special import ndtr

from pld_dspy.errors import DataError

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

_FAR = 4.5
"""Log-odds beyond this say no more than "sure"."""
_SCALES = {"inside": 0.4, "label": 0.4, "place": 0.2, "first": 0.1, "both": 0.15}
"""Prior standard deviations of the effects of a rule being in, of that on one gold label, of its
place, of which of two rules comes first, and of two rules being in together; in units of the
standard deviation of the log-odds."""
_OWN = 0.15
"""The same of what no feature says about a list, as a whole and on one label."""
_LEVEL = 1.5
"""The same of an example's own level."""
_ROUNDS = 2
"""Times the noise is estimated anew from what the regression leaves."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Margins:
    """A regression of log-odds that predicts untried lists; made by `fit_margins`."""

    n_rules: int
    labels: Ints
    """Gold label of each example as a number."""
    weights: Floats
    """Of the examples, adding up to 1."""
    levels: Floats
    """Log-odds of each example without rules."""
    unsure: Floats
    """Standard deviation of these levels."""
    mean: Floats
    """Effects: those of all features, then those of `inside` by label."""
    root: Floats
    """Lower Cholesky factor of the effects' covariance."""
    noise: float
    """Standard deviation of what the regression leaves of a log-odds."""
    unit: float
    """Standard deviation of the log-odds that were seen."""
    bar: float
    """Log-odds above which an answer is right as often as not."""

    def draw(self, rng: np.random.Generator, count: int = 1) -> Floats:
        """Return draws of the effects from what is known about them, shape `(count, effects)`."""
        return self.mean + rng.standard_normal((count, len(self.mean))) @ self.root.T

    def forecast(self, lists: Sequence[tuple[int, ...]], effects: Floats | None = None) -> Floats:
        """Return the share of right answers expected of each list, the labels weighted as in the fit.

        With `effects` from `draw`, it is what that draw expects (Thompson 1933): the same draw for
        all the lists that are compared, so that lists of which little is known come first now and
        then.
        """
        chosen = self.mean if effects is None else effects
        sure = self.levels + self._shifts(lists, chosen[None])[0][:, self.labels] - self.bar
        return np.asarray(ndtr(sure / np.hypot(self.noise, self.unsure)) @ self.weights)

    def rights(
        self,
        rules: tuple[int, ...],
        seen: Mapping[int, float],
        *,
        draws: int,
        rng: np.random.Generator,
    ) -> npt.NDArray[np.bool_]:
        """Return draws of which examples the list gets right, shape `(draws, examples)`.

        What the regression leaves of the answers so far moves the unseen ones along: as a whole,
        and by label.

        Args:
            rules: The list.
            seen: Probability of the gold label by example number, in [0, 1].
            draws: Number of draws.
            rng: Source of the draws.
        """
        shifts = self._shifts([rules], self.draw(rng, draws))[:, 0]
        expected = self.levels + shifts[:, self.labels]
        at = np.array(sorted(seen), dtype=np.int64)
        told = _log_odds(np.array([seen[place] for place in at]))
        labels = np.arange(shifts.shape[1])
        member = self.labels[at][None] == labels[:, None]
        left = told - expected[:, at]
        spread = self.noise**2 + self.unsure[at] ** 2
        whole = _drawn(left, spread, np.ones((1, len(at)), dtype=bool), self.unit * _OWN, rng)
        own = _drawn(left - whole, spread, member, self.unit * _OWN, rng)
        sure = expected + whole + own[:, self.labels] - self.bar
        scale = np.hypot(self.noise, self.unsure)
        return np.asarray(sure + scale * rng.standard_normal(sure.shape) > 0)

    def _shifts(self, lists: Sequence[tuple[int, ...]], effects: Floats) -> Floats:
        """Return what each list does to the log-odds of each label, shape `(draws, lists, labels)`."""
        rows = features(lists, self.n_rules)
        own = effects[:, rows.shape[1] :].reshape(len(effects), -1, self.n_rules)
        inside = rows[:, : self.n_rules]
        return np.asarray(
            (effects[:, : rows.shape[1]] @ rows.T)[:, :, None]
            + np.einsum("lr,dkr->dlk", inside, own)
        )


def fit_margins(
    lists: Sequence[tuple[int, ...]],
    odds: Sequence[Mapping[int, float]],
    right: Sequence[Mapping[int, float]],
    gold: Sequence[str],
    n_rules: int,
    *,
    weights: Sequence[float],
) -> Margins:
    """Return a Bayesian linear regression of the log-odds of the gold label.

    `log-odds = level of the example + effects of the list + effects of its rules on the label`, with
    normal priors around 0. The bar is set so that as many answers are right as were seen.

    Args:
        lists: Tried lists: rule numbers in order.
        odds: By list, the probability of the gold label by example number, in [0, 1].
        right: By list, 1.0 or 0.0 by example number, for the same examples.
        gold: Gold label of each example.
        n_rules: Size of the pool.
        weights: Of each example, positive.

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
    at = [(row, example) for row, seen in enumerate(odds) for example in seen]
    row, example = np.array(at).T
    seen = np.array([odds[r][e] for r, e in at])
    hits = np.array([right[r][e] for r, e in at])
    told = _log_odds(seen)
    unit = max(float(told.std()), 0.1)
    design, scales = _design(features(lists, n_rules)[row], labels[example], n_rules, len(names))
    precision = (scales * unit) ** -2.0
    level, effects, inverse, noise = _solve(design, told, example, len(gold), precision, unit)
    fitted = level[example] + design @ effects
    return Margins(
        n_rules=n_rules,
        labels=labels,
        weights=np.asarray(weights) / np.sum(weights),
        levels=level,
        unsure=np.sqrt(
            noise**2 / (np.bincount(example, minlength=len(gold)) + (noise / (_LEVEL * unit)) ** 2)
        ),
        unit=unit,
        mean=effects,
        root=np.asarray(np.linalg.cholesky(inverse + 1e-10 * np.eye(len(inverse))), np.float64),
        noise=noise,
        bar=_bar(fitted, hits, noise),
    )


def _log_odds(p: Floats) -> Floats:
    odds = np.log(np.maximum(p, 1e-9)) - np.log(np.maximum(1 - p, 1e-9))
    return np.asarray(np.clip(odds, -_FAR, _FAR))


def _drawn(
    left: Floats,
    spread: Floats,
    member: npt.NDArray[np.bool_],
    scale: float,
    rng: np.random.Generator,
) -> Floats:
    """Return draws of the mean of each group's leftovers, shape `(draws, groups)`; prior sd `scale`."""
    share = member / spread
    precision = share.sum(1) + scale**-2.0
    return np.asarray(
        (left @ share.T) / precision
        + rng.standard_normal((len(left), len(member))) / np.sqrt(precision)
    )


def features(lists: Sequence[tuple[int, ...]], n_rules: int) -> Floats:
    """Return one row a list: which rules are in, their places, which of two is first, which two are in.

    The place runs from -1/2, first, to 1/2, last; it is 0 for a rule that is not in, or alone.
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
    own = np.zeros((len(rows), n_labels, n_rules))
    own[np.arange(len(rows)), labels] = rows[:, :n_rules]
    pairs = n_rules * (n_rules - 1) // 2
    sizes = [n_rules, n_rules, pairs, pairs, n_labels * n_rules]
    names = ["inside", "place", "first", "both", "label"]
    scales = np.repeat([_SCALES[name] for name in names], sizes)
    return np.concatenate([rows, own.reshape(len(rows), -1)], axis=1), scales


def _solve(
    design: Floats, told: Floats, example: Ints, n: int, precision: Floats, unit: float
) -> tuple[Floats, Floats, Floats, float]:
    """Return the examples' levels, the effects and their covariance, and the noise.

    The levels are solved for by themselves: there is one for each example, and no two meet.
    """
    counts = np.bincount(example, minlength=n).astype(np.float64)
    sums = np.zeros((n, design.shape[1]))
    np.add.at(sums, example, design)
    told_sums = np.bincount(example, weights=told, minlength=n)
    square, side, total = design.T @ design, design.T @ told, design.sum(0)
    middle = float(told.mean())

    def solved(noise: float) -> tuple[Floats, Floats, Floats]:
        share = 1 / (counts + noise / (_LEVEL * unit) ** 2)
        gram = square - sums.T @ (share[:, None] * sums) + noise * np.diag(precision)
        wanted = side - sums.T @ (share * told_sums)
        # The prior of the levels is around the mean log-odds, which moves both sides alike.
        wanted = wanted - middle * (total - sums.T @ (share * counts))
        inverse = np.asarray(np.linalg.inv(gram), dtype=np.float64)
        effects = inverse @ wanted
        return middle + share * (told_sums - counts * middle - sums @ effects), effects, inverse

    noise = 0.3 * unit**2
    spare = max(len(told) - float((counts > 0).sum()) - 0.5 * design.shape[1], 0.2 * len(told))
    level, effects, inverse = solved(noise)
    for _ in range(_ROUNDS):
        left = told - level[example] - design @ effects
        noise = max(float(left @ left) / spare, 1e-3 * unit**2)
        level, effects, inverse = solved(noise)
    return level, effects, noise * inverse, float(np.sqrt(noise))


def _bar(fitted: Floats, hits: Floats, noise: float) -> float:
    """Return where to cut so that the fit calls as many answers right as were."""
    share = float(np.clip(hits.mean(), 0.02, 0.98))

    def surplus(bar: float) -> float:
        return float(ndtr((fitted - bar) / noise).mean()) - share

    far = float(np.abs(fitted).max()) + 5 * noise
    return float(brentq(surplus, -far, far))
