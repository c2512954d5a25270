"""Worked examples: how they are drawn, and when the student gets them."""

from collections import Counter

import dspy
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fakes import FakeEngine, fake_lm, follow
from keyword_runs import (
    SELECT,
    TASK,
    TEST,
    TRAIN,
    VAL,
    Colour,
    Student,
    compiled,
    engines,
    right_answer,
    share_right,
)
from pld_dspy import PLDConfig
from pld_dspy.config.optimizer import DemoConfig
from pld_dspy.data.examples import example_id
from pld_dspy.errors import ConfigError
from pld_dspy.models.student import DirectStudent
from pld_dspy.records import Answer, Evaluation
from pld_dspy.stages.common.problem import Target
from pld_dspy.stages.demos import draw_demos, shown, worth

LABELS = ("blue", "green", "grey", "red")
BY_ID = {example_id(example): example for example in TRAIN}
SETTINGS = {"demos": {"per_label": [1, 2]}, "search": {"trials": 4}, "refine": {"rounds": 1}}


def target(signature=Colour, labels=LABELS):
    return Target(path="predict", signature=signature, label_key="label", labels=labels)


def shown_before(prompt):
    """Texts of the worked examples of a prompt."""
    texts = [
        line.removeprefix("Text: ") for line in prompt.splitlines() if line.startswith("Text:")
    ]
    return texts[:-1]


class Imitator(FakeEngine):
    """Says one label to everything until it sees so many worked examples.

    Then it knows all answers; or, if it obeys, two labels by itself and the others by the rules.
    """

    def __init__(self, needed, *, obeys):
        def answer(prompt):
            if len(shown_before(prompt)) < needed:
                return TASK.default
            right = right_answer(prompt.user)
            if not obeys or right in {"red", "grey"}:
                return right
            return follow(prompt.system, prompt.user, TASK.default)

        super().__init__(answer)


def with_demos(student, program=None, **settings):
    config = PLDConfig(**{**SETTINGS, **settings})
    return compiled(*engines(student=student), program, config=config)


@given(
    counts=st.lists(st.integers(1, 30), min_size=1, max_size=3),
    draws=st.integers(1, 3),
    seed=st.integers(0, 1000),
)
def test_each_choice_has_the_labels_in_turn_and_those_of_a_draw_begin_alike(counts, draws, seed):
    config = DemoConfig(per_label=tuple(counts), draws=draws)
    found = list(draw_demos(target(), TRAIN, config, seed=seed))

    assert len({draw.ids for draw in found}) == len(found) <= len(set(counts)) * draws
    assert [len(d.ids) for d in found] == sorted(len(d.ids) for d in found)
    held = Counter(example.label for example in TRAIN)
    for draw in found:
        said = [BY_ID[i].label for i in draw.ids]
        assert len(set(draw.ids)) == len(draw.ids)
        each = Counter(said)
        most = max(each.values())
        assert all(each[label] == min(most, held[label]) for label in held)
        assert len(set(said[: len(held)])) == len(held)
        assert any(other.ids[: len(draw.ids)] == draw.ids for other in found)
    assert found == list(draw_demos(target(), TRAIN, config, seed=seed))


def test_another_seed_draws_others():
    config = DemoConfig(per_label=(2,), draws=1)
    first, second = (next(draw_demos(target(), TRAIN, config, seed=seed)) for seed in (0, 1))
    assert first.ids != second.ids


def test_without_a_label_set_the_number_is_of_all_examples():
    config = DemoConfig(per_label=(3,), draws=1)
    [draw] = draw_demos(target(labels=()), TRAIN, config, seed=0)
    assert len(draw.ids) == 3


@pytest.mark.parametrize(
    "signature",
    [
        Colour.append("reason", dspy.OutputField(), str),
        Colour.append("hint", dspy.InputField(), str),
    ],
    ids=["output", "input"],
)
def test_a_predictor_with_fields_that_the_examples_lack_gets_none(signature, caplog):
    assert not list(draw_demos(target(signature), TRAIN, DemoConfig(per_label=(1,)), seed=0))
    assert "do not hold all of its fields" in caplog.text


def test_a_worked_example_holds_the_fields_of_the_predictor_alone():
    more = [dspy.Example({**dict(e), "note": "x"}).with_inputs("text") for e in TRAIN]
    [made] = shown([example_id(more[3])], more, Colour, "label")
    assert dict(made) == {"text": TRAIN[3].text, "label": TRAIN[3].label}


@pytest.mark.parametrize(
    ("p_gold", "expected"), [((0.5, 0.1), 0.4), ((None, None), 0.5), ((0.9, None), 0.5)]
)
def test_worth_is_the_score_and_the_gold_probability(p_gold, expected):
    said = tuple(
        Answer(example_id=str(i), gold="red", answer="red", p_gold=p) for i, p in enumerate(p_gold)
    )
    evaluation = Evaluation(candidate_id="c", split="val", metric="m", score=0.5, answers=said)
    assert worth(evaluation) == pytest.approx(expected)


@pytest.mark.parametrize("bad", [(0,), (-1,), (1.5,)])
def test_a_wrong_number_is_refused(bad):
    with pytest.raises(ConfigError, match="per_label"):
        PLDConfig(demos={"per_label": bad})


def test_a_student_that_answers_by_examples_alone_gets_them_and_no_rules():
    student = DirectStudent(Colour)
    program = with_demos(Imitator(8, obeys=False), student)
    [part] = program.pld_result.predictors

    assert part.chosen.origin == "demos"
    assert part.chosen.rules == ()
    assert Counter(BY_ID[i].label for i in part.chosen.demos) == dict.fromkeys(LABELS, 2)
    assert [d.text for d in program.predict.demos] == [BY_ID[i].text for i in part.chosen.demos]
    assert program.predict.signature.instructions == Colour.instructions
    assert part.select_delta.estimate > 0.4
    assert share_right(program, TEST, lm=fake_lm(Imitator(8, obeys=False))) == 1.0
    assert student.predict.demos == []


def test_rules_are_distilled_into_the_student_that_has_the_examples():
    program = with_demos(Imitator(4, obeys=True), search={"trials": 8})
    [part] = program.pld_result.predictors

    assert len(part.chosen.demos) >= 4
    assert part.chosen.rules
    ruled = [candidate for candidate in part.candidates if candidate.rules]
    assert {candidate.demos for candidate in ruled} == {part.chosen.demos}
    assert len({candidate.id for candidate in part.candidates}) == len(part.candidates)
    score = share_right(program, TEST, lm=fake_lm(Imitator(4, obeys=True)))
    assert (
        score > share_right(DirectStudent(Colour), TEST, lm=fake_lm(Imitator(4, obeys=True))) + 0.4
    )


def test_examples_that_change_nothing_are_left_out():
    program = with_demos(Student())
    assert program.pld_result.predictors[0].chosen.demos == ()
    assert program.predict.demos == []


@pytest.mark.parametrize(("max_p_worse", "shown"), [(0.05, 0), (0.5, 4)])
def test_examples_that_may_be_noise_are_left_out(max_p_worse, shown):
    lucky = next(example.text for example in VAL if example.label != TASK.default)

    def answer(prompt):
        knows = shown_before(prompt) and f"Text: {lucky}\n" in prompt.user
        return right_answer(prompt.user) if knows else TASK.default

    demos = {"per_label": [1], "draws": 1, "max_p_worse": max_p_worse}
    program = with_demos(FakeEngine(answer), demos=demos)
    ruled = [c for c in program.pld_result.predictors[0].candidates if c.rules]
    assert {len(candidate.demos) for candidate in ruled} == {shown}


def test_none_are_tried_unless_asked_for():
    student, teacher = engines()
    compiled(student, teacher, config=PLDConfig(search={"trials": 2}))
    assert not any(shown_before(prompt) for prompt in student.prompts)


def test_what_is_shown_is_of_train_and_the_student_is_not_asked_about_it():
    engine = Imitator(4, obeys=True)
    with_demos(engine)
    train = {example.text for example in TRAIN}
    before = [set(shown_before(prompt)) for prompt in engine.prompts]
    assert any(before)
    assert set().union(*before) <= train
    for prompt, texts in zip(engine.prompts, before, strict=True):
        assert not any(f"Text: {text}\n" in prompt.user for text in texts)


def test_demonstrations_that_the_student_has_come_first_and_stay():
    own = dspy.Example(text="my own alpha", label="red")
    program = DirectStudent(Colour)
    program.predict.demos = [own]
    made = with_demos(Imitator(9, obeys=False), program)

    assert made.predict.demos[0] == own
    assert len(made.predict.demos) == 9
    assert program.predict.demos == [own]


def test_the_prompt_keeps_its_token_limit():
    def read(engine):
        return max(len(prompt.split()) for prompt in engine.prompts)

    engine = Imitator(8, obeys=False)
    limit = read_of_one_example() + 40
    program = with_demos(engine, search={"trials": 2, "max_prompt_tokens": limit})
    assert len(program.predict.demos) < 8
    assert read(engine) > limit  # they were tried


def read_of_one_example():
    engine = Student()
    with dspy.context(lm=fake_lm(engine)):
        DirectStudent(Colour)(text=VAL[0].text)
    return len(engine.prompts[0].split())


def test_a_run_that_is_started_again_asks_nothing_and_finds_the_same(tmp_path):
    config = PLDConfig(**SETTINGS)
    first = compiled(*engines(student=Imitator(4, obeys=True)), config=config, run_dir=tmp_path)
    student, teacher = engines(student=Imitator(4, obeys=True))
    second = compiled(student, teacher, config=config, run_dir=tmp_path)

    assert student.calls == teacher.calls == 0
    assert second.dump_state() == first.dump_state()


def test_the_finalists_are_scored_beside_their_examples_without_rules():
    program = with_demos(Imitator(4, obeys=True), finalists=1)
    [part] = program.pld_result.predictors
    by_id = {candidate.id: candidate for candidate in part.candidates}
    final = [by_id[e.candidate_id] for e in part.evaluations if e.split == "select"]
    demos = final[-1].demos

    assert [(bool(c.rules), c.demos) for c in final] == [
        (False, ()),
        (True, demos),
        (False, demos),
    ]
    assert len(SELECT) == len(part.evaluations[-1].answers)
