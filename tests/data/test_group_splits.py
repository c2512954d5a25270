"""Splits by group: train, val with select, and test have groups of their own."""

import logging

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from corpora import corpus, example, groups_of, ids_of, labels_of
from pld_dspy.data.draw import Shared, hold_out
from pld_dspy.data.splits import (
    SPLITS,
    Splits,
    check_disjoint,
    example_id,
    make_splits,
    make_splits_from_pools,
)
from pld_dspy.errors import DataError, LeakageError


def by_group(items, sizes, **options):
    options = {"label_key": "label", "seed": 0, **options}
    return make_splits(items, sizes=sizes, by="group", **options)


def sides_of(splits):
    """The groups of train, of val with select, and of test."""
    return groups_of(splits.train), groups_of(splits.val, splits.select), groups_of(splits.test)


def sizes_of(train, val, select, test):
    return {"train": train, "val": val, "select": select, "test": test}


@st.composite
def corpora(draw):
    """Examples whose groups hold one label or several, each label in three groups or more."""
    labels = "abcd"[: draw(st.integers(2, 4))]
    groups = draw(st.integers(3, 8))
    items, number = [], 0
    for label in labels:
        mixed = draw(st.booleans())
        for group in range(draw(st.integers(3, groups))):
            for _ in range(draw(st.integers(8, 20))):
                name = f"doc {group}" if mixed else f"{label} {group}"
                items.append(example(number, label, group=name))
                number += 1
    return items, labels


# --- three sides ------------------------------------------------------------------------------


@given(
    corpora(),
    st.integers(1, 5),
    st.sampled_from(["natural", "equal"]),
    st.integers(0, 99),
    st.randoms(use_true_random=False),
)
@settings(deadline=None, max_examples=80)
def test_the_sides_have_groups_of_their_own(made, size, balance, seed, order):
    items, labels = made
    # Small beside the groups, so that three groups a label can always fill the sides.
    sizes = sizes_of(size, max(1, size // 2), max(1, size // 2), size)
    splits = by_group(items, sizes, balance=balance, seed=seed)

    assert splits.sizes == sizes
    train, held, test = sides_of(splits)
    assert not train & held
    assert not (train | held) & test
    assert splits.shared is None
    check_disjoint(splits, by="group")
    if size >= len(labels) and balance == "equal":
        for part in (splits.train, splits.val + splits.select, splits.test):
            if len(part) >= 2 * len(labels):
                assert set(labels_of(part)) == set(labels)

    order.shuffle(items)
    again = by_group(items, sizes, balance=balance, seed=seed)
    assert [ids_of(again.get(s)) for s in SPLITS] == [ids_of(splits.get(s)) for s in SPLITS]


@given(
    st.dictionaries(st.sampled_from("abc"), st.integers(12, 40), min_size=2, max_size=3),
    st.integers(3, 6),
    st.sampled_from(["natural", "equal"]),
    st.integers(0, 99),
)
@settings(deadline=None, max_examples=50)
def test_every_label_with_three_groups_is_on_every_side(counts, groups, balance, seed):
    size = min(counts.values()) // 4
    splits = by_group(
        corpus(counts, groups=groups), sizes_of(size, size, size, size), balance=balance, seed=seed
    )
    assert set(splits.sizes.values()) == {size}
    if size >= len(counts):
        for split in SPLITS:
            assert set(labels_of(splits.get(split))) == set(counts)


def test_three_groups_of_a_label_are_one_on_each_side():
    items = corpus({"race": 300, "job": 200}, groups=20) + corpus({"faith": 24}, groups=3)
    for seed in range(10):
        splits = by_group(items, sizes_of(80, 30, 30, 90), seed=seed)
        faith = [{g for g in side if g.startswith("faith")} for side in sides_of(splits)]
        assert [len(groups) for groups in faith] == [1, 1, 1]


def test_a_small_side_has_several_groups_where_there_is_more_than_is_asked_for():
    items = corpus({"a": 600, "b": 600}, groups=20)
    for seed in range(10):
        train, held, test = sides_of(by_group(items, sizes_of(16, 16, 16, 200), seed=seed))
        assert min(len(train), len(held)) >= 5
        assert len(test) >= 12


def test_val_and_select_may_share_groups():
    splits = by_group(corpus({"a": 60, "b": 60}, groups=3), sizes_of(20, 10, 10, 20))
    assert groups_of(splits.val) == groups_of(splits.select)


def test_two_sides_need_two_groups_only():
    items = corpus({"a": 40, "b": 40}, groups=2)
    for sizes in ({"train": 20, "test": 20}, {"train": 20, "val": 10}, {"select": 9, "test": 9}):
        splits = by_group(items, sizes)
        assert {name: size for name, size in splits.sizes.items() if size} == sizes
        assert splits.shared is None
        assert all(set(labels_of(splits.get(name))) == {"a", "b"} for name in sizes)


def test_groups_that_hold_several_labels_are_kept_whole():
    rng = np.random.default_rng(0)
    items = [
        example(n, str(rng.choice(["a", "b", "c"], p=[0.5, 0.4, 0.1])), group=f"doc {n % 30}")
        for n in range(300)
    ]
    splits = by_group(items, {"train": 90, "val": 30, "test": 60})
    train, held, test = sides_of(splits)
    assert not train & held
    assert not (train | held) & test
    assert labels_of(splits.test)["c"] >= 5


def test_preferred_items_draw_their_groups_into_train():
    items = corpus({"a": 200, "b": 200}, groups=10)
    wanted = {e.pld_source for e in items if e.pld_group in {"a-g3", "b-g7"}}
    for seed in range(10):
        splits = by_group(items, sizes_of(40, 20, 20, 80), seed=seed, prefer=wanted)
        assert {e.pld_source for e in splits.train} == wanted


def test_groups_too_large_for_the_sizes_are_an_error():
    with pytest.raises(DataError, match="are in the groups kept for") as caught:
        by_group(corpus({"a": 30, "b": 30}, groups=3), {"train": 39, "val": 1, "test": 20})
    assert "\n" not in str(caught.value)


def test_group_split_without_groups_is_an_error():
    with pytest.raises(DataError, match="has no group"):
        by_group(corpus({"a": 5, "b": 5}), {"train": 2})


# --- labels with too few groups ---------------------------------------------------------------

FEW = corpus({"a": 80, "b": 80}, groups=8) + corpus({"rare": 30}, groups=2)
SIZES = sizes_of(24, 12, 12, 24)


def test_too_few_groups_are_named_with_their_number_and_what_to_do():
    items = [*FEW, *corpus({"rarer": 9}, groups=1)]
    message = (
        r"too few groups of label 'rare' \(2\), 'rarer' \(1\) for 3 sides "
        r"\(train, val and select, test\); add groups, leave the label out, or set scarce = \"share\""
    )
    with pytest.raises(DataError, match=message) as caught:
        by_group(items, SIZES)
    assert "\n" not in str(caught.value)


def test_a_long_list_of_labels_is_cut():
    with pytest.raises(DataError, match=r"'l7' \(1\) and 2 more for 3 sides"):
        by_group(corpus({f"l{n}": 8 for n in range(10)}, groups=1), SIZES)


@given(st.integers(0, 99), st.sampled_from(["natural", "equal"]))
@settings(deadline=None, max_examples=30)
def test_share_keeps_test_apart_and_lets_the_others_share_the_groups_of_that_label(seed, balance):
    splits = by_group(FEW, SIZES, seed=seed, balance=balance, scarce="share")
    train, held, test = sides_of(splits)

    assert splits.sizes == SIZES
    assert not (train | held) & test
    assert {group[:4] for group in train & held} == {"rare"}
    assert all(labels_of(splits.get(split))["rare"] for split in SPLITS)
    assert splits.shared.groups == {"rare": 2}
    check_disjoint(splits, by="group")


def test_share_says_so_in_the_log(caplog):
    with caplog.at_level(logging.INFO, logger="pld_dspy"):
        by_group(FEW, SIZES, scarce="share")
    [warning] = [r.message for r in caplog.records if r.levelno == logging.WARNING]
    assert "'rare' (2)" in warning
    assert "train, val and select may share them" in warning


def test_share_changes_nothing_where_all_labels_have_enough_groups(caplog):
    items = corpus({"a": 80, "b": 80}, groups=8)
    one, two = (by_group(items, SIZES, scarce=scarce) for scarce in ("refuse", "share"))
    assert one == two
    assert not [r for r in caplog.records if r.levelno == logging.WARNING]


def test_shared_examples_fill_a_side_that_would_be_short():
    items = corpus({"a": 30, "b": 30}, groups=3) + corpus({"rare": 40}, groups=2)
    for seed in range(10):
        splits = by_group(
            items, sizes_of(39, 10, 10, 40), seed=seed, scarce="share", balance="natural"
        )
        assert splits.sizes == sizes_of(39, 10, 10, 40)


def test_preferred_examples_of_a_shared_label_go_to_train_first():
    wanted = {f"rare:{n}" for n in range(0, 30, 5)}
    splits = by_group(FEW, SIZES, scarce="share", prefer=wanted)
    held = {e.pld_source for e in (*splits.val, *splits.select)}
    assert not held & wanted


def test_a_label_in_a_group_of_other_labels_is_shared_without_them():
    """Only the examples of the rare label may be on another side than their group."""
    rare = [example(f"r{n}", "rare", group=f"a-g{n % 2}") for n in range(30)]
    items = corpus({"a": 80, "b": 80}, groups=8) + rare
    for seed in range(10):
        splits = by_group(items, SIZES, seed=seed, scarce="share")
        train, held = (
            {e.pld_group for e in part if e.label != "rare"}
            for part in (splits.train, splits.val + splits.select)
        )
        assert not train & held
        assert not groups_of(splits.test) & groups_of(splits.train, splits.val, splits.select)


# --- what is held out of one set ---------------------------------------------------------------


@given(corpora(), st.floats(0.15, 0.5), st.integers(0, 20))
@settings(deadline=None, max_examples=40)
def test_whole_groups_are_held_out_and_nothing_is_lost(made, share, seed):
    items, labels = made
    count = round(len(items) * share)
    train, val = hold_out(items, count, "label", seed)
    assert sorted(ids_of(train + val)) == sorted(ids_of(items))
    assert not groups_of(train) & groups_of(val)
    assert set(labels_of(train)) == set(labels_of(val)) == set(labels)
    assert (train, val) == hold_out(items[::-1], count, "label", seed)


def test_a_label_of_one_group_is_held_out_one_by_one(caplog):
    items = corpus({"a": 40}, groups=4) + corpus({"b": 20}, groups=1)
    train, val = hold_out(items, 20, "label", 0)
    assert groups_of(train) & groups_of(val) == {"b-g0"}
    assert labels_of(train)["b"] >= 1 <= labels_of(val)["b"]
    assert "'b' (1)" in caplog.text


# --- pools ------------------------------------------------------------------------------------


def pool(name, count, *, groups=4):
    return [
        example(f"{name}{label}{n}", label, group=f"{name}-{n % groups}", source=f"{name}:{n}")
        for label in "ab"
        for n in range(count)
    ]


def from_pools(pools, sizes, **options):
    return make_splits_from_pools(
        pools, sizes=sizes, label_key="label", seed=0, by="group", **options
    )


def test_val_without_a_pool_has_groups_of_its_own_in_that_of_train():
    pools = {"train": pool("train", 20), "test": pool("test", 8)}
    splits = from_pools(pools, sizes_of(14, 5, 5, 16))
    train, held, _ = sides_of(splits)
    assert splits.sizes == sizes_of(14, 5, 5, 16)
    assert not train & held


def test_a_label_of_one_group_in_the_train_pool_is_refused_or_shared():
    rare = [example(f"rare{n}", "c", group="train-9") for n in range(6)]
    pools = {"train": [*pool("train", 20), *rare], "test": pool("test", 8)}
    with pytest.raises(DataError, match=r"label 'c' \(1\) for 2 sides \(train, val and select\)"):
        from_pools(pools, sizes_of(14, 5, 5, 16))
    splits = from_pools(pools, sizes_of(14, 5, 5, 16), scarce="share")
    assert splits.shared.groups == {"c": 1}
    assert labels_of(splits.train)["c"] >= 1
    assert labels_of(splits.val + splits.select)["c"] >= 1


@pytest.mark.parametrize(("leaky", "other"), [("val", "train"), ("test", "val"), ("test", "train")])
@pytest.mark.parametrize("scarce", ["refuse", "share"])
def test_a_group_in_two_pools_is_a_leak(leaky, other, scarce):
    pools = {name: pool(name, 8) for name in ("train", "val", "test")}
    pools[leaky] = [e.copy(pld_group=f"{other}-0") for e in pools[leaky]]
    with pytest.raises(LeakageError, match=rf"group '{other}-0' .* in {leaky} is in {other} too"):
        from_pools(pools, sizes_of(16, 8, 8, 16), scarce=scarce)


# --- the check --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("one", "other"),
    [("train", "val"), ("train", "select"), ("train", "test"), ("val", "test"), ("select", "test")],
)
def test_a_group_on_two_sides_is_a_leak_where_asked(one, other):
    first, second = example(1, "a", group="g"), example(2, "a", group="g")
    splits = Splits(**{one: (first,), other: (second,)})
    check_disjoint(splits)
    with pytest.raises(LeakageError) as caught:
        check_disjoint(splits, by="group")
    assert str(caught.value).startswith(
        f"group 'g' of example {example_id(second)} in {other} is in {one} too "
        f"(example {example_id(first)})"
    )


def test_a_group_of_val_and_select_is_no_leak():
    check_disjoint(
        Splits(val=(example(1, "a", group="g"),), select=(example(2, "a", group="g"),)), by="group"
    )


def test_a_shared_label_may_share_groups_but_not_with_test():
    rare, other, third = (example(n, "rare", group="g") for n in range(3))
    shared = Shared(label_key="label", groups={"rare": 1})
    check_disjoint(Splits(train=(rare,), val=(other,), shared=shared), by="group")
    with pytest.raises(LeakageError, match="in test is in train too"):
        check_disjoint(Splits(train=(rare,), test=(third,), shared=shared), by="group")
    common = {"train": (example(5, "a", group="g"),), "val": (example(6, "a", group="g"),)}
    with pytest.raises(LeakageError, match="in val is in train too"):
        check_disjoint(Splits(**common, shared=shared), by="group")
