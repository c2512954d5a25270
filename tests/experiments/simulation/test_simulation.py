"""What the search finds on a student of known optimum, and what it asks for it."""

import json
import sys
from statistics import mean

import pytest

from experiments.simulation.command import RESULTS, repetition, summary


def test_a_short_search_closes_most_of_the_gap_with_part_of_the_calls():
    lines = [line for seed in (0, 1) for line in repetition(seed, ["raced"], trials=40)]
    assert all(line["closed"] > 0.6 for line in lines)
    assert sum(line["calls"] for line in lines) < 0.5 * sum(line["full_calls"] for line in lines)
    assert [line["seed"] for line in lines] == [0, 1]


def test_a_repetition_is_the_same_again():
    first, again = (list(repetition(3, ["random"], trials=4)) for _ in range(2))
    assert first == again


@pytest.mark.long
def test_sixty_trials_close_four_fifths_of_the_gap_in_18_of_20_students(capsys):
    lines = [line for seed in range(20) for line in repetition(seed, ["raced", "full", "random"])]
    with capsys.disabled():
        sys.stdout.write("\n" + summary(lines) + "\n")
    raced, full, _ = (
        [line for line in lines if line["arm"] == arm] for arm in ("raced", "full", "random")
    )
    assert sum(line["closed"] >= 0.8 for line in raced) >= 18
    assert mean(line["chosen"] for line in raced) >= mean(line["chosen"] for line in full) - 0.005
    assert sum(line["calls"] for line in raced) <= 0.4 * sum(line["full_calls"] for line in raced)


def test_the_committed_repetitions_hold_what_is_claimed():
    lines = [json.loads(text) for text in RESULTS.read_text(encoding="utf-8").splitlines()]
    raced = [line for line in lines if line["arm"] == "raced"]
    assert len(raced) == 20
    assert sum(line["closed"] >= 0.8 for line in raced) >= 18
