"""How far a run has come, told to whoever shows it."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

Role = Literal["teacher", "student", "embedder", ""]


@dataclass(frozen=True, slots=True)
class Event:
    """`done` of `total` calls, or bytes, of one stage are done.

    >>> Event("val", "student", 3, 24, item="c1")
    Event(stage='val', role='student', done=3, total=24, item='c1')
    """

    stage: str
    """Of the teacher: `traces`, `rules`, `refine`. Of the student: the split it is scored on (`train`,
    `val`, `select`, `test`), or `search`. Of an embedding model: `clusters`. Of a file, in bytes:
    `download`, `check`."""
    role: Role
    """Who is called; empty for a file."""
    done: int
    total: int
    item: str = ""
    """Id of the candidate that is scored, or what is downloaded."""


Progress = Callable[[Event], None]
"""Called with each event, also from worker threads."""


def silent(event: Event) -> None:
    """Show no progress."""
