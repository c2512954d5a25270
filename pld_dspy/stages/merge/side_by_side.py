"""Rules made of all labels side by side, so that each says what tells its label from the others."""

from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

from pld_dspy.models.teacher import Contrast, Request, Teacher
from pld_dspy.records import Rule, Trace
from pld_dspy.stages.common.rule_text import answers_of, make_rule, names_no_label, tidy_rule
from pld_dspy.stages.merge.per_cluster import STAGE

MOST_LABELS = 12
"""More labels than this make a request, and an answer, that weak teachers lose their way in."""
_NOTES = 36
"""Most micro-rules in one request."""
_NOTES_A_LABEL = 6

_Note = tuple[Trace, ...]
"""Traces whose micro-rules have the same words; they are shown as one."""


class Contrasts(NamedTuple):
    """Rule lists that were each written in one go, and what went wrong on the way."""

    lists: tuple[tuple[Rule, ...], ...]
    """One list a draw, one rule a label in the order of the labels; without repeated lists."""
    dropped: Counter[str]


def contrast(
    traces: Sequence[Trace],
    teacher: Teacher,
    *,
    task: str,
    labels: Sequence[str],
    draws: int,
) -> Contrasts:
    """Return lists of one rule a label, each from one teacher call that saw all the labels.

    The paper merges each cluster by itself (phase 2), so no call sees what tells two labels apart;
    this one does. Each draw shows other micro-rules, as far as there are enough. What cannot be read,
    or names several answers, is left out and counted; a list needs rules of two labels or more.

    Args:
        traces: The evidence; a rule is supported by those of its label whose words were shown.
        teacher: Writes the rules.
        task: Instructions of the student as given.
        labels: The closed label set. An open one, one label, or more than `MOST_LABELS` give no list.
        draws: Lists asked for.

    Raises:
        ModelError: The teacher cannot be reached.
    """
    by_label = {label: _notes(traces, label) for label in labels}
    held = [label for label, notes in by_label.items() if notes]
    if not 2 <= len(labels) <= MOST_LABELS or len(held) < 2 or draws < 1:
        return Contrasts((), Counter())
    shown = [
        {label: _turn(by_label[label], draw, notes_a_label(len(held))) for label in held}
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
                        "\n".join([f"Answer {label}:", *(f"- {note[0].rule}" for note in said)])
                        for label, said in notes.items()
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
        dropped["labels that a list of all labels left without a rule"] += len(held) - len(rules)
        if len(rules) > 1:
            lists.setdefault(tuple(rule.text for rule in rules), rules)
    return Contrasts(tuple(lists.values()), +dropped)


def notes_a_label(labels: int) -> int:
    """Return how many micro-rules of each label a request shows, at most, for so many labels."""
    return max(1, min(_NOTES_A_LABEL, _NOTES // labels))


def _read(
    said: str, notes: dict[str, tuple[_Note, ...]], labels: Sequence[str]
) -> tuple[Rule, ...]:
    found: dict[str, str] = {}
    for line in said.splitlines():
        text = tidy_rule(line)
        answers = answers_of(text, labels)
        if len(answers) == 1 and not names_no_label(text, labels):
            found.setdefault(answers.pop(), text)
    return tuple(
        make_rule(found[label], [trace for note in shown for trace in note], origin="synthesis")
        for label, shown in notes.items()
        if label in found
    )


def _notes(traces: Sequence[Trace], label: str) -> list[_Note]:
    """Return the traces of the label, those with the same words together."""
    by_words: dict[str, list[Trace]] = {}
    for trace in traces:
        if trace.label == label:
            by_words.setdefault(trace.rule, []).append(trace)
    return [tuple(members) for members in by_words.values()]


def _turn(notes: Sequence[_Note], draw: int, count: int) -> tuple[_Note, ...]:
    """Return the notes of that draw: each goes on where the one before it ended, round and round."""
    size = min(count, len(notes))
    return tuple(notes[(draw * size + i) % len(notes)] for i in range(size))
