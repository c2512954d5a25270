"""Requests to the teacher: asked once, retried once if unreadable, never paid for twice."""

import threading

import dspy
import pytest
from dspy.lm15 import ContextLengthError, InvalidRequestError

from fakes import FakeEngine, FakeTeacher, Script, fake_lm
from pld_dspy.errors import ModelError
from pld_dspy.ledger.store import StageStore
from pld_dspy.models.teacher import WARM, Explain, Merge, Request, Teacher
from pld_dspy.records import Event, silent

FIELDS = {name: name for name in ("task", "possible_answers", "example", "correct_answer")}
GOOD = "Rationale: because.\nRule: If it rains, answer wet."


def request(text="x", draw=0):
    return Request(module=Explain(), inputs={**FIELDS, "example": text}, draw=draw)


def requests(n):
    return [request(f"text {i}") for i in range(n)]


def teacher(engine, store=None, *, name="fake/lm", **settings):
    return Teacher(
        lm=fake_lm(engine, name=name),
        store=store or StageStore(),
        progress=settings.pop("progress", silent),
        **settings,
    )


def echo(prompt):
    """A rule that tells which text was asked about."""
    text = next(line for line in prompt.user.splitlines() if line.startswith("Example: "))
    return f"Rationale: because.\nRule: If it is {text[9:]}, answer yes."


def test_the_sections_come_back_in_the_order_of_the_requests():
    outputs = teacher(FakeEngine(echo), threads=4).ask("traces", requests(12))
    assert [o["rule"] for o in outputs] == [f"If it is text {i}, answer yes." for i in range(12)]
    assert {o["rationale"] for o in outputs} == {"because."}


def test_the_outer_model_and_adapter_do_not_matter():
    stranger = fake_lm(Script())
    with dspy.context(lm=stranger, adapter=dspy.JSONAdapter()):
        (output,) = teacher(Script(GOOD)).ask("traces", [request()])
    assert output == {"rationale": "because.", "rule": "If it rains, answer wet."}


@pytest.mark.parametrize("threads", [1, 3])
def test_garbage_is_asked_for_once_more(threads):
    engine = FakeTeacher(echo, garbage_on=lambda call: call == 3)
    asked = teacher(engine, threads=threads)
    outputs = asked.ask("traces", requests(9))
    assert None not in outputs
    assert engine.calls == 10
    assert sum(spent.calls for spent in asked.store.spent()) == 10


def test_garbage_twice_is_none_and_is_kept_as_such(tmp_path):
    script = Script("}{", "no sections", GOOD)
    outputs = teacher(script, StageStore(tmp_path)).ask("traces", requests(2))
    script.assert_used_up()
    assert outputs == [None, {"rationale": "because.", "rule": "If it rains, answer wet."}]
    again = teacher(Script(), StageStore(tmp_path))  # a call would fail
    assert again.ask("traces", requests(2)) == outputs
    assert sum(spent.calls for spent in again.store.spent()) == 3


def settings_of_calls(*draws, answers):
    """Temperature of each call; DSPy's cache must not answer any of them."""
    temperatures = []

    class Watched(FakeEngine):
        def complete(self, request):
            temperatures.append(request.config.temperature)
            return super().complete(request)

    lm = dspy.LM("fake/cached", engine=Watched(Script(*answers)), cache=True, temperature=0.1)
    asked = Teacher(lm=lm, store=StageStore(), progress=silent)
    asked.ask("traces", [request(f"cached {draws}", draw) for draw in draws])
    return temperatures


def test_another_draw_or_attempt_is_a_new_and_warmer_question():
    assert settings_of_calls(0, 1, 2, answers=[GOOD] * 3) == [0.1, WARM, WARM]
    assert settings_of_calls(0, answers=["}{", GOOD]) == [0.1, WARM]
    assert settings_of_calls(3, answers=["}{", GOOD]) == [WARM, WARM]


def test_the_same_question_is_sent_once():
    engine = FakeEngine(echo)
    outputs = teacher(engine).ask("traces", [request("a"), request("b"), request("a")])
    assert engine.calls == 2
    assert outputs[0] == outputs[2] != outputs[1]


def test_a_resumed_run_pays_for_the_rest_only(tmp_path):
    down = FakeTeacher(echo, fail_on=lambda call: call > 4)
    with pytest.raises(ModelError, match=r"fake/lm does not answer: .*run again to resume") as e:
        teacher(down, StageStore(tmp_path)).ask("traces", requests(10))
    assert "\n" not in str(e.value)
    engine = FakeEngine(echo)
    store = StageStore(tmp_path)
    outputs = teacher(engine, store).ask("traces", requests(10))
    assert engine.calls == 6
    assert outputs == teacher(FakeEngine(echo)).ask("traces", requests(10))
    assert sum(spent.calls for spent in store.spent()) == 10
    assert {(spent.role, spent.model) for spent in store.spent()} == {("teacher", "fake/lm")}


def failing(error, text):
    """Answer, but for the requests that hold `text`."""

    def answer(prompt):
        if text in prompt:
            raise error
        return echo(prompt)

    return FakeEngine(answer)


def test_a_request_that_does_not_fit_costs_itself_only(caplog):
    engine = failing(ContextLengthError("maximum context length is 4096 tokens"), "text 1")
    outputs = teacher(engine).ask("traces", requests(3))
    assert [output is None for output in outputs] == [False, True, False]
    assert engine.calls == 3
    assert "maximum context length" in caplog.text


@pytest.mark.parametrize("threads", [1, 3])
def test_a_refusal_of_every_request_stops_the_run(threads):
    engine = failing(InvalidRequestError("unknown setting"), "Example")
    with pytest.raises(ModelError, match="unknown setting"):
        teacher(engine, threads=threads).ask("traces", requests(40))
    # Those that were under way when the first was refused, and no other.
    assert engine.calls <= threads


@pytest.mark.parametrize("said", ["content filter triggered", "invalid character"])
def test_a_refusal_of_one_request_costs_that_one_and_is_not_paid_for_again(said, tmp_path, caplog):
    engine = failing(InvalidRequestError(said), "text 1")
    replies = teacher(engine, StageStore(tmp_path)).replies("traces", requests(3))
    assert [reply.output is None for reply in replies] == [False, True, False]
    assert said in replies[1].error
    assert "a request (traces) is left out" in caplog.text
    again = teacher(Script(), StageStore(tmp_path))  # a call would fail
    assert again.replies("traces", requests(3)) == replies


@pytest.mark.parametrize(
    ("stage", "other", "name", "again"),
    [
        ("traces", request("a"), "fake/lm", 0),
        ("traces", request("b"), "fake/lm", 1),
        ("traces", request("a", draw=1), "fake/lm", 1),
        ("traces", request("a"), "fake/stronger", 1),
        ("rules", request("a"), "fake/lm", 1),
    ],
)
def test_what_makes_it_another_question(stage, other, name, again):
    store = StageStore()
    teacher(FakeEngine(lambda p: GOOD), store).ask("traces", [request("a")])
    engine = FakeEngine(lambda p: GOOD)
    teacher(engine, store, name=name).ask(stage, [other])
    assert engine.calls == again


def test_another_prompt_is_another_question():
    store = StageStore()
    teacher(FakeEngine(lambda p: GOOD), store).ask("traces", [request("a")])
    edited = Explain()
    edited.predict.signature = edited.predict.signature.with_instructions("Explain briefly.")
    engine = FakeEngine(lambda p: GOOD)
    teacher(engine, store).ask("traces", [Request(module=edited, inputs=request("a").inputs)])
    assert engine.calls == 1


def test_progress_counts_what_is_asked_not_what_is_known():
    seen, store = [], StageStore()
    teacher(FakeEngine(echo), store).ask("traces", requests(2))
    asked = teacher(FakeEngine(echo), store, progress=seen.append, threads=2)
    asked.ask("traces", requests(5))
    assert seen == [Event("traces", "teacher", i, 3) for i in (1, 2, 3)]


def test_threads_work_at_the_same_time():
    together = threading.Barrier(3, timeout=30)  # breaks unless three requests are under way

    class Waiting(FakeEngine):
        def complete(self, request):
            together.wait()
            return super().complete(request)

    assert None not in teacher(Waiting(echo), threads=3).ask("traces", requests(3))


def test_no_requests_are_no_answers():
    assert teacher(Script()).ask("traces", []) == []


def test_a_merge_is_read_with_its_exception():
    said = "**Rule:** If it is a job, answer profession.\n\n**Exception:** none"
    inputs = {n: n for n in ("task", "possible_answers", "main_answer", "notes")}
    (output,) = teacher(Script(said)).ask("rules", [Request(module=Merge(), inputs=inputs)])
    assert output == {"rule": "If it is a job, answer profession.", "exception": "none"}
