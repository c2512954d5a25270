"""The decision layer that every optimizer's program gets, and what a line says of its answers."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import dspy

from experiments.bench.lines import ProgramNote
from pld_dspy.data.tasks import Task
from pld_dspy.errors import ConfigError, nearest
from pld_dspy.ledger.store import StageStore
from pld_dspy.models.forms import form_of
from pld_dspy.models.topics import topic_of, topics_in
from pld_dspy.records import Answer, Decide, Decision, Evaluation
from pld_dspy.scoring.decisions.calibration import Calibrator, decided
from pld_dspy.scoring.evaluator import Evaluator, decision_of, score_answers
from pld_dspy.scoring.metrics import CorpusMetric, accuracy, macro_f1
from pld_dspy.scoring.separability import separability, separability_change
from pld_dspy.scoring.statistics import bootstrap_interval
from pld_dspy.stages.common.topics import priors_of


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
        priors = priors_of(topic, train, task.label_key, task.labels)
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
        topics = [_topic(self.topic, example) for example in examples]
        return self._calibrator.fit(answers, topics)

    @property
    def _calibrator(self) -> Calibrator:
        return Calibrator(
            labels=self.labels, metric=self.metric, topic_field=self.topic, priors=self.priors
        )

    def hindsight(self, answers: Sequence[Answer], examples: Sequence[dspy.Example]) -> float:
        """Return the best score of a decision that is fitted to these very answers."""
        topics = [_topic(self.topic, example) for example in examples]
        decisions = self._calibrator.every(answers, topics)
        return max(self.score(decide_all(answers, examples, decision)) for decision in decisions)

    def score(self, answers: Sequence[Answer]) -> float:
        """Return the metric over the answers."""
        return score_answers(self.metric, answers)

    def scores(self, before: Evaluation, after: Evaluation) -> dict[str, Any]:
        """Return what a line says of the program as it ships, and of the student as given."""
        gold = [answer.gold for answer in after.answers]
        counted = [answer.counted for answer in after.answers]
        found = bootstrap_interval(self.metric, gold, counted, seed=self.seed)
        gain = separability_change(before.answers, after.answers, self.labels, seed=self.seed)
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
            "hindsight_score": self.hindsight(after.answers, test),
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
        read = [decided(answer, None) for answer in after.answers]
        return {
            "greedy_score": self.score(read),
            "greedy_said": tuple(answer.counted for answer in read),
            "val_score": self.score(decide_all(known, examples, own)),
        }


def decide_all(
    answers: Sequence[Answer], examples: Sequence[dspy.Example], decision: Decision
) -> tuple[Answer, ...]:
    """Return the answers with the labels that the decision chooses."""
    return tuple(
        decided(answer, decision, _topic(decision.topic_field, example))
        for answer, example in zip(answers, examples, strict=True)
    )


def have_probabilities(answers: Sequence[Answer]) -> bool:
    """Return whether half of the answers or more have label probabilities."""
    return 2 * sum(bool(answer.probabilities) for answer in answers) >= len(answers) > 0


def program_note(program: dspy.Module) -> ProgramNote:
    """Return what the student is asked with."""
    predictors, topics = program.predictors(), topics_in(program)
    return ProgramNote(
        instructions="\n\n".join(p.signature.instructions for p in predictors),
        demos=sum(len(p.demos) for p in predictors),
        words={label: word for p in predictors for label, word in _words(p).items()},
        topics={} if topics is None else dict(topics.prompts),
    )


def _words(predictor: dspy.Predict) -> Mapping[str, str]:
    form = form_of(predictor)
    return form.labels_as if form is not None and isinstance(form.labels_as, Mapping) else {}


def _of(metric: CorpusMetric, evaluation: Evaluation) -> float:
    read = [answer for answer in evaluation.answers if answer.error is None]
    return metric([answer.gold for answer in read], [answer.answer for answer in read])


def _topic(field: str | None, example: dspy.Example) -> str | None:
    return None if field is None else topic_of(field, example)
