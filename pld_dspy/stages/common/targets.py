"""Finds the predictors to optimize, and prepares the splits."""

import logging
from collections import Counter
from collections.abc import Sequence

import dspy

from pld_dspy.data.draw import hold_out
from pld_dspy.data.splits import Splits, clean_examples, example_id, make_splits
from pld_dspy.data.values import is_missing
from pld_dspy.errors import ConfigError, DataError, nearest
from pld_dspy.models.reading.label_set import variants
from pld_dspy.models.reading.values import allows_none, label_text
from pld_dspy.records import Split
from pld_dspy.stages.common.problem import Target
from pld_dspy.stages.common.prompt import output_labels
from pld_dspy.stages.common.turns import in_turns

logger = logging.getLogger(__name__)

MAX_LABELS = 20
"""Maximum number of different labels at which an output without a declared label set is closed."""


def student_lm(student: dspy.Module) -> dspy.BaseLM:
    """Return the LM of the predictors without one of their own, else that of the first predictor.

    Raises:
        ConfigError: There is none.
    """
    lms = {path: predictor.lm for path, predictor in student.named_predictors()}
    bare = [path for path, lm in lms.items() if lm is None]
    lm = dspy.settings.lm if bare or not lms else next(iter(lms.values()))
    if lm is None:
        which = f"predictor {bare[0]!r}" if len(bare) < len(lms) else "the student"
        msg = f"{which} has no LM; call dspy.configure(lm=...) or student.set_lm(...)"
        raise ConfigError(msg)
    return lm


def find_targets(
    student: dspy.Module, examples: Sequence[dspy.Example], paths: Sequence[str] | None
) -> list[Target]:
    """Return the predictors to distil into, in program order.

    Raises:
        ConfigError: A path is unknown, no predictor has an output that the examples label, or one
            has several such outputs and not exactly one with a closed label set.
        DataError: There are no examples, they are of one class, or one lacks a value or has a label
            outside the set.
    """
    if not examples:
        msg = "trainset is empty; give labelled examples"
        raise DataError(msg)
    named = dict(student.named_predictors())
    for path in paths or ():
        if path not in named:
            msg = f"the program has no predictor {path!r}{nearest(path, named)}"
            raise ConfigError(msg)
    chosen = {path: p for path, p in named.items() if paths is None or path in paths}
    labelled = _labelled(examples)
    found = []
    for path, predictor in chosen.items():
        keys = [key for key in predictor.signature.output_fields if key in labelled]
        if keys:
            key = _label_key(path, predictor.signature, keys, examples)
            _check_inputs(predictor.signature, examples)
            labels = _labels(predictor.signature, key, examples)
            found.append(
                Target(path=path, signature=predictor.signature, label_key=key, labels=labels)
            )
    if not found or (paths is not None and len(found) < len(chosen)):
        missed = sorted(chosen.keys() - {target.path for target in found})
        outputs = {key for path in missed for key in named[path].signature.output_fields}
        msg = (
            f"no predictor of {missed} has an output among {sorted(outputs)} that every "
            "example labels; name the gold field like the output, and leave it out of with_inputs"
        )
        raise ConfigError(msg)
    return found


def prepare_splits(
    targets: Sequence[Target],
    trainset: Sequence[dspy.Example],
    valset: Sequence[dspy.Example] | None,
    selectset: Sequence[dspy.Example] | None,
    *,
    share: float,
    seed: int,
) -> Splits:
    """Return train, val and select; splits that are not given are held out of `train`, and logged.

    Duplicates in train are removed, so that the teacher explains each example once per draw. If
    every training example has a group (`pld_group`) and there are at most 20 labels, whole groups
    are held out, so that lists are compared on groups that no rule was made from; val and select may
    share groups. A label with a single group is on both sides, with a warning. Sets that are given
    are taken as they are.

    Raises:
        DataError: There are too few examples, or a label is missing or outside the set.
    """
    key = targets[-1].label_key
    for name, given in (("valset", valset), ("selectset", selectset)):
        if given is not None and not given:
            msg = f"{name} is empty; give examples, or leave it out to hold some out"
            raise DataError(msg)
    train = tuple({example_id(example): example for example in trainset}.values())
    if valset is None:
        train = clean_examples(train, label_key=key)
        count = max(2, round(len(train) * share))
        if count >= len(train):
            msg = f"{len(train)} training examples leave none when {count} are held out; give more, or a valset"
            raise DataError(msg)
        train, valset = _hold_out(train, count, key, seed)
    val = tuple(valset)
    if selectset is None:
        val = clean_examples(val, label_key=key)
        half = len(val) // 2
        halves: dict[Split, int] = {"val": len(val) - half, "select": half}
        parts = make_splits(val, sizes=halves, label_key=key, seed=seed, balance="natural")
        val, selectset = parts.val, parts.select
    for examples in (val, selectset):
        _check(targets[-1].labels, key, examples)
        for target in targets:
            _check_inputs(target.signature, examples)
    return Splits(train=train, val=val, select=tuple(selectset), test=())


def _hold_out(
    train: tuple[dspy.Example, ...], count: int, key: str, seed: int
) -> tuple[tuple[dspy.Example, ...], tuple[dspy.Example, ...]]:
    """Return the training examples and the held-out ones, about `count` if whole groups go."""
    labels = {label_text(example[key]) for example in train}
    grouped = all(example.get("pld_group") is not None for example in train)
    if grouped and len(labels) <= MAX_LABELS:
        kept, held = hold_out(train, count, key, seed)
        if not kept or not held:
            msg = f"the groups of {len(train)} training examples leave none when {count} are held out; give more groups, or a valset"
            raise DataError(msg)
        logger.info("no valset: %d of %d training examples are held out, by group", len(held), len(train))  # fmt: skip
        return kept, held
    logger.info("no valset: %d of %d training examples are held out", count, len(train))
    sizes: dict[Split, int] = {"train": len(train) - count, "val": count}
    parts = make_splits(train, sizes=sizes, label_key=key, seed=seed, balance="natural")
    return parts.train, parts.val


def in_turn(
    examples: Sequence[dspy.Example], label_key: str, count: int | None
) -> list[dspy.Example]:
    """Return up to `count` examples in input order, balanced by label; None means all.

    Within a label the groups take turns, so that few examples are of many groups.
    """
    if count is None or count >= len(examples):
        return list(examples)
    queues: dict[str, dict[object, list[int]]] = {}
    for place, example in enumerate(examples):
        group = example.get("pld_group")
        of_label = queues.setdefault(label_text(example[label_key]), {})
        of_label.setdefault(place if group is None else str(group), []).append(place)
    turns = in_turns(in_turns(queues[label].values()) for label in sorted(queues))
    return [examples[place] for place in sorted(turns[:count])]


def _labelled(examples: Sequence[dspy.Example]) -> set[str]:
    """Return the fields that every example has and that are not inputs."""
    try:
        fields = [set(example.labels().keys()) for example in examples]
    except ValueError as error:
        msg = "an example has no inputs set; call .with_inputs(...) on it"
        raise DataError(msg) from error
    return set.intersection(*fields)


def _label_key(
    path: str,
    signature: type[dspy.Signature],
    keys: Sequence[str],
    examples: Sequence[dspy.Example],
) -> str:
    """Return the labelled output to learn; of several, the only one with a closed label set."""
    if len(keys) == 1:
        return keys[0]
    declared = [key for key in keys if output_labels(signature, key)]
    few = [key for key in keys if len({label_text(e[key]) for e in examples}) <= MAX_LABELS]
    closed = declared or few
    named = " and ".join(map(repr, keys))
    if len(closed) != 1:
        msg = (
            f"the examples label several outputs of predictor {path!r}, {named}; leave all but the "
            "one to learn out of the examples"
        )
        raise ConfigError(msg)
    logger.warning(
        "the examples label the outputs %s of predictor %r; %r is learned, which has a closed label set",
        named,
        path,
        closed[0],
    )
    return closed[0]


def _check_inputs(signature: type[dspy.Signature], examples: Sequence[dspy.Example]) -> None:
    """Raise DataError for an input without a value, unless its type allows None."""
    for name, field in signature.input_fields.items():
        if allows_none(field.annotation):
            continue
        for example in examples:
            if name in example and is_missing(example[name]):
                msg = f"example {example_id(example)} has the input {name} = {example[name]!r}; give it a value, or leave the example out"
                raise DataError(msg)


def _labels(
    signature: type[dspy.Signature], key: str, examples: Sequence[dspy.Example]
) -> tuple[str, ...]:
    _check((), key, examples)
    counts = Counter(label_text(example[key]) for example in examples)
    if len(counts) == 1:
        msg = (
            f"every training example has {key} = {next(iter(counts))!r}; give at least two classes"
        )
        raise DataError(msg)
    declared = output_labels(signature, key)
    if declared:
        _check(declared, key, examples)
        return declared
    for alike in variants(sorted(counts)):
        named = ", ".join(f"{label!r} ({counts[label]})" for label in alike)
        logger.warning(
            "the labels %s of %s differ in case or spaces only and count as %d classes; make them one",
            named,
            key,
            len(alike),
        )
    return tuple(sorted(counts)) if len(counts) <= MAX_LABELS else ()


def _check(labels: Sequence[str], key: str, examples: Sequence[dspy.Example]) -> None:
    for example in examples:
        if is_missing(example.get(key)):
            had = "" if example.get(key) is None else f" ({key} = {example[key]!r})"
            msg = f"example {example_id(example)} has no label {key!r}{had}; give every example one"
            raise DataError(msg)
        gold = label_text(example[key])
        if labels and gold not in labels:
            msg = f"an example has {key} = {gold!r}, which is not a label{nearest(gold, labels)}"
            raise DataError(msg)
