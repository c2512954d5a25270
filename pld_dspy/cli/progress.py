"""Progress of a run on a terminal, one line a stage, or as a plain line now and then in a log."""

import threading
import time
from collections.abc import Callable, Mapping
from typing import Any, Self

from rich.console import Console, RenderableType
from rich.markup import escape
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.text import Text

_EVERY_S = 10.0
_TEACHER = {"traces": 1, "rules": 2, "refine": 3}
_SPLITS = {"train": 3, "val": 3, "select": 4}
_BASELINE, _COMPILED = 0, 5
_TITLES = {
    "traces": "teacher explains",
    "rules": "teacher merges rules",
    "refine": "teacher edits rules",
    "train": "student answers train",
    "val": "lists on val",
    "select": "finalists on select",
}


class _Bars(Progress):
    """Progress bars with one line of text below."""

    note = ""

    def get_renderables(self) -> Any:
        yield from super().get_renderables()
        if self.note:
            yield Text(self.note, style="dim")


class RunProgress:
    """Shows `(what, done, total)` as it is called, from any thread; use it in a `with` block."""

    def __init__(
        self,
        console: Console,
        planned: Mapping[str, tuple[str, int]] | None = None,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Set up; nothing is shown before the first call.

        Args:
            console: Where to write; if it is no terminal, a plain line at most every 10 s.
            planned: Role and most calls of each stage, by the stage's name in a `Plan`; None tells
                no time for the whole run.
            clock: Seconds from any start.
        """
        self._console = console
        self._clock = clock
        self._lock = threading.Lock()
        self._left = _Estimate(planned or {})
        self._bars: _Bars | None = None
        self._tasks: dict[str, TaskID] = {}
        self._started: dict[str, float] = {}
        self._lists: dict[str, list[str]] = {}
        self._printed: float | None = None
        self._last = clock()

    def __enter__(self) -> Self:
        if self._console.is_terminal:
            columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
            times = (TimeElapsedColumn(), TextColumn("left"), TimeRemainingColumn())
            self._bars = _Bars(*columns, *times, console=self._console)
            self._bars.start()
        self._last = self._clock()
        return self

    def __exit__(self, *_: object) -> None:
        if self._bars is not None:
            self._bars.stop()

    def __call__(self, what: str, done: int, total: int) -> None:
        """Show that `done` of `total` calls (or MB) of `what` are done."""
        with self._lock:
            now = self._clock()
            kind = _kind(what)
            # The first answer of a batch also waits for whatever came between the batches.
            self._left.count(kind, what, now - self._last if done > 1 else None)
            self._last = now
            started = self._started.setdefault(what, now)
            title = self._title(kind, what)
            if self._bars is not None:
                self._draw(kind, title, done, total)
            else:
                self._print(title, done, total, now - started)

    def _title(self, kind: str, what: str) -> str:
        if kind not in {"val", "select"}:
            return _TITLES.get(kind, what)
        seen = self._lists.setdefault(kind, [])
        if what not in seen:
            seen.append(what)
        return f"{_TITLES[kind]}, no. {len(seen)}"

    def _draw(self, kind: str, title: str, done: int, total: int) -> None:
        bars = self._bars
        assert bars is not None
        if kind not in self._tasks:
            self._tasks[kind] = bars.add_task("", total=None)
        task = self._tasks[kind]
        if bars.tasks[task].description != escape(title):
            bars.reset(task, description=escape(title))
        bars.update(task, completed=done, total=total)
        bars.note = self._left.words

    def _print(self, title: str, done: int, total: int, elapsed: float) -> None:
        now = self._last
        if self._printed is not None and now - self._printed < _EVERY_S:
            return
        self._printed = now
        left = ""
        if 1 < done < total and elapsed > 0:
            left = f", {_duration(elapsed / (done - 1) * (total - done))} left"
        words = f"; {self._left.words}" if self._left.words else ""
        line: RenderableType = Text(f"{title}: {done}/{total}{left}{words}")
        self._console.print(line, soft_wrap=True)


class _Estimate:
    """How long the whole run may still take: planned calls times the seconds of those made."""

    def __init__(self, planned: Mapping[str, tuple[str, int]]) -> None:
        places = {
            "test, as given": _BASELINE,
            "traces": 1,
            "rules": 2,
            "first lists": 3,
            "worked examples": 3,
            "refine": 3,
            "refinement": 3,
            "search": 3,
            "selection": 4,
            "test, compiled": _COMPILED,
        }
        self._planned: dict[tuple[int, str], int] = {}
        for name, (role, calls) in planned.items():
            key = places[name], role
            self._planned[key] = self._planned.get(key, 0) + calls
        self._done: dict[tuple[int, str], int] = {}
        self._seconds: dict[str, float] = {}
        self._calls: dict[str, int] = {}
        self._place = 0

    def count(self, kind: str, what: str, seconds: float | None) -> None:
        role = "teacher" if kind in _TEACHER else "student"
        if kind not in _TEACHER and kind not in _SPLITS and kind != "test":
            return  # a download
        place = _TEACHER.get(kind) or _SPLITS.get(kind)
        if place is None:
            place = _COMPILED if what.startswith("compiled") else _BASELINE
        self._place = max(self._place, place)
        self._done[place, role] = self._done.get((place, role), 0) + 1
        if seconds is not None:
            self._seconds[role] = self._seconds.get(role, 0.0) + seconds
            self._calls[role] = self._calls.get(role, 0) + 1

    @property
    def words(self) -> str:
        """`at most about 12 min left`, or nothing while a role that is still needed is unmeasured."""
        left = 0.0
        for (place, role), calls in self._planned.items():
            # Stages before the present one are over, however many calls were planned.
            missing = calls - self._done.get((place, role), 0) if place >= self._place else 0
            if missing > 0:
                if not self._calls.get(role):
                    return ""
                left += missing * self._seconds[role] / self._calls[role]
        return f"whole run: at most about {_duration(left)} left" if left else ""


def _kind(what: str) -> str:
    if what in _TEACHER:
        return what
    split = what.rpartition(" on ")[2]
    return split if split in {*_SPLITS, "test"} else what


def _duration(seconds: float) -> str:
    """Return a rounded time.

    >>> _duration(40), _duration(130), _duration(7500)
    ('40 s', '2 min', '2 h 5 min')
    """
    if seconds < 90:
        return f"{max(1, round(seconds))} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 100 else f"{minutes // 60} h {minutes % 60} min"
