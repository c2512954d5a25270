"""Decisions: corrections of label probabilities, fitted to labelled answers."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import log_softmax, softmax
from sklearn.linear_model import LogisticRegression

from pld_dspy.errors import DataError
from pld_dspy.records import Answer, Decision
from pld_dspy.scoring.decisions.calibration import Calibrator, decided
from pld_dspy.scoring.decisions.fits import RIDGE
from pld_dspy.scoring.metrics import accuracy, macro_f1

LABELS = ("a", "b", "c", "d")


def answers_of(log_p, gold, labels=LABELS, *, unread=None):
    """Answers whose text names the most probable label, unless it is unread."""
    made = []
    for number, (row, label) in enumerate(zip(log_p, gold, strict=True)):
        said = None if unread is not None and unread[number] else labels[int(np.argmax(row))]
        made.append(
            Answer(
                example_id=str(number),
                gold=labels[label],
                answer=said,
                read=said,
                score=float(said == labels[label]),
                probabilities=dict(zip(labels, np.exp(row).tolist(), strict=True)),
            )
        )
    return made


def draw(rng, n, *, labels=4, signal=3.0, bias=(), balanced=True):
    """Log-probabilities of a student that knows the label, with noise, and is biased."""
    gold = np.arange(n) % labels if balanced else rng.integers(labels, size=n)
    logits = rng.normal(size=(n, labels)) + signal * np.eye(labels)[gold]
    shift = np.zeros(labels)
    shift[: len(bias)] = bias
    return log_softmax(logits + shift, axis=1), gold


def score(answers, metric=macro_f1):
    return metric([a.gold for a in answers], [a.counted for a in answers])


def with_decision(answers, decision):
    return [decided(answer, decision) for answer in answers]


def test_a_planted_bias_is_found_and_removed():
    rng = np.random.default_rng(0)
    bias = (6.0, 0.0, -2.0, 1.0)
    seen, fresh = (answers_of(*draw(rng, n, bias=bias)) for n in (80, 800))
    unbiased = score(answers_of(*draw(np.random.default_rng(0), 800)))
    decision = Calibrator(labels=LABELS, metric=macro_f1).fit(seen)
    offsets = np.array([decision.offsets[label] for label in LABELS])
    found = -(offsets - offsets.mean()) * decision.temperature
    assert np.abs(found - (np.array(bias) - np.mean(bias))).max() < 1.2
    assert score(fresh) < 0.45
    assert score(with_decision(fresh, decision)) > unbiased - 0.05


def test_a_right_student_is_left_as_it_is():
    log_p, gold = draw(np.random.default_rng(1), 60, signal=30.0)
    decision = Calibrator(labels=LABELS, metric=macro_f1).fit(answers_of(log_p, gold))
    assert decision == Decision(kind="greedy")


def random_student(rng):
    """A student of random knowledge, bias, peakedness and readability; draws (seen, fresh) answers."""
    count = int(rng.choice([2, 3, 4, 6, 10]))
    labels = tuple("abcdefghij"[:count])
    signal = rng.choice([0.0, 0.5, 1.0, 2.0, 3.0, 5.0])
    bias = rng.normal(size=count) * rng.choice([0.0, 0.0, 1.0, 3.0, 6.0])
    noise, peak = rng.choice([0.5, 1.0, 2.0]), rng.choice([0.5, 1.0, 3.0])
    confusion = signal * (np.eye(count) + 0.3 * rng.normal(size=(count, count)))
    misses = rng.choice([0.0, 0.0, 0.0, 0.1, 0.3])

    def some(n):
        gold = rng.permutation(np.arange(n) % count)
        logits = confusion[gold] + noise * rng.normal(size=(n, count)) + bias
        log_p = np.maximum(log_softmax(logits * peak, axis=1), np.log(1e-6))
        return answers_of(log_p, gold, labels, unread=rng.random(n) < misses)

    return labels, some


def test_calibration_is_never_worse_than_greedy_over_200_random_students():
    gains = []
    for seed in range(200):
        labels, some = random_student(np.random.default_rng(seed))
        seen, fresh = some(48), some(1500)
        decision = Calibrator(labels=labels, metric=macro_f1).fit(seen)
        gains.append(score(with_decision(fresh, decision)) - score(fresh))
    assert np.mean(gains) > 0.15
    assert min(gains) > -0.02


def test_every_kind_of_decision_is_fitted_the_chosen_one_as_alone():
    seen = answers_of(*draw(np.random.default_rng(0), 80, bias=(6.0, 0.0, -2.0, 1.0)))
    calibrator = Calibrator(labels=LABELS, metric=macro_f1)
    every = calibrator.every(seen)

    fitted = ("mean", "offsets", "offsets and temperature")
    assert tuple(d.kind for d in every) == ("greedy", "probable", *fitted)
    assert calibrator.fit(seen) in every
    unknown = [replace(answer, probabilities={}) for answer in seen]
    assert calibrator.every(unknown) == (Decision(kind="greedy"),)


def test_cross_fitted_scores_are_those_of_fresh_examples():
    """The score out of fold is not optimistic: over many students it equals that on fresh answers."""
    gaps = []
    for seed in range(60):
        labels, some = random_student(np.random.default_rng(1000 + seed))
        seen, fresh = some(60), some(1500)
        calibrator = Calibrator(labels=labels, metric=macro_f1)
        gaps.append(
            score(calibrator.crossfit(seen)) - score(with_decision(fresh, calibrator.fit(seen)))
        )
    assert abs(np.mean(gaps)) < 0.02


def test_offsets_are_those_of_a_multinomial_regression():
    """By the naive definition: a grid around the fit has no smaller penalised log-loss."""
    rng = np.random.default_rng(3)
    log_p, gold = draw(rng, 48, bias=(4.0, 0.0, -3.0, 0.0), signal=1.5)
    calibrator = Calibrator(labels=LABELS, metric=accuracy, kinds=("offsets and temperature",))
    decision = calibrator.fit(answers_of(log_p, gold))
    assert decision.kind == "offsets and temperature"
    scale = 1 / decision.temperature
    fitted = np.array([decision.offsets[label] for label in LABELS])

    def loss(scale, offsets):
        chosen = log_softmax(scale * log_p + offsets, axis=1)[np.arange(len(gold)), gold]
        centred = offsets - offsets.mean()
        return -chosen.mean() + RIDGE * (centred @ centred + np.log(scale) ** 2)

    best = loss(scale, fitted)
    for place in range(4):
        for step in (-0.05, 0.05):
            moved = fitted + step * np.eye(4)[place]
            assert loss(scale, moved) > best - 1e-4
    assert min(loss(scale * f, fitted) for f in (0.95, 1.05)) > best - 1e-4


def test_equal_log_probabilities_give_the_prior_of_a_regression_without_features():
    """A student that knows nothing: the offsets are the log shares of the labels (sklearn's intercept)."""
    gold = np.array([1] * 30 + [0] * 10 + [2] * 5 + [3] * 3)
    log_p = np.full((48, 4), np.log(0.25))
    calibrator = Calibrator(labels=LABELS, metric=accuracy, kinds=("offsets",))
    answers = answers_of(log_p, gold)
    decision = calibrator.fit(answers)
    assert {decided(a, decision).answer for a in answers} == {"b"}
    model = LogisticRegression(C=1e6).fit(np.zeros((48, 1)), gold)
    found = softmax([decision.offsets[label] for label in LABELS])
    assert np.abs(found - softmax(model.intercept_)).max() < 0.02


@st.composite
def some_answers(draw_, least=0):
    count = draw_(st.integers(2, 50))
    labels = tuple(f"label {n}" for n in range(count))
    n = draw_(st.integers(least, 60))
    rng = np.random.default_rng(draw_(st.integers(0, 2**32 - 1)))
    kind = draw_(st.sampled_from(["noise", "constant", "separable", "one class missing"]))
    gold = rng.integers(count, size=n)
    if kind == "one class missing" and count > 2:
        gold = gold % (count - 1)
    logits = rng.normal(size=(n, count))
    if kind == "constant":
        logits[:] = 0.0
    if kind == "separable":
        logits += 20 * np.eye(count)[gold]
    return labels, answers_of(log_softmax(logits, axis=1), gold, labels)


@settings(max_examples=60, deadline=None)
@given(some_answers(), st.sampled_from([macro_f1, accuracy]))
def test_any_answers_give_a_decision_that_can_be_stored_and_used(given_, metric):
    labels, answers = given_
    calibrator = Calibrator(labels=labels, metric=metric)
    decision = calibrator.fit(answers)
    assert Decision.from_dict(decision.to_dict()) == decision
    assert np.isfinite([decision.temperature, *decision.offsets.values()]).all()
    assert decision.temperature > 0
    again = calibrator.fit(answers)
    assert again == decision
    labelled = calibrator.crossfit(answers)
    assert [a.example_id for a in labelled] == [a.example_id for a in answers]
    assert all(a.answer in labels for a in labelled)
    assert all(0.0 <= (a.p_gold or 0.0) <= 1.0 for a in labelled)
    for answer in answers[:5]:
        adjusted = decision.adjusted(answer.probabilities)
        assert sum(adjusted.values()) == pytest.approx(1.0)


@settings(max_examples=30, deadline=None)
@given(some_answers(least=10))
def test_deciding_twice_is_deciding_once_and_can_be_taken_back(given_):
    labels, answers = given_
    decision = Decision(kind="offsets", offsets={labels[0]: 3.0})
    once = with_decision(answers, decision)
    assert with_decision(once, decision) == once
    assert [a.answer for a in with_decision(once, None)] == [a.read for a in answers]
    assert [a.score for a in with_decision(once, None)] == [a.score for a in answers]


def test_a_label_without_examples_is_neither_always_nor_never_chosen():
    rng = np.random.default_rng(5)
    log_p, gold = draw(rng, 60, bias=(8.0,), signal=4.0)
    seen = [a for a in answers_of(log_p, gold) if a.gold != "a"]
    fresh = answers_of(*draw(rng, 400, bias=(8.0,), signal=4.0))
    said = with_decision(fresh, Calibrator(labels=LABELS, metric=macro_f1).fit(seen))
    hits = [a.score for a in said if a.gold == "a"]
    others = [a.score for a in said if a.gold != "a"]
    assert np.mean(others) > 0.7
    assert np.mean(hits) > 0.2


def test_unreadable_answers_get_their_most_probable_label():
    log_p, gold = draw(np.random.default_rng(6), 60)
    answers = answers_of(log_p, gold, unread=np.arange(60) % 3 == 0)
    decision = Calibrator(labels=LABELS, metric=macro_f1).fit(answers)
    assert decision.kind != "greedy"
    assert all(decided(answer, decision).answer is not None for answer in answers)


@pytest.mark.parametrize("known", [0, 5, 20])
def test_answers_without_probabilities_stay_as_read(known):
    log_p, gold = draw(np.random.default_rng(7), 60, bias=(9.0,))
    answers = [
        answer if number < known else replace(answer, probabilities=None)
        for number, answer in enumerate(answers_of(log_p, gold))
    ]
    calibrator = Calibrator(labels=LABELS, metric=macro_f1)
    assert calibrator.fit(answers) == Decision(kind="greedy")
    assert [a.answer for a in calibrator.crossfit(answers)] == [a.read for a in answers]


def test_an_error_stays_an_error():
    failed = Answer(example_id="1", gold="a", answer=None, error="boom", probabilities={"a": 1.0})
    assert decided(failed, Decision(kind="probable")) is failed


def test_offsets_by_topic_follow_the_prior_of_the_topic():
    """A student that cannot tell the labels apart: the topic's label is all there is to know."""
    rng = np.random.default_rng(8)
    topics = [("x", "y")[n % 2] for n in range(96)]
    mostly = {"x": 0, "y": 1}
    gold = np.array([mostly[t] if rng.random() < 0.85 else 2 + rng.integers(2) for t in topics])
    answers = answers_of(log_softmax(0.1 * rng.normal(size=(96, 4)), axis=1), gold)
    shares = {t: np.bincount(gold[[s == t for s in topics]], minlength=4) + 1.0 for t in "xy"}
    priors = {
        t: dict(zip(LABELS, np.log(c / c.sum()) - np.log(sum(shares.values()) / 100), strict=True))
        for t, c in shares.items()
    }
    plain = Calibrator(labels=LABELS, metric=accuracy)
    by_topic = Calibrator(labels=LABELS, metric=accuracy, topic_field="topic", priors=priors)
    decision = by_topic.fit(answers, topics)
    assert decision.kind == "offsets by topic"
    assert decision.topic_field == "topic"
    said = [decided(a, decision, t) for a, t in zip(answers, topics, strict=True)]
    assert score(said, accuracy) > score(plain.crossfit(answers), accuracy) + 0.2
    unseen = decided(answers[0], decision, "z")
    assert unseen.answer == decided(answers[0], decision, None).answer


@pytest.mark.parametrize(
    "stored",
    [
        {"kind": "guess"},
        {"kind": "offsets", "offsets": {"a": float("nan")}},
        {"offsets": {}},
        {"kind": "offsets", "shift": 1},
    ],
)
def test_a_decision_that_cannot_be_read_is_refused(stored):
    with pytest.raises(DataError, match="save the program again"):
        Decision.from_dict(stored)
