"""Conformance suite for a metric: a `CorpusMetric`, or a DSPy metric of one example."""

import math
from collections.abc import Sequence

import dspy

from pld_dspy.scoring.evaluator import Metric
from pld_dspy.scoring.metrics import CorpusMetric


class MetricSuite:
    """Tests of a metric; a subclass has a fixture `metric`.

    Examples have one input and the label; override `labels` and `label_key` if the metric accepts
    only those of its task.

    >>> MetricSuite().test_the_same_answers_get_the_same_score(lambda example, prediction: 1.0)
    """

    labels: tuple[str, ...] = ("red", "green", "blue")
    """At least two labels of the task."""
    label_key = "label"
    """Field of the label, in the example and in the prediction."""

    def test_a_score_is_one_finite_number(self, metric: Metric) -> None:
        """From 0 to 1; a corpus metric may go down to -1, as MCC does."""
        lowest = -1.0 if isinstance(metric, CorpusMetric) else 0.0
        for answers in (self._gold, self._wrong, [self.labels[0]] * len(self._gold)):
            score = self._score(metric, self._gold, answers)
            assert math.isfinite(score), f"the score {score}"
            assert lowest <= score <= 1, f"the score {score}, should be in [{lowest:.0f}, 1]"

    def test_right_answers_score_more_than_wrong_ones(self, metric: Metric) -> None:
        """Otherwise there is nothing to optimize."""
        right = self._score(metric, self._gold, self._gold)
        wrong = self._score(metric, self._gold, self._wrong)
        assert right > wrong, f"right answers score {right}, and wrong ones {wrong}"

    def test_no_answers_score_more_than_the_right_ones(self, metric: Metric) -> None:
        """Neither a constant answer nor one wrong answer among right ones scores higher."""
        right = self._score(metric, self._gold, self._gold)
        for answers in ([self.labels[0]] * len(self._gold), [*self._gold[:-1], self._wrong[-1]]):
            score = self._score(metric, self._gold, answers)
            assert score <= right, f"right answers score {right}, and {answers} scores {score}"

    def test_an_answer_outside_the_labels_is_wrong(self, metric: Metric) -> None:
        """Such an answer, or None, gets a score, and a lower one than a right answer."""
        right = self._score(metric, self._gold, self._gold)
        # A DSPy metric is not called for an unreadable answer.
        unread = [None] if isinstance(metric, CorpusMetric) else []
        for answer in ["no such label", *unread]:
            score = self._score(metric, self._gold, [answer, *self._gold[1:]])
            assert score < right, f"an answer that is no label scores {score}, a right one {right}"

    def test_one_example_is_enough(self, metric: Metric) -> None:
        """A split may have a single example."""
        score = self._score(metric, self._gold[:1], self._gold[:1])
        assert math.isfinite(score), f"the score {score} for one example"

    def test_the_order_of_the_examples_does_not_matter(self, metric: Metric) -> None:
        """Answers come from several threads, and intervals resample the examples."""
        answers = [*self._wrong[:2], *self._gold[2:]]
        forth = self._score(metric, self._gold, answers)
        back = self._score(metric, self._gold[::-1], answers[::-1])
        assert math.isclose(forth, back), f"{forth} in one order and {back} in the other"

    def test_the_same_answers_get_the_same_score(self, metric: Metric) -> None:
        """A second compile with the same seed must give the same program."""
        first, second = (self._score(metric, self._gold, self._wrong) for _ in range(2))
        assert first == second, f"{first} in the first call and {second} in the second"

    def test_it_has_a_name(self, metric: Metric) -> None:
        """`name` or `__name__` goes into reports and into the cache keys of answers."""
        name = getattr(metric, "name", getattr(metric, "__name__", None))
        assert isinstance(name, str), f"the name is {name!r}, should be a text"
        assert name.strip(), "the name is empty"

    @property
    def _gold(self) -> list[str]:
        return [*self.labels, *self.labels]

    @property
    def _wrong(self) -> list[str]:
        return [*self._gold[1:], self._gold[0]]

    def _score(self, metric: Metric, gold: Sequence[str], answers: Sequence[str | None]) -> float:
        if isinstance(metric, CorpusMetric):
            return metric(gold, answers)
        scores = []
        for n, (label, answer) in enumerate(zip(gold, answers, strict=True)):
            example = dspy.Example(text=f"text {n}", **{self.label_key: label}).with_inputs("text")
            found = metric(example, dspy.Prediction(**{self.label_key: answer}))
            scores.append(float(getattr(found, "score", found) or 0.0))
        return math.fsum(scores) / len(scores)
