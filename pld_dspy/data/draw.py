"""Draws disjoint, stratified splits from one pool of examples."""

import logging
from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import dataclass

import dspy
import numpy as np

from pld_dspy.config.base import Balance, Scarce
from pld_dspy.data.examples import clean_examples, example_id, group_of, is_preferred
from pld_dspy.data.stratify import Counts, choose_sides, label_totals, share_out
from pld_dspy.errors import DataError
from pld_dspy.records import Split

logger = logging.getLogger(__name__)

TRAIN, HELD_OUT, TEST = "train", "val and select", "test"

SIDES: Mapping[str, tuple[Split, ...]] = {
    TRAIN: ("train",),
    HELD_OUT: ("val", "select"),
    TEST: ("test",),
}
"""The splits that may share groups, by side; a group is on one side."""

RARE_FIRST: tuple[Split, ...] = ("train", "test", "val", "select")
"""Which split gets the items of a label that is too rare for all four."""

_NAMED = 8
"""Most labels that a message names."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Shared:
    """Labels with too few groups for all sides, for which only test is kept apart."""

    label_key: str
    groups: Mapping[str, int]
    """Number of groups by label."""

    def has(self, example: dspy.Example) -> bool:
        """Return whether the example has one of these labels."""
        return str(example[self.label_key]) in self.groups


def in_order(
    examples: Iterable[dspy.Example], label_key: str, prefer: Container[str]
) -> tuple[dspy.Example, ...]:
    """Return the clean examples by id; of two repeats, the preferred one stays."""

    def place(example: dspy.Example) -> tuple[str, bool, str]:
        source = str(example.get("pld_source"))
        return example_id(example), not is_preferred(example, prefer), source

    return clean_examples(sorted(examples, key=place), label_key=label_key)


def draw(
    pool: Sequence[dspy.Example],
    sizes: Mapping[Split, int],
    label_key: str,
    balance: Balance,
    prefer: Container[str],
    rng: np.random.Generator,
) -> dict[Split, tuple[dspy.Example, ...]]:
    """Draw splits of exactly `sizes` from `pool`, which is large enough, stratified by label."""
    by_label: dict[str, list[dspy.Example]] = {}
    for index in rng.permutation(len(pool)):
        example = pool[int(index)]
        by_label.setdefault(str(example[label_key]), []).append(example)
    labels = sorted(by_label)
    order = [split for split in RARE_FIRST if sizes.get(split)]
    wanted = np.array([sizes[split] for split in order], dtype=np.int64)
    available = np.array([len(by_label[label]) for label in labels], dtype=np.int64)
    table = share_out(label_totals(available, int(wanted.sum()), balance), wanted)
    chosen: dict[Split, list[dspy.Example]] = {split: [] for split in order}
    for label, row in zip(labels, table, strict=True):
        # Train takes preferred items from the front, the other splits take others from the back.
        queue = sorted(by_label[label], key=lambda e: not is_preferred(e, prefer))
        for split, count in zip(order, row.tolist(), strict=True):
            cut = slice(0, count) if split == "train" else slice(len(queue) - count, None)
            chosen[split] += queue[cut]
            del queue[cut]
    return {s: tuple(items[i] for i in rng.permutation(len(items))) for s, items in chosen.items()}


def draw_by_group(
    pool: Sequence[dspy.Example],
    sizes: Mapping[Split, int],
    label_key: str,
    balance: Balance,
    prefer: Container[str],
    rng: np.random.Generator,
    scarce: Scarce,
) -> tuple[dict[Split, tuple[dspy.Example, ...]], Shared | None]:
    """Draw splits of exactly `sizes`, whose sides have groups of their own.

    Returns:
        The splits, and the labels with too few groups for that; None if there are none.

    Raises:
        DataError: An example has no group, a side has too few examples, or a label has fewer groups
            than there are sides and `scarce` is `refuse`.
    """
    sides = _sides(sizes)
    shared = _too_few_groups(pool, sides, label_key, scarce)
    if len(sides) == 1:
        return draw(pool, sizes, label_key, balance, prefer, rng), shared
    drawn: dict[Split, tuple[dspy.Example, ...]] = {}
    parts = part_groups(pool, sizes, label_key, balance, prefer, rng, shared)
    for side, part in parts.items():
        check_enough(part, sides[side], f"in the groups kept for {side}")
        drawn |= draw(part, sides[side], label_key, balance, prefer, rng)
    return drawn, shared


def hold_out(
    examples: Sequence[dspy.Example], count: int, label_key: str, seed: int
) -> tuple[tuple[dspy.Example, ...], tuple[dspy.Example, ...]]:
    """Return training and held-out examples with groups of their own; together they are all of them.

    About `count` are held out, as whole groups allow. The examples of a label with a single group
    are shared out one by one, with a warning.

    Raises:
        DataError: An example has no group.
    """
    sizes: dict[Split, int] = {"train": len(examples) - count, "val": count}
    pool, rng = in_order(examples, label_key, ()), np.random.default_rng(seed)
    shared = _too_few_groups(pool, _sides(sizes), label_key, "share")
    parts = part_groups(pool, sizes, label_key, None, (), rng, shared)
    train, val = (tuple(part[i] for i in rng.permutation(len(part))) for part in parts.values())
    return train, val


def part_groups(
    pool: Sequence[dspy.Example],
    sizes: Mapping[Split, int],
    label_key: str,
    balance: Balance | None,
    prefer: Container[str],
    rng: np.random.Generator,
    shared: Shared | None = None,
) -> dict[str, list[dspy.Example]]:
    """Return the examples of each side of `SIDES` that has a size, all of the pool.

    A group is on one side, but for the examples of shared labels outside test: these go to train
    and to the held-out side in proportion to the sizes, the preferred ones to train first. With
    `balance=None` the sizes are aims, which whole groups need not meet.
    """
    sides = _sides(sizes)
    labels = sorted({str(example[label_key]) for example in pool})
    groups = sorted({group_of(example) for example in pool})
    row = {group: place for place, group in enumerate(groups)}
    column = {label: place for place, label in enumerate(labels)}
    counts: Counts = np.zeros((len(groups), len(labels)), dtype=np.int64)
    kept = np.zeros_like(counts)
    for example in pool:
        cell = row[group_of(example)], column[str(example[label_key])]
        counts[cell] += 1
        kept[cell] += is_preferred(example, prefer)
    either = shared.groups if shared is not None and {TRAIN, HELD_OUT} <= sides.keys() else {}
    chosen = choose_sides(
        counts,
        kept,
        sizes=[sum(wanted.values()) for wanted in sides.values()],
        merged=np.array([label in either for label in labels], dtype=np.bool_),
        balance=balance,
        rng=rng,
    )
    names = list(sides)
    parts: dict[str, list[dspy.Example]] = {side: [] for side in names}
    loose: dict[str, list[dspy.Example]] = {}
    for example in pool:
        side, label = names[chosen[row[group_of(example)]]], str(example[label_key])
        if label in either and side != TEST:
            loose.setdefault(label, []).append(example)
        else:
            parts[side].append(example)
    _share_loose(loose, parts, sides, prefer, rng)
    return parts


def check_enough(pool: Sequence[dspy.Example], sizes: Mapping[Split, int], where: str) -> None:
    """Raise if the pool has fewer examples than the sizes ask for.

    Raises:
        DataError: Says what is asked for and what there is.
    """
    if sum(sizes.values()) > len(pool):
        asked = " + ".join(f"{split} {size}" for split, size in sizes.items() if size)
        msg = f"{asked} examples are asked for, {len(pool)} are {where}; ask for fewer"
        raise DataError(msg)


def _sides(sizes: Mapping[Split, int]) -> dict[str, dict[Split, int]]:
    """Return the sizes of the splits of each side, without sides and splits of size 0."""
    wanted = {
        side: {split: sizes[split] for split in splits if sizes.get(split)}
        for side, splits in SIDES.items()
    }
    return {side: part for side, part in wanted.items() if part}


def _too_few_groups(
    pool: Sequence[dspy.Example],
    sides: Mapping[str, Mapping[Split, int]],
    label_key: str,
    scarce: Scarce,
) -> Shared | None:
    groups: dict[str, set[str]] = {}
    for example in pool:
        groups.setdefault(str(example[label_key]), set()).add(group_of(example))
    few = {label: len(groups[label]) for label in sorted(groups) if len(groups[label]) < len(sides)}
    if not few:
        return None
    named = ", ".join(f"{label!r} ({count})" for label, count in list(few.items())[:_NAMED])
    named += f" and {len(few) - _NAMED} more" if len(few) > _NAMED else ""
    if scarce == "refuse":
        msg = (
            f"too few groups of {label_key} {named} for {len(sides)} sides ({', '.join(sides)}); add "
            'groups, leave the label out, or set scarce = "share" to keep only test apart for it'
        )
        raise DataError(msg)
    logger.warning(
        "too few groups of %s %s for %d sides (%s): train, val and select may share them",
        label_key, named, len(sides), ", ".join(sides),
    )  # fmt: skip
    return Shared(label_key=label_key, groups=few)


def _share_loose(
    loose: Mapping[str, list[dspy.Example]],
    parts: Mapping[str, list[dspy.Example]],
    sides: Mapping[str, Mapping[Split, int]],
    prefer: Container[str],
    rng: np.random.Generator,
) -> None:
    """Add the examples of shared labels to the two sides, so that neither is short if possible."""
    if not loose:
        return
    totals = np.array([len(loose[label]) for label in sorted(loose)], dtype=np.int64)
    total = int(totals.sum())
    sizes = {side: sum(sides[side].values()) for side in (TRAIN, HELD_OUT)}
    lack = {side: max(sizes[side] - len(parts[side]), 0) for side in sizes}
    fair = round(total * sizes[TRAIN] / sum(sizes.values()))
    train = min(max(fair, lack[TRAIN]), max(total - lack[HELD_OUT], 0))
    table = share_out(totals, np.array([train, total - train], dtype=np.int64))
    for label, (first, _) in zip(sorted(loose), table.tolist(), strict=True):
        mixed = [loose[label][i] for i in rng.permutation(len(loose[label]))]
        queue = sorted(mixed, key=lambda e: not is_preferred(e, prefer))
        parts[TRAIN].extend(queue[:first])
        parts[HELD_OUT].extend(queue[first:])
