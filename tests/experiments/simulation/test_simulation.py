"""What the search finds on students of known optimum, and what it asks for it."""

import json
from statistics import mean

import pytest

from experiments.simulation import ablation
from experiments.simulation.command import ARMS, RESULTS, key, main, plan, read, repetition, summary
from experiments.simulation.students import STUDENTS


@pytest.fixture(scope="module")
def lines():
    return read(RESULTS)


def test_a_short_search_closes_most_of_the_gap_with_part_of_the_calls():
    for seed in (0, 1):
        (line,) = repetition("additive", seed, "search", [20])
        assert line["closed_by_mean"] > 0.6
        assert line["calls"] < 0.5 * line["full_calls"]


@pytest.mark.parametrize("arm", ARMS)
def test_an_arm_is_the_same_again_and_a_shorter_one_its_start(arm):
    first, longer = (list(repetition("short", 3, arm, counts)) for counts in ([4], [4, 7]))
    for line in (*first, *longer):
        del line["seconds"]
    assert longer[0] == first[0]
    assert first[0]["calls"] < longer[1]["calls"] <= 700


def test_arms_differ_in_what_they_ask():
    raced, full, hard = (
        next(repetition("additive", 0, arm, [7]))
        for arm in ("search", "search, in full", "search, right and wrong only")
    )
    assert raced["calls"] < full["calls"] == full["full_calls"] == 700
    assert raced["closed_by_mean"] is not None
    assert hard["closed_by_mean"] is None


def test_the_file_is_added_to_and_nothing_is_made_twice(tmp_path, monkeypatch):
    arm = "starts, then random"
    searches = [("additive", 0, arm, (4,)), ("short", 0, arm, (4,))]
    monkeypatch.setattr("experiments.simulation.command.plan", lambda n: searches[:n])
    main(1, tmp_path)
    begun = (tmp_path / "additive.jsonl").read_text(encoding="utf-8")
    main(2, tmp_path)
    assert (tmp_path / "additive.jsonl").read_text(encoding="utf-8") == begun
    assert [line["kind"] for line in read(tmp_path)] == ["additive", "short"]


def test_the_summary_has_the_mean_of_the_kinds_and_the_arms_of_today_alone():
    def line(kind, closed, arm="search"):
        same = {"seed": 0, "trials": 4, "calls": 100, "full_calls": 400}
        return {"kind": kind, "closed": closed, "arm": arm, **same}

    lines = [line("additive", 0.2), line("interacting", 0.4), line("short", 0.9)]
    lines += [line(kind, 0.5, "as it is") for kind in STUDENTS]
    lines += [line("short", 0.5, "search, in full")]  # not of all kinds
    assert summary(lines).splitlines()[2:] == ["| 4 | search | 3 | 20% | 40% | 90% | 50% | 25% |"]


def test_a_difference_is_of_students_that_both_arms_have():
    one, other = {0: {"closed": 0.5}, 1: {"closed": 0.9}}, {1: {"closed": 0.6}}
    assert ablation.difference(one, other, "closed") == [pytest.approx(0.3)]
    assert ablation.interval([[0.1, 0.1], [0.3, 0.3]]) == pytest.approx((0.2, 0.2, 0.2))


def test_the_table_has_the_paired_differences_of_questions_that_can_be_answered(monkeypatch):
    pairs = (ablation.Pair("a part", "a", "b"), ablation.Pair("another", "a", "c"))
    monkeypatch.setattr(ablation, "PAIRS", pairs)
    made = [
        {"kind": kind, "seed": seed, "arm": arm, "trials": 12, "closed": closed, "calls": calls}
        for kind in STUDENTS
        for seed in (0, 1)
        for arm, closed, calls in (("a", 0.5 + seed / 10, 90), ("b", 0.3 + seed / 10, 100))
    ]
    assert ablation.table(made).splitlines()[2:] == [
        "| a part | 12 | 6 | **+20.0 [+20.0, +20.0]** | +20, +20, +20 | -10 [-10, -10] |"
    ]


def test_every_committed_line_of_an_arm_of_today_is_of_a_planned_search(lines):
    planned = {(k, s, a, count) for k, s, a, counts in plan(40) for count in counts}
    keys = [key(line) for line in lines]
    assert len(set(keys)) == len(keys)
    assert {one for one in keys if one[2] in ARMS} <= planned


def test_arms_of_every_question_are_in_the_committed_lines(lines):
    assert {arm for _, *arms in ablation.PAIRS for arm in arms} <= {line["arm"] for line in lines}


def test_pages_have_the_tables_of_the_committed_lines(lines):
    root = RESULTS.parents[2]
    assert ablation.table(lines) in (root / "docs" / "searching.md").read_text(encoding="utf-8")
    assert summary(lines) in (root / "experiments" / "README.md").read_text(encoding="utf-8")


def gaps(lines, first, second, trials):
    """By kind of student, how much more of the gap the first arm closes."""
    found = ablation.cells(lines)
    return [
        ablation.difference(found[first, kind, trials], found[second, kind, trials], "closed")
        for kind in STUDENTS
    ]


@pytest.mark.parametrize("trials", [4, 12])
def test_the_new_design_closes_more_than_the_earlier_search(lines, trials):
    closed = gaps(lines, ablation._CHOSEN, ablation._WAS, trials)
    assert mean(map(mean, closed)) > 0
    assert ablation.interval(closed)[1] > 0


@pytest.mark.parametrize(
    ("now", "earlier"),
    [("search", "as it is"), ("search, right and wrong only", "right and wrong only")],
)
def test_the_package_closes_more_with_4_lists_and_is_not_worse_beyond_noise_with_more(
    lines, now, earlier
):
    closed = {trials: gaps(lines, now, earlier, trials) for trials in (4, 12, 30)}
    assert min(map(len, closed[30])) >= 20
    assert ablation.interval(closed[4])[1] > 0
    assert all(ablation.interval(closed[trials])[2] > 0 for trials in (12, 30))


@pytest.mark.long
def test_thirty_lists_close_much_of_the_gap_of_students_of_each_kind():
    for kind in STUDENTS:
        made = [next(repetition(kind, seed, "search", [30])) for seed in range(10)]
        assert mean(line["closed_by_mean"] for line in made) > 0.6
        assert sum(x["calls"] for x in made) < 0.5 * sum(x["full_calls"] for x in made)


def test_committed_lines_are_one_json_object_each():
    for path in RESULTS.glob("*.jsonl"):
        for text in path.read_text(encoding="utf-8").splitlines():
            line = json.loads(text)
            assert {"seed", "trials", "arm", "closed", "calls", "commit"} <= line.keys()
            assert line["kind"] == path.stem
