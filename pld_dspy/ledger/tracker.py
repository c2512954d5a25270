"""Run tracking: the interface, a tracker that keeps nothing, and one inside an open run."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Protocol

from pld_dspy.records import Candidate, Evaluation

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Status = Literal["FINISHED", "FAILED", "KILLED"]


class Tracker(Protocol):
    """Where the optimizer logs a run.

    The optimizer calls `start` once, before anything that costs money, then the other methods in
    any order from any thread, then `finish` once. Only `start` may raise, and only a
    `ConfigError`: a later failure of tracking is a warning and never stops a run.

    >>> class Curves(NullTracker):  # does nothing in the other methods
    ...     def __init__(self) -> None:
    ...         self.values: dict[str, list[float]] = {}
    ...
    ...     def metrics(self, values: Mapping[str, float], *, step: int | None = None) -> None:
    ...         for name, value in values.items():
    ...             self.values.setdefault(name, []).append(value)
    >>> tracker: Tracker = Curves()  # PLD(tracker=Curves(), ...)
    """

    def start(
        self,
        *,
        name: str,
        params: Mapping[str, object],
        tags: Mapping[str, str],
        run_dir: Path | None,
        digests: Mapping[str, str] = {},
    ) -> None:
        """Open a run, or resume the one recorded in `run_dir`.

        Args:
            name: Name of the run.
            params: Settings; nested mappings become dotted keys.
            tags: Tags of the run.
            run_dir: Folder of the run; None keeps no record, so such a run cannot be resumed.
            digests: Content hash of each split.

        Raises:
            ConfigError: If the store cannot be reached.
        """

    def params(self, values: Mapping[str, object]) -> None:
        """Add settings to those that `start` was given."""

    def metrics(self, values: Mapping[str, float], *, step: int | None = None) -> None:
        """Add one value to each of several curves."""

    def candidate(
        self, candidate: Candidate, evaluation: Evaluation, *, extra: Mapping[str, float] = {}
    ) -> None:
        """Record a candidate that was scored on a full split; a second time changes nothing."""

    def text(self, text: str, path: str) -> None:
        """Keep a text as the artifact `path`."""

    def file(self, path: Path, folder: str = "") -> None:
        """Keep a file, or a folder with all that is in it, among the artifacts."""

    def figure(self, figure: "Figure", path: str) -> None:
        """Keep a picture as the artifact `path`; the suffix gives the format."""

    def prompt(self, name: str, text: str, *, tags: Mapping[str, str]) -> None:
        """Keep the final prompt of one predictor; `name` is the predictor's path."""

    def finish(self, status: Status = "FINISHED") -> None:
        """Close the run; without an open run, do nothing."""


class NullTracker:
    """Keeps nothing."""

    def start(
        self,
        *,
        name: str,
        params: Mapping[str, object],
        tags: Mapping[str, str],
        run_dir: Path | None,
        digests: Mapping[str, str] = {},
    ) -> None:
        """See `Tracker`."""

    def params(self, values: Mapping[str, object]) -> None:
        """See `Tracker`."""

    def metrics(self, values: Mapping[str, float], *, step: int | None = None) -> None:
        """See `Tracker`."""

    def candidate(
        self, candidate: Candidate, evaluation: Evaluation, *, extra: Mapping[str, float] = {}
    ) -> None:
        """See `Tracker`."""

    def text(self, text: str, path: str) -> None:
        """See `Tracker`."""

    def file(self, path: Path, folder: str = "") -> None:
        """See `Tracker`."""

    def figure(self, figure: "Figure", path: str) -> None:
        """See `Tracker`."""

    def prompt(self, name: str, text: str, *, tags: Mapping[str, str]) -> None:
        """See `Tracker`."""

    def finish(self, status: Status = "FINISHED") -> None:
        """See `Tracker`."""


class InOpenRun:
    """Logs a compile into a run that its owner has started, and leaves it open for the owner."""

    def __init__(self, tracker: Tracker) -> None:
        """Take a tracker whose run is open."""
        self._tracker = tracker
        self.metrics = tracker.metrics
        self.params = tracker.params
        self.candidate = tracker.candidate
        self.text = tracker.text
        self.file = tracker.file
        self.figure = tracker.figure
        self.prompt = tracker.prompt

    def start(
        self,
        *,
        name: str,
        params: Mapping[str, object],
        tags: Mapping[str, str],
        run_dir: Path | None,
        digests: Mapping[str, str] = {},
    ) -> None:
        """Add the compile's settings; its name, tags and digests are the owner's to give."""
        self._tracker.params(params)

    def finish(self, status: Status = "FINISHED") -> None:
        """Leave the run open."""
