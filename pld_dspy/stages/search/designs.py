"""Rule lists to try first, from which the gain of each rule can be told."""

from collections.abc import Iterator
from itertools import combinations, islice, permutations

import numpy as np
import numpy.typing as npt

from pld_dspy.errors import ConfigError

Floats = npt.NDArray[np.float64]

_RESTARTS = 20
"""Random starts of the search for a design."""

_BALANCE = (4.0, 1e6)
"""How much the balance of a rule weighs against that of a pair: first lightly, since a flip that
mends a pair has to pass through an unbalanced rule, then above all."""


def designed_subsets(n_rules: int, count: int, *, seed: int) -> tuple[tuple[int, ...], ...]:
    """Return up to `count` different lists from which the gain of every rule can be told.

    Each rule is in half of them (one more or less where `count` is odd), and each pair together in
    a quarter as nearly as a search by single exchanges finds. With at least `2 * n_rules` lists
    they come in complementary pairs (a fold-over: Box, Hunter and Hunter 2005, section 6.5), which
    keeps what two rules do together out of the gain of one; with fewer that would leave gains that
    cannot be told apart. The order within a list is random. No set comes twice, and the set of all
    rules does not come, before every other set was used; the empty list never comes.

    Args:
        n_rules: Size of the pool.
        count: Lists wanted; fewer come only where there are no more different ones.
        seed: Seed of subsets and orders.

    Raises:
        ConfigError: `n_rules` or `count` is below 1.
    """
    if n_rules < 1 or count < 1:
        msg = f"{count} lists of {n_rules} rules; give at least 1 of each"
        raise ConfigError(msg)
    rng = np.random.default_rng(seed)
    if count >= 2**n_rules - 2:
        return tuple(islice(_every_list(n_rules, rng), count))
    folded = count >= 2 * n_rules
    designs = [
        _spread(n_rules, (count + 1) // 2 if folded else count, folded, rng)
        for _ in range(_RESTARTS)
    ]
    best = min(designs, key=lambda signs: _imbalance(signs, folded))
    rows = np.stack([best, -best], axis=1).reshape(-1, n_rules)[:count] if folded else best
    return tuple(tuple(rng.permutation(np.flatnonzero(row > 0)).tolist()) for row in rows)


def _every_list(n_rules: int, rng: np.random.Generator) -> Iterator[tuple[int, ...]]:
    """Yield every list once: each set in a random order, all rules last; then the other orders."""
    sets = [s for size in range(1, n_rules) for s in combinations(range(n_rules), size)]
    mixed = [*(sets[k] for k in rng.permutation(len(sets))), tuple(range(n_rules))]
    first = [tuple(rng.permutation(chosen).tolist()) for chosen in mixed]
    yield from first
    for chosen, known in zip(mixed, first, strict=True):
        yield from (order for order in permutations(chosen) if order != known)


def _spread(n_rules: int, rows: int, folded: bool, rng: np.random.Generator) -> Floats:
    """Return different rows of +1 and -1, improved flip by flip from a random start.

    Neither all rules nor none is a row, and where `folded` no row is the complement of another.
    """
    keys: dict[bytes, None] = {}
    while len(keys) < rows:
        keys.setdefault(_key(rng.choice([-1.0, 1.0], size=n_rules), folded))
        keys.pop(_key(np.ones(n_rules), folded), None)
        keys.pop(_key(-np.ones(n_rules), folded), None)
    signs = np.array([np.frombuffer(key) for key in keys])
    taken = {*keys, _key(np.ones(n_rules), folded), _key(-np.ones(n_rules), folded)}
    for weight in _BALANCE:
        while (flip := _best_flip(signs, 0.0 if folded else weight, taken, folded)) is not None:
            row, j = flip
            taken.remove(_key(signs[row], folded))
            signs[row, j] *= -1
            taken.add(_key(signs[row], folded))
    return signs


def _best_flip(
    signs: Floats, weight: float, taken: set[bytes], folded: bool
) -> tuple[int, int] | None:
    """Return row and column of the flip that helps most and makes no row of `taken`, if any does."""
    cross = signs.T @ signs - len(signs) * np.eye(signs.shape[1])
    # A flip takes 2 from a product of columns: the change of its square, over 4.
    change = signs.shape[1] - 1 - signs * (signs @ cross) + weight * (1 - signs * signs.sum(0))
    for at in np.argsort(change, axis=None, kind="stable"):
        row, j = divmod(int(at), signs.shape[1])
        if change[row, j] >= 0:
            return None
        flipped = signs[row].copy()
        flipped[j] *= -1
        if _key(flipped, folded) not in taken:
            return row, j
    return None


def _imbalance(signs: Floats, folded: bool) -> float:
    """Return the sum of squared products of columns, and of column sums unless `folded`."""
    cross = signs.T @ signs
    pairs = float((np.triu(cross, 1) ** 2).sum())
    return pairs if folded else pairs + _BALANCE[0] * float((signs.sum(0) ** 2).sum())


def _key(signs: Floats, folded: bool) -> bytes:
    """Return what two rows have in common if they are the same set, or complements if `folded`."""
    return (signs * signs[0] if folded else signs).tobytes()
