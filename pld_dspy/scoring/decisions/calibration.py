"""Chooses and fits how a label is decided, from answers to labelled examples."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from pld_dspy.records import Answer
from pld_dspy.records.decision import Decision, Kind
from pld_dspy.scoring.decisions.fits import (
    FOLDS,
    STEADY,
    Fit,
    Ints,
    Rows,
    fit,
    held_out,
    likelihoods,
)
from pld_dspy.scoring.metrics import CorpusMetric

CLEARLY = 0.5
"""Number of standard errors by which a correction must beat greedy answers in cross-validation.

With it none of 200 simulated students loses more than 0.02 macro-F1, and the mean gain is above 0.15
(`tests/scoring/test_calibration.py`)."""


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
        rows = self._rows(answers, topics)
        if rows is None:
            return Decision(kind="greedy")
        kind = self._choose(rows)[0]
        return self._decision(kind, fit(rows, kind))

    def every(
        self, answers: Sequence[Answer], topics: Sequence[str | None] = ()
    ) -> tuple[Decision, ...]:
        """Return a decision of each kind, fitted to all the answers; one that takes the text is first.

        It is the only one where the answers have too few probabilities, or gold labels of one class.
        """
        rows = self._rows(answers, topics)
        if rows is None:
            return (Decision(kind="greedy"),)
        kinds: tuple[Kind, ...] = ("greedy", "probable", *self._fitted_kinds)
        return tuple(self._decision(kind, fit(rows, kind)) for kind in kinds)

    def crossfit(
        self, answers: Sequence[Answer], topics: Sequence[str | None] = ()
    ) -> tuple[Answer, ...]:
        """Return the answers, each decided by a fit to the other folds.

        So the score of the answers is that of the decision on examples that it was not fitted to; only
        the choice among the candidates saw them.
        """
        rows = self._rows(answers, topics)
        if rows is None:
            return tuple(decided(answer, None) for answer in answers)
        kind, _ = self._choose(rows)
        others = (rows.take(rows.folds != fold) for fold in range(FOLDS))
        fits = [self._decision(kind, fit(of_fold, kind)) for of_fold in others]
        fold_of = dict(zip(rows.places.tolist(), rows.folds.tolist(), strict=True))
        return tuple(
            decided(answer, fits[fold_of.get(place, 0)], topics[place] if topics else None)
            for place, answer in enumerate(answers)
        )

    def likelihoods(self, answers: Sequence[Answer]) -> dict[str, float]:
        """Return the log-probability of the gold label by example id, in nats, after calibration.

        Offsets and a temperature (`STEADY` keeps it from far below 1) are fitted to the other folds. Under
        metrics other than accuracy each is multiplied by the weight of its class, whose mean is 1.
        Empty if too few answers have probabilities; one without is left out.
        """
        rows = self._rows(answers, ())
        if rows is None:
            return {}
        found = likelihoods(rows, held_out(rows, "offsets and temperature", STEADY))
        return {answers[i].example_id: float(x) for i, x in zip(rows.places, found, strict=True)}

    @property
    def _fitted_kinds(self) -> tuple[Kind, ...]:
        return tuple(kind for kind in self.kinds if kind != "offsets by topic" or self.priors)

    def _rows(self, answers: Sequence[Answer], topics: Sequence[str | None]) -> Rows | None:
        return Rows.of(answers, topics, labels=self.labels, metric=self.metric, priors=self.priors)

    def _choose(self, rows: Rows) -> tuple[Kind, Ints]:
        """Return the likeliest kind that is clearly better than the text, else that, and its labels out of fold."""
        kinds = self._fitted_kinds
        logits = {kind: held_out(rows, kind) for kind in kinds}
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
            best = max(paying, key=lambda kind: float(likelihoods(rows, logits[kind]).mean()))
            return best, said[best]
        best = "probable" if pays("probable") else "greedy"
        return best, said[best]

    def _score(self, gold: Sequence[str], said: Ints) -> float:
        return self.metric(gold, [None if at < 0 else self.labels[at] for at in said.tolist()])

    def _decision(self, kind: Kind, fitted: Fit) -> Decision:
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
