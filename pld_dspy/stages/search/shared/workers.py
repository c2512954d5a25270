"""Runs the trials of a study in one process or in several workers."""

import logging
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any, Literal

import optuna
from optuna.exceptions import UpdateFinishedTrialError
from optuna.trial import FrozenTrial, TrialState

from pld_dspy.stages.search.shared.storage import FINISHED, quiet

logger = logging.getLogger(__name__)

REPEAT = "repeat"
"""Attribute of a trial that repeats an earlier list."""

EXHAUSTED = "exhausted"
"""Attribute of a study without untried lists."""

PLANNED = ("kind", "part")
"""Attributes of a queued trial; they are kept when it is queued again."""

MAX_REPEATS = 5
"""Repeats per trial of the budget after which the study is exhausted."""

_LIVE = (*FINISHED, TrialState.RUNNING)
_POLL_S = 0.5

Outcome = float | Literal["stopped", "repeated"]
"""Value of a trial, or that its list was stopped early or repeats an earlier one."""


def tell(study: optuna.Study, trial: optuna.Trial, outcome: Outcome) -> None:
    """Report the outcome of a trial to the study."""
    if isinstance(outcome, float):
        study.tell(trial.number, outcome, state=TrialState.COMPLETE)
    else:
        state = TrialState.PRUNED if outcome == "stopped" else TrialState.FAIL
        study.tell(trial.number, state=state)


def run_alone(
    study: optuna.Study,
    trials: int,
    *,
    prepare: Callable[[optuna.Study, int], None],
    run: Callable[[optuna.Trial], Outcome],
    requeue: Callable[[FrozenTrial], dict[str, Any]],
    done: Callable[[int, int], None],
) -> None:
    """Run trials in this process until `trials` are finished, or there is no untried list.

    Args:
        study: Used by this process only; running trials of a killed process are queued again.
        trials: Number of trials to finish (complete or pruned).
        prepare: Sets the sampler and may enqueue a list, given the number of finished trials.
        run: Runs a trial; if it raises, the trial is queued again and the exception propagates.
        requeue: Returns the parameters with which a lost trial is queued again.
        done: Called with the number of finished trials and with `trials`.
    """
    for lost in study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
        _queue_again(study, lost, requeue)
    repeats = 0
    while (count := len(study.get_trials(deepcopy=False, states=FINISHED))) < trials:
        if repeats > MAX_REPEATS * trials or study.user_attrs.get(EXHAUSTED):
            study.set_user_attr(EXHAUSTED, value=True)
            return
        prepare(study, count)
        with quiet():
            trial = study.ask()
            try:
                outcome = run(trial)
            except BaseException:
                _queue_again(study, study.trials[trial.number], requeue)
                raise
            if outcome == "repeated":
                trial.set_user_attr(REPEAT, value=True)
                repeats += 1
            tell(study, trial, outcome)
        done(count + (outcome != "repeated"), trials)


def _queue_again(
    study: optuna.Study, trial: FrozenTrial, requeue: Callable[[FrozenTrial], dict[str, Any]]
) -> None:
    kept = {k: v for k, v in trial.user_attrs.items() if k in PLANNED}
    study.tell(trial.number, state=TrialState.FAIL)
    study.enqueue_trial(requeue(trial), user_attrs={**kept, "retry_of": trial.number})


@dataclass(kw_only=True)
class Worker:
    """One process of a shared study: asks, runs and tells trials until `trials` are finished.

    A trial is dropped if those with lower numbers fill the budget, so workers that ask at the same
    time do not exceed it. A worker updates a heartbeat counter in its trial; if the counter does not
    change for `grace_s` seconds, or the process no longer exists, the next worker fails the trial and
    queues its list again.
    """

    study: optuna.Study
    trials: int
    prepare: Callable[[optuna.Study, int], None]
    """Sets the sampler and may enqueue a list, given the number of finished and running trials."""
    run: Callable[[optuna.Trial], Outcome]
    """Runs a trial; see `Outcome`."""
    requeue: Callable[[FrozenTrial], dict[str, Any]]
    """Returns the parameters with which a lost trial is queued again."""
    doubled: Callable[[optuna.Trial], bool] = lambda trial: False
    """Whether a finished trial, or a running one with a lower number, has the same list."""
    grace_s: float = 60.0
    done: Callable[[int, int], None] = lambda count, total: None
    name: str = field(default_factory=lambda: f"{socket.gethostname()}:{os.getpid()}")
    _beats: dict[int, tuple[int, float]] = field(default_factory=dict)

    def work(self) -> None:
        """Run trials until the study has all of them, or there is no untried list.

        Raises:
            Exception: Raised by `run`; the trial is queued again first.
        """
        repeats = 0
        while not self._over():
            self._free_the_lost()
            live = self._live()
            if len(live) >= self.trials:
                time.sleep(_POLL_S)  # other workers run the last trials, and may fail
                continue
            self.prepare(self.study, len(live))
            with quiet():
                trial = self.study.ask()
            trial.set_user_attr("worker", self.name)
            if self._surplus(trial):
                self._fail(trial.number, "surplus")
                continue
            if self._one(trial) == "repeated":
                with suppress(UpdateFinishedTrialError):
                    trial.set_user_attr(REPEAT, value=True)
                self._fail(trial.number, "repeat")
                repeats += 1
                if repeats > MAX_REPEATS * self.trials:
                    self.study.set_user_attr(EXHAUSTED, value=True)
            self.done(len(self._finished()), self.trials)

    def _one(self, trial: optuna.Trial) -> Outcome:
        try:
            with self._beating(trial):
                outcome = self.run(trial)
        except BaseException:
            self._give_back(self.study.trials[trial.number])
            raise
        if outcome == "repeated":
            return outcome
        if self._surplus(trial):  # a trial with a lower number was queued during the evaluation
            self._fail(trial.number, "surplus")
            return outcome
        # Two workers may have started the same list at the same time.
        if self.doubled(trial):
            return "repeated"
        # Another worker may have failed this trial and queued its list again.
        with suppress(UpdateFinishedTrialError, ValueError), quiet():
            tell(self.study, trial, outcome)
        return outcome

    def _over(self) -> bool:
        return len(self._finished()) >= self.trials or bool(self.study.user_attrs.get(EXHAUSTED))

    def _surplus(self, trial: optuna.Trial) -> bool:
        return sum(t.number < trial.number for t in self._live()) >= self.trials

    def _live(self) -> list[FrozenTrial]:
        return self.study.get_trials(deepcopy=False, states=_LIVE)

    def _finished(self) -> list[FrozenTrial]:
        return self.study.get_trials(deepcopy=False, states=FINISHED)

    def _fail(self, number: int, why: str) -> bool:
        """Fail the trial; return whether it was still running."""
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
                # Clocks of machines differ, so the time since the last change is measured here.
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
                with suppress(Exception):  # the trial may have been failed by another worker
                    trial.set_user_attr("beat", count)

        thread = threading.Thread(target=beat, daemon=True)
        thread.start()
        try:
            yield
        finally:
            stop.set()
            thread.join()


def _gone(worker: str) -> bool:
    """Return whether the worker is a process of this machine that no longer exists."""
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
    """Return the other trials: finished ones, and running ones with a lower number."""
    return [
        trial
        for trial in study.get_trials(deepcopy=False, states=tuple(states))
        if trial.number != number and (trial.state in FINISHED or trial.number < number)
    ]
