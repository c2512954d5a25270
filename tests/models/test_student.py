"""The student and the teacher modules, alone and whatever is set around them."""

from typing import Literal

import dspy
import pytest
from dspy.utils.exceptions import AdapterParseError

from fakes import Script, fake_lm
from goldens import golden
from pld_dspy.models.adapter import DirectAdapter
from pld_dspy.models.student import DirectStudent
from pld_dspy.models.teacher import Explain, Merge, Resolve


class Colour(dspy.Signature):
    """Name the colour."""

    text: str = dspy.InputField()
    label: Literal["red", "green"] = dspy.OutputField()


OUTSIDE = [None, dspy.ChatAdapter(), dspy.JSONAdapter()]


@pytest.mark.parametrize("adapter", OUTSIDE)
def test_the_student_makes_one_direct_call_whatever_adapter_is_set(adapter):
    lm = fake_lm(Script("**Red**."))
    with dspy.context(lm=lm, adapter=adapter):
        prediction = DirectStudent(Colour)(text="fire")
        assert dspy.settings.adapter is adapter
    assert prediction.toDict() == {"label": "red"}
    (prompt,) = lm.engine.prompts
    assert prompt.system == "Name the colour."
    assert prompt.user == DirectAdapter().format_user_message_content(Colour, {"text": "fire"})


@pytest.mark.parametrize("adapter", OUTSIDE)
def test_a_miss_is_an_error_after_one_call(adapter):
    lm = fake_lm(Script("a warm colour"))
    with dspy.context(lm=lm, adapter=adapter), pytest.raises(AdapterParseError, match="'label'"):
        DirectStudent(Colour)(text="fire")
    assert lm.engine.calls == 1


def test_a_student_is_saved_and_loaded(tmp_path):
    student = DirectStudent(Colour)
    student.predict.signature = Colour.with_instructions("Rules:\n1. If hot,\n   answer red.")
    student.save(tmp_path / "student.json")
    loaded = DirectStudent(Colour)
    loaded.load(tmp_path / "student.json")
    lm = fake_lm(Script("red"))
    with dspy.context(lm=lm):
        assert loaded(text="fire").label == "red"
    assert lm.engine.prompts[0].system == "Rules:\n1. If hot,\n   answer red."


@pytest.mark.parametrize("adapter", OUTSIDE)
def test_the_resolver_is_asked_in_plain_words(adapter):
    inputs = {
        "task": "Name the colour.",
        "possible_answers": "red, green",
        "rules": "R1: If hot, answer red.\nR2: If it grows, answer green.",
        "wrong_answers": "- Text: fire brick. It said green, but red is right.",
        "right_answers": "- Text: leaf. It said green.",
    }
    lm = fake_lm(Script("Cause: bricks are red.\nEdits: MODIFY R1: If hot or baked, answer red."))
    with dspy.context(lm=lm, adapter=adapter):
        said = Resolve()(**inputs)
    assert said.cause == "bricks are red."
    assert said.edits == "MODIFY R1: If hot or baked, answer red."
    (prompt,) = lm.engine.prompts
    shown = f"=== system\n{prompt.system}\n=== user\n{prompt.user}\n"
    assert shown == golden("teacher_resolve.txt", shown)


@pytest.mark.parametrize("module", [Explain, Merge, Resolve])
def test_an_answer_without_its_last_section_is_an_error_after_one_call(module):
    names = list(module.signature.input_fields)
    first, *_ = module.signature.output_fields
    lm = fake_lm(Script(f"{first.title()}: something"))
    with dspy.context(lm=lm), pytest.raises(AdapterParseError, match="no '"):
        module()(**dict.fromkeys(names, "x"))
    assert lm.engine.calls == 1


@pytest.mark.parametrize("module", [Explain, Merge, Resolve])
def test_modules_of_a_kind_do_not_share_what_is_set_on_one(module):
    one, other = module(), module()
    before = other.predict.signature.instructions
    one.predict.signature = one.predict.signature.with_instructions("Be brief.")
    one.predict.demos.append({"task": "x"})
    assert (other.predict.signature.instructions, other.predict.demos) == (before, [])
    assert module().predict.signature.instructions == before
