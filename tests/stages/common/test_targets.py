"""What a compile works on: the LM, the predictors, their labels, and the examples."""

import logging
from typing import Literal

import dspy
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fakes import Script, fake_lm
from pld_dspy.data.examples import example_id
from pld_dspy.errors import ConfigError, DataError
from pld_dspy.stages.common.targets import (
    MAX_LABELS,
    find_targets,
    in_turn,
    prepare_splits,
    student_lm,
)

LABELS = ("red", "blue")


class Closed(dspy.Signature):
    """Name the colour."""

    text: str = dspy.InputField()
    label: Literal["red", "blue"] = dspy.OutputField()


class Two(dspy.Module):
    def __init__(self, first="text -> hint", second=Closed):
        super().__init__()
        self.first = dspy.Predict(first)
        self.second = dspy.ChainOfThought(second)


def examples(n, labels=LABELS, start=0, **more):
    return [
        dspy.Example(text=f"text {i}", label=labels[i % len(labels)], **more).with_inputs("text")
        for i in range(start, start + n)
    ]


TRAIN = examples(20)


def test_predictors_without_an_lm_take_that_of_the_settings():
    own, outer = fake_lm(Script(), name="own"), fake_lm(Script(), name="outer")
    program = Two()
    with dspy.context(lm=outer):
        assert student_lm(program) is outer
        program.second.predict.lm = own
        assert student_lm(program) is outer
        program.first.lm = own
        assert student_lm(program) is own
    assert student_lm(program) is own


def test_a_predictor_without_an_lm_is_named():
    program = Two()
    with pytest.raises(ConfigError, match=r"the student has no LM; call dspy.configure\(lm=...\)"):
        student_lm(program)
    program.first.lm = fake_lm(Script())
    with pytest.raises(ConfigError, match=r"predictor 'second.predict' has no LM"):
        student_lm(program)
    with pytest.raises(ConfigError, match="the student has no LM"):
        student_lm(dspy.Module())


@pytest.mark.parametrize(
    ("program", "path"),
    [
        (dspy.Predict(Closed), "self"),
        (dspy.ChainOfThought(Closed), "predict"),
        (Two(), "second.predict"),
    ],
)
def test_the_predictor_whose_output_the_examples_label_is_found(program, path):
    (target,) = find_targets(program, TRAIN, None)

    assert (target.path, target.label_key, target.labels) == (path, "label", LABELS)
    assert target.signature.instructions == "Name the colour."


def test_every_labelled_predictor_is_found_in_the_order_of_the_program():
    both = [e.copy(hint=f"h{i % 2}") for i, e in enumerate(TRAIN)]
    program = Two()
    found = find_targets(program, both, None)

    assert [(t.path, t.label_key, t.labels) for t in found] == [
        ("first", "hint", ("h0", "h1")),
        ("second.predict", "label", LABELS),
    ]
    (chosen,) = find_targets(program, both, ["second.predict"])
    assert chosen == found[1]


def test_an_output_that_only_some_examples_label_does_not_count():
    some = [*TRAIN, TRAIN[0].copy(text="x", hint="h")]

    assert [t.path for t in find_targets(Two(), some, None)] == ["second.predict"]


def test_an_open_output_is_closed_up_to_a_number_of_labels():
    def labels(n):
        names = tuple(f"l{i:02}" for i in range(n))
        (target,) = find_targets(dspy.Predict("text -> label"), examples(60, names), None)
        return target.labels

    assert labels(MAX_LABELS) == tuple(f"l{i:02}" for i in range(MAX_LABELS))
    assert labels(MAX_LABELS + 1) == ()


def test_labels_that_differ_in_case_or_spaces_only_are_named_before_anything_is_paid(caplog):
    find_targets(dspy.Predict("text -> label"), examples(9, ("red", "red ", "Red")), None)
    (message,) = caplog.messages
    assert (
        "the labels 'Red' (3), 'red' (3), 'red ' (3) of label differ in case or spaces" in message
    )
    caplog.clear()
    find_targets(dspy.Predict("text -> label"), TRAIN, None)
    assert not caplog.messages


def test_labels_may_be_numbers():
    class Stars(dspy.Signature):
        text: str = dspy.InputField()
        label: Literal[1, 2] = dspy.OutputField()

    (target,) = find_targets(dspy.Predict(Stars), examples(6, (1, 2)), None)
    assert target.labels == ("1", "2")


@pytest.mark.parametrize(
    ("error", "match", "given_", "paths"),
    [
        (DataError, "trainset is empty", [], None),
        (DataError, "every training example has label = 'red'", examples(3, ("red",)), None),
        (DataError, "label = 'bleu', which is not a label; did you mean 'blue'", examples(4, ("red", "bleu")), None),
        (DataError, "call .with_inputs", [dspy.Example(text="t", label="red")], None),
        (ConfigError, "no predictor 'third'; known are first, second.predict", TRAIN, ["third"]),
        (ConfigError, "did you mean 'second.predict'", TRAIN, ["second"]),
        (ConfigError, r"no predictor of \['first'\] has an output among \['hint'\]", TRAIN, ["first", "second.predict"]),
        (ConfigError, "leave it out of with_inputs", [e.with_inputs("text", "label") for e in TRAIN], None),
    ],
)  # fmt: skip
def test_what_cannot_be_distilled_into_is_refused(error, match, given_, paths):
    with pytest.raises(error, match=match):
        find_targets(Two(), given_, paths)


def splits(train=TRAIN, val=None, select=None, *, seed=0, share=0.4, program=None):
    targets = find_targets(program or dspy.Predict(Closed), train, None)
    return prepare_splits(targets, train, val, select, share=share, seed=seed)


def texts(part):
    return {e.text for e in part}


def test_sets_that_are_given_are_taken_as_they_are():
    val, select = examples(4, start=100), examples(5, start=200)
    made = splits(val=val, select=select)

    assert (list(made.train), list(made.val), list(made.select)) == (TRAIN, val, select)
    assert made.test == ()


def test_what_is_not_given_is_set_aside_without_overlap_with_all_labels_in_each(caplog):
    with caplog.at_level(logging.INFO, logger="pld_dspy"):
        made = splits()

    assert "8 of 20 training examples are held out" in caplog.text
    assert (len(made.train), len(made.val), len(made.select)) == (12, 4, 4)
    assert texts(made.train) | texts(made.val) | texts(made.select) == texts(TRAIN)
    assert all(
        {e.label for e in part} == set(LABELS) for part in (made.train, made.val, made.select)
    )
    assert splits() == made != splits(seed=1)


def test_whole_groups_are_held_out_where_every_example_has_one(caplog):
    grouped = [e.copy(pld_group=f"g{n // 2 % 5}") for n, e in enumerate(TRAIN)]
    with caplog.at_level(logging.INFO, logger="pld_dspy"):
        made = splits(grouped)

    def groups(*parts):
        return {e.pld_group for part in parts for e in part}

    assert "8 of 20 training examples are held out, by group" in caplog.text
    assert not groups(made.train) & groups(made.val, made.select)
    assert texts(made.train) | texts(made.val) | texts(made.select) == texts(TRAIN)
    assert splits(grouped) == made != splits(grouped, seed=1)


def test_an_open_output_is_held_out_by_example():
    """Groups cannot be balanced over labels that occur once."""
    many = [e.copy(label=f"answer {n}", pld_group=f"g{n}") for n, e in enumerate(examples(60))]
    made = splits(many, program=dspy.Predict("text -> label"))

    assert (len(made.train), len(made.val), len(made.select)) == (36, 12, 12)


def test_one_example_without_a_group_means_a_split_by_example():
    grouped = [e.copy(pld_group=f"g{n // 2 % 5}") for n, e in enumerate(TRAIN)]
    mixed = [*grouped[:-1], TRAIN[-1]]

    assert [texts(p) for p in (splits(mixed).train, splits(mixed).val)] == [
        texts(p) for p in (splits().train, splits().val)
    ]


def test_a_label_of_one_group_is_held_out_too(caplog):
    one_each = [e.copy(pld_group=e.label) for e in TRAIN]
    made = splits(one_each)

    assert all({e.label for e in part} == set(LABELS) for part in (made.train, made.val))
    assert "train, val and select may share them" in caplog.text


def test_a_validation_set_alone_is_halved_and_a_selection_set_alone_takes_nothing_from_it():
    val = examples(9, start=100)
    halved = splits(val=val)
    assert (len(halved.train), len(halved.val), len(halved.select)) == (20, 5, 4)
    assert texts(halved.val) | texts(halved.select) == texts(val)

    kept = splits(select=val)
    assert (len(kept.train), len(kept.val), len(kept.select)) == (12, 8, 9)
    assert list(kept.select) == val


def test_repeats_are_left_out_before_anything_is_shared_out():
    assert [example_id(e) for e in splits([*TRAIN, *TRAIN[:3]], TRAIN[:2], TRAIN[2:4]).train] == [
        example_id(e) for e in TRAIN
    ]
    made = splits([*TRAIN, *TRAIN[:3]])
    assert made == splits()
    val = examples(6, start=100)
    assert splits(val=[*val, *val[:3]]) == splits(val=val)


@pytest.mark.parametrize(
    ("match", "sets"),
    [
        ("valset is empty; give examples, or leave it out", {"val": []}),
        ("selectset is empty", {"val": TRAIN, "select": []}),
        ("label = 'rot', which is not a label", {"val": examples(2, ("red", "rot"))}),
        ("label = 'rot', which", {"val": TRAIN, "select": examples(2, ("red", "rot"))}),
        ("has no label 'label'", {"val": [dspy.Example(text="t").with_inputs("text")], "select": TRAIN}),
        ("2 training examples leave none when 2 are held out", {"train": TRAIN[:2]}),
        ("leave none when 20 are held out", {"share": 0.99}),
    ],
)  # fmt: skip
def test_sets_that_cannot_be_used_are_refused(match, sets):
    with pytest.raises(DataError, match=match):
        splits(**sets)


def test_an_open_output_needs_a_label_in_every_example_too():
    names = tuple(f"l{i}" for i in range(MAX_LABELS + 5))
    program = dspy.Predict("text -> label")
    train, val = examples(60, names), examples(3, ("new", "newer"), start=100)

    assert splits(train, val, val, program=program).val == tuple(val)
    with pytest.raises(DataError, match="has no label 'label'"):
        splits(train, [dspy.Example(text="t").with_inputs("text")], val, program=program)


def test_the_label_of_an_inner_predictor_is_needed_for_training_only():
    train = [e.copy(hint=f"h{i % 2}") for i, e in enumerate(TRAIN)]
    val = examples(4, start=100)

    assert splits(train, val, val, program=Two()).val == tuple(val)


@given(st.lists(st.sampled_from("abc"), min_size=1, max_size=30), st.integers(1, 35))
def test_examples_are_taken_from_each_label_in_turn(labels, count):
    pool = [dspy.Example(text=str(i), label=y).with_inputs("text") for i, y in enumerate(labels)]
    taken = in_turn(pool, "label", count)
    counts = {y: sum(e.label == y for e in taken) for y in set(labels)}

    assert len(taken) == min(count, len(pool))
    assert [int(e.text) for e in taken] == sorted(int(e.text) for e in taken)
    for y, n in counts.items():
        # A label has fewer than another only because it has no more.
        assert n == labels.count(y) or n >= max(counts.values()) - 1


def test_few_examples_are_of_many_groups():
    pool = [
        dspy.Example(text=str(i), label=label, pld_group=group).with_inputs("text")
        for i, (label, group) in enumerate([("a", "x")] * 3 + [("a", "y")] + [("b", "z")] * 3)
    ]

    assert [int(e.text) for e in in_turn(pool, "label", 4)] == [0, 3, 4, 5]


def test_all_examples_are_taken_if_there_is_no_bound():
    assert in_turn(TRAIN, "label", None) == TRAIN
