"""Coverage and precision against their definitions."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pld_dspy.stages.verify.truth import p_chance, share, truth_of

LABELS = ("red", "green")
JUDGED = st.dictionaries(
    st.integers(0, 40).map(str), st.tuples(st.booleans(), st.sampled_from(LABELS)), max_size=30
)


def wilson(part, whole, z=1.959963984540054):
    """The two roots of (p - share)^2 = z^2 p (1 - p) / n."""
    p = part / whole
    middle = (p + z * z / (2 * whole)) / (1 + z * z / whole)
    half = z / (1 + z * z / whole) * math.sqrt(p * (1 - p) / whole + z * z / (4 * whole**2))
    return middle - half, middle + half


@given(st.integers(1, 60).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_the_interval_is_wilsons(pair):
    part, whole = pair
    found = share(part, whole)

    assert found.estimate == part / whole
    assert (found.low, found.high) == pytest.approx(wilson(part, whole), abs=1e-9)


@given(JUDGED)
def test_truth_by_its_definition(judged):
    holds = {key: true for key, (true, _) in judged.items()}
    gold = {key: label for key, (_, label) in judged.items()}
    truth = truth_of("red", holds, gold)
    reds = [key for key in judged if gold[key] == "red"]
    if not reds:
        assert truth is None
        return
    held = [key for key in judged if holds[key]]
    right = [key for key in held if key in reds]

    assert list(truth.borne_by) == right
    assert (truth.holds, truth.labelled, truth.judged) == (len(held), len(reds), len(judged))
    assert truth.coverage.estimate == len(right) / len(reds)
    assert truth.precision.estimate == (len(right) / len(held) if held else 0.0)
    assert truth.worth == truth.coverage.estimate * truth.precision.estimate


@given(JUDGED)
def test_chance_is_the_upper_tail_of_the_binomial(judged):
    holds = {key: true for key, (true, _) in judged.items()}
    gold = {key: label for key, (_, label) in judged.items()}
    truth = truth_of("red", holds, gold)
    if truth is None:
        return
    base, n = truth.labelled / truth.judged, truth.holds
    tail = sum(
        math.comb(n, k) * base**k * (1 - base) ** (n - k) for k in range(len(truth.borne_by), n + 1)
    )

    assert p_chance(truth) == pytest.approx(min(1.0, tail), abs=1e-9)


def test_a_condition_that_holds_for_none_is_neither_precise_nor_surely_false():
    truth = truth_of("red", {"a": False, "b": False}, {"a": "red", "b": "green"})

    assert (truth.precision.estimate, truth.precision.low, truth.precision.high) == (0, 0, 1)
    assert p_chance(truth) == 1.0


@given(JUDGED, st.integers(1, 5))
def test_each_group_counts_the_same_in_what_a_rule_is_worth(judged, n_groups):
    holds = {key: true for key, (true, _) in judged.items()}
    gold = {key: label for key, (_, label) in judged.items()}
    groups = {key: f"g{int(key) % n_groups}" for key in judged}
    truth = truth_of("red", holds, gold, groups)
    if truth is None:
        return
    shares = [
        [holds[key] for key in judged if gold[key] == "red" and groups[key] == group]
        for group in sorted(set(groups.values()))
    ]
    shares = [share for share in shares if share]

    assert truth.groups_labelled == len(shares)
    assert truth.groups == len([share for share in shares if True in share])
    by_group = sum(sum(share) / len(share) for share in shares) / len(shares)
    assert truth.coverage_of_groups == pytest.approx(by_group)
    assert truth.worth == pytest.approx(by_group * truth.precision.estimate)
