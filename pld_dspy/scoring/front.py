"""Pareto front of score and prompt tokens."""

from collections.abc import Iterable
from typing import NamedTuple


class Point(NamedTuple):
    """Score and tokens of one candidate."""

    candidate_id: str
    score: float
    tokens: float
    """Mean input tokens per call."""


def pareto(points: Iterable[Point]) -> tuple[Point, ...]:
    """Return the points that no other point dominates, in order of tokens.

    Of equal points the first by id is returned.

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
