"""Finds the topics of the examples, and writes rule lists topic by topic."""

import hashlib
import inspect
import logging
import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import dspy

from pld_dspy.config.optimizer import TopicsConfig
from pld_dspy.errors import ConfigError, nearest
from pld_dspy.models.adapter import field_title
from pld_dspy.models.reading.values import label_text
from pld_dspy.models.student import DirectStudent
from pld_dspy.models.topics import topic_of
from pld_dspy.records import Candidate, Rule, TopicPrompts
from pld_dspy.stages.common.prompt import HEADER, numbered, render

logger = logging.getLogger(__name__)

Show = Literal["topic", "all"]
"""What the student is shown: the general rules and those of the question's topic, or all rules."""

AUTO = "auto"
_MOST_TOPICS = 50
_MEAN_EXAMPLES = 4
_SHARED = 0.8
"""Least share of the values of a topic field that occur more than once, for "auto"."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Topics:
    """The field that says what an example is about, and its values in training."""

    field: str
    title: str
    """Name of the field in the prompt."""
    counts: Mapping[str, int]
    """Number of training examples by topic, in alphabetical order."""
    known: frozenset[str]
    """Topics of training, validation and selection examples."""
    unseen: int
    """Number of validation and selection examples whose topic training lacks."""
    config: TopicsConfig

    @property
    def own(self) -> tuple[str, ...]:
        """Topics with enough training examples for rules of their own."""
        return tuple(t for t, count in self.counts.items() if count >= self.config.min_examples)

    @property
    def few(self) -> tuple[str, ...]:
        """Topics of training with fewer examples; they get the general rules."""
        return tuple(t for t, count in self.counts.items() if count < self.config.min_examples)


def find_topics(
    config: TopicsConfig,
    student: dspy.Module,
    signature: type[dspy.Signature],
    train: Sequence[dspy.Example],
    others: Iterable[dspy.Example] = (),
) -> Topics | None:
    """Return the topics of the examples; None where there are none or none are asked for.

    Args:
        config: `by` is a field, "auto", "none" or None.
        student: Only a `DirectStudent` can be shown other instructions for each question.
        signature: Signature of the predictor.
        train: The training examples.
        others: Validation and selection examples.

    Raises:
        ConfigError: The field is unknown or has no value that occurs often enough, or the program
            is no `DirectStudent`.
    """
    if config.by is None or config.by == "none":
        return None
    direct = isinstance(student, DirectStudent)
    field = config.by if config.by != AUTO else _found(signature, train) if direct else None
    if field is None:
        why = f"no input has 2 to {_MOST_TOPICS} values" if direct else "no DirectStudent"
        logger.info("topics: none found (%s); all rules are shown with each question", why)
        return None
    if field not in signature.input_fields:
        hint = nearest(field, [*signature.input_fields, AUTO])
        msg = f"topics.by is {field!r}, which is no input of the program{hint}"
        raise ConfigError(msg)
    if not direct:
        msg = f"topics.by is {field!r}, and {type(student).__name__} shows one prompt to all questions; use a DirectStudent, or leave topics.by out"
        raise ConfigError(msg)
    counts = Counter(topic_of(field, example) for example in train)
    rest = [topic_of(field, example) for example in others]
    if max(counts.values(), default=0) < config.min_examples:
        msg = f"topics.by is {field!r}, and none of its {len(counts)} values has {config.min_examples} training examples; choose a field with few values, or lower topics.min_examples"
        raise ConfigError(msg)
    return Topics(
        field=field,
        title=field_title(field, signature.input_fields[field]),
        counts=dict(sorted(counts.items())),
        known=frozenset([*counts, *rest]),
        unseen=sum(topic not in counts for topic in rest),
        config=config,
    )


def _found(signature: type[dspy.Signature], train: Sequence[dspy.Example]) -> str | None:
    """Return the input field with the most values among those that have enough examples of each."""
    fitting = {}
    for field in signature.input_fields:
        counts = Counter(topic_of(field, example) for example in train)
        shared = sum(count > 1 for count in counts.values())
        enough = len(train) >= _MEAN_EXAMPLES * len(counts) and shared >= _SHARED * len(counts)
        if enough and 2 <= len(counts) <= _MOST_TOPICS:
            fitting[field] = len(counts)
    return max(fitting, key=lambda field: fitting[field], default=None)


def priors_of(
    field: str | None, train: Sequence[dspy.Example], label_key: str, labels: Sequence[str]
) -> dict[str, dict[str, float]]:
    """Return by topic and label the log share of the label minus its log share in all of `train`.

    The labels of a topic are counted with a prior of one example with the shares of all topics, so
    that a topic of few examples is near 0 (Laplace smoothing). Empty without a topic field.
    """
    if field is None or not labels:
        return {}
    whole = Counter(label_text(example[label_key]) for example in train)
    share = {label: (whole[label] + 1) / (len(train) + len(labels)) for label in labels}
    counts: dict[str, Counter[str]] = {}
    for example in train:
        topic = topic_of(field, example)
        counts.setdefault(topic, Counter())[label_text(example[label_key])] += 1
    return {
        topic: {
            label: math.log((found[label] + share[label]) / (found.total() + 1) / share[label])
            for label in labels
        }
        for topic, found in sorted(counts.items())
    }


def log_topics(topics: Topics) -> None:
    """Log the number of topics, and in a line each what gets general rules only."""
    logger.info("topics: %d values of %s", len(topics.counts), topics.field)
    if topics.few:
        logger.warning(
            "topics: %d of %d values of %s have fewer than %d training examples and get general rules only: %s",
            len(topics.few),
            len(topics.counts),
            topics.field,
            topics.config.min_examples,
            "; ".join(topics.few)[:200],
        )
    if topics.unseen:
        logger.warning(
            "topics: %d validation and selection examples have a value of %s that training lacks, and get general rules only",
            topics.unseen,
            topics.field,
        )


def scoped(rule: Rule, topic: str | None) -> Rule:
    """Return the rule for this topic only; its id differs from that of the same text elsewhere."""
    if topic == rule.scope:
        return rule
    digest = hashlib.sha256(f"{rule.origin}\n{topic}\n{rule.text}".encode()).hexdigest()[:8]
    return replace(rule, id=f"r{digest}", scope=topic)


def by_topic(
    candidate: Candidate, task: str, topics: Topics, *, header: str = HEADER, show: Show = "topic"
) -> Candidate:
    """Return the candidate with its rules sorted by topic, shown by topic or as one list.

    `prompt` is the whole list as one document with a section for each topic. Without a rule for a
    topic the candidate stays as it is.
    """
    if all(rule.scope is None for rule in candidate.rules):
        return candidate
    rules = _grouped(candidate.rules)
    prompt = document(task, rules, topics.title, header=header)
    prompts = _prompts(task, rules, topics, header) if show == "topic" else None
    by = f"{show} {sorted(topics.counts)}" if prompts else show
    words = [f"{label} as {word}" for label, word in candidate.words.items()]
    shown = "\n\n".join([prompt, by, *candidate.demos, *words])
    digest = hashlib.sha256(shown.encode()).hexdigest()[:8]
    return replace(candidate, id=f"c{digest}", rules=rules, prompt=prompt, topics=prompts)


def document(task: str, rules: Sequence[Rule], title: str, *, header: str = HEADER) -> str:
    """Return all rules as one text: the task, the general rules, and a section for each topic.

    Args:
        task: Instructions without rules.
        rules: Those of one scope in a row; general rules at the end are headed `Always:`.
        title: Name of the topic field in the prompt.
        header: Line above the rules.
    """
    lines = [task.lstrip(), "", header]
    scopes: list[str | None] = []
    for number, rule in enumerate(rules, 1):
        if (not scopes and rule.scope is not None) or (scopes and rule.scope != scopes[-1]):
            name = f"Only if {title} is: {rule.scope}" if rule.scope is not None else "Always:"
            lines += ["", name] if scopes else [name]
        scopes.append(rule.scope)
        lines.append(numbered(number, rule))
    return inspect.cleandoc("\n".join(lines))


def _grouped(rules: Sequence[Rule]) -> tuple[Rule, ...]:
    """Return the rules with those of one topic in a row; general ones stay at the front or the end."""
    general = [rule for rule in rules if rule.scope is None]
    topics = dict.fromkeys(rule.scope for rule in rules if rule.scope is not None)
    rest = [rule for topic in topics for rule in rules if rule.scope == topic]
    return (*general, *rest) if rules[0].scope is None else (*rest, *general)


def _prompts(task: str, rules: Sequence[Rule], topics: Topics, header: str) -> TopicPrompts:
    general = [rule for rule in rules if rule.scope is None]
    of_topic = {
        topic: [rule for rule in rules if rule.scope in {None, topic}]
        for topic in dict.fromkeys([*topics.counts, *(r.scope for r in rules if r.scope)])
    }
    return TopicPrompts(
        field=topics.field,
        general=render(task, general, header=header),
        prompts={t: render(task, shown, header=header) for t, shown in of_topic.items()},
        general_rules=tuple(rule.id for rule in general),
        rules={topic: tuple(rule.id for rule in shown) for topic, shown in of_topic.items()},
    )
