"""Fits corrections of label probabilities to labelled answers."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, Self

import numpy as np
import numpy.typing as npt
from scipy.optimize import minimize
from scipy.special import log_softmax, softmax

from pld_dspy.records import Answer
from pld_dspy.records.decision import FLOOR, Kind
from pld_dspy.scoring.metrics import CorpusMetric, accuracy, weights

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

FOLDS = 5
RIDGE = 0.002
"""Penalty on each squared offset, and on the squared logarithm of the temperature."""
STEADY = 0.1
"""The latter of a temperature below 1 where programs are compared: with one that is fitted to some
twenty right answers, the next mistake would cost seven nats."""
_LEAST = 8
"""Minimum number of answers with probabilities for a fit."""


class Fit(NamedTuple):
    """Parameters of a correction: logits are `scale * log p + share * prior + offsets`."""

    offsets: Floats
    scale: float = 1.0
    share: float = 0.0


class Rows(NamedTuple):
    """Answers with probabilities as arrays; labels are numbers."""

    places: Ints
    """Index of each row among the answers."""
    log_p: Floats
    """Shape `(rows, labels)`."""
    prior: Floats
    """Log prior of the row's topic relative to all topics, shape `(rows, labels)`."""
    gold: Ints
    read: Ints
    """Label that the text names; -1 for none."""
    weights: Floats
    folds: Ints

    @classmethod
    def of(
        cls,
        answers: Sequence[Answer],
        topics: Sequence[str | None],
        *,
        labels: Sequence[str],
        metric: CorpusMetric,
        priors: Mapping[str, Mapping[str, float]],
    ) -> Self | None:
        """Return the usable rows; None if they are too few or of one class.

        Args:
            answers: To labelled examples.
            topics: That of each answer; empty if there are none.
            labels: The closed label set.
            metric: Classes have equal weight under metrics other than accuracy.
            priors: Log prior by topic, then label, relative to all topics.
        """
        number = {label: place for place, label in enumerate(labels)}
        usable = [
            (place, a, a.probabilities)
            for place, a in enumerate(answers)
            if a.probabilities and a.error is None and a.gold in number
        ]
        golds = [a.gold for _, a, _ in usable]
        # If many answers have no probabilities, the others are no fair sample.
        if len(usable) < _LEAST or len(usable) < len(answers) / 2 or len(set(golds)) < 2:
            return None
        of_class = dict.fromkeys(labels, 1.0) if metric is accuracy else weights(golds)
        gold = np.array([number[g] for g in golds])
        shifts = [priors.get(topics[place] or "", {}) if topics else {} for place, _, _ in usable]
        return cls(
            places=np.array([place for place, _, _ in usable]),
            log_p=np.log([[max(p.get(name, 0.0), FLOOR) for name in labels] for _, _, p in usable]),
            prior=np.array([[shift.get(name, 0.0) for name in labels] for shift in shifts]),
            gold=gold,
            read=np.array([number.get(a.read or "", -1) for _, a, _ in usable]),
            weights=np.array([of_class[g] for g in golds]),
            folds=_folds(gold),
        )

    def take(self, mask: npt.NDArray[np.bool_]) -> Self:
        """Return the rows of the mask."""
        columns: Any = (column[mask] for column in self)
        return type(self)(*columns)


def _folds(gold: Ints) -> Ints:
    """Return a fold for each row; each class is dealt out in turn, so that folds are alike."""
    folds = np.zeros(len(gold), dtype=np.int64)
    dealt = 0
    for label in np.unique(gold):
        rows = np.flatnonzero(gold == label)
        folds[rows] = (np.arange(len(rows)) + dealt) % FOLDS
        dealt += len(rows)
    return folds


def held_out(rows: Rows, kind: Kind, ridge: float = RIDGE) -> Floats:
    """Return the logits of each row by a fit to the other folds, shape `(rows, labels)`."""
    logits = np.zeros_like(rows.log_p)
    for fold in range(FOLDS):
        inside = rows.folds == fold
        logits[inside] = _logits(rows.take(inside), fit(rows.take(~inside), kind, ridge))
    return logits


def likelihoods(rows: Rows, logits: Floats) -> Floats:
    """Return the log-probability of the gold label of each row, times the weight of its class."""
    of_gold = log_softmax(logits, axis=1)[np.arange(len(rows.gold)), rows.gold]
    return np.asarray(rows.weights / rows.weights.mean() * of_gold)


def _logits(rows: Rows, fitted: Fit) -> Floats:
    return np.asarray(fitted.scale * rows.log_p + fitted.share * rows.prior + fitted.offsets)


def fit(rows: Rows, kind: Kind, ridge: float = RIDGE) -> Fit:
    """Return the parameters of a correction of this kind, fitted to all rows.

    A label without examples gets the offset with which its mean is that of the others.
    """
    if kind in {"greedy", "probable"} or not len(rows.gold):
        return Fit(np.zeros(rows.log_p.shape[1]))
    if kind == "mean":
        return Fit(_centred(-rows.log_p.mean(axis=0)))
    present = np.isin(np.arange(rows.log_p.shape[1]), rows.gold)
    fitted = _least_loss(rows, present, kind, ridge)
    # A label without examples has no loss.
    means = fitted.scale * rows.log_p.mean(axis=0)
    target = float((means + fitted.offsets)[present].mean())
    return fitted._replace(offsets=_centred(np.where(present, fitted.offsets, target - means)))


def _least_loss(rows: Rows, present: npt.NDArray[np.bool_], kind: Kind, ridge: float) -> Fit:
    """Return the parameters with the least penalised log-loss over the labels that occur.

    `ridge` is that of the logarithm of a scale above 1.
    """
    log_p, prior = rows.log_p[:, present], rows.prior[:, present]
    one_hot = np.eye(len(present))[rows.gold][:, present]
    weight = rows.weights / rows.weights.sum()
    # Which of scale and share are fitted, and whether all of the offsets.
    free = {"offsets": (0.0, 0.0), "offsets and temperature": (1.0, 0.0)}.get(kind, (1.0, 1.0))

    def loss(parameters: Floats) -> tuple[float, Floats]:
        scale, share, offsets = np.exp(parameters[0]), parameters[1], parameters[2:]
        logits = scale * log_p + share * prior + offsets
        error = weight[:, None] * (softmax(logits, axis=1) - one_hot)
        value = -(weight[:, None] * one_hot * log_softmax(logits, axis=1)).sum()
        centred = offsets - offsets.mean()
        of_scale = ridge if parameters[0] > 0 else RIDGE
        value += RIDGE * (centred @ centred + share**2) + of_scale * parameters[0] ** 2
        gradient = np.concatenate(
            (
                [(scale * (error * log_p).sum() + 2 * of_scale * parameters[0]) * free[0]],
                [((error * prior).sum() + 2 * RIDGE * share) * free[1]],
                error.sum(axis=0) + 2 * RIDGE * centred,
            )
        )
        return float(value), gradient

    found = minimize(loss, np.zeros(2 + log_p.shape[1]), jac=True, method="L-BFGS-B").x
    offsets = np.zeros(len(present))
    offsets[present] = found[2:]
    return Fit(offsets, float(np.exp(found[0])), float(found[1]))


def _centred(offsets: Floats) -> Floats:
    return np.asarray(offsets - offsets.mean())
