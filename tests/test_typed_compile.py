"""Whole compiles whose labels are no strings, and students that crash on long prompts."""

import enum
import re
from dataclasses import replace
from typing import Literal, Optional

import dspy
import pytest
from dspy.lm15 import ContextLengthError, Usage

from fakes import (
    FakeTeacher,
    RuleFollower,
    fake_lm,
    keyword_rule,
    keyword_task,
    mentions,
)
from pld_dspy import PLD, DirectStudent, PLDConfig
from pld_dspy.config.optimizer import RefineConfig, SearchConfig
from pld_dspy.errors import ConfigError

SMALL = PLDConfig(
    search=SearchConfig(trials=2),
    refine=RefineConfig(rounds=0),
    finalists=2,
    verify={"enabled": False},  # this teacher cannot judge
)


class Grade(enum.Enum):
    LOW = "1"
    HIGH = "2"
    NONE = "-1"


KINDS = {
    "numbers": (Literal[1, 2, -1], {"1": 1, "2": 2, "-1": -1}),
    "enum": (Grade, {"1": Grade.LOW, "2": Grade.HIGH, "-1": Grade.NONE}),
    "optional": (Optional[Literal["1", "2", "-1"]], {"1": "1", "2": "2", "-1": "-1"}),  # noqa: UP045
    "bool": (bool, {"True": True, "False": False}),
}


def task(values):
    texts = [*values]
    words = {"alpha": texts[0], "beta": texts[1], "gamma": texts[0]}
    return keyword_task(72, words=words | {"delta": texts[1]} | {"omega": texts[-1]})


def task_of(kind):
    made = task(KINDS[kind][1])
    return replace(
        made,
        default=[*KINDS[kind][1]][-1],
        rows=tuple((text, gold) for text, gold in made.rows if gold != "grey"),
    )


def teacher_of(known):
    def teach(prompt):
        notes = re.findall(r"^(?:Notes: )?- (.*)$", prompt.user, re.MULTILINE)
        if notes:
            return f"Rule: {' '.join(notes)}\nException: none"
        text = prompt.user.partition("Example:")[2]
        word, label = next((w, v) for w, v in known.words.items() if mentions(text, w))
        return f"Rationale: so.\nRule: {keyword_rule(word, label)}"

    return FakeTeacher(teach)


def same(example, prediction, trace=None):
    return type(prediction.label) is type(example.label) and prediction.label == example.label


@pytest.mark.parametrize("kind", KINDS)
def test_typed_labels_are_distilled_and_scored_by_the_users_own_metric(kind):
    annotation, values = KINDS[kind]
    known = task_of(kind)
    fields = {"text": (str, dspy.InputField()), "label": (annotation, dspy.OutputField())}
    shape = dspy.Signature(fields, "Grade it.")
    rows = [dspy.Example(text=t, label=values[g]).with_inputs("text") for t, g in known.rows]
    optimizer = PLD(metric=same, teacher_lm=fake_lm(teacher_of(known)), config=SMALL)
    student = RuleFollower(known.default)
    with dspy.context(lm=fake_lm(student, name="fake/student")):
        found = optimizer.compile(DirectStudent(shape), trainset=rows[:48])
        said = [found(text=row.text) for row in rows[48:]]
    (result,) = found.pld_result.predictors
    assert result.chosen.rules
    assert {trace.label for trace in result.traces} <= {*values}
    assert "Grade." not in found.predict.signature.instructions
    right = sum(same(row, answer) for row, answer in zip(rows[48:], said, strict=True))
    assert right / len(said) > 0.8


def test_a_student_that_crashes_on_long_prompts_gets_no_list_that_makes_it_crash():
    known = task_of("numbers")
    shape = dspy.Signature("text -> label", "Grade it.")
    rows = [dspy.Example(text=t, label=g).with_inputs("text") for t, g in known.rows]

    class Small(RuleFollower):
        """Takes rules only before short texts; elsewhere the context is full."""

        def answer(self, prompt, call):
            if "Rules:" in prompt.system and len(prompt.user) % 2:
                raise ContextLengthError("maximum context length is 12 tokens")
            return super().answer(prompt, call)

    optimizer = PLD(metric=same, teacher_lm=fake_lm(teacher_of(known)), config=SMALL)
    default = max({g for _, g in known.rows}, key=[g for _, g in known.rows].count)
    with dspy.context(lm=fake_lm(Small(default), name="fake/student")):
        found = optimizer.compile(DirectStudent(shape), trainset=rows[:48])
    (result,) = found.pld_result.predictors
    chosen = next(
        e for e in result.evaluations if e.split == "select" and e.candidate_id == result.chosen_id
    )
    given = next(e for e in result.evaluations if e.split == "select")
    crashed = [e for e in result.evaluations if e.failures]
    assert crashed
    assert all(
        sum(a.answer == a.gold for a in e.answers) / len(e.answers) == e.score for e in crashed
    )
    assert chosen.score >= given.score


def test_the_token_limit_holds_where_the_endpoint_reports_no_tokens():
    known = task_of("numbers")
    rows = [dspy.Example(text=t, label=g).with_inputs("text") for t, g in known.rows]

    class Bare(RuleFollower):
        def complete(self, request):
            return replace(super().complete(request), usage=Usage())

    config = SMALL.model_copy(update={"search": SearchConfig(trials=2, max_prompt_tokens=15)})
    optimizer = PLD(metric=same, teacher_lm=fake_lm(teacher_of(known)), config=config)
    with (
        dspy.context(lm=fake_lm(Bare(known.default), name="fake/student")),
        pytest.raises(ConfigError, match=r"max_prompt_tokens is 15, and the shortest prompt"),
    ):
        optimizer.compile(DirectStudent("text -> label"), trainset=rows[:48])
