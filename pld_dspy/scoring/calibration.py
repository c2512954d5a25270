"""Chooses and fits how a label is decided, from answers to labelled examples."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple, Self

import numpy as np
import numpy.typing as npt
from scipy.optimize import minimize
from scipy.special import log_softmax, softmax

from pld_dspy.records import Answer
from pld_dspy.records.decision import FLOOR, Decision, Kind
from pld_dspy.scoring.metrics import CorpusMetric, accuracy, weights

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

FOLDS = 5
RIDGE = 0.002
"""Penalty on each squared offset, and on the squared logarithm of the temperature."""
CLEARLY = 0.5
"""Number of standard errors by which a correction must beat greedy answers in cross-validation.

With it none of 200 simulated students loses more than 0.02 macro-F1, and the mean gain is above 0.15
(`tests/scoring/test_calibration.py`)."""
_LEAST = 8
"""Minimum number of answers with probabilities for a fit."""


def decided(answer: Answer, decision: Decision | None, topic: str | None = None) -> Answer:
    """Return the answer with the label that the decision chooses, its score and its `p_gold`.

    It always starts from `read` and `probabilities`, so that an answer can be decided again. Without
    probabilities, or with an error, the answer stays what was read from the text. The score is 1.0
    if the label is the gold label.

    >>> from pld_dspy.records import Answer
    >>> said = Answer(
    ...     example_id="1", gold="b", answer="a", read="a", probabilities={"a": 0.6, "b": 0.4}
    ... )
    >>> decided(said, Decision(kind="offsets", offsets={"b": 1.0})).answer
    'b'
    """
    known = answer.probabilities
    greedy = decision is None or decision.kind == "greedy"
    if not known or answer.error is not None or (greedy and answer.answer == answer.read):
        return answer
    adjusted = known if decision is None or greedy else decision.adjusted(known, topic)
    label = answer.read if greedy else max(adjusted, key=lambda name: adjusted[name])
    p_gold = adjusted.get(answer.gold)
    return replace(answer, answer=label, score=float(label == answer.gold), p_gold=p_gold)


@dataclass(frozen=True, slots=True, kw_only=True)
class Calibrator:
    """Chooses one of several corrections by cross-validation, and fits it.

    The candidates are the label that the text names, the most probable label, batch calibration
    (subtracts each label's mean log-probability; Zhou et al., arXiv 2309.17249), offsets, and offsets
    with a temperature. The last two minimise the multinomial log-loss with a ridge penalty; under
    metrics other than accuracy the classes have equal weight. Of those whose labels beat the text's by
    `CLEARLY` standard errors out of fold, not to be worse beyond noise, the likeliest is used.
    """

    labels: tuple[str, ...]
    metric: CorpusMetric
    topic_field: str | None = None
    priors: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    """By topic, then label: log share of the label in the topic minus its log share overall, from
    training labels. With them, offsets proportional to the prior of the topic are a candidate."""

    kinds: tuple[Kind, ...] = ("mean", "offsets", "offsets and temperature", "offsets by topic")
    """Candidates besides the text and the most probable label, the simplest first."""

    def fit(self, answers: Sequence[Answer], topics: Sequence[str | None] = ()) -> Decision:
        """Return the decision that does best in cross-validation, fitted to all the answers."""
        rows = _Rows.of(self, answers, topics)
        if rows is None:
            return Decision(kind="greedy")
        kind = self._choose(rows)[0]
        return self._decision(kind, _fit(rows, kind))

    def crossfit(
        self, answers: Sequence[Answer], topics: Sequence[str | None] = ()
    ) -> tuple[Answer, ...]:
        """Return the answers, each decided by a fit to the other folds.

        So the score of the answers is that of the decision on examples that it was not fitted to; only
        the choice among the candidates saw them.
        """
        rows = _Rows.of(self, answers, topics)
        if rows is None:
            return tuple(decided(answer, None) for answer in answers)
        kind, _ = self._choose(rows)
        fits = [
            self._decision(kind, _fit(rows.take(rows.folds != fold), kind)) for fold in range(FOLDS)
        ]
        fold_of = dict(zip(rows.places.tolist(), rows.folds.tolist(), strict=True))
        return tuple(
            decided(answer, fits[fold_of.get(place, 0)], topics[place] if topics else None)
            for place, answer in enumerate(answers)
        )

    def likelihoods(self, answers: Sequence[Answer]) -> dict[str, float]:
        """Return the log-probability of the gold label by example id, in nats, after calibration.

        Offsets and a temperature are fitted to the other folds. Under metrics other than accuracy each
        is multiplied by the weight of its class, whose mean is 1. Empty if too few answers have
        probabilities; one without is left out.
        """
        rows = _Rows.of(self, answers, ())
        if rows is None:
            return {}
        found = _likelihoods(rows, _held_out(rows, "offsets and temperature"))
        return {answers[i].example_id: float(x) for i, x in zip(rows.places, found, strict=True)}

    def _choose(self, rows: "_Rows") -> tuple[Kind, Ints]:
        """Return the likeliest kind that is clearly better than the text, else that, and its labels out of fold."""
        kinds = [kind for kind in self.kinds if kind != "offsets by topic" or self.priors]
        logits = {kind: _held_out(rows, kind) for kind in kinds}
        said: dict[Kind, Ints] = {"greedy": rows.read, "probable": rows.log_p.argmax(axis=1)}
        said |= {kind: of_kind.argmax(axis=1) for kind, of_kind in logits.items()}
        gold = [self.labels[g] for g in rows.gold.tolist()]
        scores = {kind: self._score(gold, labels) for kind, labels in said.items()}

        def pays(kind: Kind) -> bool:
            # Another label must pay; more of an unreadable text always does.
            ahead = rows.weights * (
                (said[kind] == rows.gold).astype(float) - (rows.read == rows.gold)
            )
            error = float(ahead.std()) / np.sqrt(len(ahead))
            margin = CLEARLY if kind != "probable" else 0.0
            return scores[kind] > scores["greedy"] and float(ahead.mean()) > margin * error

        paying = [kind for kind in kinds if pays(kind)]
        if paying:  # of equals, the simplest
            best = max(paying, key=lambda kind: float(_likelihoods(rows, logits[kind]).mean()))
            return best, said[best]
        best = "probable" if pays("probable") else "greedy"
        return best, said[best]

    def _score(self, gold: Sequence[str], said: Ints) -> float:
        read = [None if place < 0 else self.labels[place] for place in said.tolist()]
        return self.metric(gold, read)

    def _decision(self, kind: Kind, fitted: "_Fit") -> Decision:
        offsets = dict(zip(self.labels, np.round(fitted.offsets, 4).tolist(), strict=True))
        by_topic = {
            topic: {label: round(fitted.share * shift, 4) for label, shift in by_label.items()}
            for topic, by_label in self.priors.items()
        }
        of_topics = kind == "offsets by topic"
        return Decision(
            kind=kind,
            offsets={} if kind in {"greedy", "probable"} else offsets,
            temperature=round(1 / fitted.scale, 6),
            topic_field=self.topic_field if of_topics else None,
            topic_offsets=by_topic if of_topics else {},
        )


class _Fit(NamedTuple):
    """Parameters of a correction: logits are `scale * log p + share * prior + offsets`."""

    offsets: Floats
    scale: float = 1.0
    share: float = 0.0


class _Rows(NamedTuple):
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
        cls, calibrator: Calibrator, answers: Sequence[Answer], topics: Sequence[str | None]
    ) -> Self | None:
        """Return the usable rows; None if they are too few or of one class."""
        labels = calibrator.labels
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
        of_class = dict.fromkeys(labels, 1.0) if calibrator.metric is accuracy else weights(golds)
        gold = np.array([number[g] for g in golds])
        priors = [
            calibrator.priors.get(topics[place] or "", {}) if topics else {}
            for place, _, _ in usable
        ]
        return cls(
            places=np.array([place for place, _, _ in usable]),
            log_p=np.log([[max(p.get(name, 0.0), FLOOR) for name in labels] for _, _, p in usable]),
            prior=np.array([[shift.get(name, 0.0) for name in labels] for shift in priors]),
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


def _held_out(rows: _Rows, kind: Kind) -> Floats:
    """Return the logits of each row by a fit to the other folds, shape `(rows, labels)`."""
    logits = np.zeros_like(rows.log_p)
    for fold in range(FOLDS):
        inside = rows.folds == fold
        logits[inside] = _logits(rows.take(inside), _fit(rows.take(~inside), kind))
    return logits


def _likelihoods(rows: _Rows, logits: Floats) -> Floats:
    """Return the log-probability of the gold label of each row, times the weight of its class."""
    of_gold = log_softmax(logits, axis=1)[np.arange(len(rows.gold)), rows.gold]
    return np.asarray(rows.weights / rows.weights.mean() * of_gold)


def _logits(rows: _Rows, fitted: _Fit) -> Floats:
    logits: Floats = fitted.scale * rows.log_p + fitted.share * rows.prior + fitted.offsets
    return logits


def _fit(rows: _Rows, kind: Kind) -> _Fit:
    n_labels = rows.log_p.shape[1]
    if kind in {"greedy", "probable"} or not len(rows.gold):
        return _Fit(np.zeros(n_labels))
    if kind == "mean":
        return _Fit(_centred(-rows.log_p.mean(axis=0)))
    present = np.isin(np.arange(n_labels), rows.gold)
    fitted = _least_loss(rows, present, kind)
    # A label without examples has no loss; its mean is put where the means of the others are.
    means = fitted.scale * rows.log_p.mean(axis=0)
    target = float((means + fitted.offsets)[present].mean())
    return fitted._replace(offsets=_centred(np.where(present, fitted.offsets, target - means)))


def _least_loss(rows: _Rows, present: npt.NDArray[np.bool_], kind: Kind) -> _Fit:
    """Return the parameters with the smallest penalised log-loss over the labels that occur."""
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
        value += RIDGE * (centred @ centred + parameters[0] ** 2 + share**2)
        gradient = np.concatenate(
            (
                [(scale * (error * log_p).sum() + 2 * RIDGE * parameters[0]) * free[0]],
                [((error * prior).sum() + 2 * RIDGE * share) * free[1]],
                error.sum(axis=0) + 2 * RIDGE * centred,
            )
        )
        return float(value), gradient

    found = minimize(loss, np.zeros(2 + log_p.shape[1]), jac=True, method="L-BFGS-B").x
    offsets = np.zeros(len(present))
    offsets[present] = found[2:]
    return _Fit(offsets, float(np.exp(found[0])), float(found[1]))


def _centred(offsets: Floats) -> Floats:
    return np.asarray(offsets - offsets.mean())
