"""Separability: what the label probabilities know, whatever their bias."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import log_softmax
from sklearn.metrics import roc_auc_score

from pld_dspy.records import Answer
from pld_dspy.scoring.separability import separability, separability_change

LABELS = ("a", "b", "c")


def answers_of(logits, gold):
    return [
        Answer(
            example_id=str(n),
            gold=LABELS[label],
            answer=None,
            probabilities=dict(zip(LABELS, np.exp(row).tolist(), strict=True)),
        )
        for n, (row, label) in enumerate(zip(log_softmax(logits, axis=1), gold, strict=True))
    ]


def draw(seed, *, signal, n=60):
    rng = np.random.default_rng(seed)
    gold = np.arange(n) % 3
    return rng.normal(size=(n, 3)) + signal * np.eye(3)[gold], gold


@given(st.integers(0, 10_000), st.floats(0, 4), st.lists(st.floats(-3, 3), min_size=3, max_size=3))
def test_it_is_the_mean_area_of_sklearn_and_a_bias_does_not_change_it(seed, signal, bias):
    logits, gold = draw(seed, signal=signal)
    found = separability(answers_of(logits, gold), LABELS)
    centred = logits - logits.mean(axis=1, keepdims=True)
    areas = [roc_auc_score(gold == k, centred[:, k]) for k in range(3)]
    assert found == pytest.approx(np.mean(areas), abs=1e-9)
    assert separability(answers_of(logits + bias, gold), LABELS) == pytest.approx(found, abs=1e-3)


def test_a_change_has_an_interval_around_it():
    weak, gold = draw(1, signal=0.5)
    strong, _ = draw(1, signal=3.0)
    change = separability_change(answers_of(weak, gold), answers_of(strong, gold), LABELS)
    assert 0 < change.low < change.estimate < change.high
    same = separability_change(
        answers_of(weak, gold), answers_of(np.add(weak, [5, 0, 0]), gold), LABELS
    )
    assert abs(same.estimate) < 1e-3
    assert same.low <= 0 <= same.high or abs(same.low) < 1e-3


@pytest.mark.parametrize("known", [0, 10])
def test_it_is_unknown_without_probabilities(known):
    logits, gold = draw(2, signal=1.0)
    answers = [
        a if n < known else Answer(example_id=a.example_id, gold=a.gold, answer="a")
        for n, a in enumerate(answers_of(logits, gold))
    ]
    assert separability(answers, LABELS) is None
    assert separability_change(answers, answers_of(logits, gold), LABELS) is None


def test_one_gold_label_separates_nothing():
    logits, _ = draw(3, signal=1.0)
    assert separability(answers_of(logits, [0] * 60), LABELS) is None
