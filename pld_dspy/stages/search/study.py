"""An Optuna study that several processes may work on, and that survives the death of any of them."""

import logging
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import optuna
from optuna.exceptions import UpdateFinishedTrialError
from optuna.storages import BaseStorage, InMemoryStorage, JournalStorage, RDBStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import FrozenTrial, TrialState

from pld_dspy.errors import StorageError, nearest
from pld_dspy.ledger.store import key_of

logger = logging.getLogger(__name__)

FINGERPRINT = "fingerprint"
"""Attribute of a study that changes with anything that makes its trials incomparable."""

JOURNAL = "search.journal"
"""File of the study in the run folder."""

REPEAT = "repeat"
"""Attribute of a trial whose list was tried before."""

PLANNED = ("kind", "part")
"""Attributes that a trial has from the moment it is queued, and keeps when it is queued again."""

_FINISHED = (TrialState.COMPLETE, TrialState.PRUNED)
_LIVE = (*_FINISHED, TrialState.RUNNING)
_POLL_S = 0.5
_CONNECT_S = 10


class Repeat(Exception):  # noqa: N818 - it tells of no error
    """The list of the trial was tried before, or is being tried by another worker."""


def open_storage(where: str | None, folder: Path | None = None) -> BaseStorage:
    """Return the storage: a database, a journal file, or memory.

    Args:
        where: A database URL as SQLAlchemy knows it (`postgresql+psycopg://...`), or
            `journal:<path>`; None is the journal in `folder`.
        folder: The run folder; None keeps the study in memory.

    Raises:
        StorageError: It does not answer, or its driver is not installed.
    """
    if where is None and folder is None:
        return InMemoryStorage()
    if where is None or where.startswith("journal:"):
        path = folder / JOURNAL if where is None and folder else Path(str(where)[len("journal:") :])
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.open("ab"):
                pass
            return JournalStorage(JournalFileBackend(str(path)))
        except (OSError, ValueError) as error:
            why = getattr(error, "strerror", None) or error
            msg = f"the search journal {path} cannot be used: {why}; choose another search.storage"
            raise StorageError(msg) from error
    import sqlalchemy.exc

    arguments = {"connect_timeout": _CONNECT_S} if where.startswith(("postgres", "mysql")) else {}
    try:
        return RDBStorage(where, engine_kwargs={"connect_args": arguments, "pool_pre_ping": True})
    except ImportError as error:
        msg = f"the driver for search.storage {without_password(where)} is not installed: {error}"
        raise StorageError(msg) from error
    except (sqlalchemy.exc.SQLAlchemyError, RuntimeError) as error:
        why = " ".join(str(getattr(error, "orig", None) or error).split())[:200]
        msg = f"search.storage {without_password(where)} cannot be used ({why}); check the address and that the server runs"
        raise StorageError(msg) from error


def without_password(url: str) -> str:
    """Return a storage URL as it may be shown."""
    if url.startswith("journal:"):
        return url
    import sqlalchemy.exc
    from sqlalchemy.engine import make_url

    try:
        return make_url(url).render_as_string(hide_password=True)
    except sqlalchemy.exc.ArgumentError:
        return repr(url)


def study_name(*parts: Any) -> str:
    """Return a name that changes with anything that makes trials incomparable."""
    return f"pld-{key_of(*parts)}"


def find_study(storage: BaseStorage, name: str) -> optuna.Study:
    """Return the study of that name.

    Raises:
        StorageError: There is none.
    """
    names = optuna.get_all_study_names(storage)
    if name not in names:
        hint = nearest(name, names) if names else "; it holds no study yet, start the search first"
        msg = f"no study {name!r} in the storage{hint}"
        raise StorageError(msg)
    with quiet():
        return optuna.load_study(study_name=name, storage=storage)


@contextmanager
def quiet() -> Iterator[None]:
    """Keep Optuna from printing each trial; its verbosity is global, so it is put back."""
    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    try:
        yield
    finally:
        optuna.logging.set_verbosity(before)


@dataclass(kw_only=True)
class Worker:
    """One process's part in a study: it asks, runs and tells until `trials` lists were tried.

    Trials are counted by number: one whose lower-numbered fellows fill the budget steps back, so
    workers that ask at the same moment never try more lists than were wanted. A worker tells that
    it lives by a running count in its trial; where the count stands still for `grace_s`, or the
    process is seen to be gone, the next worker fails the trial and queues its list again.
    """

    study: optuna.Study
    trials: int
    prepare: Callable[[optuna.Study, int], None]
    """Sets the sampler and may enqueue a list, given the number of trials that count so far."""
    run: Callable[[optuna.Trial], float | None]
    """Works on a trial; returns its value, or None for one that was stopped early."""
    requeue: Callable[[FrozenTrial], dict[str, Any]]
    """Returns the parameters under which a lost trial is tried again."""
    doubled: Callable[[optuna.Trial], bool] = lambda trial: False
    """Whether another trial that counts, or a running one of a lower number, is of the same list."""
    grace_s: float = 60.0
    done: Callable[[int, int], None] = lambda count, total: None
    name: str = field(default_factory=lambda: f"{socket.gethostname()}:{os.getpid()}")
    _beats: dict[int, tuple[int, float]] = field(default_factory=dict)

    def work(self) -> None:
        """Return when the study has all its trials, or nothing new is left to try.

        Raises:
            Exception: Whatever `run` raises; the trial is queued again first.
        """
        repeats = 0
        while not self._over():
            self._free_the_lost()
            live = self._live()
            if len(live) >= self.trials:
                time.sleep(_POLL_S)  # the last ones are in other hands, which may yet fail
                continue
            self.prepare(self.study, len(live))
            with quiet():
                trial = self.study.ask()
            trial.set_user_attr("worker", self.name)
            if self._surplus(trial):
                self._fail(trial.number, "surplus")
                continue
            try:
                self._one(trial)
            except Repeat:
                with suppress(UpdateFinishedTrialError):
                    trial.set_user_attr(REPEAT, value=True)
                self._fail(trial.number, "repeat")
                repeats += 1
                if repeats > 5 * self.trials:
                    self.study.set_user_attr("exhausted", value=True)
            self.done(len(self._finished()), self.trials)

    def _one(self, trial: optuna.Trial) -> None:
        try:
            with self._beating(trial):
                value = self.run(trial)
        except Repeat:
            raise
        except BaseException:
            self._give_back(self.study.trials[trial.number])
            raise
        if self._surplus(trial):  # a lower number was queued while this one was being asked for
            self._fail(trial.number, "surplus")
            return
        # Two workers may have begun the same list at the same moment, before either could see it.
        if self.doubled(trial):
            raise Repeat
        state = TrialState.PRUNED if value is None else TrialState.COMPLETE
        # Another worker may have taken this one for dead and queued its list again.
        with suppress(UpdateFinishedTrialError, ValueError), quiet():
            self.study.tell(trial.number, value, state=state)

    def _over(self) -> bool:
        return len(self._finished()) >= self.trials or bool(self.study.user_attrs.get("exhausted"))

    def _surplus(self, trial: optuna.Trial) -> bool:
        return sum(t.number < trial.number for t in self._live()) >= self.trials

    def _live(self) -> list[FrozenTrial]:
        return self.study.get_trials(deepcopy=False, states=_LIVE)

    def _finished(self) -> list[FrozenTrial]:
        return self.study.get_trials(deepcopy=False, states=_FINISHED)

    def _fail(self, number: int, why: str) -> bool:
        """Return whether the trial was still running, and so is failed by this very call."""
        try:
            with quiet():
                self.study.tell(number, state=TrialState.FAIL)
        except (UpdateFinishedTrialError, ValueError):
            return False
        logger.debug("trial %s: %s", number, why)
        return True

    def _give_back(self, trial: FrozenTrial) -> None:
        params = self.requeue(trial)
        if self._fail(trial.number, "lost"):
            kept = {k: v for k, v in trial.user_attrs.items() if k in PLANNED}
            self.study.enqueue_trial(params, user_attrs={**kept, "retry_of": trial.number})
            logger.info("trial %s is queued again", trial.number)

    def _free_the_lost(self) -> None:
        for trial in self.study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
            worker = str(trial.user_attrs.get("worker", ""))
            beat = int(trial.user_attrs.get("beat", 0))
            last, since = self._beats.get(trial.number, (-1, 0.0))
            if beat != last:
                # Clocks of two machines differ: only how long the count stands still is measured.
                self._beats[trial.number] = (beat, time.monotonic())
                since = time.monotonic()
            if _gone(worker) or time.monotonic() - since > self.grace_s:
                self._give_back(trial)

    @contextmanager
    def _beating(self, trial: optuna.Trial) -> Iterator[None]:
        stop = threading.Event()

        def beat() -> None:
            count = 0
            while not stop.wait(self.grace_s / 6):
                count += 1
                with suppress(Exception):  # a trial that was taken away takes no more notes
                    trial.set_user_attr("beat", count)

        thread = threading.Thread(target=beat, daemon=True)
        thread.start()
        try:
            yield
        finally:
            stop.set()
            thread.join()


def _gone(worker: str) -> bool:
    """Return whether the worker is a process of this machine that runs no more."""
    host, _, pid = worker.rpartition(":")
    if host != socket.gethostname() or not pid.isdigit():
        return False
    try:
        os.kill(int(pid), 0)
    except ProcessLookupError:
        return True
    except OSError:
        return False
    return False


def others(
    study: optuna.Study, number: int, states: Sequence[TrialState] = _LIVE
) -> list[FrozenTrial]:
    """Return the trials that count, those of a higher number that are still running left out."""
    return [
        trial
        for trial in study.get_trials(deepcopy=False, states=tuple(states))
        if trial.number != number and (trial.state in _FINISHED or trial.number < number)
    ]
