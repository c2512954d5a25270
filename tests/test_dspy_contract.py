"""A compiled program is a DSPy program: each row of docs/dspy.md names its test here."""

import asyncio
import re
from pathlib import Path

import dspy
import pytest

from endpoint import said, serving, system_of
from fakes import FakeEngine, asked_fields, fake_lm, follow
from keyword_runs import SETS, TASK, TEST, Colour, Student, compiled, engines, share_right
from pld_dspy import DirectStudent, PLDConfig
from pld_dspy.config.optimizer import RefineConfig, SearchConfig
from pld_dspy.models.teacher import Explain

PAGE = Path(__file__).parent.parent / "docs" / "dspy.md"
SMALL = PLDConfig(search=SearchConfig(trials=0), refine=RefineConfig(rounds=0), finalists=1)
GOOD = 0.8


class AsyncStudent:
    """The student behind an engine that is awaited."""

    def __init__(self, engine):
        self.engine = engine

    async def complete(self, request):
        await asyncio.sleep(0)
        return self.engine.complete(request)


def async_lm(engine):
    return dspy.LM(
        "fake/async", engine=engine, async_engine=AsyncStudent(engine), cache=False, num_retries=0
    )


@pytest.fixture(scope="module")
def program():
    """One small compile, shared by the tests that only read it."""
    with dspy.context(lm=None, callbacks=[]):
        return compiled(*engines(), config=SMALL)


def right(said, examples=TEST):
    return sum(a.label == e.label for a, e in zip(said, examples, strict=True)) / len(examples)


def test_acall(program):
    async def ask():
        return await asyncio.gather(*(program.acall(**e.inputs()) for e in TEST))

    engine = Student()
    with dspy.context(lm=async_lm(engine), adapter=dspy.JSONAdapter()):
        answers = asyncio.run(ask())
    assert right(answers) == share_right(program, TEST) >= GOOD
    assert "[[ ##" not in engine.prompts[0]
    assert engine.calls == len(TEST)


def test_acall_of_the_teacher():
    engine = FakeEngine(lambda prompt: "Rationale: so.\nRule: If it rains, answer wet.")
    fields = ("task", "possible_answers", "example", "correct_answer")
    with dspy.context(lm=async_lm(engine)):
        said = asyncio.run(Explain().acall(**dict.fromkeys(fields, "x")))
    assert said.rule == "If it rains, answer wet."


def test_asyncify(program):
    async def ask():
        later = dspy.asyncify(program)
        return [await later(**e.inputs()) for e in TEST]

    with dspy.context(lm=fake_lm(Student())):
        assert right(asyncio.run(ask())) == share_right(program, TEST)


def test_streamify(program):
    async def ask():
        return [part async for part in dspy.streamify(program)(**TEST[0].inputs())]

    label = follow(program.predict.signature.instructions, TEST[0].text, TASK.default)
    with serving(lambda body: said(label)) as http:
        lm = dspy.LM("openai/m", api_base=http.address, api_key="none", cache=False)
        with dspy.context(lm=lm):
            *chunks, last = asyncio.run(ask())
        assert "Rules:" in system_of(http.asked[0])
        assert http.paid == 1
    assert chunks
    assert isinstance(last, dspy.Prediction)
    assert last.label == label


def test_save_and_load_of_the_state(program, tmp_path):
    program.save(tmp_path / "program.json")
    loaded = DirectStudent(Colour)
    loaded.load(tmp_path / "program.json")
    assert loaded.dump_state() == program.dump_state()
    assert share_right(loaded, TEST) == share_right(program, TEST)


def test_save_and_load_of_the_whole_program(program, tmp_path):
    program.save(tmp_path / "whole", save_program=True)
    loaded = dspy.load(str(tmp_path / "whole"), allow_pickle=True)
    assert type(loaded) is DirectStudent
    assert loaded.dump_state() == program.dump_state()
    assert loaded.pld_result.rules == program.pld_result.rules
    assert share_right(loaded, TEST) == share_right(program, TEST)


def test_deepcopy(program):
    copy = program.deepcopy()
    copy.predict.signature = copy.predict.signature.with_instructions("Name it.")
    assert "Rules:" in program.predict.signature.instructions
    assert copy.predict.signature.instructions == "Name it."


@pytest.mark.parametrize("kind", [dspy.BestOfN, dspy.Refine])
def test_best_of_n_and_refine(kind, program):
    def is_colour(args, prediction):
        return float(prediction.label in TASK.labels)

    engine = Student()
    asked = kind(program, N=3, reward_fn=is_colour, threshold=1.0)
    with dspy.context(lm=fake_lm(engine)):
        said = [asked(**e.inputs()) for e in TEST]
    assert right(said) == share_right(program, TEST)
    assert engine.calls == len(TEST)  # the first answer is good enough
    assert "Rules:" in engine.prompts[0].system


class Acting(Student):
    """Finishes at once; the label comes from the rules, as a `dspy.ChatAdapter` asks for it."""

    def answer(self, prompt, call):
        fields = asked_fields(prompt)
        if "next_tool_name" in fields:
            return {"next_thought": "done", "next_tool_name": "finish", "next_tool_args": "{}"}
        return super().answer(prompt, call)


def test_react():
    def look(text: str) -> str:
        """Look the text up."""
        return text

    given = dspy.ReAct(Colour, tools=[look])
    found = compiled(Acting(), engines()[1], given, config=SMALL)
    assert [p.predictor for p in found.pld_result.predictors] == ["extract.predict"]
    assert "Rules:" in found.extract.predict.signature.instructions
    assert found.react.signature.instructions == given.react.signature.instructions
    assert share_right(found, TEST, lm=fake_lm(Acting())) >= GOOD


class Half(dspy.Module):
    def __init__(self, predict):
        super().__init__()
        self.predict = predict

    def forward(self, text):
        return self.predict(text=text)


class Sharing(dspy.Module):
    """Two modules with one predictor, each for the texts of its length."""

    def __init__(self):
        super().__init__()
        predict = dspy.Predict(Colour)
        self.odd, self.even = Half(predict), Half(predict)

    def forward(self, text):
        return (self.odd if len(text) % 2 else self.even)(text=text)


def test_a_predictor_shared_by_two_modules():
    found = compiled(*engines(), Sharing(), config=SMALL)
    assert found.odd.predict is found.even.predict
    assert len(found.pld_result.predictors) == 1
    assert share_right(found, TEST) >= GOOD


@pytest.mark.parametrize("make", [DirectStudent, dspy.Predict, dspy.ChainOfThought])
def test_a_string_signature(make):
    given = make("text -> label")
    found = compiled(*engines(), given, config=SMALL)
    assert share_right(found, TEST) >= GOOD
    (result,) = found.pld_result.predictors
    assert {trace.label for trace in result.traces} <= {*TASK.labels}


def test_the_compiled_program_is_optimized_further(program):
    def exact(example, prediction, trace=None):
        return example.label == prediction.label

    engine = Student()
    with dspy.context(lm=fake_lm(engine)):
        more = dspy.LabeledFewShot(k=2).compile(program, trainset=SETS["trainset"])
        scored = dspy.Evaluate(devset=TEST, metric=exact, num_threads=1)(program)
    assert len(more.predict.demos) == 2
    assert "Rules:" in more.predict.signature.instructions
    assert scored.score == pytest.approx(100 * share_right(program, TEST), abs=0.01)


def test_the_page_names_each_test_and_no_other():
    named = set(re.findall(r"`(test_\w+)`", PAGE.read_text(encoding="utf-8")))
    here = {name for name in globals() if name.startswith("test_")}
    assert named == here - {"test_the_page_names_each_test_and_no_other"}
