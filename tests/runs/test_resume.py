"""A run that is killed goes on, and pays for nothing twice."""

import signal

import pytest

from compile_once import EXIT
from processes import Compiles

pytestmark = pytest.mark.slow

PLACES = {
    "during traces": (("teacher", "7", "kill"), -signal.SIGKILL),
    "during validation": (("student", "30", "exit"), EXIT),
    "during refinement": (("edits", "1", "kill"), -signal.SIGKILL),
}


@pytest.fixture(scope="module")
def compiles():
    with Compiles() as compiles:
        yield compiles


@pytest.fixture(scope="module")
def whole(compiles, tmp_path_factory):
    """What an undisturbed run finds, and the calls it takes."""
    code, found, calls = compiles.run(tmp_path_factory.mktemp("runs") / "whole")
    assert code == 0
    return found, calls


@pytest.mark.parametrize("place", PLACES)
def test_a_killed_run_goes_on_at_no_extra_cost(compiles, whole, tmp_path, place):
    end, code = PLACES[place]
    expected, expected_calls = whole
    killed, nothing, before = compiles.run(tmp_path / "run", *end)
    assert (killed, nothing) == (code, None)
    assert 0 < before.total() < expected_calls.total()
    finished, found, calls = compiles.run(tmp_path / "run")

    assert finished == 0
    assert found == expected
    assert calls == expected_calls
    for role in ("teacher", "student"):
        assert found["result"]["usage"][role]["calls"] == calls[role]


def test_a_run_killed_again_and_again_still_ends(compiles, whole, tmp_path):
    expected, expected_calls = whole
    # The second is killed during the final choice.
    ends = [("teacher", "30", "kill"), ("student", "120", "kill")]
    assert 0 not in [compiles.run(tmp_path / "run", *end)[0] for end in ends]
    finished, found, calls = compiles.run(tmp_path / "run")

    assert finished == 0
    assert found == expected
    assert calls == expected_calls


def test_a_line_cut_off_by_the_kill_is_asked_for_once_more(compiles, whole, tmp_path):
    expected, expected_calls = whole
    compiles.run(tmp_path / "run", "student", "30", "kill")
    answers = tmp_path / "run" / "answers.jsonl"
    answers.write_bytes(answers.read_bytes()[:-20])
    finished, found, calls = compiles.run(tmp_path / "run")

    assert finished == 0
    assert found == expected
    assert calls["teacher"] == expected_calls["teacher"]
    assert calls["student"] == expected_calls["student"] + 1
