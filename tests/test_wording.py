"""The wording of the request: what the student reads, and that answers of the two are kept apart."""

from typing import Literal

import dspy
import pytest

from fakes import Script, fake_lm
from pld_dspy.ledger.store import StageStore
from pld_dspy.models.adapter import DirectAdapter
from pld_dspy.models.student import DirectStudent
from pld_dspy.records import Form
from pld_dspy.scoring.evaluator import Evaluator
from pld_dspy.scoring.metrics import accuracy


class Colour(dspy.Signature):
    """Name the colour."""

    text: str = dspy.InputField()
    main_colour: Literal["red", "blue"] = dspy.OutputField()


@pytest.mark.parametrize(
    ("wording", "request_line"),
    [
        ("field", "Main colour (answer with one of: red, blue):"),
        ("sentence", "Answer with one of: red, blue."),
        ("question", "Which main colour fits? Answer with one of: red, blue."),
    ],
)
def test_the_student_reads_the_wording_that_was_set(wording, request_line):
    lm = fake_lm(Script("red"))
    with dspy.context(lm=lm):
        DirectStudent(Colour, wording=wording)(text="brick")

    assert lm.engine.prompts[0].user == f"Text: brick\n\n{request_line}"


def test_sentence_is_the_default_of_adapter_and_student():
    assert DirectAdapter().form == DirectStudent(Colour).form == Form(wording="sentence")


def test_a_copy_of_a_student_asks_in_the_same_wording():
    assert DirectStudent(Colour, wording="sentence").deepcopy().wording == "sentence"


def test_answers_to_one_wording_are_not_taken_for_those_to_the_other():
    lm = fake_lm(Script("red", "blue"))
    evaluator = Evaluator(
        lm=lm,
        metric=accuracy,
        label_key="main_colour",
        labels=("red", "blue"),
        store=StageStore(),
    )
    examples = [dspy.Example(text="brick", main_colour="red").with_inputs("text")]

    scores = [
        evaluator.run(
            DirectStudent(Colour, wording=wording), examples, candidate_id="c", split="val"
        ).score
        for wording in ("field", "sentence", "field")
    ]

    assert scores == [1.0, 0.0, 1.0]
    assert lm.engine.calls == 2
