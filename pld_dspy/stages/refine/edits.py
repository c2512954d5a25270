"""Ordered rule lists: how a pool of rules is put in order, and how edits change a list."""

import re
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from pld_dspy.records import Edit, Rule, Trace
from pld_dspy.stages.common.rule_text import contradicts, make_rule, names_no_label, tidy_rule

_EDIT = re.compile(
    r"^[\s*\-\d.)]*(ADD|MODIFY|SPLIT|MERGE|DELETE)\b[ \t*]*((?:R?\d+[\s,and]*)*)[ \t]*:?[ \t]*(.*)$",
    re.IGNORECASE,
)


class ParsedEdits(NamedTuple):
    """Edits that could be read, and the number of lines that could not."""

    edits: tuple[Edit, ...]
    unreadable: int


def parse_edits(
    text: str,
    rules: Sequence[Rule],
    *,
    evidence: Sequence[Trace],
    labels: Sequence[str],
    reason: str = "",
    limit: int = 3,
) -> ParsedEdits:
    """Return the edits that the resolver wrote, one a line, against the numbered `rules`.

    Args:
        text: The resolver's answer; see `ResolveConflicts` for the forms.
        rules: The list that it saw; `R1` is the first.
        evidence: Traces of the examples that it saw as wrong; they support what it adds.
        labels: The closed label set, or empty.
        reason: The cause that the resolver gave.
        limit: Edits beyond this number are left out.
    """
    edits: list[Edit] = []
    unreadable = 0
    for line in text.splitlines():
        if not line.strip():
            continue
        match = _EDIT.match(line)
        edit = _read_edit(match, rules, evidence, labels, reason) if match else None
        if edit is None:
            unreadable += 1
        elif len(edits) < limit:
            edits.append(edit)
    return ParsedEdits(tuple(edits), unreadable)


def apply_edit(rules: Sequence[Rule], edit: Edit) -> tuple[Rule, ...] | None:
    """Return the list after the edit, new rules in the place of the first that goes.

    None if a rule that the edit names is not in the list (an earlier edit took it away), or if
    nothing would change.
    """
    ids = [rule.id for rule in rules]
    if not set(edit.targets) <= set(ids):
        return None
    place = min((ids.index(target) for target in edit.targets), default=len(ids))
    kept_before = [rule for rule in rules[:place] if rule.id not in edit.targets]
    kept_after = [rule for rule in rules[place:] if rule.id not in edit.targets]
    known = {rule.text for rule in (*kept_before, *kept_after)}
    fresh = [rule for rule in edit.added if rule.text not in known]
    changed = (*kept_before, *fresh, *kept_after)
    return None if [r.text for r in changed] == [r.text for r in rules] else changed


def _read_edit(
    match: re.Match[str],
    rules: Sequence[Rule],
    evidence: Sequence[Trace],
    labels: Sequence[str],
    reason: str,
) -> Edit | None:
    action = match.group(1).lower()
    numbers = [int(n) for n in re.findall(r"\d+", match.group(2))]
    if any(not 1 <= n <= len(rules) for n in numbers):
        return None
    old = [rules[n - 1] for n in dict.fromkeys(numbers)]
    # What follows a deletion is a reason, not a rule.
    said = "" if action == "delete" else match.group(3)
    texts = list(dict.fromkeys(text for part in said.split("||") if (text := tidy_rule(part))))
    if not _complete(action, len(old), len(texts)):
        return None
    if any(names_no_label(text, labels) for text in texts):
        return None  # it would make the student say what nobody can read
    known = {trace.id: trace.label for rule in old for trace in _stubs(rule)}
    added = tuple(_new_rule(text, old, known, evidence, labels) for text in texts)
    return Edit(
        action=action,  # type: ignore[arg-type]  # the pattern admits the five actions only
        targets=tuple(rule.id for rule in old),
        added=added,
        reason=reason,
    )


def _complete(action: str, targets: int, texts: int) -> bool:
    wanted: Mapping[str, tuple[bool, bool]] = {
        "add": (targets == 0, texts >= 1),
        "modify": (targets == 1, texts == 1),
        "split": (targets == 1, texts > 1),
        "merge": (targets > 1, texts == 1),
        "delete": (targets >= 1, texts == 0),
    }
    return all(wanted[action])


def _new_rule(
    text: str,
    old: Sequence[Rule],
    known: Mapping[str, str],
    evidence: Sequence[Trace],
    labels: Sequence[str],
) -> Rule:
    fitting = [trace for trace in evidence if not contradicts(text, trace.label, labels)]
    inherited = [
        stub
        for rule in old
        for stub in _stubs(rule)
        if not contradicts(text, known[stub.id], labels)
    ]
    unique = {trace.id: trace for trace in (*inherited, *fitting)}
    support = list(unique.values()) or list(evidence) or [s for rule in old for s in _stubs(rule)]
    return make_rule(text, support, origin="refine", parents=[rule.id for rule in old])


def _stubs(rule: Rule) -> list[Trace]:
    """Return the evidence of a rule as bare traces: a rule keeps ids and label counts only."""
    labels = [label for label, count in rule.labels.items() for _ in range(count)]
    padded = [*labels, *[rule.main_label] * (len(rule.trace_ids) - len(labels))]
    return [
        Trace(id=trace_id, example_id="", label=label, rationale="", rule=rule.text)
        for trace_id, label in zip(rule.trace_ids, padded, strict=False)
    ]
