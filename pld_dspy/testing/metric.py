"""What a metric must do: a `CorpusMetric`, or a DSPy metric of one example."""

import math
from collections.abc import Sequence

import dspy

from pld_dspy.scoring.evaluator import Metric
from pld_dspy.scoring.metrics import CorpusMetric


class MetricSuite:
    """Tests of a metric; a subclass has a fixture `metric`.

    Examples have one input and the label; set `labels` and `label_key` where the metric knows only
    those of its task.

    >>> MetricSuite().test_the_same_answers_get_the_same_score(lambda example, prediction: 1.0)
    """

    labels: tuple[str, ...] = ("red", "green", "blue")
    """At least two labels of the task."""
    label_key = "label"
    """Field of the label, in the example and in the prediction."""

    def test_a_score_is_one_finite_number(self, metric: Metric) -> None:
        """From 0 to 1; a corpus metric may go down to -1, as MCC does."""
        lowest = -1.0 if isinstance(metric, CorpusMetric) else 0.0
        for said in (self._gold, self._wrong, [self.labels[0]] * len(self._gold)):
            score = self._score(metric, self._gold, said)
            assert math.isfinite(score), f"the score {score}"
            assert lowest <= score <= 1, f"the score {score}, should be in [{lowest:.0f}, 1]"

    def test_right_answers_score_more_than_wrong_ones(self, metric: Metric) -> None:
        """Else there is nothing to optimize."""
        right = self._score(metric, self._gold, self._gold)
        wrong = self._score(metric, self._gold, self._wrong)
        assert right > wrong, f"right answers score {right}, and wrong ones {wrong}"

    def test_no_answers_score_more_than_the_right_ones(self, metric: Metric) -> None:
        """Neither a single label for everything, nor one wrong answer among right ones."""
        right = self._score(metric, self._gold, self._gold)
        for said in ([self.labels[0]] * len(self._gold), [*self._gold[:-1], self._wrong[-1]]):
            score = self._score(metric, self._gold, said)
            assert score <= right, f"right answers score {right}, and {said} scores {score}"

    def test_an_answer_outside_the_labels_is_wrong(self, metric: Metric) -> None:
        """A student may say anything, or nothing: such an answer scores, and no more than a right one."""
        right = self._score(metric, self._gold, self._gold)
        # A DSPy metric is given predictions, of which an unreadable one never comes to it.
        unread = [None] if isinstance(metric, CorpusMetric) else []
        for answer in ["no such label", *unread]:
            score = self._score(metric, self._gold, [answer, *self._gold[1:]])
            assert score < right, f"an answer that is no label scores {score}, a right one {right}"

    def test_one_example_is_enough(self, metric: Metric) -> None:
        """Intervals are drawn from few examples too."""
        score = self._score(metric, self._gold[:1], self._gold[:1])
        assert math.isfinite(score), f"the score {score} for one example"

    def test_the_order_of_the_examples_does_not_matter(self, metric: Metric) -> None:
        """Examples are answered in several threads, and resampled for intervals."""
        said = [*self._wrong[:2], *self._gold[2:]]
        forth = self._score(metric, self._gold, said)
        back = self._score(metric, self._gold[::-1], said[::-1])
        assert math.isclose(forth, back), f"{forth} in one order and {back} in the other"

    def test_the_same_answers_get_the_same_score(self, metric: Metric) -> None:
        """A second compile with the same seed must give the same program."""
        first, second = (self._score(metric, self._gold, self._wrong) for _ in range(2))
        assert first == second, f"{first} at the first call and {second} at the second"

    def test_it_has_a_name(self, metric: Metric) -> None:
        """`name` or `__name__`: it is in reports and in the keys of stored scores."""
        name = getattr(metric, "name", getattr(metric, "__name__", None))
        assert isinstance(name, str), f"the name is {name!r}, should be a text"
        assert name.strip(), "the name is empty"

    @property
    def _gold(self) -> list[str]:
        return [*self.labels, *self.labels]

    @property
    def _wrong(self) -> list[str]:
        return [*self._gold[1:], self._gold[0]]

    def _score(self, metric: Metric, gold: Sequence[str], said: Sequence[str | None]) -> float:
        if isinstance(metric, CorpusMetric):
            return metric(gold, said)
        scores = []
        for n, (label, answer) in enumerate(zip(gold, said, strict=True)):
            example = dspy.Example(text=f"text {n}", **{self.label_key: label}).with_inputs("text")
            found = metric(example, dspy.Prediction(**{self.label_key: answer}))
            scores.append(float(getattr(found, "score", found) or 0.0))
        return math.fsum(scores) / len(scores)
