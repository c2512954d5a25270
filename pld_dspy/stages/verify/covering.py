"""A rule list made of the drafts that cover the judged examples best."""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence

from pld_dspy.records import Rule, Trace, Truth
from pld_dspy.stages.common.rule_text import make_rule

LEAST = 0.1
"""Minimum share of a label's examples that a rule adds to those before it."""
PER_LABEL = 2
"""Maximum rules of a label."""


def micro_rules(traces: Sequence[Trace], count: int) -> tuple[Rule, ...]:
    """Return up to `count` different micro-rules as drafts, the most frequent of each label in turn."""
    by_text: dict[str, list[Trace]] = defaultdict(list)
    for trace in traces:
        by_text[trace.rule].append(trace)
    of_label: dict[str, list[Rule]] = defaultdict(list)
    for text, own in by_text.items():
        rule = make_rule(text, own, origin="micro")
        of_label[rule.main_label].append(rule)
    ranked = [
        (place, label, rule)
        for label, rules in of_label.items()
        for place, rule in enumerate(sorted(rules, key=lambda rule: -len(rule.trace_ids)))
    ]
    return tuple(rule for *_, rule in sorted(ranked, key=lambda entry: entry[:2])[:count])


def covering(
    rules: Sequence[Rule], gold: Mapping[str, str], groups: Mapping[str, str] | None
) -> tuple[Rule, ...]:
    """Return for each label the true rules that cover its examples together, the best first.

    Sequential covering (as in CN2 and RIPPER): the next rule of a label is the one whose precision
    times the share of examples that it adds is the largest, up to `PER_LABEL` rules that add at least
    `LEAST`. With groups each group counts the same. The paper keeps merged rules only; a weak teacher's
    merge may lose the micro-rule that holds for most examples.

    Args:
        rules: True rules with their `truth`, from any stage.
        gold: Label of each judged example, by id.
        groups: Group of each judged example, by id; None if they have none.
    """
    of_label: dict[str, list[tuple[Rule, Truth]]] = defaultdict(list)
    for rule in {rule.text: rule for rule in reversed(rules)}.values():
        if rule.truth is not None:
            of_label[rule.truth.answer].append((rule, rule.truth))
    chosen = [
        rule
        for label, drafts in of_label.items()
        for rule in _cover(drafts, _weights(label, gold, groups))
    ]
    return tuple(sorted(chosen, key=lambda rule: (-rule.truth.worth if rule.truth else 0, rule.id)))


def _cover(drafts: Sequence[tuple[Rule, Truth]], left: dict[str, float]) -> list[Rule]:
    chosen: list[Rule] = []
    while len(chosen) < PER_LABEL:
        added = {rule.text: _added(truth, left) for rule, truth in drafts}
        rule, truth = max(drafts, key=lambda d: (added[d[0].text], -len(d[0].text), d[0].text))
        if added[rule.text] < LEAST:
            break
        chosen.append(rule)
        left = {key: weight for key, weight in left.items() if key not in truth.borne_by}
    return chosen


def _added(truth: Truth, left: Mapping[str, float]) -> float:
    return truth.precision.estimate * sum(left.get(key, 0.0) for key in truth.borne_by)


def _weights(
    label: str, gold: Mapping[str, str], groups: Mapping[str, str] | None
) -> dict[str, float]:
    """Return what each example of the label counts; they sum to 1."""
    group = {key: groups[key] if groups else key for key, name in gold.items() if name == label}
    sizes = Counter(group.values())
    return {key: 1 / (len(sizes) * sizes[name]) for key, name in group.items()}
