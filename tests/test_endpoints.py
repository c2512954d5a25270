"""Refusals of real endpoints, over HTTP: what comes out, what was paid, and what is said of it."""

import asyncio
import threading
from typing import Literal

import dspy
import pytest

from endpoint import refused, said, serving, system_of, user_of
from pld_dspy.errors import ModelError, PLDError
from pld_dspy.ledger.store import StageStore
from pld_dspy.models.lm import check_lm, make_lm
from pld_dspy.models.student import DirectStudent
from pld_dspy.models.teacher import Explain, Request, Teacher
from pld_dspy.scoring.evaluator import Evaluator, silent
from pld_dspy.scoring.metrics import accuracy
from pld_dspy.stages.explain import extract_traces

LABELS = ("positive", "negative")
RULE = "If it rains, answer negative."
GOOD = f"Rationale: It rains.\nRule: {RULE}"


class Mood(dspy.Signature):
    """Name the mood."""

    text: str = dspy.InputField()
    label: Literal["positive", "negative"] = dspy.OutputField()


EXAMPLES = [
    dspy.Example(text=f"text {i}", label=LABELS[i % 2]).with_inputs("text") for i in range(24)
]


@pytest.fixture
def lm_at():
    lms = []

    def make(http, **settings):
        lms.append(
            make_lm(
                "openai/m",
                **{"api_base": http.address, "api_key": "none", "cache": False} | settings,
            )
        )
        return lms[-1]

    yield make
    for lm in lms:
        lm.close()


def evaluate(lm, **settings):
    scorer = Evaluator(
        lm=lm, metric=accuracy, label_key="label", labels=LABELS, store=StageStore(), **settings
    )
    return scorer.run(DirectStudent(Mood), EXAMPLES, candidate_id="as given", split="val")


def explain(lm, store=None, draws=1):
    teacher = Teacher(lm=lm, store=store or StageStore(), progress=silent)
    return extract_traces(
        teacher, EXAMPLES[1::2], signature=Mood, label_key="label", labels=LABELS, draws=draws
    )


def right(body):
    number = int(user_of(body).split("text ")[1].split()[0])
    return said(LABELS[number % 2])


FILTERS = [
    refused(
        "The response was filtered due to the prompt triggering our content management policy."
    ),
    refused("no", code="content_filter"),
    refused("Input data may contain inappropriate content.", code="data_inspection_failed"),
]


@pytest.mark.parametrize("refusal", FILTERS)
def test_a_content_filter_drops_and_names_its_example_and_no_restart_ends_there(
    refusal, lm_at, tmp_path, caplog
):
    def answer(body):
        return refusal if "text 7\n" in f"{user_of(body)}\n" else said(GOOD)

    with serving(answer) as http:
        found = explain(lm_at(http), StageStore(tmp_path))
        assert len(found.traces) == 11
        assert found.dropped == {"requests that the teacher's endpoint refused": 1}
        assert (http.paid, len(http.asked)) == (11, 12)
        again = explain(lm_at(http), StageStore(tmp_path))
        assert (again, len(http.asked)) == (found, 12)
    (message,) = [m for m in caplog.messages if "is left out" in m]
    assert message.startswith("example ")
    assert "leave the example out, or use an endpoint without that filter" in message


def test_a_content_filter_costs_the_student_one_example(lm_at):
    with serving(lambda body: FILTERS[0] if "text 7\n" in user_of(body) else right(body)) as http:
        result = evaluate(lm_at(http))
    assert (result.failures, http.paid) == (1, 23)
    assert result.score == 23 / 24
    assert "content management policy" in result.answers[7].error


def only_temperature_one(then):
    def answer(body):
        if body.get("temperature", 1) != 1:
            return refused(
                "Unsupported value: 'temperature' does not support "
                f"{body['temperature']} with this model. Only the default (1) value is supported."
            )
        return then(body)

    return answer


@pytest.mark.parametrize("temperature", [None, 0.0])
def test_a_teacher_that_takes_only_temperature_1_gives_a_second_draw(temperature, lm_at, caplog):
    with serving(only_temperature_one(lambda body: said(GOOD))) as http:
        found = explain(lm_at(http, temperature=temperature), draws=2)
        assert (http.paid, len(http.asked)) == (24, 25)  # the refused one is sent once more
    assert {trace.draw for trace in found.traces} == {0, 1}
    (message,) = caplog.messages
    assert "refuses temperature = " in message
    assert message.endswith("it is left out")


def test_a_teacher_that_takes_only_temperature_1_is_asked_again_after_garbage(lm_at):
    pending = ["}{ garbage"]

    def answer(body):
        return said(pending.pop() if pending else GOOD)

    with serving(only_temperature_one(answer)) as http:
        assert len(explain(lm_at(http, temperature=None)).traces) == 12
        assert (http.paid, len(http.asked)) == (13, 14)


@pytest.mark.parametrize(
    "message",
    [
        "Unrecognized request argument supplied: seed",
        "seed: Extra inputs are not permitted",
        "Unsupported parameter: 'seed' is not supported with this model.",
    ],
)
def test_a_refused_parameter_is_left_out_once_and_remembered(message, lm_at):
    with serving(lambda b: refused(message) if "seed" in b else right(b)) as http:
        result = evaluate(lm_at(http, seed=3))
        assert (http.paid, len(http.asked)) == (24, 25)
    assert (result.score, result.failures) == (1.0, 0)


@pytest.mark.parametrize("message", ["seed: unknown field", "System role not supported"])
def test_requests_that_are_refused_at_the_same_time_are_all_sent_again(message, lm_at, caplog):
    together = threading.Barrier(4, timeout=30)
    first = iter(range(4))

    def answer(body):
        if "seed" in body if "seed" in message else system_of(body):
            if next(first, None) is not None:
                together.wait()
            return refused(message)
        return right(body)

    with serving(answer) as http:
        result = evaluate(lm_at(http, seed=3), threads=4)
        assert (http.paid, len(http.asked)) == (24, 28)
    assert (result.score, result.failures) == (1.0, 0)
    assert len(caplog.messages) == 1


def test_a_refused_parameter_without_which_the_request_is_another_is_not_left_out(lm_at):
    with serving(lambda body: refused("max_tokens must be at least 64")) as http:
        with pytest.raises(PLDError, match="max_tokens must be at least 64"):
            evaluate(lm_at(http, max_tokens=5))
        assert http.paid == 0


SYSTEM = [
    "System role not supported",
    "Developer instruction is not enabled for models/gemma",
    "Conversation roles must alternate user/assistant/user/assistant/...",
]


@pytest.mark.parametrize("message", SYSTEM)
def test_without_a_system_role_the_instructions_go_into_the_users_turn(message, lm_at, caplog):
    def answer(body):
        return refused(message) if system_of(body) is not None else right(body)

    with serving(answer) as http:
        lm = lm_at(http)
        result = evaluate(lm)
        assert (http.paid, len(http.asked)) == (24, 25)
        assert user_of(http.asked[-1]).startswith("Name the mood.\n\nText: text ")
    assert (result.score, result.failures) == (1.0, 0)
    (told,) = caplog.messages
    assert told.endswith("takes no system role; the instructions go into the user message")


def test_the_check_sends_the_form_of_the_run_and_what_it_learns_is_kept(lm_at):
    def answer(body):
        return refused(SYSTEM[0]) if system_of(body) is not None else right_or_ok(body)

    def right_or_ok(body):
        return right(body) if "text " in user_of(body) else said("ok")

    with serving(answer) as http:
        lm = lm_at(http)
        check_lm(lm)
        assert [system_of(body) is None for body in http.asked] == [False, True]
        evaluate(lm)
        assert (http.paid, len(http.asked)) == (25, 26)


def test_a_system_role_is_left_out_asynchronously_too(lm_at):
    with serving(lambda b: refused(SYSTEM[0]) if system_of(b) else right(b)) as http:
        with dspy.context(lm=lm_at(http)):
            answer = asyncio.run(DirectStudent(Mood).acall(text="text 3"))
        assert (answer.label, len(http.asked)) == ("negative", 2)


def test_a_refusal_that_is_none_of_these_is_told_by_the_check(lm_at):
    with serving(lambda body: refused("the model is retired")) as http:
        with pytest.raises(ModelError, match="the model is retired; check the model's name"):
            check_lm(lm_at(http))
        assert (http.paid, len(http.asked)) == (0, 1)


THOUGHTS = [
    said(f"<think>A draft. Rule: If it is a draft, answer negative.</think>\n{GOOD}"),
    said(f"A draft. Rule: If it is a draft, answer negative.</think>{GOOD}"),
    said(GOOD, reasoning="Rule: If it is a draft, answer negative."),
    said(f"```\n{GOOD}\n```"),
    said(f"Rationale: A draft.\nRule: If it is a draft, answer negative.\n\n{GOOD}"),
    said(f"{GOOD}\n\nExample: Text: another\nCorrect answer: positive\nRationale: So.\nRule: If it is a draft, answer positive."),
]  # fmt: skip


@pytest.mark.parametrize("reply", THOUGHTS)
def test_a_teachers_thought_is_no_rule(reply, lm_at):
    with serving(lambda body: reply) as http:
        found = explain(lm_at(http))
        assert http.paid == 12
    assert {(trace.rule, trace.rationale) for trace in found.traces} == {(RULE, "It rains.")}


@pytest.mark.parametrize(
    "reply",
    [
        said(f"<think>A draft.\n{GOOD}", finish="length"),
        said(None, reasoning=GOOD, finish="length"),
        said("", finish="length"),
    ],
)
def test_a_thought_that_was_cut_off_is_unreadable(reply, lm_at):
    def answer(body):
        return reply if "text 7\n" in user_of(body) else said(GOOD)

    with serving(answer) as http:
        found = explain(lm_at(http))
        assert http.paid == 13
    assert len(found.traces) == 11
    assert found.dropped == {"teacher answers that could not be read": 1}


@pytest.mark.parametrize(
    "reply",
    [
        said("<think> it could be negative, or rather", finish="length"),
        said(None, reasoning="it is negative", finish="length"),
        said("", finish="length"),
    ],
)
def test_a_student_that_only_thinks_is_given_up_after_20_answers(reply, lm_at):
    with serving(lambda body: reply) as http:
        with pytest.raises(PLDError, match=r"finish_reason 'length'.*max_tokens 16.*raise max_tok"):
            evaluate(lm_at(http, max_tokens=16))
        assert http.paid == 20


@pytest.mark.parametrize(
    ("text", "reasoning"),
    [
        ("<think>negative? no</think>positive", None),
        ("positive", "it is negative"),
        ("```\npositive\n```", None),
        ("Label: negative\nLabel: positive", None),
    ],
)
def test_a_students_thought_is_no_label(text, reasoning, lm_at):
    with serving(lambda body: said(text, reasoning=reasoning)) as http:
        result = evaluate(lm_at(http))
    assert {answer.answer for answer in result.answers} == {"positive"}


def test_tokens_are_counted_where_the_endpoint_reports_none(lm_at):
    def answer(body):
        return said(right(body)["body"]["choices"][0]["message"]["content"], usage=False)

    with serving(answer) as http:
        result = evaluate(lm_at(http))
    assert result.prompt_tokens > 10


def test_an_explained_request_is_a_plain_one(lm_at):
    inputs = {name: name for name in ("task", "possible_answers", "example", "correct_answer")}
    with serving(lambda body: said(GOOD)) as http:
        teacher = Teacher(lm=lm_at(http), store=StageStore(), progress=silent)
        (output,) = teacher.ask("traces", [Request(module=Explain(), inputs=inputs)])
        assert output == {"rationale": "It rains.", "rule": RULE}
        assert system_of(http.asked[0]) == Explain.signature.instructions
