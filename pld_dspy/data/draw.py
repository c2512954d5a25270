"""Draws disjoint, stratified splits from one pool of examples."""

from collections.abc import Container, Iterable, Mapping, Sequence

import dspy
import numpy as np

from pld_dspy.config.base import Balance
from pld_dspy.data.examples import clean_examples, example_id, group_of, is_preferred
from pld_dspy.data.stratify import Counts, choose_test_groups, label_totals, share_out
from pld_dspy.records import Split

RARE_FIRST: tuple[Split, ...] = ("train", "test", "val", "select")
"""Which split gets the items of a label that is too rare for all four."""


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


def part_groups(
    pool: Sequence[dspy.Example],
    sizes: Mapping[Split, int],
    label_key: str,
    balance: Balance,
    prefer: Container[str],
    rng: np.random.Generator,
) -> tuple[list[dspy.Example], list[dspy.Example]]:
    """Return the examples outside and inside the groups that are kept for test."""
    labels = sorted({str(example[label_key]) for example in pool})
    groups = sorted({group_of(example) for example in pool})
    counts: Counts = np.zeros((len(groups), len(labels)), dtype=np.int64)
    kept: Counts = np.zeros(len(groups), dtype=np.int64)
    row_of = {group: row for row, group in enumerate(groups)}
    for example in pool:
        row = row_of[group_of(example)]
        counts[row, labels.index(str(example[label_key]))] += 1
        kept[row] += is_preferred(example, prefer)
    test_size = sizes["test"]
    both = (sum(sizes.values()) - test_size, test_size)
    mask = choose_test_groups(counts, kept, sizes=both, balance=balance, rng=rng)
    held = {group for group, is_test in zip(groups, mask.tolist(), strict=True) if is_test}
    rest = [example for example in pool if group_of(example) not in held]
    return rest, [example for example in pool if group_of(example) in held]
