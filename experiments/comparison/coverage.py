"""Which cells there should be, which have a score, and what became of the others."""

from collections.abc import Iterable
from typing import NamedTuple

from experiments.comparison.lines import Line
from pld_dspy.errors import DataError

OWN = "own"
"""Budget of the cells that spend nothing or set the budget; they stand in every table."""


class Setting(NamedTuple):
    """What the optimizers of one table have in common."""

    task: str
    student: str
    teacher: str
    traces: str
    split_by: str
    budget: str


class CellName(NamedTuple):
    """The parts of a cell's name, in its order."""

    task: str
    optimizer: str
    student: str
    teacher: str
    traces: str
    split_by: str
    seed: int
    budget: str


class Gap(NamedTuple):
    """A cell without a score."""

    cell: CellName
    state: str
    """`missing`, or `failed: ` and the error."""


def cell_name(text: str) -> CellName:
    """Return the parts of a cell's name.

    Raises:
        DataError: It has not eight parts, or its seed is no number.
    """
    parts = text.split("/")
    if len(parts) != len(CellName._fields) or not parts[6].isdigit():
        msg = f"cell {text!r} is not {'/'.join(CellName._fields)}; give eight parts, seed a number"
        raise DataError(msg)
    task, optimizer, student, teacher, traces, split_by, seed, budget = parts
    return CellName(task, optimizer, student, teacher, traces, split_by, int(seed), budget)


def name_of(line: Line) -> CellName:
    """Return the parts of the name of a line's cell, from its keys."""
    return CellName(
        line.task,
        line.optimizer,
        line.student,
        line.teacher,
        line.traces,
        line.split_by,
        line.seed,
        line.budget,
    )


def gaps(lines: Iterable[Line], expected: Iterable[str] = ()) -> list[Gap]:
    """Return the cells without a score: failed, or expected and without a line."""
    known = {name_of(line): line for line in lines}
    found = [
        Gap(cell, f"failed: {line.error}") for cell, line in known.items() if line.score is None
    ]
    wanted = {cell_name(text) for text in expected}
    return sorted(found + [Gap(cell, "missing") for cell in wanted - known.keys()])


def settings(cells: Iterable[CellName]) -> list[Setting]:
    """Return the settings of the cells, sorted.

    Where a task and student have cells of budget `own` alone, their tables are those of the budgets
    that others with the same traces and split have; `own` only where there is none.
    """
    found: dict[tuple[str, ...], set[str]] = {}
    shared: dict[tuple[str, ...], set[str]] = {}
    for cell in cells:
        key = (cell.task, cell.student, cell.teacher, cell.traces, cell.split_by)
        found.setdefault(key, set()).add(cell.budget)
        shared.setdefault(key[2:], set()).add(cell.budget)
    return sorted(
        Setting(key[0], key[1], key[2], key[3], key[4], budget)
        for key, budgets in found.items()
        for budget in (budgets - {OWN} or shared[key[2:]] - {OWN} or {OWN})
    )


def belongs(cell: CellName, setting: Setting) -> bool:
    """Whether a cell stands in the table of a setting."""
    same = (cell.task, cell.student, cell.teacher, cell.traces, cell.split_by) == setting[:-1]
    return same and cell.budget in {setting.budget, OWN}
