"""Picks the instructions of an input's topic."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from functools import lru_cache
from typing import Any, TypeVar

import dspy

from pld_dspy.models.reading.values import label_text
from pld_dspy.records import TopicPrompts

T = TypeVar("T")


def topic_of(field: str, inputs: Mapping[str, Any]) -> str:
    """Return the topic of the inputs: the value of the field as text, "" if there is none."""
    value = inputs.get(field)
    return "" if value is None else " ".join(label_text(value).split())


def instructions(
    topics: TopicPrompts | None, signature: type[dspy.Signature], inputs: Mapping[str, Any]
) -> dict[str, Any]:
    """Return the arguments of a `dspy.Predict` call that set the topic's instructions.

    Empty without topics, and for a topic that training did not have: the predictor's own
    instructions are the general ones.
    """
    prompt = None if topics is None else topics.prompts.get(topic_of(topics.field, inputs))
    if prompt is None:
        return {}
    return {"signature": _instructed(signature, prompt)}  # type: ignore[arg-type]  # a class has a hash


@lru_cache(maxsize=128)
def _instructed(signature: type[dspy.Signature], prompt: str) -> type[dspy.Signature]:
    """Return the signature with these instructions; making the class takes some milliseconds."""
    changed: type[dspy.Signature] = signature.with_instructions(prompt)
    return changed


def with_rule_ids(
    prediction: dspy.Prediction, topics: TopicPrompts | None, inputs: Mapping[str, Any]
) -> dspy.Prediction:
    """Return the prediction, with the ids of the rules that it was made with as `rules`.

    Without topics, or where an output is called `rules`, it stays as it is.
    """
    if topics is not None and "rules" not in prediction:
        topic = topic_of(topics.field, inputs)
        prediction["rules"] = tuple(topics.rules.get(topic, topics.general_rules))
    return prediction


def topics_in(program: dspy.Module) -> TopicPrompts | None:
    """Return the program's prompts by topic; None if it has none."""
    topics = getattr(program, "topics", None)
    return topics if isinstance(topics, TopicPrompts) else None


def topic_by_topic(
    program: dspy.Module, todo: Sequence[tuple[T, dspy.Example]]
) -> list[tuple[T, dspy.Example]]:
    """Return the pairs of key and example, those of one topic in a row.

    A server reuses what it has computed for the start of the last prompt, so a change of topic is
    what costs. Without topics the order stays.
    """
    topics = topics_in(program)
    if topics is None:
        return list(todo)
    return sorted(todo, key=lambda pair: topic_of(topics.field, pair[1]))


def unseen(topics: TopicPrompts, examples: Iterable[dspy.Example]) -> int:
    """Return how many examples have a topic that training did not have."""
    return sum(topic_of(topics.field, example) not in topics.prompts for example in examples)


def to_state(topics: TopicPrompts) -> dict[str, Any]:
    """Return the prompts by topic as JSON values."""
    return asdict(topics)


def from_state(state: Mapping[str, Any]) -> TopicPrompts:
    """Return the prompts by topic from `to_state`, also after a way through JSON."""
    return TopicPrompts(
        field=state["field"],
        general=state["general"],
        prompts=dict(state["prompts"]),
        general_rules=tuple(state["general_rules"]),
        rules={topic: tuple(ids) for topic, ids in state["rules"].items()},
    )
