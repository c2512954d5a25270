"""The last word is that of the selection examples; the student as given wins every tie."""

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fakes import FakeEngine, fake_lm
from keyword_runs import pld
from pld_dspy.ledger.store import StageStore
from pld_dspy.records import Answer, Evaluation
from pld_dspy.scoring.evaluator import Evaluator
from pld_dspy.scoring.metrics import accuracy
from pld_dspy.stages.common.prompt import make_candidate
from pld_dspy.stages.common.rule_text import make_rule, make_trace
from pld_dspy.stages.select.never_worse import NeverWorse
from pld_dspy.stages.select.selector import SelectContext

GOLD = ["red", "blue"] * 20
TRACE = make_trace("e", "red", "w", "If so, answer red.")
AS_GIVEN = make_candidate("Name it.", (), origin="as given")
EVALUATOR = Evaluator(
    lm=fake_lm(FakeEngine(str)),
    metric=accuracy,
    label_key="label",
    labels=("red", "blue"),
    store=StageStore(),
)


def select(candidates, val, *, run, evaluator, max_prompt_tokens=None, forecasts=(), **settings):
    context = SelectContext(
        candidates=candidates,
        val=val,
        run=run,
        evaluator=evaluator,
        max_prompt_tokens=max_prompt_tokens,
        forecasts=dict(forecasts),
    )
    return NeverWorse(**settings)(context)


def listed(name, length=1):
    made = [
        make_rule(f"If {name} {n}, answer red.", [TRACE], origin="synthesis") for n in range(length)
    ]
    return make_candidate("Name it.", made, origin="search", note=name)


def evaluation(candidate, right):
    """The first `right` of 40 answers are right."""
    answers = tuple(
        Answer(
            example_id=f"e{n}",
            gold=gold,
            answer=gold if n < right else "other",
            input_tokens=5 + 10 * len(candidate.rules),
        )
        for n, gold in enumerate(GOLD)
    )
    return Evaluation(
        candidate_id=candidate.id,
        split="select",
        metric="accuracy",
        score=right / len(GOLD),
        answers=answers,
    )


def on_val(candidate, score):
    """What the search saw of a list; each rule takes ten tokens, and the task five."""
    tokens = 5 + 10 * len(candidate.rules)
    answer = Answer(example_id="v", gold="red", answer="red", input_tokens=tokens)
    return replace(evaluation(candidate, 0), split="val", score=score, answers=(answer,))


def choose(given, *others, finalists=3, max_p_worse=0.25, **settings):
    """Select among `(candidate, val score, right answers on select)`; also return who was asked."""
    right = {AS_GIVEN.id: given[1]} | {c.id: n for c, _, n in others}
    asked = []

    def run(candidate):
        asked.append(candidate)
        return evaluation(candidate, right[candidate.id])

    selection = select(
        [AS_GIVEN, *(c for c, _, _ in others)],
        {c.id: on_val(c, score) for c, score, _ in [(AS_GIVEN, *given), *others]},
        run=run,
        evaluator=EVALUATOR,
        finalists=finalists,
        max_p_worse=max_p_worse,
        **settings,
    )
    return selection, asked


A, B, C = listed("a"), listed("b"), listed("c")


def test_a_list_that_wins_on_the_selection_examples_is_kept():
    found, asked = choose((0.5, 20), (A, 0.8, 32))

    assert found.chosen is A
    assert found.delta.estimate == pytest.approx(0.3)
    assert 0 < found.delta.low < 0.3 < found.delta.high
    assert [e.candidate_id for e in found.evaluations] == [AS_GIVEN.id, A.id]
    assert asked == [AS_GIVEN, A]
    assert found.reason.startswith(
        "best of 1 finalists on 40 selection examples: accuracy +0.300 ["
    )


@pytest.mark.parametrize("right", [0, 12, 20])
def test_no_gain_on_selection_keeps_the_student_however_good_validation_was(right):
    found, _ = choose((0.1, 20), (A, 1.0, right))

    assert (found.chosen, found.delta) == (AS_GIVEN, None)
    assert found.reason.startswith("the student stays as given: on 40 selection examples")
    assert "noise" not in found.reason
    assert f"accuracy by {right / 40 - 0.5:+.3f} [" in found.reason


def test_a_gain_that_may_be_luck_is_not_kept():
    # Here one answer more is right; `max_p_worse` says how sure one must be.
    sure, _ = choose((0.5, 20), (A, 0.9, 21), max_p_worse=0.1)
    bold, _ = choose((0.5, 20), (A, 0.9, 21), max_p_worse=0.5)

    assert sure.chosen is AS_GIVEN
    assert "changes accuracy by +0.025 [" in sure.reason
    assert sure.reason.endswith("which may be noise")
    assert bold.chosen is A


def test_the_selection_examples_overrule_validation():
    found, _ = choose((0.5, 20), (A, 0.90, 26), (B, 0.80, 36), (C, 0.85, 24))

    assert found.chosen is B
    assert [e.candidate_id for e in found.evaluations[1:]] == [A.id, C.id, B.id]


def test_equal_selection_scores_go_to_the_better_on_validation_then_to_the_shorter_prompt():
    assert choose((0.5, 20), (A, 0.8, 36), (B, 0.9, 36))[0].chosen is B
    long = listed("a much longer rule", 3)
    assert choose((0.5, 20), (long, 0.9, 36), (B, 0.9, 36))[0].chosen is B


def test_only_the_best_on_validation_reach_the_final():
    found, asked = choose((0.5, 20), (A, 0.7, 40), (B, 0.9, 30), (C, 0.8, 30), finalists=2)

    assert asked == [AS_GIVEN, B, C]
    assert found.chosen is B


def test_a_candidate_given_twice_is_scored_once():
    _, asked = choose((0.5, 20), (A, 0.7, 30), (A, 0.7, 30))

    assert asked == [AS_GIVEN, A]


def test_without_a_list_the_student_is_scored_and_stays():
    empty = make_candidate("Name it.", (), origin="refine")
    for others in ((), ((empty, 0.5, 20),)):
        found, asked = choose((0.5, 20), *others)
        assert (found.chosen.prompt, found.delta) == (AS_GIVEN.prompt, None)
        assert found.reason == "no rule list was made"
        assert [c.id for c in asked] == [AS_GIVEN.id]


def with_crashes(whole, count):
    crashed = [
        Answer(example_id=a.example_id, gold=a.gold, answer=None, error="it broke")
        for a in whole.answers[:count]
    ]
    answers = (*crashed, *whole.answers[count:])
    return replace(whole, score=EVALUATOR.score(answers), answers=answers)


def test_a_crash_counts_as_wrong_in_the_comparison():
    def run(candidate):
        if candidate is AS_GIVEN:
            return evaluation(candidate, 20)
        return with_crashes(evaluation(candidate, 36), 1)

    found = select(
        [AS_GIVEN, A],
        {AS_GIVEN.id: on_val(AS_GIVEN, 0.5), A.id: on_val(A, 0.9)},
        run=run,
        evaluator=EVALUATOR,
        finalists=1,
        max_p_worse=0.25,
    )
    assert found.chosen is A
    assert found.delta.estimate == pytest.approx(run(A).score - run(AS_GIVEN).score)
    assert run(A).failures == 1


def test_a_list_that_crashes_on_half_of_the_examples_is_not_chosen_for_the_other_half():
    whole = evaluation(A, 40)
    found = select(
        [AS_GIVEN, A],
        {AS_GIVEN.id: on_val(AS_GIVEN, 0.5), A.id: on_val(A, 0.9)},
        run=lambda c: evaluation(c, 30) if c is AS_GIVEN else with_crashes(whole, 20),
        evaluator=EVALUATOR,
        finalists=1,
        max_p_worse=0.25,
    )
    assert found.chosen is AS_GIVEN


@settings(max_examples=40, deadline=None)
@given(
    st.tuples(st.floats(0, 1), st.integers(0, 40)),
    st.lists(st.tuples(st.floats(0, 1), st.integers(0, 40)), max_size=6),
    st.integers(1, 4),
)
def test_the_chosen_is_never_worse_than_the_student_on_the_selection_examples(
    given_, rest, finalists
):
    others = [(listed(f"list {n}"), val, right) for n, (val, right) in enumerate(rest)]
    found, asked = choose(given_, *others, finalists=finalists)
    scores = {e.candidate_id: e.score for e in found.evaluations}

    assert scores[found.chosen.id] >= scores[AS_GIVEN.id]
    assert (found.chosen is AS_GIVEN) == (found.delta is None)
    assert len(asked) == len(scores) == 1 + min(finalists, len(others))


def test_the_optimizer_takes_its_limits_from_the_config():
    config = pld(FakeEngine(str)).config

    assert (config.finalists, config.max_p_worse) == (3, 0.25)


SHORT, LONG = listed("short"), listed("long", 4)


def test_the_shortest_list_within_noise_is_taken_if_it_is_preferred():
    lists = (LONG, 0.9, 36), (SHORT, 0.8, 35)
    best, _ = choose((0.5, 20), *lists)
    short, _ = choose((0.5, 20), *lists, prefer="shortest-within-noise")

    assert best.chosen == LONG
    assert short.chosen == SHORT
    assert short.delta.estimate == pytest.approx(15 / 40)
    assert "15 instead of 45 tokens" in short.reason


def test_a_short_list_beyond_noise_is_not_taken():
    chosen, _ = choose((0.5, 20), (LONG, 0.9, 38), (SHORT, 0.8, 25), prefer="shortest-within-noise")
    assert chosen.chosen == LONG


def test_a_short_list_no_better_than_the_student_is_not_taken():
    chosen, _ = choose((0.5, 30), (LONG, 0.9, 34), (SHORT, 0.8, 30), prefer="shortest-within-noise")
    assert chosen.chosen == LONG


def test_short_lists_on_the_front_reach_the_final_if_they_are_preferred():
    longs = [(listed(f"l{n}", 4), 0.9 - n / 100, 36) for n in range(4)]
    _, asked = choose((0.5, 20), *longs, (SHORT, 0.7, 35), finalists=2)
    _, asked_short = choose(
        (0.5, 20), *longs, (SHORT, 0.7, 35), finalists=2, prefer="shortest-within-noise"
    )
    assert asked == [AS_GIVEN, longs[0][0], longs[1][0]]
    assert asked_short == [AS_GIVEN, longs[0][0], SHORT]


def answering(name, *labels):
    made = [
        make_rule(
            f"If {name} {label}, answer {label}.",
            [make_trace("e", label, "w", f"If so, answer {label}.")],
            origin="synthesis",
        )
        for label in labels
    ]
    return make_candidate("Name it.", made, origin="search", note=name)


TWO = answering("two", "blue", "red")


@pytest.mark.parametrize(("right", "chosen"), [(35, TWO), (25, LONG)])
def test_rules_for_more_labels_are_taken_within_noise_if_they_are_preferred(right, chosen):
    lists = (LONG, 0.9, 38), (SHORT, 0.8, 37), (TWO, 0.7, right)
    best, _ = choose((0.5, 20), *lists)
    preferred, _ = choose((0.5, 20), *lists, prefer="rules-within-noise")

    assert best.chosen == LONG
    assert preferred.chosen == chosen
    assert ("rules for most labels (2)" in preferred.reason) == (chosen is TWO)
    assert preferred.delta.estimate == pytest.approx(((right if chosen is TWO else 38) - 20) / 40)


def test_of_lists_that_answer_as_many_labels_the_best_is_taken():
    lists = (SHORT, 0.8, 36), (TWO, 0.7, 35), (answering("too", "red", "blue"), 0.75, 33)
    found, _ = choose((0.5, 20), *lists, prefer="rules-within-noise")
    assert found.chosen == TWO


def test_rules_for_more_labels_no_better_than_the_student_are_not_taken():
    found, _ = choose((0.5, 30), (LONG, 0.9, 34), (TWO, 0.8, 30), prefer="rules-within-noise")
    assert found.chosen == LONG


def test_lists_that_answer_most_labels_reach_the_final_if_they_are_preferred():
    longs = [(listed(f"l{n}", 4), 0.9 - n / 100, 36) for n in range(4)]
    lists = *longs, (TWO, 0.7, 35)
    _, asked = choose((0.5, 20), *lists, finalists=2, prefer="rules-within-noise")
    assert asked == [AS_GIVEN, longs[0][0], TWO]


@pytest.mark.parametrize("prefer", ["rules-within-noise", "shortest-within-noise"])
@pytest.mark.parametrize(("margin", "chosen"), [(0.39, TWO), (0.05, LONG)])
def test_a_finalist_that_is_surely_less_likely_is_not_within_noise(prefer, margin, chosen):
    right = {AS_GIVEN.id: (20, 0.01), LONG.id: (31, 0.4), TWO.id: (31, margin)}
    found = select(
        [AS_GIVEN, LONG, TWO],
        {c.id: sure(evaluation(c, right[c.id][0]), right[c.id][1]) for c in (AS_GIVEN, LONG, TWO)},
        run=lambda c: sure(evaluation(c, right[c.id][0]), right[c.id][1]),
        evaluator=replace(EVALUATOR, decide="calibrated"),
        prefer=prefer,
    )

    assert found.chosen is chosen


def test_lists_over_the_token_limit_take_no_part():
    chosen, asked = choose((0.5, 20), (LONG, 0.9, 38), (SHORT, 0.8, 34), max_prompt_tokens=20)
    assert asked == [AS_GIVEN, SHORT]
    assert chosen.chosen == SHORT

    chosen, asked = choose((0.5, 20), (LONG, 0.9, 38), max_prompt_tokens=20)
    assert asked == [AS_GIVEN]
    assert "no rule list takes at most 20 tokens per call" in chosen.reason


def test_a_forecast_stands_beside_the_validation_score():
    lucky, steady = (A, 0.80, 30), (B, 0.78, 30)
    _, asked = choose((0.5, 20), lucky, steady, finalists=1)
    assert asked == [AS_GIVEN, A]
    forecasts = {A.id: 0.70, B.id: 0.76}
    found, asked = choose((0.5, 20), lucky, steady, finalists=1, forecasts=forecasts)
    assert asked == [AS_GIVEN, B]
    assert found.chosen is B


def test_the_selection_score_counts_more_than_any_forecast():
    forecasts = {A.id: 0.9, B.id: 0.7}
    found, _ = choose((0.5, 20), (A, 0.8, 26), (B, 0.8, 32), forecasts=forecasts)
    assert found.chosen is B


def with_validation(given, listed, *, select=(20, 21)):
    """Select between the student as given and A, by how many of 40 each has right on both sets."""
    scored = {
        AS_GIVEN.id: replace(evaluation(AS_GIVEN, given), split="val"),
        A.id: replace(evaluation(A, listed), split="val"),
    }
    scored = {
        key: replace(e, answers=tuple(replace(a, example_id=f"v{a.example_id}") for a in e.answers))
        for key, e in scored.items()
    }
    right = {AS_GIVEN.id: select[0], A.id: select[1]}
    return select_of(scored, right)


def select_of(val, right):
    return select(
        [AS_GIVEN, A],
        val,
        run=lambda candidate: evaluation(candidate, right[candidate.id]),
        evaluator=EVALUATOR,
        finalists=1,
        max_p_worse=0.25,
    )


def test_validation_helps_where_selection_is_not_against_the_list():
    found = with_validation(20, 32, select=(20, 20))
    assert found.chosen is A
    assert found.delta.estimate == 0.0
    assert (
        "accuracy +0.000 [+0.000, +0.000] against the student as given, and +0.150 ["
        in found.reason
    )
    assert found.reason.endswith("together with the 40 validation examples")


def test_validation_does_not_outvote_selection():
    found = with_validation(5, 40, select=(20, 19))
    assert found.chosen is AS_GIVEN
    assert found.delta is None


def test_a_small_lead_on_validation_proves_nothing():
    # Two examples ahead are within the luck of the best of many lists.
    assert with_validation(20, 22, select=(20, 20)).chosen is AS_GIVEN


def sure(scored, margin):
    """The same answers, with probabilities that favour the gold label of each by a margin."""
    both = ("red", "blue")
    answers = tuple(
        replace(
            answer,
            read=answer.answer,
            probabilities={
                label: 0.5 + (margin if label == answer.gold else -margin) for label in both
            },
        )
        for answer in scored.answers
    )
    return replace(scored, answers=answers)


@pytest.mark.parametrize("finalists", [1, 2])
@pytest.mark.parametrize(("decide", "chosen"), [("calibrated", B), ("greedy", A)])
def test_finalists_are_picked_and_ranked_by_likelihood_where_labels_are_chosen_by_a_decision(
    decide, chosen, finalists
):
    right = {AS_GIVEN.id: (20, 0.01), A.id: (32, 0.05), B.id: (31, 0.4)}
    found = select(
        [AS_GIVEN, A, B],
        {key: sure(evaluation(listed(key), n), m) for key, (n, m) in right.items()},
        run=lambda c: sure(evaluation(c, right[c.id][0]), right[c.id][1]),
        evaluator=replace(EVALUATOR, decide=decide),
        finalists=finalists,
    )

    assert found.chosen is chosen


@pytest.mark.parametrize(("right", "chosen"), [(20, A), (19, AS_GIVEN)])
def test_a_likelier_list_is_chosen_unless_its_score_is_lower(right, chosen):
    margins = {AS_GIVEN.id: (20, 0.01), A.id: (right, 0.4)}
    found = select(
        [AS_GIVEN, A],
        {key: sure(evaluation(listed(key), 20), m) for key, (_, m) in margins.items()},
        run=lambda c: sure(evaluation(c, margins[c.id][0]), margins[c.id][1]),
        evaluator=replace(EVALUATOR, decide="calibrated"),
    )

    assert found.chosen is chosen
    assert ("nats of the likelihood" in found.reason) == (chosen is A)


def test_a_finalist_that_helps_is_chosen_behind_a_likelier_one_that_scores_lower():
    right = {AS_GIVEN.id: (20, 0.01), A.id: (19, 0.4), B.id: (30, 0.05)}
    found = select(
        [AS_GIVEN, A, B],
        {key: sure(evaluation(listed(key), 20), m) for key, (_, m) in right.items()},
        run=lambda c: sure(evaluation(c, right[c.id][0]), right[c.id][1]),
        evaluator=replace(EVALUATOR, decide="calibrated"),
    )

    assert found.chosen is B
    assert found.delta.estimate == pytest.approx(0.25)


def moved(scored, by):
    """The same number of right answers, `by` of them to other examples."""
    right = [answer.answer == answer.gold for answer in scored.answers]
    right = right[-by:] + right[:-by]
    answers = zip(scored.answers, right, strict=True)
    told = (replace(a, answer=a.gold if is_right else "other") for a, is_right in answers)
    return replace(scored, answers=tuple(told))


def unsure_of(scored, places):
    """The same answers, with probabilities that favour the gold label but at `places`."""
    both = ("red", "blue")
    told = (
        replace(
            answer,
            read=answer.answer,
            probabilities={
                label: 0.7 if (label == answer.gold) != (place in places) else 0.3 for label in both
            },
        )
        for place, answer in enumerate(scored.answers)
    )
    return replace(scored, answers=tuple(told))


@pytest.mark.parametrize(("right", "chosen"), [(21, A), (20, AS_GIVEN), (19, AS_GIVEN)])
def test_a_score_and_a_likelihood_that_are_each_unsure_are_enough_together(right, chosen):
    # Four of the right answers are to other examples: +1 of 40 is worse with p 0.39, by likelihood 0.16.
    ten, six = ({(7 * n + first) % 40 for n in range(m)} for first, m in ((3, 10), (4, 6)))
    scored = {
        AS_GIVEN.id: unsure_of(evaluation(AS_GIVEN, 20), ten),
        A.id: unsure_of(moved(evaluation(A, right), 4), six),
    }
    found = select(
        [AS_GIVEN, A],
        {key: unsure_of(evaluation(listed(key), 20), ten) for key in scored},
        run=lambda candidate: scored[candidate.id],
        evaluator=replace(EVALUATOR, decide="calibrated"),
    )

    assert found.chosen is chosen
    assert ("nats of the likelihood" in found.reason) == (chosen is A)


@pytest.mark.parametrize(
    ("val", "select_right", "margin", "chosen"),
    [
        (22, 19, 0.4, A),  # likelier on both, and ahead by one of 80
        (20, 19, 0.4, AS_GIVEN),  # behind by one of 80
        (22, 19, 0.05, AS_GIVEN),  # less likely on the selection examples
    ],
)
def test_validation_and_selection_together_tell_what_each_is_too_small_for(
    val, select_right, margin, chosen
):
    on_val = {AS_GIVEN.id: (20, 0.1), A.id: (val, 0.4)}
    on_select = {AS_GIVEN.id: (20, 0.1), A.id: (select_right, margin)}
    both = {
        key: replace(e, answers=tuple(replace(a, example_id=f"v{a.example_id}") for a in e.answers))
        for key, (right, m) in on_val.items()
        for e in [sure(evaluation(listed(key), right), m)]
    }
    found = select(
        [AS_GIVEN, A],
        both,
        run=lambda c: sure(evaluation(c, on_select[c.id][0]), on_select[c.id][1]),
        evaluator=replace(EVALUATOR, decide="calibrated"),
    )

    assert found.chosen is chosen
    assert ("gold labels together with the 40 validation" in found.reason) == (chosen is A)
