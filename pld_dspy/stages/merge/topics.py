"""Rule pools by topic: the pools of each topic's traces, and lists with general rules before them."""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

import dspy

from pld_dspy.data.examples import example_id
from pld_dspy.models.topics import topic_of
from pld_dspy.records import Origin, Rule, Trace
from pld_dspy.stages.common.pools import Pool
from pld_dspy.stages.common.topics import Topics, scoped


@dataclass
class _Found:
    origin: Origin
    rules: list[Rule] = field(default_factory=list)


def with_topics(
    general: Sequence[Pool],
    topics: Topics,
    traces: Sequence[Trace],
    train: Iterable[dspy.Example],
    make: Callable[[Sequence[Trace]], Sequence[Pool]],
) -> tuple[Pool, ...]:
    """Return the general pools, those by topic, and the first of both together.

    Args:
        general: Pools from the traces of all topics, the first one with general rules.
        topics: Topics with few examples get no pool.
        traces: All traces.
        train: The training examples, for the topic of a trace.
        make: Returns the pools of some of the traces.
    """
    topic = {example_id(example): topic_of(topics.field, example) for example in train}
    found: dict[str, _Found] = {}
    for name in topics.own:
        own = [trace for trace in traces if topic.get(trace.example_id) == name]
        for pool in make(own) if own else ():
            if pool.is_candidate:
                kept = label_by_label(pool.rules, topics.config.max_rules)
                rules = found.setdefault(pool.name, _Found(pool.origin)).rules
                rules.extend(scoped(rule, name) for rule in kept)
    pools = [Pool(f"{name}, by topic", tuple(f.rules), f.origin) for name, f in found.items()]
    both = [
        Pool("general rules and rules by topic", (*first.rules, *second.rules))
        for first, second in zip(general[:1], pools[:1], strict=False)
    ]
    return (*general, *pools, *both)


def label_by_label(rules: Sequence[Rule], count: int) -> tuple[Rule, ...]:
    """Return the first rules, at most `count`: the first of each label before any second one."""
    turns: Counter[str] = Counter()
    ranked = []
    for place, rule in enumerate(rules):
        ranked.append((turns[rule.main_label], place, rule))
        turns[rule.main_label] += 1
    kept = sorted(ranked, key=lambda entry: entry[:2])[:count]
    return tuple(rule for _, _, rule in kept)
