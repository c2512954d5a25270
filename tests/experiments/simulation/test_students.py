"""Simulated students: what their rules do, and that their best lists are found."""

from itertools import permutations

import numpy as np
import pytest

from experiments.simulation.students import STUDENTS, ShortStudent, SimulatedStudent


@pytest.mark.parametrize("kind", STUDENTS)
def test_the_climb_finds_the_best_of_all_lists_of_four_rules(kind):
    student = STUDENTS[kind](2, rules=4)
    every = [rules for size in range(5) for rules in permutations(range(4), size)]
    assert student._right([student.best_list()]) == [max(student._right(every))]


@pytest.mark.parametrize("kind", STUDENTS)
def test_the_share_of_right_answers_is_that_of_the_answers(kind):
    student = STUDENTS[kind](1)
    lists = [(), (3,), (5, 0, 9, 4, 1, 7, 2)]
    gold = student.population.gold
    assert student._right(lists) == [
        np.mean(student.said(rules, student.population) == gold) for rules in lists
    ]


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
