"""What needs no language model: the majority label, that of each topic, and a bag of words.

They answer from the labelled examples that the others have (train, validation and selection).
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import dspy

from experiments.optimizers.table import Found, Job, Optimizer
from pld_dspy.errors import ConfigError
from pld_dspy.models.reading.values import label_text
from pld_dspy.scoring import references


class WithoutModel(dspy.Module):
    """Answers with a function of the inputs, at no call."""

    def __init__(self, label_key: str, answer: Callable[[Mapping[str, Any]], str]) -> None:
        """Answer the field `label_key` with `answer(inputs)`."""
        super().__init__()
        self.label_key = label_key
        self.answer = answer

    def forward(self, **inputs: Any) -> dspy.Prediction:
        """Return a prediction with the label."""
        return dspy.Prediction(**{self.label_key: self.answer(inputs)})


def majority(job: Job) -> Found:
    """Return what always answers the most frequent label; of equals, the first of the task."""
    label, count = _most(job, job.pool)
    note = f"{label!r}, which {count} of {len(job.pool)} labelled examples have"
    return Found(WithoutModel(job.task.label_key, lambda _: label), note)


def topic_majority(job: Job) -> Found:
    """Return what answers the most frequent label of the question's topic.

    Of equals it takes the first of the task; a topic without labelled examples gets the majority
    of all.

    Raises:
        ConfigError: The task names no topic.
    """
    topic = job.layer.topic
    if topic is None:
        msg = f"topic-majority needs a topic, and {job.task.name} names none; put `topic = FIELD` into its file"
        raise ConfigError(msg)
    groups: dict[str, list[dspy.Example]] = {}
    for example in job.pool:
        groups.setdefault(label_text(example[topic]), []).append(example)
    known = {name: _most(job, own)[0] for name, own in groups.items()}
    other, _ = _most(job, job.pool)
    program = WithoutModel(
        job.task.label_key, lambda inputs: known.get(label_text(inputs[topic]), other)
    )
    return Found(program, f"{len(known)} topics ({topic}) in {len(job.pool)} labelled examples")


def bag_of_words(job: Job) -> Found:
    """Return a classifier on words and character n-grams."""
    keys = job.task.input_keys
    model = references.bag_of_words(job.pool, keys, job.task.label_key)
    return Found(
        WithoutModel(
            job.task.label_key,
            lambda inputs: str(model.predict(references.texts([inputs], keys))[0]),
        )
    )


def _most(job: Job, examples: Sequence[dspy.Example]) -> tuple[str, int]:
    counts = Counter(label_text(example[job.task.label_key]) for example in examples)
    label = references.majority(examples, job.task.label_key, job.task.labels)
    return label, counts[label]


ENTRIES = (
    Optimizer(name="majority", run=majority, matched=False, extra=True),
    Optimizer(name="topic-majority", run=topic_majority, matched=False, extra=True),
    Optimizer(name="bag-of-words", run=bag_of_words, matched=False, extra=True),
)
