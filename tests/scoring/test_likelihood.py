"""Likelihood against what it must not depend on (bias, temperature) and what it must (knowledge)."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import log_softmax, softmax

from fakes import FakeEngine, fake_lm
from pld_dspy.ledger.store import StageStore
from pld_dspy.records import Answer, Evaluation
from pld_dspy.scoring.decisions.calibration import Calibrator
from pld_dspy.scoring.decisions.likelihood import compared_with, likelier
from pld_dspy.scoring.evaluator import Evaluator
from pld_dspy.scoring.metrics import accuracy, macro_f1

LABELS = ("red", "blue", "grey")
EVALUATOR = Evaluator(
    lm=fake_lm(FakeEngine(str)),
    metric=macro_f1,
    label_key="label",
    labels=LABELS,
    store=StageStore(),
    decide="calibrated",
)


def logits(knowledge, n=45, seed=0):
    """Rows of a student that knows the label with some noise, and the gold labels."""
    rng = np.random.default_rng(seed)
    gold = np.arange(n) % len(LABELS)
    return knowledge * np.eye(len(LABELS))[gold] + rng.normal(size=(n, len(LABELS))), gold


def evaluation(rows, gold):
    answers = [
        Answer(
            example_id=f"e{place}",
            gold=LABELS[label],
            answer=LABELS[int(row.argmax())],
            read=LABELS[int(row.argmax())],
            probabilities=dict(zip(LABELS, softmax(row).tolist(), strict=True)),
        )
        for place, (row, label) in enumerate(zip(rows, gold, strict=True))
    ]
    score = macro_f1([a.gold for a in answers], [a.answer for a in answers])
    return Evaluation(
        candidate_id="c", split="val", metric="macro_f1", score=score, answers=tuple(answers)
    )


def test_two_students_that_say_the_same_are_told_apart_by_how_sure_they_are():
    rows, gold = logits(1.0)
    said = np.eye(len(LABELS))[rows.argmax(axis=1)]
    right = said.argmax(axis=1) == gold
    # The same labels, with little between them where they are wrong.
    surer = np.where(right[:, None], 3 * said, 0.1 * said)
    first, second = evaluation(0.5 * said, gold), evaluation(surer, gold)

    assert first.score == second.score
    found = likelier(EVALUATOR, first, second)
    assert found.delta.low > 0
    assert found.p_worse < 0.01
    assert EVALUATOR.compare(first, second).p_worse == 0.5


@given(offsets=st.lists(st.floats(-2, 2), min_size=3, max_size=3), temperature=st.floats(0.5, 2.0))
def test_bias_and_temperature_count_for_little(offsets, temperature):
    rows, gold = logits(1.5)
    change = likelier(
        EVALUATOR, evaluation(rows, gold), evaluation(rows / temperature + offsets, gold)
    )

    # Not for nothing: the ridge pulls offsets and temperature to none.
    assert abs(change.delta.estimate) < 0.1


def test_more_knowledge_is_likelier_in_every_draw():
    for seed in range(20):
        rows, gold = logits(1.0, seed=seed)
        knows = evaluation(rows + 1.5 * np.eye(len(LABELS))[gold], gold)
        assert likelier(EVALUATOR, evaluation(rows, gold), knows).delta.estimate > 0


def test_likelihoods_are_those_of_the_gold_label_out_of_fold_by_class_weight():
    rows, gold = logits(1.0, n=40)
    calibrator = Calibrator(labels=LABELS, metric=macro_f1)
    found = calibrator.likelihoods(evaluation(rows, gold).answers)
    plain = log_softmax(rows, axis=1)[np.arange(40), gold]

    # These rows need no correction, so the fit changes little.
    share = np.bincount(gold)[gold] / 40
    expected = plain / (len(LABELS) * share)
    assert list(found) == [f"e{n}" for n in range(40)]
    assert np.mean(list(found.values())) == pytest.approx(expected.mean(), abs=0.15)
    unweighted = replace(calibrator, metric=accuracy).likelihoods(evaluation(rows, gold).answers)
    assert np.corrcoef(list(unweighted.values()), plain)[0, 1] > 0.9


def test_a_student_that_knows_nothing_has_the_likelihood_of_chance():
    gold = np.arange(60) % len(LABELS)
    flat = evaluation(np.zeros((60, len(LABELS))), gold)
    found = Calibrator(labels=LABELS, metric=macro_f1).likelihoods(flat.answers)

    assert np.mean(list(found.values())) == pytest.approx(-np.log(len(LABELS)), abs=0.01)


def test_one_sure_mistake_among_few_answers_does_not_decide():
    """The other folds have none, so that a free temperature would make it cost seven nats."""
    gold = np.arange(24) % len(LABELS)
    said = np.where(np.arange(24) > 0, gold, (gold + 1) % len(LABELS))
    rows = np.log(np.where(np.eye(len(LABELS))[said] > 0, 0.5, 0.25))
    found = Calibrator(labels=LABELS, metric=macro_f1).likelihoods(evaluation(rows, gold).answers)

    assert -4 < found["e0"] < -1
    assert min(p for name, p in found.items() if name != "e0") > -0.5


@pytest.mark.parametrize(
    "evaluator",
    [
        replace(EVALUATOR, decide="greedy"),
        replace(EVALUATOR, decide="probable"),
        replace(EVALUATOR, labels=()),
        replace(EVALUATOR, metric=lambda example, prediction: 1.0),
    ],
)
def test_without_a_fitted_decision_it_is_unknown(evaluator):
    scored = evaluation(*logits(1.0))
    assert likelier(evaluator, scored, scored) is None


def test_without_probabilities_for_most_answers_the_metric_compares():
    first, second = evaluation(*logits(0.5)), evaluation(*logits(3.0))
    bare = replace(second, answers=tuple(replace(a, probabilities=None) for a in second.answers))

    assert likelier(EVALUATOR, first, bare) is None
    assert Calibrator(labels=LABELS, metric=macro_f1).likelihoods(bare.answers) == {}
    assert compared_with(EVALUATOR, first, [second, bare]) == [
        EVALUATOR.compare(first, second),
        EVALUATOR.compare(first, bare),
    ]
    assert compared_with(EVALUATOR, first, [second]) == [likelier(EVALUATOR, first, second)]
    assert compared_with(EVALUATOR, first, []) == []
