"""Writes one rule per label in a single request that shows all labels."""

from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

from pld_dspy.models.teacher import Contrast, Request, Teacher
from pld_dspy.records import Rule, Trace
from pld_dspy.stages.common.rule_text import answers_of, make_rule, names_no_label, tidy_rule
from pld_dspy.stages.merge.per_cluster import STAGE

MOST_LABELS = 12
"""Maximum number of labels; with more, request and answer are too long for weak teachers."""
_NOTES = 36
"""Maximum micro-rules per request."""
_NOTES_A_LABEL = 6

_Note = tuple[Trace, ...]
"""Traces with the same micro-rule, which is shown once."""


class Contrasts(NamedTuple):
    """Rule lists that were each written in one request, and counts of what was dropped."""

    lists: tuple[tuple[Rule, ...], ...]
    """One list per draw, without duplicates; one rule per label, in label order."""
    dropped: Counter[str]


def contrast(
    traces: Sequence[Trace],
    teacher: Teacher,
    *,
    task: str,
    labels: Sequence[str],
    draws: int,
) -> Contrasts:
    """Return lists of one rule per label, each from one teacher call that shows all labels.

    The paper merges each cluster separately (phase 2), so no call shows how two labels differ. Each
    draw shows other micro-rules, if there are enough. A rule that cannot be read or answers several
    labels is dropped and counted; a list needs rules of at least two labels.

    Args:
        traces: The evidence; a rule is supported by the shown traces of its label.
        teacher: Writes the rules.
        task: Instructions of the uncompiled student.
        labels: The closed label set; with fewer than two or over `MOST_LABELS` there is no list.
        draws: Number of requests.

    Raises:
        ModelError: The teacher cannot be reached.
    """
    by_label = {label: _notes(traces, label) for label in labels}
    present = [label for label, notes in by_label.items() if notes]
    if not 2 <= len(labels) <= MOST_LABELS or len(present) < 2 or draws < 1:
        return Contrasts((), Counter())
    shown = [
        {label: _turn(by_label[label], draw, notes_a_label(len(present))) for label in present}
        for draw in range(draws)
    ]
    outputs = teacher.ask(
        STAGE,
        [
            Request(
                module=Contrast(teacher.prompts.contrast),
                inputs={
                    "task": task,
                    "possible_answers": ", ".join(labels),
                    "notes": "\n\n".join(
                        "\n".join([f"Answer {label}:", *(f"- {note[0].rule}" for note in group)])
                        for label, group in notes.items()
                    ),
                },
                draw=draw,
            )
            for draw, notes in enumerate(shown)
        ],
    )
    dropped: Counter[str] = Counter()
    lists: dict[tuple[str, ...], tuple[Rule, ...]] = {}
    for notes, output in zip(shown, outputs, strict=True):
        rules = _read(output["rules"] if output else "", notes, labels)
        dropped["labels that a list of all labels left without a rule"] += len(present) - len(rules)
        if len(rules) > 1:
            lists.setdefault(tuple(rule.text for rule in rules), rules)
    return Contrasts(tuple(lists.values()), +dropped)


def notes_a_label(labels: int) -> int:
    """Return the maximum number of micro-rules per label in a request."""
    return max(1, min(_NOTES_A_LABEL, _NOTES // labels))


def _read(
    answer: str, notes: dict[str, tuple[_Note, ...]], labels: Sequence[str]
) -> tuple[Rule, ...]:
    by_label: dict[str, str] = {}
    for line in answer.splitlines():
        text = tidy_rule(line)
        answers = answers_of(text, labels)
        if len(answers) == 1 and not names_no_label(text, labels):
            by_label.setdefault(answers.pop(), text)
    return tuple(
        make_rule(by_label[label], [trace for note in shown for trace in note], origin="synthesis")
        for label, shown in notes.items()
        if label in by_label
    )


def _notes(traces: Sequence[Trace], label: str) -> list[_Note]:
    """Return the traces of the label, grouped by micro-rule."""
    by_words: dict[str, list[Trace]] = {}
    for trace in traces:
        if trace.label == label:
            by_words.setdefault(trace.rule, []).append(trace)
    return [tuple(members) for members in by_words.values()]


def _turn(notes: Sequence[_Note], draw: int, count: int) -> tuple[_Note, ...]:
    """Return the notes of a draw; each draw continues where the last one ended, cyclically."""
    size = min(count, len(notes))
    return tuple(notes[(draw * size + i) % len(notes)] for i in range(size))
