"""How an untried rule list would score, by a regression of the lists that were tried."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from pld_dspy.errors import ConfigError, DataError
from pld_dspy.stages.search.gains import Seen, Table, tabulate

Floats = npt.NDArray[np.float64]

_SCALES: tuple[tuple[float, ...], ...] = (
    (0.01, 0.03, 0.1),
    (0.0, 0.02, 0.06),
    (0.0, 0.02, 0.06, 0.15),
    (0.003, 0.01, 0.03, 0.1),
)
"""Standard deviations to weigh, in score units: of a rule being in, of its place, of which of two
rules comes first, and of what no feature says about a list."""


class Forecast(NamedTuple):
    """Mean score of a list over the examples that were seen, and its standard deviation."""

    mean: float
    sd: float


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Surrogate:
    """A regression of list scores that predicts untried lists; made by `fit_surrogate`."""

    n_rules: int
    scales: Floats
    """Prior standard deviation of each feature's weight, in score units."""
    mean: Floats
    covariance: Floats
    """Of the weights; they and `mean` are in units of `scales`."""
    unfit: float
    """Standard deviation of what no feature says about a list, in score units."""

    def predict(self, rules: Sequence[int]) -> Forecast:
        """Return the score expected of the list, over the examples that were seen.

        The deviation covers weights and what no feature says, but not the sampling of examples
        as far as it moves all lists alike.
        """
        row = np.concatenate(_features(rules, self.n_rules)) * self.scales
        return Forecast(
            float(row @ self.mean), math.sqrt(float(row @ self.covariance @ row) + self.unfit**2)
        )


def fit_surrogate(
    observations: Sequence[Seen], n_rules: int, *, weights: Sequence[float] | None = None
) -> Surrogate:
    """Return a Bayesian linear regression of list scores on which rules are in, and where.

    A list's score is its level in a model with one level a list and one an example, so that a list
    seen on hard examples only is not taken for a bad one. The features are in `_features`; the
    prior scale of each group of them is averaged over a small grid by the marginal likelihood
    (Rasmussen and Williams 2006, equation 2.30).

    Args:
        observations: Tried lists of any kind, in any order.
        n_rules: Size of the pool.
        weights: One positive weight an example number, such as N / (K * n_label).

    Raises:
        DataError: No score was seen, or as in `marginal_gains`.
    """
    table = tabulate(observations, n_rules, weights)
    if not len(table.weight):
        msg = "no list was scored yet; score at least one before predicting others"
        raise DataError(msg)
    level, noise = _list_levels(table)
    rows = [_features(rules, n_rules) for rules in table.lists]
    groups = [np.stack(blocks) for blocks in zip(*rows, strict=True)]
    chosen = _scales(groups[1:], level, noise)
    scales = np.repeat([1.0, *chosen[:-1]], [block.shape[1] for block in groups])
    design = np.concatenate(groups, axis=1) * scales
    gain = np.linalg.solve(design @ design.T + np.diag(noise + chosen[-1] ** 2), design).T
    return Surrogate(
        n_rules=n_rules,
        scales=scales,
        mean=gain @ level,
        covariance=np.eye(len(scales)) - gain @ design,
        unfit=float(chosen[-1]),
    )


def greedy_forward(surrogate: Surrogate, *, max_rules: int | None = None) -> tuple[int, ...]:
    """Return the list that the surrogate thinks best, built one rule at a time at its best place.

    It starts from the best single rule and stops where no addition raises the predicted mean, or
    at `max_rules`. Ties go to the lowest rule number and the last place.

    Raises:
        ConfigError: `max_rules` is below 1.
    """
    if max_rules is not None and max_rules < 1:
        msg = f"a list of at most {max_rules} rules; give max_rules of at least 1"
        raise ConfigError(msg)
    most = surrogate.n_rules if max_rules is None else min(surrogate.n_rules, max_rules)
    best: tuple[int, ...] = ()
    score = -math.inf
    while len(best) < most:
        grown = [
            (*best[:place], j, *best[place:])
            for j in range(surrogate.n_rules)
            if j not in best
            for place in range(len(best), -1, -1)
        ]
        scores = [surrogate.predict(rules).mean for rules in grown]
        top = int(np.argmax(scores))
        if scores[top] <= score:
            break
        best, score = grown[top], scores[top]
    return best


def _scales(groups: Sequence[Floats], level: Floats, noise: Floats) -> Floats:
    """Return the posterior mean square, as a root, of each scale in `_SCALES`."""
    kernels = np.stack([*(block @ block.T for block in groups), np.eye(len(level))])
    squares = np.array(list(product(*_SCALES))) ** 2
    totals = np.tensordot(squares, kernels, 1) + np.ones_like(kernels[0]) + np.diag(noise)
    sides = np.broadcast_to(level[:, None], (len(totals), len(level), 1))
    misfit = np.linalg.solve(totals, sides)[..., 0] @ level
    heights = -0.5 * (misfit + np.linalg.slogdet(totals).logabsdet)
    shares = np.exp(heights - heights.max())
    return np.asarray(np.sqrt(shares @ squares / shares.sum()))


def _list_levels(table: Table) -> tuple[Floats, Floats]:
    """Return each list's score over all seen examples, and the variance that its examples give it."""
    mass = table.seen * table.weight
    by_list, by_example = mass.sum(1), mass.sum(0)
    # Least squares of score = list + example, with the example levels solved for.
    normal = np.diag(by_list) - mass @ (mass / by_example).T
    side = (mass * table.scores).sum(1) - mass @ ((mass * table.scores).sum(0) / by_example)
    level = np.linalg.pinv(normal, rcond=1e-9, hermitian=True) @ side
    example = (mass * (table.scores - level[:, None])).sum(0) / by_example
    left = table.seen * (table.scores - level[:, None] - example)
    spare = table.seen.sum() - len(level) - len(example) + 1
    spread = float((mass * left**2).sum() / mass.sum() * table.seen.sum() / max(spare, 1.0))
    noise = spread * (mass**2).sum(1) / by_list**2
    return level + float(np.average(example, weights=table.weight)), noise + 1e-9


def _features(rules: Sequence[int], n_rules: int) -> list[Floats]:
    """Return groups of features: 1, which rules are in, their places, which of two comes first.

    A weight is about the difference that its feature makes to the score. The place runs from -1/2,
    first, to 1/2, last; it is 0 for a rule that is not in. Which pairs are in together is left out:
    in simulation it made the lists that were found no better.
    """
    inside = np.zeros(n_rules)
    place = np.zeros(n_rules)
    inside[list(rules)] = 1.0
    if len(rules) > 1:
        place[list(rules)] = np.arange(len(rules)) / (len(rules) - 1) - 0.5
    i, j = np.triu_indices(n_rules, 1)
    first = inside[i] * inside[j] * np.sign(place[j] - place[i]) / 2
    return [np.ones(1), inside - 0.5, place, first]
