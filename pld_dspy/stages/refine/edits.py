"""Parses and applies edits of a rule list."""

import re
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from pld_dspy.records import Edit, Rule, Trace
from pld_dspy.stages.common.rule_text import contradicts, make_rule, names_no_label, tidy_rule
from pld_dspy.stages.common.topics import scoped

_EDIT = re.compile(
    r"^[\s*\-\d.)]*(ADD|MODIFY|SPLIT|MERGE|DELETE)\b[ \t*]*((?:R?\d+[\s,and]*)*)[ \t]*:?[ \t]*(.*)$",
    re.IGNORECASE,
)

_SCOPE = re.compile(r"\s*\(only for: [^()]*\)")
"""The topic of a rule as the request shows it, which a teacher may repeat."""


class ParsedEdits(NamedTuple):
    """The parsed edits, and the number of unreadable lines."""

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
    """Return the edits in the teacher's answer, one per line, of the numbered `rules`.

    Args:
        text: The teacher's answer; see `ResolveConflicts` for the format.
        rules: The list to edit; `R1` is the first rule.
        evidence: Traces of the wrongly answered examples; they support added rules.
        labels: The closed label set, or empty.
        reason: The cause of the errors in the teacher's answer.
        limit: Maximum number of edits; further ones are dropped.
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
    """Return the list after the edit, with new rules in the place of the first removed one.

    None if a rule to remove is not in the list (an earlier edit removed it), or if nothing changes.
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
    # The text after DELETE is a reason, not a rule.
    content = "" if action == "delete" else _SCOPE.sub("", match.group(3))
    texts = list(dict.fromkeys(text for part in content.split("||") if (text := tidy_rule(part))))
    if not _complete(action, len(old), len(texts)):
        return None
    if any(names_no_label(text, labels) for text in texts):
        return None  # the student's answer could not be read
    known = {trace.id: trace.label for rule in old for trace in _stubs(rule)}
    added = tuple(_new_rule(text, old, known, evidence, labels) for text in texts)
    return Edit(
        action=action,  # type: ignore[arg-type]  # the pattern matches these five only
        targets=tuple(rule.id for rule in old),
        added=added,
        reason=reason,
    )


def _complete(action: str, targets: int, texts: int) -> bool:
    valid: Mapping[str, tuple[bool, bool]] = {
        "add": (targets == 0, texts >= 1),
        "modify": (targets == 1, texts == 1),
        "split": (targets == 1, texts > 1),
        "merge": (targets > 1, texts == 1),
        "delete": (targets >= 1, texts == 0),
    }
    return all(valid[action])


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
    made = make_rule(text, support, origin="refine", parents=[rule.id for rule in old])
    scopes = {rule.scope for rule in old}
    return scoped(made, scopes.pop()) if len(scopes) == 1 else made


def _stubs(rule: Rule) -> list[Trace]:
    """Return the evidence of a rule as traces with id and label only."""
    labels = [label for label, count in rule.labels.items() for _ in range(count)]
    padded = [*labels, *[rule.main_label] * (len(rule.trace_ids) - len(labels))]
    return [
        Trace(id=trace_id, example_id="", label=label, rationale="", rule=rule.text)
        for trace_id, label in zip(rule.trace_ids, padded, strict=False)
    ]
