"""The section of the report that says why the claim does not hold, from the evidence in the lines."""

import html
from collections.abc import Iterable

from experiments.report.findings import Evidence
from experiments.report.tables import name, plain, table


def why_section(found: Iterable[Evidence]) -> str:
    """Return the section in Markdown; nothing where there is no evidence to show."""
    parts = [_evidence(evidence) for evidence in found]
    if not parts:
        return ""
    intro = (
        "## Why it does not hold\n\nOn the same test examples: which labels are lost, which answers are "
        "given for them, and which rules the student was asked with. A rule is a line of the "
        "instructions; one that names every label is not counted."
    )
    return "\n\n".join([intro, *parts])


def _evidence(found: Evidence) -> str:
    other = name(found.other)
    parts = [
        f"### {found.title}: {found.ours} against {other}",
        f"Of {found.examples} answers, {found.only_other} are right with {other} alone and "
        f"{found.only_ours} with {found.ours} alone. {_worst(found)}",
        _labels(found),
        f"Most frequent errors of {found.ours}:",
        _confusions(found),
    ]
    for rules in found.rules:
        note = f" ({html.escape(plain(rules.note))})" if rules.note else ""
        head = f"What the student was asked with, seed {rules.seed}{note}"
        text = _verbatim(rules.text.strip() or "(not recorded)")
        parts.append(f"<details><summary>{head}</summary>\n\n<pre>{text}</pre>\n\n</details>")
    return "\n\n".join(parts)


def _verbatim(text: str) -> str:
    """Return text that Markdown shows as it is, whatever marks it has."""
    made = html.escape(text, quote=False)
    for mark in "`[]*_|":
        made = made.replace(mark, f"&#{ord(mark)};")
    return made


def _worst(found: Evidence) -> str:
    worst = found.labels[0]
    lost = round((worst.other - worst.ours) * worst.n)
    if lost <= 0:
        return "No label loses right answers; the loss is in answers given for the wrong ones."
    rules = "rule names" if worst.naming == 1 else "rules name"
    return (
        f"The largest loss is on {plain(worst.label)}: {lost} right answers fewer of {worst.n}; "
        f"{worst.naming or 'no'} {rules} it."
    )


def _labels(found: Evidence) -> str:
    rows = [
        [
            plain(row.label),
            str(row.n),
            f"{row.ours:.2f}",
            f"{row.other:.2f}",
            f"{(row.ours - row.other) * row.n:+.0f}",
            str(row.naming),
        ]
        for row in found.labels
    ]
    head = ["label", "examples", f"recall of {found.ours}", f"recall of {name(found.other)}"]
    return table([*head, "right answers, difference", "rules that name it"], rows)


def _confusions(found: Evidence) -> str:
    rows = [[plain(c.gold), plain(c.said), str(c.ours), str(c.other)] for c in found.confusions]
    return table(["gold", "answered", f"times, {found.ours}", f"times, {name(found.other)}"], rows)
