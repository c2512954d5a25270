"""The teacher's judgements: what it sees, what is counted, what is asked again."""

import pytest
from dspy.lm15 import ContextLengthError

from fakes import FakeEngine, fake_lm
from goldens import golden
from judges import judge_truly
from pld_dspy.ledger.store import StageStore
from pld_dspy.models.teacher import Teacher
from pld_dspy.records import silent
from pld_dspy.stages.verify.judging import judge, judge_own_first, read_numbers

EXAMPLES = [("e1", "Text: an alpha"), ("e2", "Text: a beta and an alpha"), ("e3", "Text: none")]
CONDITIONS = ["the text mentions 'alpha'", "the text mentions 'beta'"]
TRUE = {
    (condition, key): word in text
    for key, text in EXAMPLES
    for condition, word in zip(CONDITIONS, ("alpha", "beta"), strict=True)
}


def of(examples, conditions=CONDITIONS):
    """Each example with the conditions to judge."""
    return [(*example, conditions) for example in examples]


def teacher(engine, store=None):
    return Teacher(lm=fake_lm(engine), store=store or StageStore(), progress=silent)


@pytest.mark.parametrize(("how", "calls"), [("list", 3), ("each", 6)])
def test_both_ways_give_the_same_judgements(how, calls):
    engine = FakeEngine(judge_truly)
    judged = judge(teacher(engine), of(EXAMPLES), how=how)

    assert judged.holds == TRUE
    assert not judged.dropped
    assert engine.calls == calls


@pytest.mark.parametrize("how", ["list", "each"])
def test_the_prompts_are_pinned(how):
    engine = FakeEngine(judge_truly)
    judge(teacher(engine), of(EXAMPLES[:1]), how=how)
    prompt = engine.prompts[0]
    shown = f"=== system\n{prompt.system}\n=== user\n{prompt.user}\n"

    assert shown == golden(f"teacher_judge_{how}.txt", shown)


@pytest.mark.parametrize(("how", "missing"), [("list", 2), ("each", 1)])
def test_an_unreadable_judgement_is_missing_and_counted(how, missing):
    def answer(prompt):
        if "a beta" in prompt.user and (how == "list" or "mentions 'beta'" in prompt.user):
            return "I would rather not say"
        return judge_truly(prompt)

    judged = judge(teacher(FakeEngine(answer)), of(EXAMPLES), how=how)

    assert judged.dropped == {"judgements of conditions that could not be read": missing}
    assert len(judged.holds) == 6 - missing
    assert judged.holds.items() <= TRUE.items()
    assert (CONDITIONS[1], "e2") not in judged.holds


def test_a_teacher_that_finds_everything_true_of_everything_says_nothing(caplog):
    asked = of(EXAMPLES)
    judged = judge(teacher(FakeEngine(lambda prompt: "1, 2")), asked, how="list")

    assert judged.holds == {}
    assert judged.dropped == {
        "judgements of a teacher that finds every condition true of every example": 6
    }
    assert 'set verify.how = "each"' in caplog.text
    # One example or one condition may well be so.
    for few in (asked[:1], of(EXAMPLES, CONDITIONS[:1])):
        everything = ", ".join(map(str, range(1, len(few[0][2]) + 1)))
        found = judge(teacher(FakeEngine(lambda prompt, e=everything: e)), few, how="list")
        assert all(found.holds.values())
        assert not found.dropped


@pytest.mark.parametrize(("how", "missing"), [("list", 2), ("each", 2)])
def test_a_refused_request_is_missing_and_counted(how, missing):
    def answer(prompt):
        if "a beta" in prompt.user:
            raise ContextLengthError("maximum context length is 4096 tokens")
        return judge_truly(prompt)

    judged = judge(teacher(FakeEngine(answer)), of(EXAMPLES), how=how)

    assert judged.dropped == {
        "judgements of conditions that the teacher's endpoint refused": missing
    }
    assert {key for _, key in judged.holds} == {"e1", "e3"}


@pytest.mark.parametrize("how", ["list", "each"])
def test_a_resumed_run_asks_nothing_twice(how, tmp_path):
    judge(teacher(FakeEngine(judge_truly), StageStore(tmp_path)), of(EXAMPLES), how=how)
    again, store = FakeEngine(judge_truly), StageStore(tmp_path)
    judged = judge(teacher(again, store), of(EXAMPLES), how=how)

    assert again.calls == 0
    assert judged.holds == TRUE
    assert sum(spent.calls for spent in store.spent()) == (3 if how == "list" else 6)


@pytest.mark.parametrize(
    ("answer", "numbers"),
    [
        ("1, 3", {1, 3}),
        ("1 and 3.", {1, 3}),
        ("Conditions 2", {2}),
        ("It is warm.\n\n2", {2}),
        ("None of them.", set()),
        ("none", set()),
        ("0", None),
        ("1, 4", None),
        ("maybe", None),
        ("", None),
    ],
)
def test_numbers_of_a_list(answer, numbers):
    assert read_numbers(answer, 3) == (None if numbers is None else frozenset(numbers))


def test_nothing_to_judge_asks_nothing():
    engine = FakeEngine(judge_truly)

    assert judge(teacher(engine), [], how="list").holds == {}
    assert judge(teacher(engine), of(EXAMPLES, ()), how="each").holds == {}
    assert engine.calls == 0


def test_conditions_that_save_no_rule_are_not_asked_about_other_labels():
    texts = {
        "r1": "Text: an alpha",
        "r2": "Text: one alpha",
        "g1": "Text: a beta",
        "g2": "Text: none",
    }
    gold = {"r1": "red", "r2": "red", "g1": "green", "g2": "green"}
    warm, cold, leafy = (f"the text mentions '{word}'" for word in ("alpha", "cold", "beta"))
    answers = {warm: {"red"}, cold: {"red"}, leafy: {"green"}}
    engine = FakeEngine(judge_truly)
    judged = judge_own_first(teacher(engine), texts, gold, answers, how="each")

    # No red example is cold. Only one green one is leafy, but that is all there is for green.
    assert {key for condition, key in judged.holds if condition == cold} == {"r1", "r2"}
    for condition in (warm, leafy):
        assert {key for asked, key in judged.holds if asked == condition} == set(texts)
    assert engine.calls == 2 + 4 + 4
    assert [key for (_, key), holds in judged.holds.items() if holds] == ["r1", "r2", "g1"]


def test_a_teacher_that_judges_lists_sees_all_conditions_with_each_example():
    texts = dict(EXAMPLES)
    answers = {condition: {"red"} for condition in CONDITIONS}
    engine = FakeEngine(judge_truly)
    judged = judge_own_first(
        teacher(engine), texts, dict.fromkeys(texts, "green"), answers, how="list"
    )

    assert judged.holds == TRUE
    assert engine.calls == len(texts)
