"""Which cells there should be, which have a score, and what became of the others."""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from experiments.bench.cells import OWN, Cell
from experiments.bench.lines import Line
from experiments.report.statistics import is_ours

RECORDED = "recorded"
_OF_TRACES = ("random-rules", "label-words")
"""No variants of PLD, but their rules or words are made from traces, too."""


class Setting(NamedTuple):
    """What the optimizers of one table have in common."""

    task: str
    student: str
    teacher: str
    traces: str
    split_by: str
    budget: str

    def has_own(self, lines: Iterable[Line]) -> bool:
        """Return whether a line is of these traces and this budget, and not of several tables."""
        budgets = {self.budget} | ({OWN} if self.budget == "x1" else set())
        return any(line.traces == self.traces and line.budget in budgets for line in lines)


class Gap(NamedTuple):
    """A cell without a score."""

    cell: Cell
    state: str
    """`missing`, or `failed: ` and the error, or that its line has no answers."""


def gaps(lines: Iterable[Line], expected: Iterable[Cell] = ()) -> list[Gap]:
    """Return the cells without a score: failed, without answers, or expected and without a line."""
    known = {line.where: line for line in lines}
    found = [
        Gap(cell, f"failed: {line.error}" if line.score is None else "no answers in its line")
        for cell, line in known.items()
        if line.score is None or not line.said
    ]
    return sorted(found + [Gap(cell, "missing") for cell in set(expected) - known.keys()])


def tables_of(cells: Iterable[Cell]) -> dict[Setting, frozenset[Cell]]:
    """Return the cells of each table, the settings sorted.

    An optimizer that uses no traces stands in the tables of both kinds. Those whose rules are made
    from traces, and any that has a cell for recorded ones, stand where theirs are. Where a task and
    student have cells of budget `own` alone, their tables are those of the budgets that others under
    the same conditions have, and `own` where there is none.
    """
    placed = _placed(list(cells))
    budgets: dict[tuple[str, ...], set[str]] = {}
    shared: dict[tuple[str, ...], set[str]] = {}
    for key, cell in placed:
        budgets.setdefault(key, set()).add(cell.budget)
        shared.setdefault(key[2:], set()).add(cell.budget)
    found: dict[Setting, set[Cell]] = {}
    for key, cell in placed:
        named = budgets[key] - {OWN} or shared[key[2:]] - {OWN} or {OWN}
        for budget in named if cell.budget == OWN else {cell.budget}:
            setting = Setting(key[0], key[1], key[2], key[3], key[4], budget)
            found.setdefault(setting, set()).add(cell)
    return {setting: frozenset(found[setting]) for setting in sorted(found)}


def _placed(cells: Sequence[Cell]) -> list[tuple[tuple[str, ...], Cell]]:
    """Return each cell under the task, student, teacher, traces and split where it stands."""
    traced = {cell.optimizer for cell in cells if cell.traces == RECORDED}
    kinds: dict[tuple[str, ...], set[str]] = {}
    for cell in cells:
        place = (cell.task, cell.student, cell.teacher, cell.split_by)
        kinds.setdefault(place, set()).add(cell.traces)
    placed: list[tuple[tuple[str, ...], Cell]] = []
    for cell in cells:
        place = (cell.task, cell.student, cell.teacher, cell.split_by)
        name = cell.optimizer
        uses_traces = name in traced or is_ours(name) or name in _OF_TRACES
        stands = {cell.traces} if uses_traces else kinds[place]
        placed.extend(((*place[:3], traces, cell.split_by), cell) for traces in stands)
    return placed
