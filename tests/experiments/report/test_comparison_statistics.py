"""The comparison's statistics against their naive definitions."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from comparison_lines import LABELS, answers, line
from experiments.report.resampling import (
    SeedAnswers,
    _draws,
    interval_over_seeds,
    paired_over_seeds,
)
from experiments.report.statistics import (
    GIVEN,
    OURS,
    TEACHER,
    below_given,
    break_even,
    difference,
    pairs,
    pooled_mcnemar,
    seconds_of,
    standings,
    validation_gap,
)
from pld_dspy.errors import DataError
from pld_dspy.scoring.metrics import CorpusMetric, accuracy, macro_f1
from pld_dspy.scoring.statistics import holm, mcnemar, paired_bootstrap

METRICS = pytest.mark.parametrize("metric", [macro_f1, accuracy], ids=lambda m: m.name)
answer = st.sampled_from([*LABELS, "zebra", None])
seed_answers = st.lists(
    st.tuples(st.sampled_from(LABELS), answer, answer), min_size=1, max_size=12
).map(lambda rows: SeedAnswers(*map(list, zip(*rows, strict=True))))
seeds = st.lists(seed_answers, min_size=1, max_size=4)


def runs(rates, *, n=80, count=3):
    """Answers of two programs with these rates, for several seeds."""
    made = []
    for seed in range(count):
        gold = np.random.default_rng(seed).choice(LABELS, size=n).tolist()
        made.append(SeedAnswers(gold, *(answers(gold, r, 50 + 7 * seed) for r in rates)))
    return made


def naive_deltas(metric, found, *, n, seed):
    """Loop definition on the same draws: the drawn seeds' examples one by one, then the metric."""
    draws = _draws(tuple(len(run.gold) for run in found), n, seed)
    taken = [0] * len(found)
    for number in range(n):
        deltas = []
        for place in range(len(found)):
            k = next(k for k, draw in enumerate(draws) if draw.where[number, place])
            times = draws[k].times[taken[k]].astype(int)
            taken[k] += 1
            picked = [i for i, count in enumerate(times) for _ in range(count)]
            gold, first, second = ([column[i] for i in picked] for column in found[k])
            deltas.append(metric(gold, second) - metric(gold, first))
        yield sum(deltas) / len(deltas)


@METRICS
@settings(max_examples=20, deadline=None)
@given(found=seeds)
def test_paired_intervals_equal_the_loop_over_seeds_and_examples(metric, found):
    result = paired_over_seeds(metric, found, n=25, seed=3)
    deltas = list(naive_deltas(metric, found, n=25, seed=3))

    assert result.delta.low == pytest.approx(np.quantile(deltas, 0.025), abs=1e-9)
    assert result.delta.high == pytest.approx(np.quantile(deltas, 0.975), abs=1e-9)
    assert result.delta.estimate == pytest.approx(
        np.mean([metric(r.gold, r.second) - metric(r.gold, r.first) for r in found])
    )


@METRICS
@settings(max_examples=20, deadline=None)
@given(found=seeds)
def test_exchanging_first_and_second_changes_the_signs_alone(metric, found):
    there = paired_over_seeds(metric, found, n=40, seed=0).delta
    back = [SeedAnswers(r.gold, r.second, r.first) for r in found]
    again = paired_over_seeds(metric, back, n=40, seed=0).delta

    assert (again.estimate, again.low, again.high) == pytest.approx(
        (-there.estimate, -there.high, -there.low), abs=1e-9
    )


def test_each_resample_draws_as_many_seeds_and_examples_as_there_are():
    draws = _draws((5, 8, 3), 200, 0)
    drawn = sum(draw.where.sum(axis=1) for draw in draws)

    assert (drawn == 3).all()
    assert [set(draw.times.sum(axis=1)) for draw in draws] == [{5.0}, {8.0}, {3.0}]


def test_a_metric_without_counts_takes_the_long_way_to_the_same_interval():
    slow = CorpusMetric("slow", macro_f1.score)
    found = runs((0.5, 0.7), n=30)

    quick, long = (paired_over_seeds(m, found, n=60).delta for m in (macro_f1, slow))
    assert (quick.low, quick.high) == pytest.approx((long.low, long.high))


def test_with_one_seed_the_interval_is_that_of_the_examples():
    one = runs((0.4, 0.8), n=150, count=1)
    ours = paired_over_seeds(macro_f1, one).delta
    known = paired_bootstrap(macro_f1, *one[0], seed=0).delta

    assert ours.estimate == pytest.approx(known.estimate)
    assert (ours.low, ours.high) == pytest.approx((known.low, known.high), abs=0.02)


@pytest.mark.parametrize("difference", [0.0, 0.25])
def test_the_interval_covers_a_known_difference_about_as_often_as_it_says(difference):
    covered = 0
    for trial in range(120):
        rng = np.random.default_rng(trial)
        found = []
        for _ in range(6):
            gold = rng.choice(["a", "b"], size=60).tolist()
            drawn = rng.random((2, 60))
            lists = [
                [g if u < rate else "x" for g, u in zip(gold, us, strict=True)]
                for us, rate in zip(drawn, (0.5, 0.5 + difference), strict=True)
            ]
            found.append(SeedAnswers(gold, *lists))
        delta = paired_over_seeds(accuracy, found, n=150, seed=trial).delta
        covered += delta.low <= difference <= delta.high

    assert covered / 120 >= 0.88


def test_seeds_that_differ_widen_the_interval():
    gold = ["a", "b"] * 60
    good, bad = list(gold), ["x"] * 120
    alike = [SeedAnswers(gold, bad, [*good[:60], *bad[60:]])] * 4
    apart = [SeedAnswers(gold, bad, said) for said in (good, bad, good, bad)]

    widths = [i.high - i.low for i in (interval_over_seeds(accuracy, r) for r in (alike, apart))]
    assert widths[1] > 2 * widths[0]


@pytest.mark.parametrize(
    ("found", "message"),
    [([], "no seed to compare"), ([SeedAnswers(["a"], ["a"], [])], "1 gold labels but 0 answers")],
)
def test_answers_that_make_no_pair_are_refused(found, message):
    with pytest.raises(DataError, match=message):
        paired_over_seeds(accuracy, found)


@settings(max_examples=50, deadline=None)
@given(ps=st.lists(st.floats(0, 1), max_size=8))
def test_holm_equals_its_definition(ps):
    order = sorted(range(len(ps)), key=lambda i: ps[i])
    naive = [
        max(min(1.0, (len(ps) - rank) * ps[order[rank]]) for rank in range(order.index(i) + 1))
        for i in range(len(ps))
    ]

    assert holm(ps) == pytest.approx(tuple(naive))


def test_mcnemar_counts_the_answers_of_all_seeds_together():
    found = runs((0.5, 0.7), n=40)
    gold, first, second = ([x for run in found for x in run[k]] for k in range(3))

    assert pooled_mcnemar(found) == mcnemar(gold, first, second)
    assert pooled_mcnemar([]) is None


def test_holm_is_over_the_rivals_alone():
    lines = [
        line(name, rate=rate, seed=seed)
        for name, rate in {OURS: 0.9, "pld-refined": 0.8, "gepa": 0.6, "copro": 0.7}.items()
        for seed in range(2)
    ]
    found = {s.optimizer: s for s in standings([*lines, line(TEACHER, rate=0.95)])}
    corrected = holm([found[n].mcnemar_p for n in ("copro", "gepa")])

    assert (found["copro"].holm_p, found["gepa"].holm_p) == corrected
    assert [found[n].holm_p for n in (OURS, "pld-refined", TEACHER, GIVEN)] == [None] * 4


def test_contenders_are_ranked_and_references_are_not():
    lines = [line(n, rate=r) for n, r in ((OURS, 0.6), ("gepa", 0.95), ("copro", 0.1))]
    found = standings([*lines, line(TEACHER, rate=1.0)])

    assert [(s.optimizer, s.rank) for s in found] == [
        ("gepa", 1), (OURS, 2), ("copro", 3), (TEACHER, None), (GIVEN, None),
    ]  # fmt: skip
    assert [s.near_first for s in found] == [True, False, False, None, None]


def test_the_student_as_given_has_a_row_without_a_cell_of_its_own():
    own = [line(OURS, seed=seed) for seed in range(3)]
    made = next(s for s in standings(own) if s.optimizer == GIVEN)
    ours = next(s for s in standings(own) if s.optimizer == OURS)

    assert made.score.estimate == pytest.approx(np.mean([x.baseline_score for x in own]))
    assert made.vs_ours.delta.estimate == pytest.approx(-ours.vs_given.delta.estimate)
    assert made.lines[0].prompt_tokens is None


def test_only_seeds_that_both_have_on_the_same_examples_make_a_pair():
    ours = [line(OURS, seed=seed) for seed in (0, 1, 2)]
    rival = [
        line("gepa", seed=0),
        line("gepa", seed=1, digests={"test": "ffff"}),
        line("gepa", seed=3),
    ]

    assert [run.gold for run in pairs(ours, rival)] == [ours[0].gold]
    gepa = next(s for s in standings([*ours, *rival]) if s.optimizer == "gepa")
    assert gepa.vs_ours == difference("macro_f1", pairs(ours, rival))


def test_runs_below_the_student_as_given_are_counted_by_score_and_beyond_noise():
    base = line(OURS, n=200)
    little = list(base.baseline_said)
    at = next(i for i, (g, s) in enumerate(zip(base.gold, little, strict=True)) if g == s)
    little[at] = None
    wrong = tuple(None for _ in base.gold)
    lines = [
        line(OURS, n=200, rate=0.9),
        line(OURS, n=200, said=tuple(little), cell="b"),
        line(OURS, n=200, said=wrong, cell="c"),
    ]

    assert below_given(lines) == (3, 2, 1)


def test_the_validation_gap_leaves_out_what_was_not_scored():
    lines = [line(val_score=0.9, cell="a"), line(val_score=None, cell="b")]

    assert validation_gap(lines) == pytest.approx(0.9 - lines[0].score)
    assert validation_gap(lines[1:]) is None


@pytest.mark.parametrize(
    ("spent", "tokens", "alternative"),
    [(None, 100, 300), (5000, None, 300), (5000, 100, None), (5000, 300, 300), (5000, 400, 300)],
)
def test_what_never_pays_back_or_is_not_known_has_no_break_even(spent, tokens, alternative):
    assert break_even(spent, tokens, alternative) is None


def test_seconds_are_those_of_the_cells_that_ran_alone():
    lines = [
        line("gepa", seed=seed, wall_s=seconds, alone=alone)
        for seed, (seconds, alone) in enumerate([(100.0, True), (300.0, True), (900.0, False)])
    ]

    assert seconds_of(lines, "wall_s") == 200.0
    assert seconds_of(lines[2:], "wall_s") is None
