"""Rules by topic, end to end: a student whose right rules depend on the topic."""

import asyncio
import itertools
import json
import logging
from dataclasses import replace

import dspy
import pytest

from fakes import FakeEngine, fake_lm, follow, keyword_rule
from pld_dspy import DirectStudent
from pld_dspy.errors import ConfigError
from pld_dspy.ledger.store import StageStore
from pld_dspy.models.topics import unseen
from pld_dspy.scoring.evaluator import Evaluator
from pld_dspy.scoring.metrics import accuracy
from topic_runs import (
    DESKS,
    LABELS,
    MEANING,
    SETS,
    TEST,
    WORDS,
    Task,
    compile_with,
    example,
    examples,
    optimizer,
    share_right,
    student,
    teach,
)


@pytest.fixture(scope="module")
def compiled():
    return compile_with(optimizer(), DirectStudent(Task))


def chosen(program):
    return program.pld_result.predictors[0].chosen


def asked_system(program, shown, engine=None):
    """The system message that the student gets for an example."""
    engine = engine or student()
    with dspy.context(lm=fake_lm(engine)):
        program(**shown.inputs())
    return engine.prompts[-1].system


def test_topic_rules_are_right_where_one_list_for_all_cannot_be(compiled):
    one_list = compile_with(optimizer(by=None), DirectStudent(Task))

    assert share_right(compiled, TEST) == 1.0
    assert chosen(compiled).topics is not None
    # A word has one answer in a list for all, which is right in one of three topics.
    assert share_right(one_list, TEST) <= 0.5


def test_the_same_rules_shown_to_all_lost_on_validation(compiled):
    part = compiled.pld_result.predictors[0]
    shown_to_all = [c for c in part.candidates if c.topics is None and c.rules]
    scores = [part.score(c.id, "val") for c in shown_to_all]

    assert part.score(part.chosen_id, "val") == 1.0
    assert max(scores) <= 0.5


def test_a_question_is_shown_the_rules_of_its_topic_and_no_others(compiled):
    general = {rule.text for rule in chosen(compiled).rules if rule.scope is None}
    for desk in DESKS:
        system = asked_system(compiled, example(desk, "lamp", 1))
        shown = {rule.text for rule in chosen(compiled).rules if rule.text in system}

        assert shown - general == {
            r.text for r in chosen(compiled).rules if r.scope == desk and r.text not in general
        }
        assert keyword_rule("lamp", MEANING[desk]["lamp"]) in system


def test_the_document_has_a_section_for_each_topic_and_the_rules_in_its_order(compiled):
    prompt = chosen(compiled).prompt

    assert [desk for desk in DESKS if f"Only if Desk is: {desk}\n" in prompt] == list(DESKS)
    places = [
        prompt.index(f"\n{n}. {rule.text}") for n, rule in enumerate(chosen(compiled).rules, 1)
    ]
    assert places == sorted(places)


def test_the_prediction_has_the_ids_of_the_rules_it_saw(compiled):
    by_id = {rule.id: rule for rule in chosen(compiled).rules}
    engine = student()

    class Later:
        async def complete(self, request):
            return engine.complete(request)

    both = dspy.LM("fake/both", engine=engine, async_engine=Later(), cache=False, num_retries=0)
    with dspy.context(lm=both):
        saw = compiled(**example("south desk", "lamp", 1).inputs()).rules
        strange = compiled(**example("east desk", "lamp", 1).inputs()).rules
        later = asyncio.run(compiled.acall(**example("south desk", "lamp", 1).inputs())).rules

    assert later == saw
    assert {by_id[i].scope for i in saw} <= {"south desk", None}
    assert {i for i, rule in by_id.items() if rule.scope in {"south desk", None}} == set(saw)
    assert {by_id[i].scope for i in strange} <= {None}


def test_an_unseen_topic_gets_the_general_rules_and_is_counted(compiled):
    topics = compiled.topics
    strangers = [example("east desk", word, 500 + n) for n, word in enumerate(WORDS)]

    assert asked_system(compiled, strangers[0]) == topics.general
    assert unseen(topics, [*TEST, *strangers]) == 3


def test_a_saved_and_reloaded_program_decides_the_same(compiled, tmp_path):
    compiled.save(tmp_path / "program.json")
    again = DirectStudent(Task)
    again.load(tmp_path / "program.json")

    shown = [*TEST, example("east desk", "lamp", 600)]
    assert [asked_system(again, e) for e in shown] == [asked_system(compiled, e) for e in shown]
    assert again.topics == compiled.topics
    assert share_right(again, TEST) == 1.0


def test_loading_a_program_without_topics_removes_them(compiled, tmp_path):
    DirectStudent(Task).save(tmp_path / "plain.json")
    again = compiled.deepcopy()
    again.load(tmp_path / "plain.json")

    assert "topics" not in json.loads((tmp_path / "plain.json").read_text(encoding="utf-8"))
    assert again.topics is None
    assert asked_system(again, TEST[0]) == "Name the colour of the order."


def test_programs_that_differ_in_one_topic_alone_have_answers_of_their_own(compiled):
    other = compiled.deepcopy()
    changed = {**compiled.topics.prompts, "west desk": "Answer red."}
    other.topics = replace(compiled.topics, prompts=changed)
    plain = compiled.deepcopy()
    plain.topics = None
    evaluator = Evaluator(
        lm=fake_lm(student()), metric=accuracy, label_key="label", labels=LABELS, store=StageStore()
    )

    assert len({evaluator.fingerprint(p) for p in (compiled, other, plain)}) == 3
    # A program without topics keeps the key that it had before there were any.
    bare = DirectStudent(Task)
    bare.topics = None
    assert evaluator.fingerprint(bare) == evaluator.fingerprint(DirectStudent(Task))


def test_evaluation_goes_topic_by_topic_and_answers_in_the_order_of_the_examples(compiled):
    engine = student()
    evaluator = Evaluator(
        lm=fake_lm(engine), metric=accuracy, label_key="label", labels=LABELS, store=StageStore()
    )
    shown = sorted(TEST, key=lambda e: e.text)
    result = evaluator.run(compiled, shown, candidate_id="c", split="test")

    asked = [p.user.splitlines()[0].removeprefix("Desk: ") for p in engine.prompts]
    assert len(asked) == len(shown)
    assert sum(a != b for a, b in itertools.pairwise(asked)) == len(DESKS) - 1
    assert [e.desk for e in shown] != asked
    assert [a.gold for a in result.answers] == [e.label for e in shown]
    assert result.score == 1.0


def test_a_topic_with_one_example_gets_general_rules_only_and_is_named(caplog):
    lone = example("east desk", "lamp", 900)
    teacher = FakeEngine(
        lambda prompt: (
            f"Rationale: so.\nRule: {keyword_rule('lamp', 'red')}"
            if "Desk: east desk" in prompt.user and "Notes" not in prompt.user
            else teach(prompt)
        )
    )
    with caplog.at_level(logging.WARNING, logger="pld_dspy"):
        made = compile_with(
            optimizer(teacher), DirectStudent(Task), trainset=[*SETS["trainset"], lone]
        )

    assert "1 of 4 values of desk have fewer than 2 training examples" in caplog.text
    assert "east desk" in caplog.text
    assert {rule.scope for rule in chosen(made).rules} - {None} == set(DESKS)
    assert asked_system(made, lone) == made.topics.general
    assert unseen(made.topics, [lone]) == 0


def test_auto_finds_the_field_with_few_values():
    made = compile_with(optimizer(by="auto"), DirectStudent(Task))

    assert made.topics.field == "desk"
    assert share_right(made, TEST) == 1.0


def test_auto_without_such_a_field_makes_what_no_topics_make():
    plain = dspy.Signature("text -> label: Literal['red', 'green', 'blue']", "Name the colour.")

    def sets():
        return {
            name: [dspy.Example(text=e.text, label=e.label).with_inputs("text") for e in part]
            for name, part in SETS.items()
        }

    teacher = FakeEngine(
        lambda p: teach(p if "Notes" in p.user or "Edits" in p.user else _with_desk(p))
    )
    auto, none = (
        compile_with(optimizer(teacher, by=by), DirectStudent(plain), **sets())
        for by in ("auto", None)
    )

    assert auto.topics is None
    assert chosen(auto).prompt == chosen(none).prompt
    assert [c.id for c in auto.pld_result.predictors[0].candidates] == [
        c.id for c in none.pld_result.predictors[0].candidates
    ]


def _with_desk(prompt):
    changed = type(prompt)(prompt)
    changed.system = prompt.system
    changed.user = prompt.user.replace("Text: ", "Desk: north desk\nText: ", 1)
    return changed


@pytest.mark.parametrize("by", [None, "none"])
def test_without_topics_nothing_is_by_topic(by):
    made = compile_with(optimizer(by=by), DirectStudent(Task))

    assert made.topics is None
    assert {rule.scope for rule in made.pld_result.predictors[0].rules} == {None}
    assert "topics" not in made.dump_state()


@pytest.mark.parametrize(
    ("by", "program", "problem"),
    [
        (
            "dask",
            DirectStudent(Task),
            "topics.by is 'dask', which is no input.*did you mean 'desk'",
        ),
        ("label", DirectStudent(Task), "topics.by is 'label', which is no input"),
        ("text", DirectStudent(Task), "none of its 27 values has 2 training examples"),
        (
            "desk",
            dspy.Predict(Task),
            "Predict shows one prompt to all questions; use a DirectStudent",
        ),
    ],
)
def test_bad_topics_are_one_line_before_anything_is_paid(by, program, problem):
    teacher, engine = FakeEngine(teach), student()
    with pytest.raises(ConfigError, match=problem) as error:
        compile_with(optimizer(teacher, by=by), program, engine)

    assert "\n" not in str(error.value)
    assert (teacher.calls, engine.calls) == (0, 0)


def test_given_rules_by_topic_win_where_the_teacher_knows_nothing():
    useless = FakeEngine(
        lambda prompt: (
            "Cause: none.\nEdits: none"
            if "\nEdits: <" in prompt.user
            else "Rationale: so.\nRule: If nothing else fits, think twice.\nException: none"
        )
    )
    guide = {
        "topics": {
            desk: [keyword_rule(word, label) for word, label in words.items()]
            for desk, words in MEANING.items()
        }
    }
    made = compile_with(optimizer(useless, initial_rules=guide), DirectStudent(Task))

    assert share_right(made, TEST) == 1.0
    assert {rule.origin for rule in chosen(made).rules if rule.scope} == {"initial"}
    origins = [c.origin for c in made.pld_result.predictors[0].candidates]
    assert "initial" in origins  # a candidate of its own, beside those that were distilled
    assert "synthesis" in origins or "medoid" in origins


def test_given_rules_that_are_wrong_are_not_forced():
    wrong = [keyword_rule(word, "green") for word in WORDS]
    made = compile_with(optimizer(initial_rules=wrong), DirectStudent(Task))

    assert share_right(made, TEST) == 1.0
    assert not any(rule.origin == "initial" for rule in chosen(made).rules)


def test_given_rules_work_without_topics():
    right = [keyword_rule(word, MEANING["north desk"][word]) for word in WORDS]
    north = [e for e in examples(81) if e.desk == "north desk"]
    engine = FakeEngine(lambda prompt: follow(prompt.system, prompt.user, "red"))
    sets = {"trainset": north[:9], "valset": north[9:18], "selectset": north[18:27]}
    useless = FakeEngine(
        lambda prompt: "Rationale: so.\nRule: Think twice.\nException: none\nCause: no\nEdits: none"
    )
    made = compile_with(
        optimizer(useless, by=None, initial_rules=right), DirectStudent(Task), engine, **sets
    )

    assert share_right(made, north) == 1.0
    assert made.topics is None
    assert {rule.text for rule in chosen(made).rules} & set(right)


def test_a_search_that_was_stopped_asks_nothing_twice(tmp_path):
    first, again = student(), student()
    one = compile_with(optimizer(run_dir=tmp_path), DirectStudent(Task), first)
    two = compile_with(optimizer(run_dir=tmp_path), DirectStudent(Task), again)

    assert first.calls > 0
    assert again.calls == 0
    assert chosen(one) == chosen(two)
    assert one.pld_result.predictors[0].search == two.pld_result.predictors[0].search


def test_no_list_above_the_token_limit_is_chosen():
    given = optimizer(config={"search": {"trials": 4, "max_prompt_tokens": 20}})
    made = compile_with(given, DirectStudent(Task))

    assert chosen(made).rules == ()


def test_the_same_seed_gives_the_same_program(compiled):
    again = compile_with(optimizer(), DirectStudent(Task))

    assert again.topics == compiled.topics
    assert chosen(again) == chosen(compiled)


def test_search_max_rules_limits_what_one_question_is_shown():
    made = compile_with(
        optimizer(config={"search": {"trials": 8, "max_rules": 2}}), DirectStudent(Task)
    )
    part = made.pld_result.predictors[0]
    searched = [c for c in part.candidates if c.origin == "search" and c.topics is not None]

    assert searched
    for candidate in searched:
        assert max(map(len, candidate.topics.rules.values())) <= 2
