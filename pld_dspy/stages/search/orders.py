"""Orders of a rule list."""

from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import chain, zip_longest
from types import MappingProxyType
from typing import Literal, get_args

from pld_dspy.records import Answer, Rule

Order = Literal[
    "support",
    "label",
    "general first",
    "exceptions first",
    "short first",
    "reverse",
    "weak first",
    "gain",
    "ends",
]


ORDERS: tuple[Order, ...] = get_args(Order)


def weakness(answers: Sequence[Answer]) -> dict[str, int]:
    """Return by label how often it was missed, less how often it was said where another was right.

    >>> weakness([Answer(example_id="1", gold="job", answer="sex")])
    {'job': 1, 'sex': -1}
    """
    counts: Counter[str] = Counter()
    for answer in answers:
        if answer.error is None and answer.answer != answer.gold:
            counts[answer.gold] += 1
            if answer.answer is not None:
                counts[answer.answer] -= 1
    return dict(counts)


def ordered(
    rules: Sequence[Rule],
    order: Order,
    *,
    weak: Mapping[str, int] = MappingProxyType({}),
    gains: Mapping[str, float] = MappingProxyType({}),
) -> tuple[Rule, ...]:
    """Return the rules in that order; ties keep the order of the rule ids.

    `support` puts the best supported first; `label` takes one rule of each label in turn;
    `general first` puts rules of a whole label before those of a cluster, and exceptions last;
    `exceptions first` is the other way round, so that defaults come last;
    `short first` puts the shortest text first; `reverse` is support, least first; `weak first` puts
    the labels that a student misses most before those that it says too often, by `weak` (see
    `weakness`); `gain` puts the rule with the largest measured gain first, by rule id in `gains`;
    `ends` puts the best supported rule first, the next one last, and so on inwards, since readers
    keep the first and the last lines best. For a small
    student the order alone can decide more than the text of the rules does.
    """
    by_support = sorted(rules, key=lambda rule: (-rule.support, rule.id))
    if order == "reverse":
        return tuple(reversed(by_support))
    if order == "weak first":
        return tuple(sorted(by_support, key=lambda rule: -weak.get(rule.main_label, 0)))
    if order == "short first":
        return tuple(sorted(by_support, key=lambda rule: len(rule.text)))
    if order == "general first":
        return tuple(sorted(by_support, key=_breadth))
    if order == "exceptions first":
        return tuple(sorted(by_support, key=lambda rule: -_breadth(rule)))
    if order == "gain":
        return tuple(sorted(by_support, key=lambda rule: -gains.get(rule.id, 0.0)))
    if order == "ends":
        return (*by_support[::2], *reversed(by_support[1::2]))
    if order == "label":
        names = sorted({rule.main_label for rule in by_support})
        columns = [[rule for rule in by_support if rule.main_label == name] for name in names]
        turns = zip_longest(*columns)
        return tuple(rule for rule in chain.from_iterable(turns) if rule is not None)
    return tuple(by_support)


def _breadth(rule: Rule) -> int:
    if rule.cluster_id is None:
        return 0
    return 1 if rule.origin == "synthesis" else 2
