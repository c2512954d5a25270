"""The line of a cell, the file of lines, and what happens to a broken one."""

import json
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from experiments.bench.lines import Line, add_line, read_lines

CELL = "stereoset/gepa/small/large/teacher/item/0/x1"
FACTS = dict(
    zip(
        ("task", "optimizer", "student", "teacher", "traces", "split_by", "seed", "budget"),
        CELL.split("/"),
        strict=True,
    )
)


def line(**settings):
    scores = {"score": 0.5, "gold": ("a", "b"), "said": ("a", None), "baseline_said": ("b", "b")}
    return Line(
        **{"cell": CELL, **FACTS, "metric": "macro_f1", "status": "done"} | scores | settings
    )


def failed(**settings):
    return Line(
        cell=CELL, **FACTS, metric="macro_f1", status="failed", error="it broke", **settings
    )


def test_a_line_reads_back_as_it_was_written(tmp_path):
    path = tmp_path / "results" / "compare.jsonl"
    written = line(curve=((3, 0.25), (9, 0.5)), ci95=(0.1, 0.9), note="one\u2028line")
    add_line(written, path)

    assert read_lines(path) == ((written,), ())
    assert json.loads(path.read_text(encoding="utf-8"))["curve"] == [[3, 0.25], [9, 0.5]]


@given(said=st.lists(st.none() | st.text(max_size=3), min_size=1, max_size=90))
def test_answers_read_back_whatever_they_are(said):
    gold = tuple(f"label {place}" for place in range(len(said)))
    written = line(gold=gold, said=said, baseline_said=())

    assert Line.model_validate_json(written.to_json()) == written


def test_answers_take_one_character_each_and_lists_of_labels_are_read_as_well():
    stored = json.loads(line(said=("b", None)).to_json())

    assert stored["said"] == {"labels": ["b"], "codes": "0-"}
    assert Line.model_validate(stored | {"said": ["b", None]}) == line(said=("b", None))


@pytest.mark.parametrize(
    ("said", "problem"),
    [
        ({"labels": ["a"], "codes": "01"}, "the code '1' has no label; there are 1 labels"),
        ({"labels": ["a"], "code": "00"}, "codes\n  Field required"),
    ],
)
def test_codes_that_name_no_label_are_refused(said, problem):
    with pytest.raises(ValidationError, match=problem):
        line(said=said)


def test_a_gold_label_is_never_unread():
    with pytest.raises(ValidationError, match="gold"):
        line(gold={"labels": ["a"], "codes": "0-"})


def test_no_file_is_no_lines(tmp_path):
    assert read_lines(tmp_path / "none.jsonl") == ((), ())


def test_a_broken_line_is_named_by_its_number_and_the_rest_is_kept(tmp_path):
    path = tmp_path / "compare.jsonl"
    other = line(cell=CELL.replace("gepa", "copro"))
    add_line(line(), path)
    with path.open("a", encoding="utf-8") as file:
        file.write('{"cell": "half a li\n\n{"cell": "x"}\n')
    add_line(other, path)

    found = read_lines(path)

    assert found.lines == (line(), other)
    assert [broken.number for broken in found.broken] == [2, 4]
    assert str(found.broken[0]) == "line 2 cannot be read and is left out: not JSON"
    assert str(found.broken[1]).startswith("line 4 cannot be read and is left out: task: ")


def test_a_line_that_a_killed_process_left_half_written_does_not_swallow_the_next(tmp_path):
    path = tmp_path / "compare.jsonl"
    path.write_text('{"cell": "half', encoding="utf-8")
    add_line(line(), path)

    found = read_lines(path)

    assert found.lines == (line(),)
    assert [broken.number for broken in found.broken] == [1]


def test_the_last_line_of_a_cell_counts(tmp_path):
    path = tmp_path / "compare.jsonl"
    for one in (failed(), line()):
        add_line(one, path)

    assert read_lines(path).lines == (line(),)


def test_lines_of_several_threads_are_all_whole(tmp_path):
    path = tmp_path / "compare.jsonl"
    lines = [line(cell=f"{CELL}{number}") for number in range(24)]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda one: add_line(one, path), lines))

    found = read_lines(path)

    assert found.broken == ()
    assert {one.cell for one in found.lines} == {one.cell for one in lines}


@pytest.mark.parametrize(
    ("settings", "problem"),
    [
        ({"status": "failed", "error": "it broke"}, "a failed cell has an error and no score"),
        ({"status": "failed", "score": None}, "a failed cell has an error and no score"),
        ({"score": None}, "a cell that is done has a score and no error"),
        ({"status": "stopped by budget", "error": "x"}, "stopped by budget has a score"),
        (
            {"said": ("a",)},
            "gold, said, baseline_said, decided_said and greedy_said differ in length",
        ),
        ({"status": "dome"}, "Input should be 'done'"),
    ],
)
def test_a_line_that_contradicts_itself_is_refused(settings, problem):
    with pytest.raises(ValidationError, match=problem):
        line(**settings)


def test_a_failed_line_has_no_scores():
    assert failed().model_dump(exclude_none=True).keys().isdisjoint({"score", "macro_f1", "ci95"})
