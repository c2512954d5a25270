"""The prompt that a rule list makes, and the program that carries it, word for word."""

import inspect
import re
from typing import Literal

import dspy
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from fakes import Script, fake_lm
from goldens import golden
from pld_dspy.errors import ConfigError
from pld_dspy.models.student import DirectStudent
from pld_dspy.stages.common.prompt import (
    make_candidate,
    output_labels,
    render,
    render_example,
    with_prompt,
)
from pld_dspy.stages.common.rule_text import make_rule, make_trace

TRACE = make_trace("e1", "red", "why", "If it is warm, answer red.")


class Colour(dspy.Signature):
    """Name the colour.

    Rules of thumb:
      - warm is red
    """

    text: str = dspy.InputField()
    long_name: str = dspy.InputField()
    label: Literal["red", "green"] = dspy.OutputField()


def rule(text):
    return make_rule(text, [TRACE], origin="synthesis")


RULES = (rule("If it is warm, answer red."), rule("If it is a plant, answer green."))


def test_the_prompt_is_pinned():
    text = render(Colour.instructions, RULES)
    assert text == golden("student_rules.txt", text)


def test_no_rules_leave_the_task_as_it_is():
    for task in (Colour.instructions, "  odd\n\tindentation  \n", ""):
        assert render(task, ()) == task


LINES = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=40).filter(str.split)


@given(st.lists(LINES, min_size=1, max_size=12), LINES)
def test_every_rule_is_one_numbered_line_in_order(texts, task):
    lines = render(task, [rule(text) for text in texts], header="Rules:").split("\n")
    start = len(lines) - 1 - lines[::-1].index("Rules:")
    numbered = [re.match(r"(\d+)\. (.*)", line, re.DOTALL).groups() for line in lines[start + 1 :]]
    assert [int(number) for number, _ in numbered] == list(range(1, len(texts) + 1))
    assert [said.split() for _, said in numbered] == [text.split() for text in texts]


@given(st.text(max_size=80), st.lists(LINES, min_size=1, max_size=3))
@example("\n \n  b\na", ["If so, answer red."])
def test_the_student_reads_the_prompt_of_the_candidate(task, texts):
    signature = dspy.Signature("text -> label").with_instructions(task)
    candidate = make_candidate(
        signature.instructions, [rule(text) for text in texts], origin="synthesis"
    )
    student = with_prompt(dspy.Predict(signature), "self", candidate.prompt)
    assert student.signature.instructions == candidate.prompt


def test_the_header_is_a_setting():
    assert render("Task.", RULES[:1], header="Mind:").split("\n")[2] == "Mind:"


def test_a_candidate_is_named_by_its_prompt():
    first = make_candidate("Task.", RULES, origin="synthesis")
    same = make_candidate("Task.", RULES, origin="search", note="again")
    swapped = make_candidate("Task.", RULES[::-1], origin="synthesis")
    assert first.id == same.id != swapped.id
    assert re.fullmatch(r"c[0-9a-f]{8}", first.id)
    assert (first.prompt, first.rules) == (render("Task.", RULES), RULES)
    assert (same.origin, same.note) == ("search", "again")


class Two(dspy.Module):
    """Two predictors that share a signature class."""

    def __init__(self):
        super().__init__()
        self.first = dspy.Predict(Colour)
        self.second = dspy.ChainOfThought(Colour)


def test_a_prompt_changes_the_copy_and_nothing_else():
    program, before = Two(), Colour.instructions
    changed = with_prompt(program, "first", "Answer red.")
    assert changed.first.signature.instructions == "Answer red."
    assert changed.first.signature.fields.keys() == Colour.fields.keys()
    assert changed.second.predict.signature.instructions == before
    assert program.first.signature is Colour
    assert Colour.instructions == Two().first.signature.instructions == before
    assert with_prompt(
        program, "second.predict", "Think."
    ).second.predict.signature.fields.keys() == (program.second.predict.signature.fields.keys())


def test_demonstrations_and_models_of_the_program_are_kept():
    program = DirectStudent(Colour)
    lm = fake_lm(Script("red"))
    program.predict.lm = lm
    program.predict.demos = [dspy.Example(text="a", long_name="b", label="green")]
    changed = with_prompt(program, "predict", "Answer red.")
    assert changed(text="x", long_name="y").label == "red"
    (prompt,) = lm.engine.prompts
    assert prompt.system == "Answer red."
    assert "green" in prompt.removesuffix(prompt.user)


def test_the_same_prompt_leaves_the_signature_itself():
    program = Two()
    assert with_prompt(program, "first", Colour.instructions).first.signature is Colour


def test_an_unknown_predictor_is_named_with_the_nearest_one():
    with pytest.raises(ConfigError, match=r"no predictor 'frist'; did you mean 'first'\?"):
        with_prompt(Two(), "frist", "Answer red.")


@pytest.mark.parametrize(
    "prompt",
    [
        "Task.\n  two\n    four\nnone",
        "Task.\n\n\nRules:\n1. If so, answer red.",
        "1. a\n   b\n2. c",
        "trailing spaces  \nstay",
    ],
)
def test_indentation_that_dspy_keeps_is_kept(prompt):
    assert with_prompt(Two(), "first", prompt).first.signature.instructions == prompt


@pytest.mark.parametrize("prompt", ["  Task.", "Task.\n    a\n    b", "Task.\n\ta\nb", "Task.\n\n"])
def test_a_prompt_that_dspy_would_change_is_refused(prompt):
    assert inspect.cleandoc(prompt) != prompt
    with pytest.raises(ConfigError, match="DSPy would change the prompt") as e:
        with_prompt(Two(), "first", prompt)
    assert "\n" not in str(e.value)


def test_an_odd_prompt_that_the_student_has_already_is_no_error():
    class Odd(dspy.Signature):
        __doc__ = "\n    first\n  second"
        text: str = dspy.InputField()
        label: str = dspy.OutputField()

    as_given = make_candidate(Odd.instructions, (), origin="as given")
    assert as_given.prompt == "  first\nsecond"
    student = with_prompt(dspy.Predict(Odd), "self", as_given.prompt)
    assert student.signature.instructions == as_given.prompt


def test_an_example_is_shown_as_the_student_reads_it():
    shown = dspy.Example(long_name="b", text="a", label="red", other="x").with_inputs(
        "text", "long_name", "other"
    )
    assert render_example(Colour, shown) == "Text: a\nLong name: b"


def test_the_inputs_of_the_program_are_shown_for_an_inner_predictor():
    shown = dspy.Example(question="a", label="red").with_inputs("question")
    assert render_example(Colour, shown) == "question: a"


def test_the_labels_of_an_output():
    assert output_labels(Colour, "label") == ("red", "green")
    assert output_labels(dspy.Signature("text -> label"), "label") == ()
