import hashlib
import logging
import subprocess
import sys

import dspy
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from corpora import corpus, example, ids_of, labels_of
from pld_dspy.data.splits import (
    SPLITS,
    Splits,
    check_disjoint,
    clean_examples,
    example_id,
    make_example,
    make_splits,
    make_splits_from_pools,
)
from pld_dspy.data.stratify import label_totals, share_out
from pld_dspy.errors import ConfigError, DataError, LeakageError

COUNTS = st.dictionaries(
    st.sampled_from(["a", "b", "c", "d", "e"]), st.integers(1, 30), min_size=2, max_size=5
)


@st.composite
def requests(draw):
    """Label counts, and sizes that they can fill."""
    counts = draw(COUNTS)
    left = sum(counts.values())
    sizes = {}
    for split in draw(st.permutations(SPLITS)):
        sizes[split] = draw(st.integers(0, left))
        left -= sizes[split]
    if not any(sizes.values()):
        sizes["train"] = 1
    return counts, sizes


# --- examples ---------------------------------------------------------------------------------


def test_only_input_keys_are_inputs():
    made = make_example(
        {"text": "x", "unused": "y"},
        "a",
        input_keys=("text",),
        label_key="label",
        group="g",
        source_id="s",
    )
    assert dict(made.inputs()) == {"text": "x"}
    assert (made.label, made.pld_group, made.pld_source) == ("a", "g", "s")


def test_id_is_of_the_content_alone():
    base = example(1, "a", group="g", source="s")
    plain = dspy.Example(text="text 1", label="a").with_inputs("text")
    assert example_id(base) == example_id(plain) == base.pld_id
    assert len(base.pld_id) == 16
    assert example_id(base) == example_id(example(1, "a", group="other", source="other"))
    assert example_id(base) != example_id(example(1, "b"))
    assert example_id(base) != example_id(example(2, "a"))


def test_id_does_not_depend_on_field_order():
    one = make_example({"p": "1", "q": "2"}, "a", input_keys=("p", "q"), label_key="label")
    two = make_example({"q": "2", "p": "1"}, "a", input_keys=("q", "p"), label_key="label")
    assert example_id(one) == example_id(two)


def test_missing_input_names_the_nearest():
    with pytest.raises(DataError, match="no input 'text'; did you mean 'texts'"):
        make_example({"texts": "x"}, "a", input_keys=("text",), label_key="label")


def test_example_without_inputs_is_refused():
    with pytest.raises(DataError, match="with_inputs"):
        example_id(dspy.Example(text="x", label="a"))


# --- cleaning ---------------------------------------------------------------------------------


def test_repeats_are_left_out_and_counted(caplog):
    items = corpus({"a": 3, "b": 3})
    with caplog.at_level(logging.INFO, logger="pld_dspy"):
        kept = clean_examples([*items, items[0], items[4]], label_key="label")
    assert ids_of(kept) == ids_of(items)
    assert "2 repeated examples left out of 8" in caplog.text


def test_few_contradictions_are_left_out_with_a_warning(caplog):
    items = [*corpus({"a": 30, "b": 30}), example("a0", "b")]
    kept = clean_examples(items, label_key="label")
    assert "text a0" not in {e.text for e in kept}
    assert len(kept) == 59
    assert "2 examples with contradictory labels left out" in caplog.text
    assert caplog.records[-1].levelno == logging.WARNING


def test_many_contradictions_are_an_error():
    items = [*corpus({"a": 10, "b": 10}), example("a0", "b")]
    with pytest.raises(DataError, match="2 of 21 examples have the inputs of another one"):
        clean_examples(items, label_key="label")


@pytest.mark.parametrize(
    ("items", "labels", "message"),
    [
        ([], None, "there are no examples"),
        (corpus({"a": 3}), None, "all 3 examples have the label 'a'"),
        (
            corpus({"a": 3, "bb": 3}),
            ("a", "bbb"),
            "label 'bb', which is not in the label set; did you mean 'bbb'",
        ),
        (
            [dspy.Example(text="x", lable="a").with_inputs("text")],
            None,
            "the example with text='x' has no label 'label'; did you mean 'lable'",
        ),
        *(
            ([example("t0", "a").copy(label=value)], None, f"has {value} as its label 'label'")
            for value in (None, float("nan"), pd.NA)
        ),
        *(
            ([example("t0", "a").copy(text=value)], None, f"has {value} as its input 'text'")
            for value in (float("nan"), pd.NaT)
        ),
    ],
)
def test_unusable_examples_are_named(items, labels, message):
    with pytest.raises(DataError, match=message) as caught:
        clean_examples(items, label_key="label", labels=labels)
    assert "\n" not in str(caught.value)


# --- splits by item ---------------------------------------------------------------------------


@given(request=requests(), balance=st.sampled_from(["natural", "equal"]), seed=st.integers(0, 99))
@settings(deadline=None, max_examples=60)
def test_splits_are_disjoint_and_of_the_sizes_asked(request, balance, seed):
    counts, sizes = request
    splits = make_splits(corpus(counts), sizes=sizes, label_key="label", seed=seed, balance=balance)
    assert splits.sizes == sizes
    everything = [i for split in SPLITS for i in ids_of(splits.get(split))]
    assert len(set(everything)) == len(everything)


@given(request=requests(), balance=st.sampled_from(["natural", "equal"]), seed=st.integers(0, 99))
@settings(deadline=None, max_examples=60)
def test_labels_with_two_items_are_in_train_and_test_where_there_is_room(request, balance, seed):
    counts, sizes = request
    splits = make_splits(corpus(counts), sizes=sizes, label_key="label", seed=seed, balance=balance)
    roomy = sum(sizes.values()) >= 2 * len(counts)
    if roomy and min(sizes["train"], sizes["test"]) >= len(counts):
        several = {label for label, count in counts.items() if count >= 2}
        assert several <= set(labels_of(splits.train)) & set(labels_of(splits.test))


@given(request=requests(), seed=st.integers(0, 99), order=st.randoms(use_true_random=False))
@settings(deadline=None, max_examples=30)
def test_order_of_the_examples_does_not_matter(request, seed, order):
    counts, sizes = request
    items = corpus(counts)
    shuffled = list(items)
    order.shuffle(shuffled)
    one, two = (
        make_splits(given_items, sizes=sizes, label_key="label", seed=seed)
        for given_items in (items, shuffled)
    )
    assert [ids_of(one.get(s)) for s in SPLITS] == [ids_of(two.get(s)) for s in SPLITS]


def test_equal_balance_gives_equal_counts():
    splits = make_splits(
        corpus({"a": 200, "b": 50, "c": 90}),
        sizes={"train": 60, "val": 30, "select": 15, "test": 30},
        label_key="label",
        seed=3,
    )
    assert {s: set(labels_of(splits.get(s)).values()) for s in SPLITS} == {
        "train": {20},
        "val": {10},
        "select": {5},
        "test": {10},
    }


def test_scarce_label_is_shared_in_proportion_and_the_rest_filled():
    splits = make_splits(
        corpus({"a": 300, "b": 300, "scarce": 20}),
        sizes={"train": 120, "val": 60, "select": 60, "test": 60},
        label_key="label",
        seed=0,
    )
    assert [labels_of(splits.get(s))["scarce"] for s in SPLITS] == [8, 4, 4, 4]
    assert splits.sizes == {"train": 120, "val": 60, "select": 60, "test": 60}
    assert labels_of(splits.train)["a"] == labels_of(splits.train)["b"] == 56


def test_natural_balance_keeps_the_shares():
    splits = make_splits(
        corpus({"a": 600, "b": 300, "c": 100}),
        sizes={"train": 100, "test": 50},
        label_key="label",
        seed=0,
        balance="natural",
    )
    assert labels_of(splits.train) == {"a": 60, "b": 30, "c": 10}
    assert labels_of(splits.test) == {"a": 30, "b": 15, "c": 5}


def test_seed_decides_the_draw():
    items = corpus({"a": 50, "b": 50})
    sizes = {"train": 20, "test": 20}
    draws = [make_splits(items, sizes=sizes, label_key="label", seed=s) for s in (0, 0, 1)]
    assert draws[0].digests == draws[1].digests
    assert draws[0].digests["train"] != draws[2].digests["train"]


def test_same_splits_in_another_process():
    code = (
        "from corpora import corpus, ids_of; from pld_dspy.data.splits import make_splits;"
        "s = make_splits(corpus({'a': 40, 'b': 9}, groups=3), sizes={'train': 10, 'test': 9},"
        " label_key='label', seed=5, by='group'); print(ids_of(s.train) + ids_of(s.test))"
    )
    outputs = {
        subprocess.run(
            [sys.executable, "-c", code],
            env={"PYTHONHASHSEED": seed, "PYTHONPATH": ":".join(sys.path)},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    }
    assert len(outputs) == 1
    here = make_splits(
        corpus({"a": 40, "b": 9}, groups=3),
        sizes={"train": 10, "test": 9},
        label_key="label",
        seed=5,
        by="group",
    )
    assert outputs == {f"{ids_of(here.train) + ids_of(here.test)}\n"}


def test_preferred_items_fill_train_first():
    wanted = {f"a:{n}" for n in range(12)} | {f"b:{n}" for n in range(4)}
    splits = make_splits(
        corpus({"a": 60, "b": 60}),
        sizes={"train": 20, "val": 10, "select": 10, "test": 20},
        label_key="label",
        seed=1,
        prefer=wanted,
    )
    in_train = {e.pld_source for e in splits.train}
    assert {s for s in wanted if s.startswith("b")} <= in_train
    assert len(in_train & wanted) == 10 + 4
    others = {e.pld_source for s in ("val", "select", "test") for e in splits.get(s)}
    assert not others & wanted


def test_preferred_items_serve_elsewhere_only_where_a_label_has_too_few_others():
    wanted = {f"b:{n}" for n in range(8)}
    splits = make_splits(
        corpus({"a": 40, "b": 10}),
        sizes={"train": 10, "test": 10},
        label_key="label",
        seed=1,
        prefer=wanted,
    )
    test_b = {e.pld_source for e in splits.test if e.label == "b"}
    assert len(test_b & wanted) == 3
    assert test_b >= {"b:8", "b:9"}
    assert {e.pld_source for e in splits.train if e.label == "b"} <= wanted


def test_of_two_repeats_the_preferred_one_stays():
    items = [*corpus({"a": 5, "b": 5}), example("a0", "a", source="recorded")]
    splits = make_splits(items, sizes={"train": 10}, label_key="label", seed=0, prefer={"recorded"})
    kept = {e.pld_source for e in splits.train}
    assert "recorded" in kept
    assert "a:0" not in kept


@pytest.mark.parametrize(
    ("sizes", "error", "message"),
    [
        ({"train": 8, "test": 3}, DataError, r"train 8 \+ test 3 .* 10 are in all"),
        ({"trian": 3}, ConfigError, "did you mean 'train'"),
        ({"train": -1}, ConfigError, "size of train is -1"),
        ({}, ConfigError, "every split size is 0"),
    ],
)
def test_impossible_sizes_are_named(sizes, error, message):
    with pytest.raises(error, match=message):
        make_splits(corpus({"a": 5, "b": 5}), sizes=sizes, label_key="label", seed=0)


# --- pools ------------------------------------------------------------------------------------


def pools(**counts):
    return {
        split: [
            example(f"{split}{label}{n}", label, group=f"{split}-{n % 4}", source=f"{split}:{n}")
            for label in "ab"
            for n in range(count)
        ]
        for split, count in counts.items()
    }


def test_dev_pool_is_shared_by_val_and_select():
    given_pools = pools(train=20, val=20, test=20)
    splits = make_splits_from_pools(
        given_pools,
        sizes={"train": 10, "val": 12, "select": 14, "test": 8},
        label_key="label",
        seed=0,
        by="group",
    )
    assert splits.sizes == {"train": 10, "val": 12, "select": 14, "test": 8}
    dev = set(ids_of(given_pools["val"]))
    assert set(ids_of(splits.val)) | set(ids_of(splits.select)) <= dev
    assert set(ids_of(splits.train)) <= set(ids_of(given_pools["train"]))
    assert labels_of(splits.test) == {"a": 4, "b": 4}


def test_splits_without_a_pool_come_from_train():
    splits = make_splits_from_pools(
        pools(train=20, test=5), sizes={"train": 10, "val": 10, "select": 10, "test": 5},
        label_key="label", seed=0,
    )  # fmt: skip
    assert splits.sizes == {"train": 10, "val": 10, "select": 10, "test": 5}
    assert all(e.pld_source.startswith("train") for e in splits.val + splits.select)


def test_an_item_of_two_pools_stays_in_the_later_one():
    given_pools = pools(train=6, test=6)
    given_pools["train"] += given_pools["test"][:1]
    splits = make_splits_from_pools(
        given_pools, sizes={"train": 12, "test": 12}, label_key="label", seed=0
    )
    assert example_id(given_pools["test"][0]) in ids_of(splits.test)
    assert example_id(given_pools["test"][0]) not in ids_of(splits.train)


def test_pool_errors_say_which_pool():
    with pytest.raises(DataError, match="no examples for test"):
        make_splits_from_pools(
            pools(train=5), sizes={"train": 2, "test": 2}, label_key="label", seed=0
        )
    with pytest.raises(DataError, match=r"val 6 \+ select 6 .* 10 are in the val pool"):
        make_splits_from_pools(
            pools(train=5, val=5), sizes={"val": 6, "select": 6}, label_key="label", seed=0
        )


# --- leakage ----------------------------------------------------------------------------------


def test_leak_names_the_example_and_the_splits():
    shared = example(1, "a")
    with pytest.raises(LeakageError, match=f"{example_id(shared)} is in train and in select"):
        check_disjoint(Splits(train=(shared,), select=(shared,)))


def test_splits_by_item_are_those_of_earlier_versions():
    """Recorded results stand on these draws."""
    drawn = {}
    for seed, balance in ((0, "equal"), (5, "natural")):
        splits = make_splits(
            corpus({"a": 40, "b": 19, "c": 7}, groups=4),
            sizes={"train": 20, "val": 9, "select": 8, "test": 15},
            label_key="label",
            seed=seed,
            balance=balance,
        )
        ids = "\n".join(i for split in SPLITS for i in ids_of(splits.get(split)))
        drawn[seed] = hashlib.sha256(ids.encode()).hexdigest()[:16]
    assert drawn == {0: "948d68b222b4fd54", 5: "dc4a39be324285ab"}


def test_digests_are_of_the_set_of_ids():
    one, two = example(1, "a"), example(2, "b")
    assert Splits(train=(one, two)).digests == Splits(train=(two, one)).digests
    assert Splits(train=(one,)).digests != Splits(train=(two,)).digests


# --- quotas -----------------------------------------------------------------------------------


@given(
    available=st.lists(st.integers(0, 50), min_size=1, max_size=6),
    share=st.floats(0, 1),
    balance=st.sampled_from(["natural", "equal"]),
)
def test_label_totals_are_at_hand_and_add_up(available, share, balance):
    counts = np.array(available, dtype=np.int64)
    total = int(counts.sum() * share)
    taken = label_totals(counts, total, balance)
    assert taken.sum() == total
    assert (taken <= counts).all()
    assert (taken >= 0).all()
    if balance == "equal":
        # Only labels that are used up have less than the others.
        assert taken[taken < counts].size == 0 or taken.max() - taken[taken < counts].min() <= 1


@given(
    sizes=st.lists(st.integers(0, 40), min_size=1, max_size=4),
    cuts=st.lists(st.integers(0, 160), min_size=0, max_size=4),
)
def test_shared_table_has_the_sums_asked(sizes, cuts):
    columns = np.array(sizes, dtype=np.int64)
    edges = sorted(min(cut, int(columns.sum())) for cut in cuts)
    rows = np.diff([0, *edges, int(columns.sum())]).astype(np.int64)
    table = share_out(rows, columns)
    assert (table >= 0).all()
    assert table.sum(axis=1).tolist() == rows.tolist()
    assert table.sum(axis=0).tolist() == columns.tolist()
