"""What README and docs tell of the grid: every number is that of a line, and what is missing is a dash."""

import pytest

from comparison_lines import answers, line
from experiments.bench.lines import ProgramNote, Results
from experiments.report.critics import PLACES, programs, runs, short_runs
from experiments.report.page import compare
from pld_dspy.scoring.metrics import macro_f1
from pld_dspy.scoring.statistics import bootstrap_interval

WORDS = ProgramNote(
    instructions="1. If a country is named, answer race.",
    words={"race": "country", "gender": "child"},
)


def compared(*lines):
    return compare(Results(lines, ()))


def rows_of(text, place=0):
    """Cells of the body of one of the tables, by the first one."""
    tables = [part for part in text.split("\n\n") if part.startswith("| ")]
    split = [[c.strip() for c in row.strip("|").split("|")] for row in tables[place].splitlines()]
    return {cells[0]: cells[1:] for cells in split[2:]}


def with_ci(optimizer, **keys):
    made = line(optimizer, **keys)
    found = bootstrap_interval(macro_f1, made.gold, made.said, seed=0)
    return made.model_copy(update={"ci95": (found.low, found.high)})


def layered(made, rate):
    """The line with answers of a decision layer."""
    said = answers(made.gold, rate, 7)
    found = bootstrap_interval(macro_f1, made.gold, said, seed=0)
    layer = {"decided_said": said, "decided_score": macro_f1(made.gold, said)}
    return made.model_copy(update=layer | {"decided_ci95": (found.low, found.high)})


def shown(score, ci95):
    return f"{score:.3f} [{ci95[0]:.3f}, {ci95[1]:.3f}]"


def test_a_program_has_a_row_with_three_columns_a_student_and_dashes_where_nothing_is_known():
    ours, gepa = with_ci("pld-rules"), layered(with_ci("gepa"), 0.9)
    small = with_ci("pld-rules", student="qwen-1.5b")
    rows = rows_of(programs(compared(ours, gepa, small)))

    assert rows["GEPA"][:3] == ["-"] * 3
    assert rows["GEPA"][3:] == [
        shown(gepa.score, gepa.ci95),
        shown(gepa.decided_score, gepa.decided_ci95),
        f"{gepa.prompt_tokens:.0f}",
    ]
    assert rows["PLD"][0] == shown(small.score, small.ci95)
    assert rows["PLD"][3:] == [shown(ours.score, ours.ci95), "-", f"{ours.prompt_tokens:.0f}"]
    assert list(rows) == ["student as given", "GEPA", "PLD"]


def test_a_row_of_fewer_seeds_says_so_and_a_task_without_a_pld_run_has_no_table():
    lines = [with_ci("pld-rules", seed=seed) for seed in (0, 1)]
    text = programs(compared(*lines, with_ci("gepa"), with_ci("gepa", task="logiqa")))

    assert rows_of(text)["GEPA"][0].endswith(" (1 of 2 seeds)")
    assert "of 2 seeds" not in rows_of(text)["PLD"][0]
    assert "logiqa" not in text


def test_a_run_stands_beside_the_rows_of_its_own_test_examples():
    ours = with_ci("pld-rules", program=WORDS, seed=1, greedy_score=0.25)
    ours = ours.model_copy(update={"baseline_separability": 0.5, "separability": 0.75})
    shots = layered(with_ci("labeled-more-shots", seed=1, budget="own"), 0.95)
    bag = with_ci("bag-of-words", seed=1, budget="own")
    # Of another seed, another split, and other test examples.
    others = [
        with_ci("asked-best", seed=0, budget="own"),
        with_ci("asked-best", seed=1, split_by="group", budget="own"),
        with_ci("asked-best", seed=1, n=50, budget="own"),
    ]
    before = [ours.model_copy(update={"score": 0.125}), with_ci("pld-rules", seed=2)]
    cells = rows_of(runs(compared(ours, shots, bag, *others), before))["stereoset, 0.5B, 1"]

    over = ours.score - shots.decided_score
    assert cells[:9] == [
        shown(ours.score, ours.ci95), "0.250", f"{ours.baseline_score:.3f}", "0.500 to 0.750",
        f"{ours.prompt_tokens:.0f}", "country, child", "1", "-", cells[8],
    ]  # fmt: skip
    score, _, change = cells[8].partition("; ")
    assert score == f"{shots.decided_score:.3f}"
    assert float(change.split()[0]) == pytest.approx(over, abs=0.001)
    assert cells[9].startswith(f"{bag.score:.3f}; ")
    assert cells[10] == "0.125"


def test_a_row_that_ships_with_a_decision_stands_there_as_it_ships():
    ours = with_ci("pld-rules")
    best = layered(with_ci("asked-best", budget="own"), 0.95)
    own = best.model_copy(update={"greedy_score": 0.3})
    assert best.decided_score != pytest.approx(best.score, abs=0.01)
    for other, score in ((best, best.decided_score), (own, best.score)):
        told, _, change = rows_of(runs(compared(ours, other)))["stereoset, 0.5B, 0"][7].partition(
            "; "
        )
        assert told == f"{score:.3f}"
        assert float(change.split()[0]) == pytest.approx(ours.score - score, abs=0.001)
        assert rows_of(short_runs(compared(ours, other)))["stereoset, 0.5B, 0"][1] == told


def test_rules_by_topic_are_counted_by_topic():
    rule = "If so, answer race.\n"
    note = ProgramNote(instructions=rule, topics={"a": rule * 2, "b": rule * 4})
    cells = rows_of(runs(compared(with_ci("pld-guides", program=note, traces="recorded"))))
    assert cells["stereoset, 0.5B, 0"][6] == "2 to 4 a topic"


def test_the_short_table_has_the_same_figures():
    lines = with_ci("pld-rules"), layered(with_ci("labeled-more-shots", budget="own"), 0.9)
    cells = rows_of(short_runs(compared(*lines)))["stereoset, 0.5B, 0"]
    ours, shots = lines
    assert cells == [
        f"{ours.baseline_score:.3f}",
        "-",
        f"{shots.decided_score:.3f}, {shots.prompt_tokens:.0f}",
        "-",
        shown(ours.score, ours.ci95),
        f"{ours.prompt_tokens:.0f}",
    ]


def test_without_a_run_there_are_only_heads():
    found = compared(with_ci("gepa"))
    texts = [make(found, []) for make in PLACES.values()]
    assert texts[0] == ""
    assert all(len(text.splitlines()) == 2 for text in texts[1:])
