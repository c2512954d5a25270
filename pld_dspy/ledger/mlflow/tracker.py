"""MLflow implementation of the run tracker."""

import atexit
import logging
import re
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from pld_dspy.errors import ConfigError
from pld_dspy.ledger.mlflow.runs import (
    OpenRun,
    check_artifacts,
    log_candidate,
    log_digests,
    log_metrics,
    log_params,
    open_run,
    register_prompt_version,
    warn_of_autolog,
)
from pld_dspy.ledger.mlflow.uri import check_reachable, one_line, resolve_uri, without_secrets
from pld_dspy.ledger.mlflow.values import plain
from pld_dspy.ledger.tracker import Status
from pld_dspy.records import Candidate, Evaluation

if TYPE_CHECKING:
    from matplotlib.figure import Figure

logger = logging.getLogger(__name__)

_PROMPT_NAME = re.compile(r"[A-Za-z0-9_.-]+")
_MAX_STRIKES = 5  # failures in a row after which nothing more is sent


class MlflowTracker:
    """Writes to MLflow by run id, so it works from any thread and leaves the active run alone.

    If the thread that starts the run has an active MLflow run in the same store, the run becomes
    its child, in its experiment. A process that is killed outright leaves its run RUNNING until
    it is resumed from the same run folder.

    >>> tracker = MlflowTracker("tickets", tracking_uri="sqlite:///mlflow.db")
    >>> tracker.run_id is None  # until PLD(tracker=tracker, ...).compile(...)
    True
    """

    def __init__(
        self,
        experiment: str = "pld",
        *,
        tracking_uri: str | None = None,
        run_name: str | None = None,
        register_prompt: str | None = None,
        tags: Mapping[str, str] | None = None,
    ) -> None:
        """Keep the settings; nothing is contacted before `start`.

        Args:
            experiment: Name of the MLflow experiment; made if it is not there.
            tracking_uri: Store; by default MLflow's own setting, and `sqlite:///mlflow.db` in the
                working folder where there is none. Artifacts of a new SQLite experiment are in
                `mlartifacts` beside the database.
            run_name: Name of the run, in place of the one that the optimizer gives.
            register_prompt: Name in the prompt registry under which final prompts get a version;
                the path of a predictor that is not the whole program is added after a dot. By
                default nothing is registered.
            tags: Tags added to every run.

        Raises:
            ConfigError: `register_prompt` holds a character that the prompt registry refuses.
        """
        if register_prompt is not None and not _PROMPT_NAME.fullmatch(register_prompt):
            msg = f"register_prompt {register_prompt!r} is no name for MLflow's prompt registry; use letters, digits, '.', '-' and '_'"
            raise ConfigError(msg)
        self.experiment = experiment
        self.tracking_uri = tracking_uri
        self.run_name = run_name
        self.register_prompt = register_prompt
        self.tags = dict(tags or {})
        self._lock = threading.RLock()
        self._run: OpenRun | None = None

    @property
    def run_id(self) -> str | None:
        """Id of the open MLflow run; None before `start` and after `finish`."""
        return self._run.id if self._run else None

    def start(
        self,
        *,
        name: str,
        params: Mapping[str, object],
        tags: Mapping[str, str],
        run_dir: Path | None,
        digests: Mapping[str, str] = {},
    ) -> None:
        """See `Tracker`. A run that an earlier `start` left open is closed as KILLED."""
        self.finish("KILLED")
        uri = resolve_uri(self.tracking_uri)
        check_reachable(uri)
        labels = {key: str(plain(value, key)) for key, value in {**self.tags, **tags}.items()}
        labels |= {f"pld.data.{split}": digest for split, digest in digests.items()}
        try:
            self._run = open_run(uri, self.experiment, self.run_name or name, labels, run_dir)
        except ConfigError:
            raise
        except Exception as error:
            msg = f"MLflow tracking at {without_secrets(uri)} does not work: {one_line(error)}; correct tracking_uri, or run without tracking"
            raise ConfigError(msg) from error
        atexit.register(self._finish_at_exit)
        try:
            check_artifacts(self._run, params)
        except ConfigError:
            self.finish("FAILED")
            raise
        self._try("parameters", lambda run: log_params(run, params))
        self._try("data digests", lambda run: log_digests(run, digests))
        self._try("autolog", lambda _run: warn_of_autolog())

    def params(self, values: Mapping[str, object]) -> None:
        """See `Tracker`."""
        self._try("parameters", lambda run: log_params(run, values))

    def metrics(self, values: Mapping[str, float], *, step: int | None = None) -> None:
        """See `Tracker`."""
        self._try("metrics", lambda run: log_metrics(run, run.id, values, step or 0))

    def candidate(
        self, candidate: Candidate, evaluation: Evaluation, *, extra: Mapping[str, float] = {}
    ) -> None:
        """See `Tracker`."""
        self._try("a candidate", lambda run: log_candidate(run, candidate, evaluation, extra))

    def text(self, text: str, path: str) -> None:
        """See `Tracker`."""
        self._try(path, lambda run: run.client.log_text(run.id, text, path))

    def file(self, path: Path, folder: str = "") -> None:
        """See `Tracker`."""

        def log(run: OpenRun) -> None:
            send = run.client.log_artifacts if path.is_dir() else run.client.log_artifact
            send(run.id, str(path), folder or None)

        self._try(str(path), log)

    def figure(self, figure: "Figure", path: str) -> None:
        """See `Tracker`."""
        options = {"dpi": 150}
        self._try(
            path, lambda run: run.client.log_figure(run.id, figure, path, save_kwargs=options)
        )

    def prompt(self, name: str, text: str, *, tags: Mapping[str, str]) -> None:
        """See `Tracker`. The text is an artifact too, registered or not."""
        part = re.sub(r"[^\w.-]", "-", name) if name not in {"", "self"} else ""
        path = f"prompts/{part or 'prompt'}.txt"
        self._try(path, lambda run: run.client.log_text(run.id, text, path))
        if self.register_prompt is not None:
            full = ".".join(filter(None, (self.register_prompt, part)))
            self._try(f"prompt {full}", lambda run: register_prompt_version(run, full, text, tags))

    def finish(self, status: Status = "FINISHED") -> None:
        """See `Tracker`."""

        def close(run: OpenRun) -> None:
            for child, closed in run.children.values():
                if not closed:
                    run.client.set_terminated(child, "KILLED")
            run.client.set_terminated(run.id, status)

        with self._lock:
            if self._run is not None:
                self._run.strikes = 0
                self._try("the end of the run", close)
                self._run = None
                atexit.unregister(self._finish_at_exit)

    def _finish_at_exit(self) -> None:
        self.finish("KILLED")

    def _try(self, what: str, action: Callable[[OpenRun], object]) -> None:
        with self._lock:
            run = self._run
            if run is None or run.strikes >= _MAX_STRIKES:
                return
            try:
                action(run)
                run.strikes = 0
            except Exception as error:  # noqa: BLE001 - tracking never stops a run
                run.strikes += 1
                if not run.warned:
                    run.warned = True
                    logger.warning(
                        "MLflow did not take %s (%s); the run continues, later failures are not shown",
                        what,
                        one_line(error),
                    )
