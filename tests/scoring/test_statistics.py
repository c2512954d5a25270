from itertools import pairwise
from math import comb

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pld_dspy.errors import ConfigError, DataError
from pld_dspy.scoring import statistics as stats
from pld_dspy.scoring.metrics import CorpusMetric, accuracy, macro_f1, mcc
from pld_dspy.scoring.statistics import (
    bootstrap_interval,
    holm,
    mcnemar,
    paired_bootstrap,
    paired_bootstrap_scores,
)

LABELS = ["a", "b", "c"]
label = st.sampled_from(LABELS)
answer = st.sampled_from([*LABELS, "zebra", None])
triples = st.lists(st.tuples(label, answer, answer), min_size=1, max_size=25)
METRICS = pytest.mark.parametrize("metric", [macro_f1, accuracy, mcc], ids=lambda m: m.name)


def slow(metric):
    """The same metric, unknown to the vectorised path."""
    return CorpusMetric("slow", metric.score)


def columns(rows):
    return [list(column) for column in zip(*rows, strict=True)]


def noisy(n=300, seed=0, rates=(0.6, 0.75)):
    rng = np.random.default_rng(seed)
    gold = rng.choice(LABELS, size=n, p=[0.6, 0.3, 0.1])
    out = [gold.tolist()]
    for rate in rates:
        wrong = rng.choice([*LABELS, None], size=n)
        out.append(np.where(rng.random(n) < rate, gold, wrong).tolist())
    return out


def naive_deltas(metric, gold, first, second, *, n, seed):
    """Loop definition on the same resamples: build each resample, call the metric twice."""
    rows, counts = stats._distinct_rows(gold, first, second)
    rng = np.random.default_rng(seed)
    for _ in range(n):
        times = rng.multinomial(len(gold), counts / len(gold))
        drawn = [row for row, k in zip(rows, times, strict=True) for _ in range(k)]
        g, a, b = columns(drawn)
        yield metric(g, b) - metric(g, a)


@METRICS
@settings(max_examples=25, deadline=None)
@given(rows=triples)
def test_paired_bootstrap_equals_the_loop_over_the_same_resamples(metric, rows):
    gold, first, second = columns(rows)
    deltas = np.array(list(naive_deltas(metric, gold, first, second, n=20, seed=3)))
    worse = np.mean([0.5 if abs(d) < 1e-12 else float(d < 0) for d in deltas])

    for used in (metric, slow(metric)):
        result = paired_bootstrap(used, gold, first, second, n=20, seed=3)
        expected = metric(gold, second) - metric(gold, first)
        assert result.delta.estimate == pytest.approx(expected, abs=1e-12)
        assert result.delta.low == pytest.approx(np.quantile(deltas, 0.025), abs=1e-12)
        assert result.delta.high == pytest.approx(np.quantile(deltas, 0.975), abs=1e-12)
        assert result.p_worse == pytest.approx(worse, abs=1e-12)


@METRICS
def test_interval_agrees_with_resampling_by_index(metric):
    gold, predicted, _ = noisy()
    rng = np.random.default_rng(1)
    scores = []
    for _ in range(1000):
        picked = rng.integers(len(gold), size=len(gold))
        scores.append(metric([gold[i] for i in picked], [predicted[i] for i in picked]))

    interval = bootstrap_interval(metric, gold, predicted, n=2000, seed=0)

    # Another stream, so equal up to Monte Carlo error: ends of a 1000-sample 95% interval.
    assert interval.estimate == metric(gold, predicted)
    assert interval.low == pytest.approx(np.quantile(scores, 0.025), abs=0.015)
    assert interval.high == pytest.approx(np.quantile(scores, 0.975), abs=0.015)
    assert interval.low < interval.estimate < interval.high


@METRICS
def test_seed_decides_the_result_and_the_order_of_examples_does_not(metric):
    gold, first, second = noisy()
    turned = gold[::-1], first[::-1], second[::-1]

    result = paired_bootstrap(metric, gold, first, second, n=200, seed=5)
    other = paired_bootstrap(metric, *turned, n=200, seed=5)

    assert other.delta.low == pytest.approx(result.delta.low, abs=1e-12)
    assert other.p_worse == result.p_worse
    assert paired_bootstrap(metric, gold, first, second, n=200, seed=6).delta != result.delta


def test_small_blocks_give_the_same_resamples(monkeypatch):
    gold, first, second = noisy()
    whole = paired_bootstrap(macro_f1, gold, first, second, n=100, seed=5)
    monkeypatch.setattr(stats, "_BLOCK", 40)
    blocks = paired_bootstrap(macro_f1, gold, first, second, n=100, seed=5)
    assert blocks.delta.low == pytest.approx(whole.delta.low, abs=1e-12)
    assert blocks.p_worse == whole.p_worse


def test_p_worse_tells_better_worse_and_equal_apart():
    gold, poor, good = noisy(rates=(0.3, 0.95))
    assert paired_bootstrap(macro_f1, gold, poor, good, seed=0).p_worse == 0.0
    assert paired_bootstrap(macro_f1, gold, good, poor, seed=0).p_worse == 1.0
    assert paired_bootstrap(macro_f1, gold, good, good, seed=0).p_worse == 0.5


@given(triples)
@settings(max_examples=40, deadline=None)
def test_swapping_the_two_mirrors_the_result(rows):
    gold, first, second = columns(rows)
    scores = [
        [float(g == a) for g, a in zip(gold, answers, strict=True)] for answers in (first, second)
    ]
    ahead = paired_bootstrap_scores(*scores, n=50, seed=0)
    behind = paired_bootstrap_scores(*scores[::-1], n=50, seed=0)
    assert behind.delta.estimate == pytest.approx(-ahead.delta.estimate, abs=1e-12)
    assert -1.0 <= ahead.delta.low <= ahead.delta.high <= 1.0
    assert 0.0 <= ahead.p_worse <= 1.0


def test_score_version_equals_the_accuracy_version_in_distribution():
    gold, first, second = noisy()
    scores = [
        [float(g == a) for g, a in zip(gold, answers, strict=True)] for answers in (first, second)
    ]
    by_label = paired_bootstrap(accuracy, gold, first, second, n=4000, seed=0).delta
    by_score = paired_bootstrap_scores(*scores, n=4000, seed=0).delta
    assert by_score.estimate == pytest.approx(by_label.estimate, abs=1e-12)
    assert by_score.low == pytest.approx(by_label.low, abs=0.01)
    assert by_score.high == pytest.approx(by_label.high, abs=0.01)


@given(st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1)), min_size=1, max_size=12))
@settings(max_examples=30, deadline=None)
def test_score_version_equals_the_loop_over_the_same_resamples(pairs):
    first, second = columns(pairs)
    values, counts = np.unique(np.array(second) - np.array(first), return_counts=True)
    rng = np.random.default_rng(2)
    deltas = []
    for _ in range(20):
        times = rng.multinomial(len(first), counts / len(first))
        deltas.append(np.mean(np.repeat(values, times)))
    result = paired_bootstrap_scores(first, second, n=20, seed=2)
    assert result.delta.low == pytest.approx(np.quantile(deltas, 0.025), abs=1e-12)
    assert result.delta.high == pytest.approx(np.quantile(deltas, 0.975), abs=1e-12)


def test_interval_covers_the_truth_about_as_often_as_it_says():
    hits = 0
    for seed in range(200):
        rng = np.random.default_rng(seed)
        said = np.where(rng.random(150) < 0.7, "a", "b").tolist()
        interval = bootstrap_interval(accuracy, ["a"] * 150, said, n=300, seed=seed)
        hits += interval.low <= 0.7 <= interval.high
    assert 0.90 <= hits / 200 <= 0.985  # 95% nominal, 200 trials: sd 0.015


def test_bad_input_is_refused_in_one_line():
    with pytest.raises(DataError, match="0 examples"):
        bootstrap_interval(macro_f1, [], [], seed=0)
    with pytest.raises(DataError, match="2 gold labels but 1 answers"):
        paired_bootstrap(macro_f1, ["a", "b"], ["a", "b"], ["a"], seed=0)
    with pytest.raises(ConfigError, match="0 resamples"):
        bootstrap_interval(macro_f1, ["a"], ["a"], n=0, seed=0)
    with pytest.raises(DataError, match="1 first and 2 second scores"):
        paired_bootstrap_scores([1.0], [1.0, 0.0], seed=0)
    with pytest.raises(DataError, match=r"example 1 are nan and 0\.5"):
        paired_bootstrap_scores([1.0, float("nan")], [1.0, 0.5], seed=0)
    with pytest.raises(DataError, match="2 gold labels but 1 answers"):
        mcnemar(["a", "b"], ["a", "b"], ["a"])


@given(triples)
@settings(deadline=None)
def test_mcnemar_equals_the_binomial_sum(rows):
    gold, first, second = columns(rows)
    lost = sum(a == g != b for g, a, b in rows)
    won = sum(b == g != a for g, a, b in rows)
    total = lost + won
    tail = sum(comb(total, k) for k in range(min(lost, won) + 1)) / 2**total
    assert mcnemar(gold, first, second) == pytest.approx(min(1.0, 2 * tail), rel=1e-12)
    assert mcnemar(gold, second, first) == pytest.approx(mcnemar(gold, first, second), rel=1e-12)


def test_mcnemar_by_hand():
    gold = ["a"] * 6
    # Six discordant pairs, all one way: 2 * 0.5**6.
    assert mcnemar(gold, ["b"] * 6, gold) == pytest.approx(0.03125, rel=1e-12)


def naive_holm(pvalues):
    """Smallest level at which the step-down procedure rejects each hypothesis."""
    m = len(pvalues)
    ranked = sorted(pvalues)
    return [
        min(1.0, max((m - j) * q for j, q in enumerate(ranked[: ranked.index(p) + 1])))
        for p in pvalues
    ]


@given(st.lists(st.floats(0, 1), max_size=8))
def test_holm_equals_its_definition(pvalues):
    adjusted = holm(pvalues)
    assert adjusted == pytest.approx(naive_holm(pvalues), rel=1e-12)
    ordered = [q for _, q in sorted(zip(pvalues, adjusted, strict=True))]
    assert all(low <= high for low, high in pairwise(ordered))


def test_holm_refuses_what_is_no_probability():
    with pytest.raises(DataError, match=r"p value 1\.5 is outside"):
        holm([0.1, 1.5])
