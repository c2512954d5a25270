"""The decision layer that every optimizer's program gets, and what a line says of its answers."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import dspy
import numpy as np
import numpy.typing as npt

from experiments.bench.lines import ProgramNote
from pld_dspy.data.tasks import Task
from pld_dspy.errors import ConfigError, nearest
from pld_dspy.ledger.store import StageStore
from pld_dspy.models.reading.values import label_text
from pld_dspy.records import Answer, Decide, Decision, Evaluation, Interval
from pld_dspy.records.decision import FLOOR
from pld_dspy.scoring.calibration import Calibrator, decided
from pld_dspy.scoring.evaluator import Evaluator, decision_of, score_answers
from pld_dspy.scoring.metrics import CorpusMetric, accuracy, macro_f1
from pld_dspy.scoring.separability import separability
from pld_dspy.scoring.statistics import bootstrap_interval

RESAMPLES = 2000
_PRIOR = 1.0
"""Examples with the overall label shares that each topic is given, so that few of its own say little."""


@dataclass(frozen=True, kw_only=True)
class Layer:
    """A decision fitted to answers on the same labelled examples, whichever optimizer it is for."""

    labels: tuple[str, ...]
    label_key: str
    metric: CorpusMetric
    topic: str | None = None
    """Input field whose value is the topic; None means one decision for all inputs."""
    priors: Mapping[str, Mapping[str, float]]
    seed: int = 0
    """Of the intervals."""

    @classmethod
    def of(
        cls,
        task: Task,
        metric: CorpusMetric,
        train: Sequence[dspy.Example],
        *,
        topic: str | None = None,
        seed: int = 0,
    ) -> Self:
        """Return the layer of a task; the label shares of the topics are those of `train`.

        Raises:
            ConfigError: The topic is no input of the task.
        """
        if topic is not None and topic not in task.input_keys:
            near = nearest(topic, task.input_keys)
            msg = f"the topic {topic!r} is no input of {task.name}{near}; name one of them"
            raise ConfigError(msg)
        priors = {} if topic is None else topic_priors(task, train, topic)
        facts: dict[str, Any] = {"labels": task.labels, "label_key": task.label_key}
        return cls(**facts, metric=metric, topic=topic, priors=priors, seed=seed)

    def evaluator(self, lm: dspy.BaseLM, *, decide: Decide = "greedy") -> Evaluator:
        """Return what asks `lm` with label probabilities, each answer once."""
        return Evaluator(
            lm=lm,
            metric=self.metric,
            label_key=self.label_key,
            labels=self.labels,
            store=StageStore(),
            probabilities=True,
            decide=decide,
            topic_field=self.topic,
            priors=self.priors,
        )

    def fit(self, answers: Sequence[Answer], examples: Sequence[dspy.Example]) -> Decision:
        """Return the decision fitted to the answers."""
        calibrator = Calibrator(
            labels=self.labels, metric=self.metric, topic_field=self.topic, priors=self.priors
        )
        return calibrator.fit(answers, [_value(example, self.topic) for example in examples])

    def score(self, answers: Sequence[Answer]) -> float:
        """Return the metric over the answers."""
        return score_answers(self.metric, answers)

    def scores(self, before: Evaluation, after: Evaluation) -> dict[str, Any]:
        """Return what a line says of the program as it ships, and of the student as given."""
        gold = [answer.gold for answer in after.answers]
        counted = [answer.counted for answer in after.answers]
        found = bootstrap_interval(self.metric, gold, counted, seed=self.seed)
        gain = separability_gain(before.answers, after.answers, self.labels, seed=self.seed)
        return {
            "score": after.score,
            "ci95": (found.low, found.high),
            "macro_f1": _of(macro_f1, after),
            "accuracy": _of(accuracy, after),
            "baseline_score": before.score,
            "baseline_macro_f1": _of(macro_f1, before),
            "baseline_accuracy": _of(accuracy, before),
            "unparsed_rate": after.unparsed_rate,
            "failures": after.failures,
            "gold": tuple(gold),
            "said": tuple(answer.answer for answer in after.answers),
            "baseline_said": tuple(answer.answer for answer in before.answers),
            "separability": separability(after.answers, self.labels),
            "baseline_separability": separability(before.answers, self.labels),
            "separability_gain": None if gain is None else gain.estimate,
            "separability_gain_ci95": None if gain is None else (gain.low, gain.high),
        }

    def decisions(
        self,
        after: Evaluation,
        test: Sequence[dspy.Example],
        known: Sequence[Answer],
        examples: Sequence[dspy.Example],
    ) -> dict[str, Any]:
        """Return what a line says of the test answers under a decision fitted to the `known` ones."""
        decision = self.fit(known, examples)
        said = decide_all(after.answers, test, decision)
        gold = [answer.gold for answer in said]
        counted = [answer.counted for answer in said]
        found = bootstrap_interval(self.metric, gold, counted, seed=self.seed)
        return {
            "decided_score": self.score(said),
            "decided_ci95": (found.low, found.high),
            "decided_said": tuple(counted),
            "decision": decision.to_dict(),
        }

    def of_its_own(
        self,
        program: dspy.Module,
        after: Evaluation,
        known: Sequence[Answer],
        examples: Sequence[dspy.Example],
    ) -> dict[str, Any]:
        """Return what a line says of a program that ships with a decision; nothing for others."""
        own = decision_of(program)
        if own is None:
            return {}
        return {
            "greedy_score": self.score([decided(answer, None) for answer in after.answers]),
            "val_score": self.score(decide_all(known, examples, own)),
        }


def decide_all(
    answers: Sequence[Answer], examples: Sequence[dspy.Example], decision: Decision
) -> tuple[Answer, ...]:
    """Return the answers with the labels that the decision chooses."""
    return tuple(
        decided(answer, decision, _value(example, decision.topic_field))
        for answer, example in zip(answers, examples, strict=True)
    )


def have_probabilities(answers: Sequence[Answer]) -> bool:
    """Return whether half of the answers or more have label probabilities."""
    return 2 * sum(bool(answer.probabilities) for answer in answers) >= len(answers) > 0


def topic_priors(
    task: Task, train: Sequence[dspy.Example], topic: str
) -> dict[str, dict[str, float]]:
    """Return, by topic and label, the log share of the label in the topic minus that overall.

    Each topic has one more example with the overall shares, and each label one more overall.
    """
    place = {label: number for number, label in enumerate(task.labels)}
    overall = np.ones(len(place))
    counts: dict[str, Any] = {}
    for example in train:
        name, label = str(_value(example, topic)), place[label_text(example[task.label_key])]
        counts.setdefault(name, np.zeros(len(place)))[label] += 1
        overall[label] += 1
    shares = overall / overall.sum()
    found = {}
    for name, own in counts.items():
        shifts = np.log((own + _PRIOR * shares) / (own.sum() + _PRIOR) / shares)
        found[name] = dict(zip(task.labels, shifts.round(4).tolist(), strict=True))
    return found


def separability_gain(
    before: Sequence[Answer], after: Sequence[Answer], labels: Sequence[str], *, seed: int = 0
) -> Interval | None:
    """Return the separability of `after` minus that of `before`, with a paired 95% interval.

    Args:
        before: Answers of the student as given.
        after: Those of the program, to the same examples in the same order.
        labels: The closed label set.
        seed: Of the bootstrap over the examples.

    Returns:
        None where one of the two is not known.
    """
    pairs = [
        (b, a)
        for b, a in zip(before, after, strict=True)
        if b.probabilities and a.probabilities and b.error is None and a.error is None
    ]
    if not pairs or 2 * len(pairs) < len(before):
        return None
    first, last = (separability(side, labels) for side in zip(*pairs, strict=True))
    if first is None or last is None:
        return None
    rng = np.random.default_rng(seed)
    draws = rng.multinomial(len(pairs), np.full(len(pairs), 1 / len(pairs)), size=RESAMPLES)
    areas = [_areas([pair[side] for pair in pairs], labels, draws) for side in (0, 1)]
    # A label that a resample lacks is left out of it on both sides.
    deltas = np.nanmean(areas[1] - areas[0], axis=1)
    low, high = np.percentile(deltas[~np.isnan(deltas)], [2.5, 97.5])
    return Interval(estimate=last - first, low=float(low), high=float(high))


def program_note(program: dspy.Module) -> ProgramNote:
    """Return what the student is asked with."""
    predictors = program.predictors()
    return ProgramNote(
        instructions="\n\n".join(p.signature.instructions for p in predictors),
        demos=sum(len(p.demos) for p in predictors),
    )


def _areas(
    answers: Sequence[Answer], labels: Sequence[str], draws: npt.NDArray[np.int64]
) -> npt.NDArray[np.float64]:
    """Return the area under the ROC curve of each resample and label; NaN where it has none."""
    logs = np.log(
        [[max((a.probabilities or {}).get(n, 0.0), FLOOR) for n in labels] for a in answers]
    )
    scores = logs - logs.mean(axis=1, keepdims=True)
    found = np.full((len(draws), len(labels)), np.nan)
    for place, label in enumerate(labels):
        is_gold = np.array([answer.gold == label for answer in answers])
        own, rest = scores[is_gold, place][:, None], scores[~is_gold, place][None, :]
        above = (own > rest) + 0.5 * (own == rest)
        of_own, of_rest = draws[:, is_gold].astype(float), draws[:, ~is_gold].astype(float)
        total = of_own.sum(axis=1) * of_rest.sum(axis=1)
        with np.errstate(invalid="ignore", divide="ignore"):
            found[:, place] = ((of_own @ above) * of_rest).sum(axis=1) / total
    return found


def _of(metric: CorpusMetric, evaluation: Evaluation) -> float:
    read = [answer for answer in evaluation.answers if answer.error is None]
    return metric([answer.gold for answer in read], [answer.answer for answer in read])


def _value(example: dspy.Example, field: str | None) -> str | None:
    value = None if field is None else example.get(field)
    return None if value is None else label_text(value)
