"""Disjoint, seeded, stratified splits."""

import hashlib
import logging
from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import get_args

import dspy
import numpy as np

from pld_dspy.config.base import Balance, By, Scarce
from pld_dspy.data.draw import HELD_OUT, SIDES, Shared, check_enough, draw, draw_by_group, in_order
from pld_dspy.data.examples import (
    clean_examples,
    example_id,
    group_of,
    input_digest,
    make_example,
)
from pld_dspy.errors import ConfigError, DataError, LeakageError, nearest
from pld_dspy.records import Split

__all__ = [
    "SPLITS",
    "By",
    "Shared",
    "Splits",
    "check_disjoint",
    "clean_examples",
    "example_id",
    "make_example",
    "make_splits",
    "make_splits_from_pools",
]

logger = logging.getLogger(__name__)

SPLITS: tuple[Split, ...] = get_args(Split)


@dataclass(frozen=True, slots=True, kw_only=True)
class Splits:
    """Examples for the traces (train), for comparing (val), the final choice (select) and the report (test)."""

    train: tuple[dspy.Example, ...] = ()
    val: tuple[dspy.Example, ...] = ()
    select: tuple[dspy.Example, ...] = ()
    test: tuple[dspy.Example, ...] = ()
    shared: Shared | None = None
    """Labels for which train shares groups with val and select; None if all groups are apart."""

    def get(self, split: Split) -> tuple[dspy.Example, ...]:
        """Return the examples of the split of that name."""
        return {"train": self.train, "val": self.val, "select": self.select, "test": self.test}[
            split
        ]

    @property
    def sizes(self) -> dict[Split, int]:
        """Number of examples of each split."""
        return {split: len(self.get(split)) for split in SPLITS}

    @property
    def digests(self) -> dict[Split, str]:
        """Sha256 of the sorted example ids of each split; equal digests mean equal splits."""
        return {
            split: hashlib.sha256(
                "\n".join(sorted(map(example_id, self.get(split)))).encode()
            ).hexdigest()
            for split in SPLITS
        }


def make_splits(  # noqa: PLR0913 - settings by name
    examples: Iterable[dspy.Example],
    *,
    sizes: Mapping[Split, int],
    label_key: str,
    seed: int,
    by: By = "item",
    balance: Balance = "equal",
    prefer: Container[str] = (),
    scarce: Scarce = "refuse",
) -> Splits:
    """Return disjoint splits of the given sizes, the same for the same examples and seed.

    With `balance="equal"` the labels have equal counts as far as each label's items reach; a scarce
    label is shared out in proportion to the sizes, and the other labels fill its place. With
    `by="group"` a group is in train, in val and select (these two may share it), or in test, so that
    comparing and choosing see what test sees: groups that no rule was made from. A label with enough
    groups is on all sides where the sizes allow it.

    Args:
        examples: Examples with inputs set; repeats and contradictions are left out.
        sizes: Examples wanted of each split; a split not named is empty.
        label_key: Field that holds the label.
        seed: Seed of the draw; the order in which the examples are given does not matter.
        by: Whether single examples, or whole groups, are kept apart.
        balance: Equal label counts, or the shares that the data has.
        prefer: Source ids of items wanted in train. They fill train first, and go elsewhere only
            where a label has too few others.
        scarce: With `by="group"`: a label with fewer groups than sides is an error, or `share` lets
            train, val and select share its groups, with a warning; test has its own in any case.

    Raises:
        DataError: The examples are too few or not usable, a group is missing, or a label has too few
            groups.
        ConfigError: A size is negative or names no split.
    """
    wanted = _check_sizes(sizes)
    pool = in_order(examples, label_key, prefer)
    check_enough(pool, wanted, "in all")
    rng = np.random.default_rng(seed)
    shared: Shared | None = None
    if by == "item":
        drawn = draw(pool, wanted, label_key, balance, prefer, rng)
    else:
        drawn, shared = draw_by_group(pool, wanted, label_key, balance, prefer, rng, scarce)
    splits = Splits(**drawn, shared=shared)
    check_disjoint(splits, by=by)
    logger.info("split %d examples into %s", len(pool), splits.sizes)
    return splits


def make_splits_from_pools(  # noqa: PLR0913 - settings by name
    pools: Mapping[Split, Sequence[dspy.Example]],
    *,
    sizes: Mapping[Split, int],
    label_key: str,
    seed: int,
    by: By = "item",
    balance: Balance = "equal",
    prefer: Container[str] = (),
    scarce: Scarce = "refuse",
) -> Splits:
    """Return disjoint splits, each drawn from the pool that the data set gives for it.

    A split without a pool of its own shares one: select that of val, val that of train. An example
    whose inputs are in several pools stays in the last of train, val, select, test only, so
    that an official test set is kept whole.

    Args:
        pools: Examples by split; `train` and, if its size is above 0, `test` are needed.
        sizes: As for `make_splits`.
        label_key: Field that holds the label.
        seed: Seed of the draw.
        by: With `group`, a group in two pools is an error, and val and select have groups of their
            own where they are drawn from the pool of train.
        balance: As for `make_splits`.
        prefer: As for `make_splits`.
        scarce: As for `make_splits`, where val or select is drawn from the pool of train.

    Raises:
        DataError: A pool is missing, too small or not usable, or a label has too few groups.
        LeakageError: `by="group"` and train, val with select, and test are not apart by group.
        ConfigError: A size is negative or names no split.
    """
    wanted = _check_sizes(sizes)
    shares: dict[Split, dict[Split, int]] = {}
    for split in SPLITS:
        if wanted[split]:
            shares.setdefault(_pool_of(split, pools), {})[split] = wanted[split]
    taken: set[str] = set()
    shared: Shared | None = None
    drawn: dict[Split, tuple[dspy.Example, ...]] = {}
    for name in reversed(SPLITS):
        if name not in pools or not pools[name]:
            continue
        cleaned = in_order(pools[name], label_key, prefer)
        pool = [e for e in cleaned if input_digest(e) not in taken]
        if len(pool) < len(cleaned):
            lost = len(cleaned) - len(pool)
            logger.info("%d examples of pool %s are in a later pool; left out", lost, name)
        taken |= {input_digest(e) for e in pool}
        if name in shares:
            check_enough(pool, shares[name], f"in the {name} pool")
            rng = np.random.default_rng([seed, SPLITS.index(name)])
            if by == "group" and name == "train":
                found, shared = draw_by_group(
                    pool, shares[name], label_key, balance, prefer, rng, scarce
                )
                drawn |= found
            else:
                drawn |= draw(pool, shares[name], label_key, balance, prefer, rng)
    splits = Splits(**drawn, shared=shared)
    check_disjoint(splits, by=by)
    return splits


def check_disjoint(splits: Splits, *, by: By = "item") -> None:
    """Raise if an example is in two splits, or with `by="group"` a group is on two sides.

    The sides are train, val with select, and test. The examples of `splits.shared` may have groups of
    train in val and select, never in test.

    Raises:
        LeakageError: Names the example or the group, and the two splits.
        DataError: `by="group"` and an example has no group.
    """
    for one, other in combinations(SPLITS, 2):
        here = {example_id(e) for e in splits.get(one)}
        for example in splits.get(other):
            if example_id(example) in here:
                msg = f"example {example_id(example)} is in {one} and in {other}; give each once"
                raise LeakageError(msg)
    if by == "item":
        return
    for one, other in combinations(SPLITS, 2):
        if {one, other} <= set(SIDES[HELD_OUT]):
            continue
        allowed = None if other == "test" else splits.shared
        held = _groups(splits.get(other), allowed)
        for group, example in _groups(splits.get(one), allowed).items():
            if group in held:
                msg = (
                    f"group {group!r} of example {held[group]} in {other} is in {one} too (example "
                    f"{example}); keep the groups of {other} apart"
                )
                raise LeakageError(msg)


def _groups(examples: Sequence[dspy.Example], but: Shared | None) -> dict[str, str]:
    """Return the groups, each with the id of one of its examples."""
    return {group_of(e): example_id(e) for e in examples if but is None or not but.has(e)}


def _pool_of(split: Split, pools: Mapping[Split, Sequence[dspy.Example]]) -> Split:
    fallback: dict[Split, tuple[Split, ...]] = {
        "select": ("select", "val", "train"),
        "val": ("val", "train"),
    }
    for name in fallback.get(split, (split,)):
        if pools.get(name):
            return name
    msg = f"there are no examples for {split}; give a pool for it or set its size to 0"
    raise DataError(msg)


def _check_sizes(sizes: Mapping[Split, int]) -> dict[Split, int]:
    for name, size in sizes.items():
        if name not in SPLITS:
            msg = f"no split is called {name!r}{nearest(name, SPLITS)}"
            raise ConfigError(msg)
        if size < 0:
            msg = f"the size of {name} is {size}; give 0 or more"
            raise ConfigError(msg)
    if not any(sizes.values()):
        msg = "every split size is 0; give at least one above 0"
        raise ConfigError(msg)
    return {split: sizes.get(split, 0) for split in SPLITS}
