"""Score against prompt tokens: which lists no other list beats in both."""

from collections.abc import Iterable
from typing import NamedTuple


class Point(NamedTuple):
    """One candidate."""

    candidate_id: str
    score: float
    tokens: float
    """Mean input tokens of a call."""


def pareto(points: Iterable[Point]) -> tuple[Point, ...]:
    """Return the points that no other reaches with as few tokens and as high a score, fewest tokens first.

    Of equal points the first by id stays.

    >>> [
    ...     p.candidate_id
    ...     for p in pareto([Point("a", 0.5, 10), Point("b", 0.4, 20), Point("c", 0.9, 30)])
    ... ]
    ['a', 'c']
    """
    front: list[Point] = []
    for point in sorted(points, key=lambda p: (p.tokens, -p.score, p.candidate_id)):
        if not front or point.score > front[-1].score:
            front.append(point)
    return tuple(front)
