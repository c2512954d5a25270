"""What is told about a run while it goes on, and the two places it can go: MLflow, or nowhere."""

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Protocol

from pld_dspy.records import Candidate, Evaluation

if TYPE_CHECKING:
    from matplotlib.figure import Figure

logger = logging.getLogger(__name__)

Status = Literal["FINISHED", "FAILED", "KILLED"]


class Tracker(Protocol):
    """What the optimizer tells about a run.

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
        """Open a run, or go on with the one recorded in `run_dir`.

        Args:
            name: Name of the run.
            params: Settings; nested mappings become dotted keys.
            tags: Tags of the run.
            run_dir: Folder of the run; None keeps no record, so such a run cannot be resumed.
            digests: Content hash of each split.

        Raises:
            ConfigError: If the store cannot be reached.
        """

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
