"""Shows the progress of a run: one bar per stage on a terminal, a line every 10 s in a log."""

import threading
import time
from collections.abc import Callable, Sequence
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

from pld_dspy.records import Event
from pld_dspy.runs.estimate import ASKED, GIVEN, PlannedStage

_EVERY_S = 10.0
_PHASES = {
    "wording": 0,
    "traces": 1,
    "rules": 2,
    "judgements": 2,
    "words": 3,
    "refine": 3,
    "train": 3,
    "val": 3,
    "search": 3,
    "select": 4,
    "left out": 5,
    "decision": 6,
}
_BEFORE, _AFTER = 0, 7
"""Phases of the two scores on test."""
_TITLES = {
    "wording": "forms of asking on val",
    "traces": "teacher explains",
    "clusters": "rules embedded",
    "rules": "teacher merges rules",
    "judgements": "conditions judged",
    "words": "words for labels",
    "refine": "teacher edits rules",
    "train": "student answers train",
    "val": "lists on val",
    "search": "searched lists on val",
    "select": "finalists on select",
    "left out": "rules left out",
    "decision": "training answers to decide by",
}
_LISTS = frozenset({"wording", "val", "search", "select", "left out"})
"""Stages that score one list after the other."""
_FILES = {"download": "fetching", "check": "checking"}
_MB = 1_000_000
_WRITTEN = 4
"""How much longer a model takes to write a token than to read one."""

_Kind = tuple[int, str, str]
"""Phase, role, and stage of the progress events."""


class _Bars(Progress):
    """Progress bars with one line of text below."""

    note = ""

    def get_renderables(self) -> Any:
        yield from super().get_renderables()
        if self.note:
            yield Text(self.note, style="dim")


class RunProgress:
    """Shows each event that it is called with, from any thread; use it in a `with` block."""

    def __init__(
        self,
        console: Console,
        planned: Sequence[PlannedStage] = (),
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Set up; nothing is shown before the first call.

        Args:
            console: Where to write; if it is no terminal, a plain line at most every 10 s.
            planned: Stages of the run's `Plan`; without them the time left of the whole run is not shown.
            clock: Seconds from any start.
        """
        self._console = console
        self._clock = clock
        self._lock = threading.Lock()
        self._left = _Estimate(planned)
        self._bars: _Bars | None = None
        self._tasks: dict[str, TaskID] = {}
        self._started: dict[tuple[str, str], float] = {}
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

    def __call__(self, event: Event) -> None:
        """Show how many calls, or MB, of the event's stage are done."""
        with self._lock:
            now = self._clock()
            # The first answer of a batch includes the time between the batches.
            self._left.count(event, now - self._last if event.done > 1 else None)
            self._last = now
            started = self._started.setdefault((event.stage, event.item), now)
            title = self._title(event)
            unit = _MB if event.stage in _FILES else 1
            done, total = event.done // unit, event.total // unit
            if self._bars is not None:
                self._draw(event.stage, title, done, total)
            else:
                self._print(title, done, total, now - started)

    def _title(self, event: Event) -> str:
        stage, item = event.stage, event.item
        if stage in _FILES:
            return f"{_FILES[stage]} {item} (MB)"
        if stage not in _LISTS:
            return _TITLES.get(stage, f"{item} on {stage}" if item else stage)
        seen = self._lists.setdefault(stage, [])
        if item not in seen:
            seen.append(item)
        return f"{_TITLES[stage]}, no. {len(seen)}"

    def _draw(self, stage: str, title: str, done: int, total: int) -> None:
        bars = self._bars
        assert bars is not None
        if stage not in self._tasks:
            self._tasks[stage] = bars.add_task("", total=None)
        task = self._tasks[stage]
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
    """How long the whole run may still take: planned calls times the seconds of those made.

    Calls of a teacher differ in length (an explanation, a yes or no), so its seconds are counted by
    token. Those of a student do not: the engine reads the rules and examples before its question once.
    """

    def __init__(self, planned: Sequence[PlannedStage]) -> None:
        self._calls: dict[_Kind, int] = {}
        self._tokens: dict[_Kind, int] = {}
        for stage in planned:
            phase = _phase(stage.events, stage.item)
            if phase is not None:
                kind = phase, stage.role, stage.events
                tokens = stage.input_tokens + _WRITTEN * stage.output_tokens
                self._calls[kind] = self._calls.get(kind, 0) + stage.calls
                self._tokens[kind] = self._tokens.get(kind, 0) + tokens
        self._done: dict[_Kind, int] = {}
        self._seconds: dict[str, float] = {}
        self._measured: dict[str, float] = {}
        self._phase = 0

    def count(self, event: Event, seconds: float | None) -> None:
        phase = _phase(event.stage, event.item)
        if phase is None:
            return  # a download
        kind = phase, event.role, event.stage
        self._phase = max(self._phase, phase)
        self._done[kind] = self._done.get(kind, 0) + 1
        if seconds is not None and kind in self._calls:
            self._seconds[event.role] = self._seconds.get(event.role, 0.0) + seconds
            self._measured[event.role] = self._measured.get(event.role, 0.0) + self._length(kind)

    @property
    def words(self) -> str:
        """`at most about 12 min left`, or nothing while a role that is still needed is unmeasured."""
        left = 0.0
        for kind, calls in self._calls.items():
            phase, role, _ = kind
            # Phases before the present one are over, however many calls were planned.
            missing = calls - self._done.get(kind, 0) if phase >= self._phase else 0
            if missing > 0:
                if not self._measured.get(role):
                    return ""
                left += missing * self._length(kind) * self._seconds[role] / self._measured[role]
        return f"whole run: at most about {_duration(left)} left" if left else ""

    def _length(self, kind: _Kind) -> float:
        """Return the length of a call: of a student 1, else its tokens, those that are written weighted."""
        if kind[1] == "student":
            return 1.0
        return max(1.0, self._tokens[kind] / max(1, self._calls[kind]))


def _phase(stage: str, item: str) -> int | None:
    if stage == "test":
        return _BEFORE if item in (GIVEN, ASKED) else _AFTER
    return _PHASES.get(stage)


def _duration(seconds: float) -> str:
    """Return a rounded time.

    >>> _duration(40), _duration(130), _duration(7500)
    ('40 s', '2 min', '2 h 5 min')
    """
    if seconds < 90:
        return f"{max(1, round(seconds))} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 100 else f"{minutes // 60} h {minutes % 60} min"
