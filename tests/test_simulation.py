"""What searches find on students of known optimum, and what they ask for it."""

import json
from itertools import permutations

import numpy as np
import pytest

from experiments import simulation_report
from experiments.simulated import STUDENTS, ShortStudent, SimulatedStudent
from experiments.simulation import RESULTS, main, plan, repetition

KINDS = list(STUDENTS)


@pytest.fixture(scope="module")
def lines():
    return [json.loads(text) for text in RESULTS.read_text(encoding="utf-8").splitlines()]


@pytest.mark.parametrize("kind", KINDS)
def test_the_climb_finds_the_best_of_all_lists_of_four_rules(kind):
    student = STUDENTS[kind](2, rules=4)
    every = [rules for size in range(5) for rules in permutations(range(4), size)]
    assert student._right([student.best_list()]) == [max(student._right(every))]


def test_margins_of_the_additive_student_add_up_and_those_of_the_interacting_one_do_not():
    def surplus(student):
        empty, one, two, both = (
            student.margins(rules, student.population).mean() for rules in ((), (0,), (1,), (0, 1))
        )
        return abs(both - one - two + empty)

    free = [seed for seed in range(20) if {0, 1} not in map(set, SimulatedStudent(seed).pairs)]
    assert max(surplus(SimulatedStudent(seed)) for seed in free) < 1e-9
    assert np.mean([surplus(STUDENTS["interacting"](seed)) > 0.1 for seed in free]) > 0.2


def test_a_short_student_follows_late_rules_on_a_fifth_of_the_examples():
    student = ShortStudent(0)
    rules = tuple(range(student.k))
    late = next(r for r in range(student.k, 12) if student.copy_of.get(r) not in rules)
    student.pairs = []
    change = student.margins((*rules, late), student.population) - student.margins(
        rules, student.population
    )
    assert 0.15 < np.mean(np.abs(change) > 1e-9) < 0.25


def test_a_short_search_closes_most_of_the_gap_with_part_of_the_calls():
    for seed in (0, 1):
        (line,) = repetition("additive", seed, "as it is", [40])
        assert line["closed_by_mean"] > 0.6
        assert line["calls"] < 0.5 * line["full_calls"]


@pytest.mark.parametrize(
    "arm",
    [
        "anchors, then neighbours, racing",
        "anchors, then forecasts, racing by forecast",
        "half anchors, then TPE and forecasts, racing by expected answers",
        "half anchors, then TPE and forecasts, Wilcoxon by probability",
    ],
)
def test_an_arm_is_the_same_again_and_a_shorter_one_its_start(arm):
    first, longer = (list(repetition("short", 3, arm, counts)) for counts in ([4], [4, 6]))
    for line in (*first, *longer):
        del line["seconds"]
    assert longer[0] == first[0]
    assert first[0]["calls"] < longer[1]["calls"] <= 600


def test_only_anchors_are_tried_where_only_they_are_wanted():
    four, twelve = repetition("additive", 0, "anchors only", [4, 12])
    assert twelve["calls"] <= 8 * 100
    assert four["trials"] == 4


def test_the_file_is_added_to_and_nothing_is_made_twice(tmp_path, monkeypatch):
    searches = [("additive", 0, "random", (4,)), ("short", 0, "random", (4,))]
    monkeypatch.setattr("experiments.simulation.plan", lambda students: searches[:students])
    path = tmp_path / "lines.jsonl"
    main(1, path)
    begun = path.read_text(encoding="utf-8")
    main(2, path)
    assert path.read_text(encoding="utf-8").startswith(begun)
    assert [json.loads(line)["kind"] for line in path.read_text(encoding="utf-8").splitlines()] == [
        "additive",
        "short",
    ]


def test_a_difference_is_of_students_that_both_arms_have():
    one, other = {0: {"closed": 0.5}, 1: {"closed": 0.9}}, {1: {"closed": 0.6}}
    assert simulation_report.difference(one, other, ("closed", "closed")) == [pytest.approx(0.3)]
    assert simulation_report.interval([[0.1, 0.1], [0.3, 0.3]]) == pytest.approx((0.2, 0.2, 0.2))


@pytest.mark.long
def test_thirty_trials_close_much_of_the_gap_of_students_of_each_kind():
    for kind in KINDS:
        made = [next(repetition(kind, seed, "as it is", [30])) for seed in range(10)]
        assert np.mean([line["closed_by_mean"] for line in made]) > 0.6
        assert sum(x["calls"] for x in made) < 0.5 * sum(x["full_calls"] for x in made)


def test_every_line_that_is_committed_is_of_a_planned_search(lines):
    planned = {(k, s, a, count) for k, s, a, counts in plan(40) for count in counts}
    keys = [(x["kind"], x["seed"], x["arm"], x["trials"]) for x in lines]
    assert len(set(keys)) == len(keys)
    assert set(keys) <= planned
