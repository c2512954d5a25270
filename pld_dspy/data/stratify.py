"""Counts of each label in each split, and the groups that are kept for test.

Works on counts only: rows are labels, columns are splits.
"""

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from pld_dspy.config.base import Balance

Counts = npt.NDArray[np.int64]

_RESTARTS = 32
_SHORT, _MISSING, _QUOTA = 1e9, 1e6, 1e3  # an unmet size outweighs an absent label, and so on


def label_totals(available: Counts, total: int, balance: Balance) -> Counts:
    """Return how many items each label gives, shape `(labels,)`; the sum is `total`.

    Args:
        available: Items of each label, shape `(labels,)`; the sum is at least `total`.
        total: Items wanted, over all splits.
        balance: `natural` keeps the label shares (largest remainder); `equal` gives each label the
            same count, or all it has, and fills up from the other labels.
    """
    if balance == "natural":
        ideal = available * (total / max(int(available.sum()), 1))
        # A rare label keeps two items, one for train and one for test, or at least one, if it can.
        starts = [np.minimum(available, least) for least in (2, 1, 0)]
        start = next(counts for counts in starts if counts.sum() <= total)
        return _fill(start, ideal, available, total)
    taken = np.zeros_like(available)
    while taken.sum() < total:
        open_labels = np.flatnonzero(taken < available)
        step = (total - int(taken.sum())) // len(open_labels)
        if step == 0:
            taken[open_labels[: total - int(taken.sum())]] += 1
        else:
            taken[open_labels] = np.minimum(available, taken + step)[open_labels]
    return taken


def _fill(start: Counts, ideal: npt.NDArray[np.floating], available: Counts, total: int) -> Counts:
    taken = start.copy()
    while taken.sum() < total:
        lack = np.where(taken < available, ideal - taken, -np.inf)
        taken[int(np.argmax(lack))] += 1
    return taken


def share_out(totals: Counts, sizes: Counts) -> Counts:
    """Return a table of shape `(labels, splits)` with row sums `totals` and column sums `sizes`.

    Each cell is as near as whole numbers allow to its proportional share. A label with enough items
    has at least one in each split, the leftmost splits first.

    Args:
        totals: Items of each label, shape `(labels,)`.
        sizes: Items of each split, shape `(splits,)`, with the same sum.
    """
    ideal = np.outer(totals, sizes) / max(int(sizes.sum()), 1)
    table = np.zeros((len(totals), len(sizes)), dtype=np.int64)
    for column in range(len(sizes)):
        for row in np.argsort(totals, kind="stable"):
            if table[row].sum() < totals[row] and table[:, column].sum() < sizes[column]:
                table[row, column] = 1
    while table.sum() < sizes.sum():
        free = np.outer(table.sum(axis=1) < totals, table.sum(axis=0) < sizes)
        lack = np.where(free, ideal - table, -np.inf)
        table[np.unravel_index(int(np.argmax(lack)), table.shape)] += 1
    return table


def choose_test_groups(
    counts: Counts,
    kept: Counts,
    *,
    sizes: tuple[int, int],
    balance: Balance,
    rng: np.random.Generator,
) -> npt.NDArray[np.bool_]:
    """Return a mask of shape `(groups,)`: which groups are for test only.

    The mask leaves enough items on both sides, then has every label with two or more groups on both
    sides, then meets the label quotas, then is proportional to the sizes. Found by local search
    from random starts; the first start with nothing short and no label absent is taken.

    Args:
        counts: Items of each label in each group, shape `(groups, labels)`.
        kept: Items of each group that are wanted in train, shape `(groups,)`.
        sizes: Items wanted outside test, and in test.
        balance: As for `label_totals`.
        rng: Source of the random starts.
    """
    rest_size, test_size = sizes
    available = counts.sum(axis=0)
    total = min(rest_size + test_size, int(available.sum()))
    share = test_size / max(rest_size + test_size, 1)
    quota = label_totals(available, total, balance)
    two_groups = (counts > 0).sum(axis=0) >= 2

    def cost(test: Counts, kept_in_test: Counts) -> npt.NDArray[np.float64]:
        rest = available - test
        short = np.maximum(test_size - test.sum(axis=-1), 0)
        short = short + np.maximum(rest_size - rest.sum(axis=-1), 0)
        missing = ((test == 0) & two_groups).sum(axis=-1) + (rest == 0).sum(axis=-1)
        lack = np.maximum(np.floor(quota * share) - test, 0)
        lack = lack + np.maximum(np.floor(quota * (1 - share)) - rest, 0)
        drift = np.abs(test / np.maximum(available, 1) - share).sum(axis=-1)
        wasted = kept_in_test / max(int(kept.sum()), 1)
        return np.asarray(
            _SHORT * short + _MISSING * missing + _QUOTA * lack.sum(axis=-1) + drift + wasted
        )

    best = np.zeros(len(counts), dtype=np.bool_)
    best_cost = np.inf
    for _ in range(_RESTARTS):
        start = rng.random(len(counts)) < share
        mask, now = _descend(start, counts, kept, cost)
        if now < best_cost:
            best, best_cost = mask, now
        if now < _MISSING:
            break
    return best


def _descend(
    mask: npt.NDArray[np.bool_],
    counts: Counts,
    kept: Counts,
    cost: Callable[[Counts, Counts], npt.NDArray[np.float64]],
) -> tuple[npt.NDArray[np.bool_], float]:
    """Return the mask after flips of single groups, each the best one, and its cost."""
    now = float(cost(counts[mask].sum(axis=0), kept[mask].sum()))
    while True:
        sign = np.where(mask, -1, 1)
        flipped = cost(
            counts[mask].sum(axis=0) + sign[:, None] * counts, kept[mask].sum() + sign * kept
        )
        move = int(np.argmin(flipped))
        if flipped[move] >= now:
            return mask, now
        mask = mask.copy()
        mask[move] = not mask[move]
        now = float(flipped[move])
