"""Phase 2: merges the rules of each cluster into one."""

import logging
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from pld_dspy.config.optimizer import RuleConfig
from pld_dspy.models.teacher import Merge, Request, Teacher
from pld_dspy.records import Cluster, Clustering, Origin, Rule, Trace
from pld_dspy.stages.common.dedupe import unique
from pld_dspy.stages.common.rule_text import contradicts, make_rule, names_no_label, tidy_rule

logger = logging.getLogger(__name__)

STAGE = "rules"


class Synthesis(NamedTuple):
    """Rules from the clustering, and counts of what was dropped."""

    merged: tuple[Rule, ...]
    """One rule per cluster, and its exceptions, sorted by support."""
    general: tuple[Rule, ...]
    """One rule per label; empty unless configured."""
    medoids: tuple[Rule, ...]
    """The most central micro-rule of each cluster, sorted by support."""
    dropped: Counter[str]


class _Group(NamedTuple):
    """Traces to be merged into one rule."""

    name: str | None
    label: str
    members: tuple[Trace, ...]
    others: tuple[Trace, ...]
    """Members with another label than `label`."""
    medoid: Trace
    draw: int


def synthesize(
    clustering: Clustering,
    traces: Sequence[Trace],
    teacher: Teacher,
    *,
    task: str,
    labels: Sequence[str],
    config: RuleConfig,
) -> Synthesis:
    """Return the rules of the clusters (PLD phase 2, one teacher call per cluster).

    The paper drops what contradicts the majority of a cluster; here the minority gets a rule of its
    own, which follows as an exception. A merged rule that cannot be read, or has another answer than
    the cluster's label, is replaced by a micro-rule (the medoid, if it has that label) and counted.
    With `method="medoid"`, traces with another label than the medoid of their cluster support no
    rule and are counted.

    Raises:
        ModelError: The teacher cannot be reached.
    """
    by_id = {trace.id: trace for trace in traces}
    central = _by_support(_medoid_rule(cluster, by_id) for cluster in clustering.clusters)
    medoids = unique(central, config.duplicate_cosine)
    dropped: Counter[str] = Counter()
    if config.method == "medoid":
        members = {i for cluster in clustering.clusters for i in cluster.trace_ids}
        left = len(members - {i for rule in medoids for i in rule.trace_ids})
        dropped["traces with another label than the medoid of their cluster"] += left
        return Synthesis(medoids, (), medoids, +dropped)
    groups = [
        _cluster_group(cluster, by_id, draw)
        for draw in range(config.draws)
        for cluster in clustering.clusters
    ]
    general = (
        [g for draw in range(config.draws) for g in _label_groups(traces, labels, draw)]
        if config.per_label
        else []
    )
    rules = _merge([*groups, *general], teacher, task, labels, config, dropped)
    merged = [rule for group_rules in rules[: len(groups)] for rule in group_rules]
    broad = [rule for group_rules in rules[len(groups) :] for rule in group_rules]
    return Synthesis(
        unique(_by_support(merged), config.duplicate_cosine),
        unique(_by_support(broad), config.duplicate_cosine),
        medoids,
        dropped,
    )


def _merge(
    groups: Sequence[_Group],
    teacher: Teacher,
    task: str,
    labels: Sequence[str],
    config: RuleConfig,
    dropped: Counter[str],
) -> list[list[Rule]]:
    notes = [[trace.rule for trace in group.members] for group in groups]
    while any(len(set(lines)) > config.max_notes for lines in notes):
        notes = _reduce(groups, notes, teacher, task, labels, config)
    outputs = teacher.ask(
        STAGE,
        [
            Request(
                module=Merge(teacher.prompts.merge),
                inputs=_inputs(group.label, lines, task, labels),
                draw=group.draw,
            )
            for group, lines in zip(groups, notes, strict=True)
        ],
    )
    return [
        _rules_of(group, output, labels, dropped)
        for group, output in zip(groups, outputs, strict=True)
    ]


def _reduce(
    groups: Sequence[_Group],
    notes: Sequence[Sequence[str]],
    teacher: Teacher,
    task: str,
    labels: Sequence[str],
    config: RuleConfig,
) -> list[list[str]]:
    """Return the note lists with each chunk of a list that is too long merged into one note."""
    chunks = [
        (place, chunk)
        for place, lines in enumerate(notes)
        for chunk in _chunks(tuple(dict.fromkeys(lines)), config.max_notes)
    ]
    long = [c for c in chunks if len(set(notes[c[0]])) > config.max_notes]
    outputs = teacher.ask(
        STAGE,
        [
            Request(
                module=Merge(teacher.prompts.merge),
                inputs=_inputs(groups[place].label, chunk, task, labels),
                draw=groups[place].draw,
            )
            for place, chunk in long
        ],
    )
    shorter: dict[int, list[str]] = {}
    for (place, chunk), output in zip(long, outputs, strict=True):
        note = tidy_rule(output["rule"]) if output else ""
        shorter.setdefault(place, []).append(note or chunk[0])
    return [shorter.get(place, list(lines)) for place, lines in enumerate(notes)]


def _chunks(lines: Sequence[str], size: int) -> Iterable[Sequence[str]]:
    return (lines[start : start + size] for start in range(0, len(lines), size))


def _rules_of(
    group: _Group, output: Mapping[str, str] | None, labels: Sequence[str], dropped: Counter[str]
) -> list[Rule]:
    agreeing = [trace for trace in group.members if trace.label == group.label]
    text = tidy_rule(output["rule"]) if output else ""
    origin: Origin = "synthesis"
    if not text or contradicts(text, group.label, labels) or names_no_label(text, labels):
        dropped["merged rules replaced by the medoid"] += 1
        central = group.medoid if group.medoid.label == group.label else agreeing[0]
        text, origin = central.rule, "medoid"
    rules = [make_rule(text, agreeing, origin=origin, cluster_id=group.name)]
    exception = tidy_rule(output["exception"]) if output else ""
    names_one = exception.lower().startswith("if ")
    for label in sorted({trace.label for trace in group.others}):
        minority = [trace for trace in group.others if trace.label == label]
        fits = (
            names_one
            and not contradicts(exception, label, labels)
            and not names_no_label(exception, labels)
        )
        text = exception if fits else minority[0].rule
        rules.append(
            make_rule(
                text,
                minority,
                origin="synthesis" if fits else "micro",
                cluster_id=group.name,
            )
        )
    return rules


def _inputs(label: str, notes: Sequence[str], task: str, labels: Sequence[str]) -> dict[str, str]:
    return {
        "task": task,
        "possible_answers": ", ".join(labels),
        "main_answer": label,
        "notes": "\n".join(f"- {note}" for note in dict.fromkeys(notes)),
    }


def _cluster_group(cluster: Cluster, by_id: Mapping[str, Trace], draw: int) -> _Group:
    members = tuple(by_id[i] for i in cluster.trace_ids)
    label = min(cluster.labels, key=lambda name: (-cluster.labels[name], name))
    others = tuple(trace for trace in members if trace.label != label)
    return _Group(cluster.id, label, members, others, by_id[cluster.medoid_id], draw)


def _label_groups(traces: Sequence[Trace], labels: Sequence[str], draw: int) -> list[_Group]:
    found = []
    for label in labels:
        members = tuple(trace for trace in traces if trace.label == label)
        if members:
            found.append(_Group(None, label, members, (), members[0], draw))
    return found


def _medoid_rule(cluster: Cluster, by_id: Mapping[str, Trace]) -> Rule:
    members = [by_id[i] for i in cluster.trace_ids]
    medoid = by_id[cluster.medoid_id]
    agreeing = [trace for trace in members if trace.label == medoid.label]
    return make_rule(medoid.rule, agreeing, origin="medoid", cluster_id=cluster.id)


def _by_support(rules: Iterable[Rule]) -> tuple[Rule, ...]:
    return tuple(sorted(rules, key=lambda rule: (-rule.support, rule.id)))
