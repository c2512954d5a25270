import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import f1_score, matthews_corrcoef

from pld_dspy.errors import ConfigError, DataError
from pld_dspy.scoring.metrics import CorpusMetric, accuracy, macro_f1, mcc, metric_by_name, weights

LABELS = ["a", "b", "c"]
answers = st.lists(
    st.tuples(st.sampled_from(LABELS), st.sampled_from([*LABELS, "zebra", None])),
    min_size=1,
    max_size=30,
)


def naive_macro_f1(gold, predicted):
    scores = []
    for label in sorted(set(gold)):
        tp = sum(g == label and p == label for g, p in zip(gold, predicted, strict=True))
        fp = sum(g != label and p == label for g, p in zip(gold, predicted, strict=True))
        fn = sum(g == label and p != label for g, p in zip(gold, predicted, strict=True))
        precision = tp / (tp + fp) if tp + fp else 0.0
        recall = tp / (tp + fn)
        both = precision + recall
        scores.append(2 * precision * recall / both if both else 0.0)
    return float(np.mean(scores))


@given(answers)
def test_macro_f1_equals_its_definition_and_sklearn_over_the_gold_labels(pairs):
    gold, predicted = zip(*pairs, strict=True)
    said = ["<none>" if p is None else p for p in predicted]
    reference = f1_score(gold, said, labels=sorted(set(gold)), average="macro", zero_division=0.0)

    assert macro_f1(gold, predicted) == pytest.approx(naive_macro_f1(gold, predicted), rel=1e-12)
    assert macro_f1(gold, predicted) == pytest.approx(reference, rel=1e-12)


@given(answers)
def test_mcc_equals_sklearn_with_unread_answers_as_a_class(pairs):
    gold, predicted = zip(*pairs, strict=True)
    said = ["<none>" if p is None else p for p in predicted]
    one_class = len({*gold, *said}) == 1  # sklearn gives 0.0 too, with a warning
    expected = 0.0 if one_class else matthews_corrcoef(gold, said)
    assert mcc(gold, predicted) == pytest.approx(expected, abs=1e-12)


@given(answers)
def test_accuracy_is_the_share_of_equal_pairs(pairs):
    gold, predicted = zip(*pairs, strict=True)
    equal = [g == p for g, p in pairs]
    assert accuracy(gold, predicted) == pytest.approx(np.mean(equal), rel=1e-12)


@given(answers, st.randoms(use_true_random=False))
def test_order_of_the_examples_does_not_matter(pairs, shuffler):
    shuffled = list(pairs)
    shuffler.shuffle(shuffled)
    for metric in (macro_f1, accuracy, mcc):
        first = metric(*zip(*pairs, strict=True))
        assert metric(*zip(*shuffled, strict=True)) == pytest.approx(first, abs=1e-12)


def test_an_unread_answer_costs_recall_but_adds_no_class():
    gold = ["a", "a", "b", "b"]
    # F1(a) = 2*1/(2+1) = 2/3, F1(b) = 1, over two classes whatever the miss was.
    for miss in (None, "banana", ""):
        assert macro_f1(gold, ["a", miss, "b", "b"]) == pytest.approx(5 / 6, rel=1e-12)


def test_a_string_that_looks_like_a_missing_answer_stays_a_label():
    assert mcc(["None", "a"], ["None", "a"]) == pytest.approx(1.0)
    assert mcc(["None", "a"], [None, "a"]) < 1.0


@pytest.mark.parametrize("metric", [macro_f1, accuracy, mcc])
def test_perfect_answers_score_one(metric: CorpusMetric):
    assert metric(LABELS, LABELS) == pytest.approx(1.0)


@pytest.mark.parametrize("metric", [macro_f1, accuracy, mcc])
def test_no_examples_and_unequal_lengths_are_data_errors(metric: CorpusMetric):
    with pytest.raises(DataError, match="0 examples"):
        metric([], [])
    with pytest.raises(DataError, match="2 gold labels but 1 answers"):
        metric(["a", "b"], ["a"])


def test_metrics_are_found_by_name_and_a_typo_names_the_nearest():
    assert [metric_by_name(name) for name in ("macro_f1", "accuracy", "mcc")] == [
        macro_f1,
        accuracy,
        mcc,
    ]
    with pytest.raises(
        ConfigError, match="no metric is called 'macro-f1'; did you mean 'macro_f1'"
    ):
        metric_by_name("macro-f1")


@given(st.lists(st.sampled_from(LABELS), min_size=1, max_size=40))
def test_weights_give_every_class_the_same_total_and_average_one(gold):
    by_label = weights(gold)
    totals = [gold.count(label) * by_label[label] for label in set(gold)]
    assert totals == pytest.approx([len(gold) / len(set(gold))] * len(totals), rel=1e-12)
    assert sum(totals) == pytest.approx(len(gold), rel=1e-12)


def test_weights_of_no_examples_is_a_data_error():
    with pytest.raises(DataError, match="0 examples"):
        weights([])
