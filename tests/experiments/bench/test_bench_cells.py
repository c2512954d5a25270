"""Configs of the comparison: what they expand to, and what is said about a wrong one."""

from pathlib import Path

import pytest

import experiments.bench.configs as configs
from compare_runs import World
from experiments.bench.cells import OWN, SETS_BUDGET, Cell
from experiments.bench.configs import (
    BenchConfig,
    budget_of,
    cells_of,
    read_bench,
    results_file,
    task_file,
)
from experiments.bench.lines import Line
from experiments.optimizers import OPTIMIZERS, Found, Optimizer
from experiments.optimizers.table import table_of
from pld_dspy.errors import ConfigError

CONFIGS = sorted((Path(configs.__file__).parents[1] / "configs").glob("*.toml"))
GRID = {"tasks": ["keywords"], "students": ["small"], "teachers": ["large"]}
CELL = Cell("keywords", "gepa", "small", "large", "teacher", "item", 0, "x3")


@pytest.fixture
def world(tmp_path, monkeypatch):
    return World(tmp_path, monkeypatch)


def config(**settings):
    return BenchConfig(**{"grid": [GRID], **settings})


def write(folder, text):
    path = folder / "compare.toml"
    path.write_text(text, encoding="utf-8")
    return path


@pytest.mark.parametrize(
    "path", [p for p in CONFIGS if "[[grid]]" in p.read_text("utf-8")], ids=lambda path: path.stem
)
def test_every_config_of_the_repository_can_be_read_and_has_cells(path):
    found = cells_of(read_bench(path))

    assert found
    assert len(found) == len({cell.name for cell in found})


def test_the_quick_config_holds_every_optimizer_once():
    found = cells_of(read_bench(next(p for p in CONFIGS if p.stem == "quick")))

    assert sorted(cell.optimizer for cell in found) == sorted(
        name for name, optimizer in OPTIMIZERS.items() if not optimizer.extra
    )


@pytest.mark.parametrize(
    "path", sorted((CONFIGS[0].parents[1] / "tasks").glob("*.toml")), ids=lambda path: path.stem
)
def test_every_task_has_guidelines_and_a_title(path):
    task = task_file(path.stem)

    assert task.guidelines.strip()
    assert task.title


def test_a_cell_is_named_by_its_parts_and_found_by_its_name():
    assert CELL.name == "keywords/gepa/small/large/teacher/item/0/x3"
    assert Cell.named(CELL.name) == CELL


@pytest.mark.parametrize("name", ["gepa/0", "a/b/c/d/e/f/zero/x1"])
def test_a_name_of_another_shape_is_refused(name):
    with pytest.raises(ConfigError, match=f"'{name}' names no cell; a name is task/optimizer/"):
        Cell.named(name)


def test_a_config_tells_the_file_of_its_lines():
    named, unnamed = config(results="compare"), config()

    assert results_file(Path("full.toml"), named).name == "compare.jsonl"
    assert results_file(Path("quick.toml"), unnamed).name == "quick.jsonl"


def test_cells_that_set_a_budget_come_first_and_are_added(world):
    found = cells_of(config(grid=[{**GRID, "optimizers": ["zero-shot", "gepa"]}]))

    assert [(cell.optimizer, cell.budget) for cell in found] == [
        (SETS_BUDGET, OWN),
        ("zero-shot", OWN),
        ("gepa", "x1"),
    ]


def test_recorded_traces_and_budgets_multiply_only_what_they_concern(world):
    grid = {**GRID, "traces": ["teacher", "recorded"], "budgets": ["x1", "x3"]}
    names = ["zero-shot", "gepa", "pld-refined", "pld-gepa"]
    found = cells_of(config(grid=[{**grid, "optimizers": names}]))

    assert [
        (cell.optimizer, cell.traces, cell.budget)
        for cell in found
        if cell.optimizer != SETS_BUDGET
    ] == [
        ("zero-shot", "teacher", OWN),
        ("gepa", "teacher", "x1"),
        ("gepa", "teacher", "x3"),
        ("pld-refined", "teacher", OWN),
        ("pld-refined", "recorded", OWN),
        ("pld-gepa", "teacher", "x1"),
        ("pld-gepa", "teacher", "x3"),
        ("pld-gepa", "recorded", "x1"),
        ("pld-gepa", "recorded", "x3"),
    ]


def test_a_variant_is_an_optimizer_with_other_settings(world):
    found = config(
        pld={"finalists": 2, "search": {"trials": 5}},
        variants={"pld-eps": {"base": "pld-refined", "pld": {"clusters": {"eps": 0.2}}}},
        grid=[{**GRID, "optimizers": ["pld-eps", "pld-refined"]}],
    )
    task = task_file("keywords")

    assert [cell.optimizer for cell in cells_of(found)] == ["pld-eps", "pld-refined"]
    assert found.optimizer("pld-eps") is OPTIMIZERS["pld-refined"]
    assert found.pld_settings(task, "pld-eps").clusters.eps == 0.2
    assert found.pld_settings(task, "pld-refined").clusters.eps == "auto"
    assert found.pld_settings(task, "pld-eps").search.trials == 5


def line(**settings):
    facts = CELL.pays._asdict() | {"cell": CELL.pays.name, "metric": "macro_f1", "status": "done"}
    return Line(**facts | {"score": 0.5, "student_calls": 90, "teacher_calls": 10} | settings)


def test_the_budget_is_a_multiple_of_what_pld_spent():
    assert budget_of(CELL, [line()]) == 300
    assert budget_of(CELL._replace(budget="x1"), [line()]) == 100
    assert budget_of(CELL.pays, []) is None


@pytest.mark.parametrize(
    ("lines", "why"),
    [
        ([], "has no line"),
        ([line(status="failed", score=None, error="no model")], "failed: no model"),
    ],
)
def test_without_a_budget_the_cell_says_what_to_run(lines, why):
    with pytest.raises(
        ConfigError, match=rf"{CELL.pays.name} spends, and that {why}; run it first"
    ):
        budget_of(CELL, lines)


VALID = """
[[grid]]
tasks = ["keywords"]
optimizers = ["zero-shot"]
students = ["small"]
teachers = ["large"]
"""


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (VALID.replace("zero-shot", "zeroshot"), "no optimizer is called 'zeroshot'; did you mean 'zero-shot'?"),
        (VALID.replace("keywords", "keyword"), "no task is called 'keyword'; did you mean 'keywords'?"),
        (VALID.replace('"small"', '"smal"'), "no model is called 'smal'; did you mean 'small'?"),
        (VALID.replace("teachers", "teacher"), "grid.0: teachers: is required | teacher: unknown setting; did you mean 'teachers'?"),
        (VALID + 'budgets = ["x2"]', "'x2' is not allowed, should be 'x1' or 'x3'"),
        ("[pld.search]\ntrails = 3\n" + VALID, "pld: search: trails: unknown setting; did you mean 'trials'?"),
        ("[variants.gepa]\n" + VALID, "the variant 'gepa' has the name of an optimizer; rename it"),
        ("[variants.mine]\nbase = 'pld-refind'\n" + VALID, "no optimizer is called 'pld-refind'; did you mean 'pld-refined'?"),
        ("grid = [", "is not TOML"),
        (None, "cannot be read: No such file or directory; give the path of a TOML file"),
    ],
)  # fmt: skip
def test_a_wrong_config_is_told_in_one_line(world, tmp_path, text, problem):
    path = tmp_path / "compare.toml"
    if text is not None:
        write(tmp_path, text)
    with pytest.raises(ConfigError) as refused:
        read_bench(path)

    assert problem in str(refused.value)
    assert str(refused.value).startswith(str(path))
    assert "\n" not in str(refused.value)


def test_two_optimizers_of_one_name_are_refused():
    entry = Optimizer(name="same", run=lambda job: Found(job.student()))
    with pytest.raises(ConfigError, match="two optimizers are called 'same'"):
        table_of([entry, entry])
