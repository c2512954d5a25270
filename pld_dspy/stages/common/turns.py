"""Takes items from several queues in turn."""

from collections.abc import Iterable, Sequence
from itertools import zip_longest
from typing import Any, TypeVar

T = TypeVar("T")
_NONE: Any = object()


def in_turns(queues: Iterable[Sequence[T]]) -> list[T]:
    """Return the first item of each queue, then the second of each, and so on.

    >>> in_turns(["abc", "x", "12"])
    ['a', 'x', '1', 'b', '2', 'c']
    """
    rounds = zip_longest(*queues, fillvalue=_NONE)
    return [item for turn in rounds for item in turn if item is not _NONE]
