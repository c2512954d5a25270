"""Several workers on one study: no trial is lost or doubled when one of them is killed."""

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import optuna
import pytest
from optuna.storages import RDBStorage
from optuna.trial import TrialState

from pld_dspy.errors import StorageError
from pld_dspy.stages.search.contest import listing_of
from pld_dspy.stages.search.loop import search
from pld_dspy.stages.search.shared.storage import find_study, open_storage, quiet, without_password
from work_once import contest_for

TESTS = Path(__file__).parents[2]
TRIALS = 40
HANGS = 30


class Workers:
    """Starts workers by forking one process that has its imports, which take seconds, done."""

    def __init__(self):
        paths = [str(TESTS), str(TESTS.parent)]
        self._process = subprocess.Popen(
            [sys.executable, str(TESTS / "work_once.py")],
            env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def start(self, storage, study, calls, *, hangs=0):
        """Return the process id of a worker that has just begun."""
        return self._said("start", storage, study, TRIALS, str(calls), hangs)

    def wait(self, pid):
        """Return the exit code of a worker, once it has ended."""
        return self._said("wait", pid)

    def close(self):
        self._process.stdin.close()
        self._process.wait(timeout=60)
        self._process.stdout.close()

    def _said(self, *request):
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        return int(self._process.stdout.readline())


@pytest.fixture(scope="module")
def workers():
    with contextlib.closing(Workers()) as workers:
        yield workers


def finished(study):
    return study.get_trials(deepcopy=False, states=(TrialState.COMPLETE, TrialState.PRUNED))


def blocks_of(pid, calls):
    return [line for line in calls.read_text().splitlines() if line.startswith(f"{pid} ")]


def close(storage):
    """Give the connections of a database back."""
    if isinstance(storage, RDBStorage):
        storage.remove_session()
        storage.engine.dispose()


def until(condition, *, seconds=120):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited too long"
        time.sleep(0.05)


def postgres_programs():
    """Folder of the server's programs, or None."""
    found = shutil.which("initdb")
    folders = [Path(found).resolve().parent] if found else []
    folders += sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    return next((f for f in folders if (f / "initdb").exists()), None)


def as_other_user():
    """What keeps a command from running as root, which the server refuses."""
    if os.geteuid() != 0:
        return []
    return ["setpriv", "--reuid=nobody", "--regid=nogroup", "--clear-groups"]


@contextlib.contextmanager
def postgres_server(programs):
    """Yield the address of a fresh server on loopback."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with tempfile.TemporaryDirectory() as folder:
        data = Path(folder) / "data"
        if os.geteuid() == 0:
            shutil.chown(folder, "nobody", "nogroup")
        prefix = as_other_user()
        subprocess.run(
            [*prefix, programs / "initdb", "-D", data, "-U", "pld", "-A", "trust", "--no-sync"],
            check=True,
            capture_output=True,
            cwd=folder,
        )
        options = ["-h", "127.0.0.1", "-p", str(port), "-k", folder, "-F"]
        server = subprocess.Popen(
            [*prefix, programs / "postgres", "-D", data, *options],
            stderr=subprocess.DEVNULL,
            cwd=folder,
        )
        url = f"postgresql+psycopg://pld@127.0.0.1:{port}/postgres"
        try:
            for _ in range(100):
                with contextlib.suppress(StorageError):
                    close(open_storage(url))
                    break
                time.sleep(0.2)
            yield url
        finally:
            server.send_signal(signal.SIGINT)
            server.wait(timeout=30)


@pytest.fixture(params=["journal", "postgres"])
def storage(request, tmp_path):
    if request.param == "journal":
        yield f"journal:{tmp_path / 'study.journal'}"
        return
    programs = postgres_programs()
    if programs is None:
        pytest.skip("no PostgreSQL server is installed")
    pytest.importorskip("psycopg")
    with postgres_server(programs) as url:
        yield url


@pytest.mark.slow
def test_workers_finish_a_study_although_one_is_killed_and_another_joins(
    workers, storage, tmp_path
):
    calls = tmp_path / "calls.txt"
    opened = open_storage(storage)
    with quiet():
        study = optuna.create_study(storage=opened, study_name="pld-test", direction="maximize")
    first = workers.start(storage, "pld-test", calls, hangs=HANGS)
    second = workers.start(storage, "pld-test", calls)
    until(lambda: calls.exists() and len(blocks_of(first, calls)) == HANGS)
    os.kill(first, signal.SIGKILL)  # while it works on a list
    assert workers.wait(first) == -signal.SIGKILL
    third = workers.start(storage, "pld-test", calls)
    assert [workers.wait(pid) for pid in (second, third)] == [0, 0]

    done = finished(study)
    lists = Counter(listing_of(trial) for trial in done)
    assert len(done) == len(lists) == TRIALS
    assert not study.get_trials(deepcopy=False, states=(TrialState.RUNNING,))
    asking = {line.split()[0] for line in calls.read_text().splitlines()}
    assert asking == {str(pid) for pid in (first, second, third)}
    # What the killed worker had begun was tried again, once.
    retried = [t for t in done if "retry_of" in t.user_attrs]
    lost = [t for t in study.trials if t.number in {r.user_attrs["retry_of"] for r in retried}]
    assert len(retried) == len(lost) == 1
    assert lost[0].state == TrialState.FAIL
    assert listing_of(lost[0]) == listing_of(retried[0])

    before = calls.read_text()
    assert workers.wait(workers.start(storage, "pld-test", calls)) == 0
    assert calls.read_text() == before
    close(opened)


def test_a_worker_that_stands_still_loses_its_trial(tmp_path):
    """On another machine a process cannot be looked up; that its count stands still tells."""
    contest = contest_for(4)
    contest = type(contest)(
        **{name: getattr(contest, name) for name in contest.__slots__}
        | {"config": contest.config.model_copy(update={"grace_s": 0.5})}
    )
    with quiet():
        study = optuna.create_study(direction="maximize")
        abandoned = study.ask()
        abandoned.set_user_attr("worker", "elsewhere:1")
    found = search(contest, study)
    assert len(found.tried) == 4
    assert study.trials[abandoned.number].state == TrialState.FAIL


def test_a_worker_that_lives_keeps_its_trial():
    from pld_dspy.stages.search.shared.workers import Worker

    with quiet():
        study = optuna.create_study(direction="maximize")
        trial = study.ask()
        trial.set_user_attr("worker", "elsewhere:1")
    other = Worker(
        study=study,
        trials=1,
        prepare=lambda study, count: None,
        run=lambda trial: 1.0,
        requeue=lambda trial: {},
        grace_s=0.3,
    )
    for beat in range(5):
        trial.set_user_attr("beat", beat)
        other._free_the_lost()
        time.sleep(0.15)
    assert study.trials[0].state == TrialState.RUNNING


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("postgresql+psycopg://u:secret@127.0.0.1:9/x", "cannot be used"),
        ("nonsense://here", "nonsense"),
        ("no url at all", "cannot be used"),
        ("journal:/proc/none/here", "cannot be used"),
    ],
)
def test_a_storage_that_does_not_answer_is_one_line_without_the_password(url, message):
    with pytest.raises(StorageError, match=message) as caught:
        open_storage(url)
    assert "\n" not in str(caught.value)
    assert "secret" not in str(caught.value)


def test_a_password_is_not_shown():
    assert without_password("mysql://me:pw@host/db") == "mysql://me:***@host/db"


def test_an_unknown_study_is_named_with_the_nearest(tmp_path):
    storage = open_storage(f"journal:{tmp_path / 'x.journal'}")
    with pytest.raises(StorageError, match="it holds no study yet"):
        find_study(storage, "pld-a")
    with quiet():
        optuna.create_study(storage=storage, study_name="pld-abc")
    with pytest.raises(StorageError, match="did you mean 'pld-abc'"):
        find_study(storage, "pld-abd")
