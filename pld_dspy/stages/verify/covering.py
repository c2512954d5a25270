"""A rule list made of the drafts that cover the judged examples best."""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence

from pld_dspy.records import Rule, Trace, Truth
from pld_dspy.stages.common.rule_text import make_rule
from pld_dspy.stages.common.turns import in_turns

LEAST = 0.1
"""Minimum share of a label's examples that a rule adds to those before it."""
PER_LABEL = 3
"""Maximum rules of a label."""


def drafts(
    traces: Sequence[Trace], count: int, groups: Mapping[str, str] | None = None
) -> tuple[Rule, ...]:
    """Return up to `count` rules that the traces suggest: their own, and one for each kind in them.

    The labels take turns, and in each label the kinds and the micro-rules do. Frequent micro-rules come
    first, and kinds that traces about many groups of the label name, and about few of other labels.

    Args:
        traces: The explanations.
        count: Maximum number of rules.
        groups: Group of each example, by id; None if they have none.
    """
    labels = sorted({trace.label for trace in traces})
    about = {t.id: (groups or {}).get(t.example_id, t.example_id) for t in traces}
    queues = [
        in_turns([_of_kinds(traces, label, about), _micro_rules(traces, label)]) for label in labels
    ]
    found: dict[str, Rule] = {}
    for rule in in_turns(queues):
        found.setdefault(rule.text, rule)
    return tuple(found.values())[:count]


def _micro_rules(traces: Sequence[Trace], label: str) -> list[Rule]:
    by_text: dict[str, list[Trace]] = defaultdict(list)
    for trace in traces:
        if trace.label == label:
            by_text[trace.rule].append(trace)
    ranked = sorted(by_text.items(), key=lambda entry: -len(entry[1]))
    return [make_rule(text, own, origin="micro") for text, own in ranked]


def _of_kinds(traces: Sequence[Trace], label: str, about: Mapping[str, str]) -> list[Rule]:
    every: dict[str, set[str]] = defaultdict(set)
    own: dict[str, list[Trace]] = defaultdict(list)
    for trace in traces:
        for kind in trace.kinds:
            every[kind].add(about[trace.id])
            if trace.label == label:
                own[kind].append(trace)
    # A kind that only traces of this label name counts in full.
    worth = {
        kind: len({about[trace.id] for trace in members}) ** 2 / len(every[kind])
        for kind, members in own.items()
    }
    ranked = sorted(own.items(), key=lambda entry: (-worth[entry[0]], -len(entry[1])))
    return [
        make_rule(f"If the text is about {kind}, answer {label}.", members, origin="micro")
        for kind, members in ranked
    ]


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
        # Of equals, the one that more traces suggest is the more general one.
        rule, truth = max(
            drafts,
            key=lambda d: (added[d[0].text], len(d[0].trace_ids), -len(d[0].text), d[0].text),
        )
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
