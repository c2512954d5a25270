"""Working time of a run folder, summed over processes however they ended."""

import uuid
from collections.abc import Callable
from time import monotonic

from pld_dspy.ledger.store import StageStore
from pld_dspy.records import Event, Progress

STAGE = "clock"
_EVERY_S = 5.0


class Clock:
    """Seconds of work on a run folder, summed over the processes that worked on it.

    The time is written with progress events, at most every five seconds, so that a process killed
    outright loses no more than that.
    """

    def __init__(
        self, store: StageStore, part: str, *, now: Callable[[], float] | None = None
    ) -> None:
        """Start to count this process's time.

        Args:
            store: The run folder's.
            part: What is timed; each part has its own sum, and parts may overlap.
            now: Returns seconds; None is the machine's monotonic clock.
        """
        now = now or monotonic
        self._store, self._now = store, now
        self._key = f"{part} {uuid.uuid4().hex[:8]}"
        self._start = self._noted = now()
        self._earlier = sum(
            float(record["seconds"])
            for record in store.all(STAGE)
            if record["key"].startswith(f"{part} ")
        )

    @property
    def wall_s(self) -> float:
        """Seconds of this process and of all the earlier ones."""
        return self._earlier + self._now() - self._start

    def note(self) -> None:
        """Write down how long this process has worked so far.

        Raises:
            StorageError: It cannot be written.
        """
        self._noted = self._now()
        self._store.put(STAGE, self._key, {"seconds": round(self._noted - self._start, 3)})

    def noting(self, progress: Progress) -> Progress:
        """Return `progress` that also writes the time, at most every five seconds."""

        def noted(event: Event) -> None:
            progress(event)
            if self._now() - self._noted >= _EVERY_S:
                self.note()

        return noted
