"""Progress events."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

Role = Literal["teacher", "student", "embedder", ""]


@dataclass(frozen=True, slots=True)
class Event:
    """Progress of one stage: `done` of `total` calls, or bytes for a file.

    >>> Event("val", "student", 3, 24, item="c1")
    Event(stage='val', role='student', done=3, total=24, item='c1')
    """

    stage: str
    """Teacher: `traces`, `rules`, `judgements`, `words`, `refine`. Student: the split it is scored on
    (`train`, `val`, `select`, `test`), `wording`, `search`, `left out`, or `decision`. Embedding model:
    `clusters`. File: `download`, `check`."""
    role: Role
    """The model that is called; empty for a file."""
    done: int
    total: int
    item: str = ""
    """Id of the candidate that is scored, or name of the file."""


Progress = Callable[[Event], None]
"""Called with each event, also from worker threads."""


def silent(event: Event) -> None:
    """Show no progress."""
