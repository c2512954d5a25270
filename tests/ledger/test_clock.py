"""Time of work on a run folder: over sessions, and of one that was killed outright."""

import json

import pytest

from pld_dspy.ledger.clock import Clock
from pld_dspy.ledger.store import StageStore
from pld_dspy.records import Event, silent


class Watch:
    """A clock that moves when told to."""

    def __init__(self):
        self.s = 1000.0

    def __call__(self):
        return self.s


@pytest.fixture
def watch():
    return Watch()


def test_sessions_add_up_and_parts_stay_apart(tmp_path, watch):
    for seconds in (3.0, 4.5):
        run = Clock(StageStore(tmp_path), "run", now=watch)
        compiling = Clock(StageStore(tmp_path), "compile", now=watch)
        watch.s += seconds
        compiling.note()
        watch.s += 1.0
        run.note()
        watch.s += 100.0  # nobody works

    assert Clock(StageStore(tmp_path), "run", now=watch).wall_s == pytest.approx(9.5)
    assert Clock(StageStore(tmp_path), "compile", now=watch).wall_s == pytest.approx(7.5)


def test_a_killed_session_loses_less_than_five_seconds_before_its_last_sign(tmp_path, watch):
    clock = Clock(StageStore(tmp_path), "run", now=watch)
    told = []
    progress = clock.noting(told.append)
    for done in range(100):
        watch.s += 1.9
        progress(Event("val", "student", done, 100))

    # Nothing else is written before the process is gone.
    again = Clock(StageStore(tmp_path), "run", now=watch)
    assert 190 - 5 < again.wall_s <= 190
    assert told == [Event("val", "student", done, 100) for done in range(100)]


def test_the_file_stays_short_and_readable(tmp_path, watch):
    progress = Clock(StageStore(tmp_path), "run", now=watch).noting(silent)
    for done in range(64 * 12):
        watch.s += 1 / 64
        progress(Event("val", "student", done, 64 * 12))

    lines = (tmp_path / "clock.jsonl").read_text(encoding="utf-8").splitlines()
    assert [json.loads(line)["seconds"] for line in lines] == [5.0, 10.0]
