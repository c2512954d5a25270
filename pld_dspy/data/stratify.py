"""Counts of each label in each split, and the side that each group is on.

Works on counts only: rows are labels, columns are splits.
"""

from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt

from pld_dspy.config.base import Balance

Counts = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
Cost = Callable[[Counts, Counts, Counts], Floats]

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


def choose_sides(
    counts: Counts,
    kept: Counts,
    *,
    sizes: Sequence[int],
    merged: npt.NDArray[np.bool_],
    balance: Balance | None,
    rng: np.random.Generator,
) -> Counts:
    """Return the side of each group, shape `(groups,)`: a place in `sizes`.

    The choice leaves enough items on each side, then has every label with enough groups on each
    side, then meets the label quotas, then shares out the groups of each label in proportion to the
    roots of the sizes: where there is more than is asked for, a small side has several groups too.
    Found by local search from random starts; the first one with nothing short and no label absent
    is taken.

    Args:
        counts: Items of each label in each group, shape `(groups, labels)`.
        kept: Those of them that are wanted on the first side, of the same shape.
        sizes: Items wanted on each side, each above 0.
        merged: Labels for which the first two sides are one, shape `(labels,)`: their items there
            may go to either, whatever their group.
        balance: As for `label_totals`; None if every item is taken, so that the sizes are only aims.
        rng: Source of the random starts.
    """
    wanted = np.array(sizes, dtype=np.float64)
    shares = np.sqrt(wanted) / np.sqrt(wanted).sum()
    tables = np.stack([counts, counts > 0, kept]).astype(np.int64)
    cost = _cost(counts, kept, wanted, merged, balance)
    best, best_cost = np.zeros(len(counts), dtype=np.int64), np.inf
    for _ in range(_RESTARTS):
        start = rng.choice(len(wanted), size=len(counts), p=shares)
        side, now = _descend(start, tables, len(wanted), cost)
        if now < best_cost:
            best, best_cost = side, now
        if now < _MISSING:
            break
    return best


def _cost(
    counts: Counts,
    kept: Counts,
    wanted: Floats,
    merged: npt.NDArray[np.bool_],
    balance: Balance | None,
) -> Cost:
    """Return the cost of tables of shape `(..., sides, labels)`: items, groups, items of `kept`."""
    available = counts.sum(axis=0)
    total_wanted = min(int(wanted.sum()), int(available.sum()))
    quota = available if balance is None else label_totals(available, total_wanted, balance)
    groups = (counts > 0).sum(axis=0)
    every, roots = max(int(kept.sum()), 1), np.sqrt(wanted)
    apart = np.eye(len(wanted), dtype=np.int64)
    joined = apart[1:].copy()
    joined[:1, 0] = 1
    parts = [(np.flatnonzero(~merged), apart), (np.flatnonzero(merged), joined)]

    def cost(items: Counts, holders: Counts, wished: Counts) -> Floats:
        total = (0.0 if balance is None else _SHORT) * _short(items, wanted, merged)
        for labels, sides in parts:
            if not len(labels):
                continue
            table = sides @ items[..., labels]
            share = (sides @ wanted / wanted.sum())[:, None]
            # A label with too few groups for all sides is wanted on the first.
            spread = groups[labels] >= len(sides)
            missing = np.where(spread, (table == 0).sum(axis=-2), table[..., 0, :] == 0)
            lack = np.maximum(np.floor(quota[labels] * share) - table, 0)
            spread_out = sides @ holders[..., labels] / np.maximum(groups[labels], 1)
            drift = np.abs(spread_out - (sides @ roots / roots.sum())[:, None]) / 2
            wasted = (sides @ wished[..., labels])[..., 1:, :] / every
            total = total + _MISSING * missing.sum(axis=-1) + _QUOTA * lack.sum(axis=(-2, -1))
            total = total + drift.sum(axis=(-2, -1)) + wasted.sum(axis=(-2, -1))
        return np.asarray(total, dtype=np.float64)

    return cost


def _short(tables: Counts, wanted: Floats, merged: npt.NDArray[np.bool_]) -> Floats:
    """Return how many items the sides lack; those of merged labels may go to either of the first two."""
    either = tables[..., :2, merged].sum(axis=(-2, -1))
    own = tables.sum(axis=-1)
    own[..., :2] -= tables[..., :2, merged].sum(axis=-1)
    lack = np.maximum(wanted - own, 0)
    first = np.maximum(lack[..., :2].sum(axis=-1) - either, 0)
    return np.asarray(first + lack[..., 2:].sum(axis=-1), dtype=np.float64)


def _descend(side: Counts, tables: Counts, sides: int, cost: Cost) -> tuple[Counts, float]:
    """Return the sides after moves of single groups, each the best one, and their cost.

    Args:
        side: The side of each group at the start, shape `(groups,)`.
        tables: What is counted in each group, shape `(kinds, groups, labels)`.
        sides: Number of sides.
        cost: Of one table of each kind.
    """
    units = np.eye(sides, dtype=np.int64)
    now = float(cost(*(units[side].T @ table for table in tables)))
    while True:
        costs = []
        for target in range(sides):
            step = (units[target] - units[side])[:, :, None]
            costs.append(cost(*(units[side].T @ t + step * t[:, None, :] for t in tables)))
        target, group = divmod(int(np.argmin(costs)), len(side))
        if costs[target][group] >= now:
            return side, now
        side = side.copy()
        side[group] = target
        now = float(costs[target][group])
