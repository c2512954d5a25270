"""The student and the teacher modules, alone and whatever is set around them."""

import asyncio
import logging
from dataclasses import replace
from typing import Literal

import dspy
import pytest
from dspy.lm15 import TokenLogprob, TopLogprob
from dspy.utils.exceptions import AdapterParseError, LMInvalidRequestError

from biased import BiasedFollower
from fakes import FakeEngine, Script, fake_lm, keyword_task
from goldens import golden
from pld_dspy.errors import DataError
from pld_dspy.models.adapter import DirectAdapter
from pld_dspy.models.student import DirectStudent
from pld_dspy.models.teacher import Explain, Merge, Resolve
from pld_dspy.records import Decision


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


TASK = keyword_task(80)
BIAS = {"grey": 9.0}
RULED = dspy.Signature(
    "text -> label: Literal['red', 'green', 'blue', 'grey']", "\n".join(TASK.rules)
)
OFFSETS = Decision(kind="offsets", offsets={"grey": -9.0})


def said(student, engine, examples=TASK.examples):
    with dspy.context(lm=fake_lm(engine)):
        return [student(**example.inputs()).label for example in examples]


def right(labels):
    return sum(label == e.label for label, e in zip(labels, TASK.examples, strict=True))


def test_a_decision_takes_the_bias_out_in_the_same_call():
    greedy = said(DirectStudent(RULED), BiasedFollower(TASK, BIAS))
    assert set(greedy) == {"grey"}
    engine = BiasedFollower(TASK, BIAS)
    corrected = said(DirectStudent(RULED, decision=OFFSETS), engine)
    assert right(corrected) == len(TASK.examples)
    assert engine.calls == len(TASK.examples)


def test_a_decision_is_saved_and_loaded(tmp_path):
    student = DirectStudent(RULED, decision=OFFSETS)
    student.save(tmp_path / "student.json")
    loaded = DirectStudent(RULED)
    loaded.load(tmp_path / "student.json")
    assert loaded.decision == OFFSETS
    assert said(loaded, BiasedFollower(TASK, BIAS)) == said(student, BiasedFollower(TASK, BIAS))
    copy = student.deepcopy()
    assert copy.decision == OFFSETS
    plain = DirectStudent(RULED)
    plain.save(tmp_path / "plain.json")
    loaded.load(tmp_path / "plain.json")
    assert loaded.decision is None
    assert "decision" not in (tmp_path / "plain.json").read_text(encoding="utf-8")


def test_a_stored_decision_that_is_broken_changes_nothing(tmp_path):
    student = DirectStudent(RULED, decision=OFFSETS)
    student.save(tmp_path / "student.json")
    path = tmp_path / "student.json"
    path.write_text(path.read_text(encoding="utf-8").replace('"offsets"', '"shifts"', 1), "utf-8")
    loaded = DirectStudent(Colour.with_instructions("As before."))
    with pytest.raises(DataError, match="save the program again"):
        loaded.load(path)
    assert loaded.predict.signature.instructions == "As before."


def test_an_unreadable_answer_gets_its_most_probable_label():
    engine = BiasedFollower(TASK, {}, says="To determine the label, we")
    with pytest.raises(AdapterParseError):
        said(DirectStudent(RULED), engine)
    probable = said(DirectStudent(RULED, decision=Decision(kind="probable")), engine)
    assert right(probable) == len(TASK.examples)


class Later:
    """An asynchronous engine."""

    def __init__(self, engine):
        self.engine = engine

    async def complete(self, request):
        return self.engine.complete(request)


@pytest.mark.parametrize("says", [None, "To determine the label, we"])
def test_a_decision_is_made_asynchronously_too(says):
    engine = BiasedFollower(TASK, BIAS, says=says)
    lm = dspy.LM("fake/later", engine=engine, async_engine=Later(engine), cache=False)
    student = DirectStudent(RULED, decision=OFFSETS)

    async def ask():
        return await student.acall(text=TASK.examples[0].text)

    with dspy.context(lm=lm):
        assert asyncio.run(ask()).label == TASK.examples[0].label


def test_without_log_probabilities_the_text_counts_and_it_is_said_once(caplog):
    student = DirectStudent(RULED, decision=OFFSETS)
    lm = fake_lm(BiasedFollower(TASK, BIAS, tells=False), name="fake/silent-once")
    with dspy.context(lm=lm), caplog.at_level(logging.WARNING):
        assert [student(text=e.text).label for e in TASK.examples[:3]] == ["grey"] * 3
    told = [r.getMessage() for r in caplog.records if "log-probabilities" in r.getMessage()]
    assert told == ["fake/silent-once gives no log-probabilities; labels are read from its text"]


class NoLogprobs(BiasedFollower):
    def complete(self, request):
        if request.config.logprobs is not None:
            raise LMInvalidRequestError("unknown parameter: logprobs")
        return super().complete(request)


def test_an_endpoint_that_refuses_log_probabilities_is_asked_without():
    student = DirectStudent(RULED, decision=OFFSETS)
    engine = NoLogprobs(TASK, BIAS)
    with dspy.context(lm=fake_lm(engine, name="fake/refuses-logprobs")):
        assert student(text=TASK.examples[0].text).label == "grey"
        assert student(text=TASK.examples[1].text).label == "grey"
    assert engine.calls == 2


def test_typed_labels_keep_their_type():
    class Stars(dspy.Signature):
        """Say how many stars."""

        text: str = dspy.InputField()
        stars: Literal[1, 2, 3] = dspy.OutputField()

    def engine(prompt):
        return "1"

    student = DirectStudent(Stars, decision=Decision(kind="offsets", offsets={"3": 9.0}))
    with dspy.context(lm=fake_lm(StarTelling(engine))):
        assert student(text="good").stars == 3


class StarTelling(FakeEngine):
    def complete(self, request):
        top = tuple(TopLogprob(s, p) for s, p in (("1", -0.2), ("2", -2.0), ("3", -3.0)))
        response = super().complete(request)
        return replace(response, logprobs=(TokenLogprob("1", -0.2, top=top),))
