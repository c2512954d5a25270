"""Tables and a picture of the first experiments, whose lines hold intervals and no answers."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import mean, stdev

from matplotlib.figure import Figure
from scipy.stats import t as student_t

from experiments.bench.cells import Cell
from experiments.bench.lines import Earlier, Line
from experiments.report.tables import NONE, interval, signed, table
from pld_dspy.records import Interval
from pld_dspy.runs.plots.scores import BeforeAfter, before_after_figure


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """A line with what its experiment wrote in the place of answers."""

    line: Line
    found: Earlier

    @property
    def delta(self) -> Interval | None:
        """The score minus that of what it was compared with."""
        return _bounded(self.found.delta, self.found.delta_ci95)


Column = Callable[[Run], str | None]
"""The text of a column of the table; None where the run has none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Runs:
    """The runs of one experiment."""

    cells: tuple[Cell, ...]
    """Those that its config has; the ones without a run are missing."""
    found: Mapping[Cell, Run]


def runs_of(lines: Iterable[Line], cells: Iterable[Cell]) -> Runs:
    """Return the runs of the lines that have no answers, and the cells that have no line."""
    every = {line.where: line for line in lines}
    found = {at: Run(line=line, found=line.earlier) for at, line in every.items() if line.earlier}
    planned = [cell for cell in cells if cell in found or cell not in every]
    return Runs(cells=tuple(dict.fromkeys([*planned, *found])), found=found)


def section(runs: Runs, name: str, address: str | None) -> str:
    """Return the part of the page that shows the runs, with the address of their picture."""
    parts = [
        f"# {name}",
        "Made by earlier states of the package, which kept intervals and no answers; the commits are in "
        "the lines. Intervals are 95% bootstrap intervals over test examples, those of changes are "
        "paired; means over searches have theirs by Student's t.",
        summary(runs),
        runs_table(runs),
    ]
    if address is not None:
        parts.append(f"![Score before and after, with 95% intervals, for each run]({address})")
    return "\n\n".join(part for part in parts if part) + "\n"


def runs_table(runs: Runs) -> str:
    """Return one row a cell; a column that is empty in every row is left out."""
    shown = {
        head: column for head, column in _COLUMNS.items() if any(map(column, runs.found.values()))
    }
    rows = []
    for cell in runs.cells:
        row = [f"{cell.task}, {_split(cell)}", _short(cell.student), cell.traces, cell.optimizer]
        run = runs.found.get(cell)
        told = ["missing"] if run is None else [column(run) or NONE for column in shown.values()]
        rows.append([*row, str(cell.seed), *told, *[""] * (len(shown) - len(told))])
    return table(["task, split", "student", "traces", "optimizer", "seed", *shown], rows)


def summary(runs: Runs) -> str:
    """Return what the runs come to, for README and docs; nothing for those of wordings."""
    kinds = {run.found.experiment for run in runs.found.values()}
    if "search" in kinds:
        return _searches(runs)
    return _changes(runs) if "first" in kinds else ""


def _changes(runs: Runs) -> str:
    """Return one row a task, split, student and kind of traces that has a run."""
    groups: dict[tuple[str, str, str], list[Run | None]] = {}
    for cell in runs.cells:
        place = (f"{cell.task}, {_split(cell)}", _short(cell.student), cell.traces)
        groups.setdefault(place, []).append(runs.found.get(cell))
    rows = []
    for key, members in groups.items():
        found = [run for run in members if run is not None]
        deltas = [d for run in found if (d := run.delta) is not None]
        before = [run.line.baseline_score for run in found if run.line.baseline_score is not None]
        if deltas:
            after = mean(run.line.score or 0.0 for run in found)
            told = ", ".join(f"{d.estimate:+.2f} [{d.low:+.2f}, {d.high:+.2f}]" for d in deltas)
            seeds = f"{len(found)} of {len(members)}"
            rows.append([*key, seeds, f"{mean(before):.3f}", f"{after:.3f}", told])
    head = ["task, split", "student", "traces", "seeds", "as given", "PLD", "change, by seed"]
    missing = sum(cell not in runs.found for cell in runs.cells)
    text = f"\n\n{missing} of {len(runs.cells)} planned runs are missing so far." if missing else ""
    return table(head, rows) + text


def picture(runs: Runs) -> Figure | None:
    """Return the score before and after each run; None where no run has both intervals."""
    rows = []
    for cell in (cell for cell in runs.cells if cell in runs.found):
        run = runs.found[cell]
        before = _bounded(run.line.baseline_score, run.found.baseline_ci95)
        after = _bounded(run.line.score, run.line.ci95)
        if before is not None and after is not None:
            name = f"{cell.task}, {_split(cell)}\n{_short(cell.student)}, {cell.traces}, seed {cell.seed}"
            rows.append(BeforeAfter(name=name, before=before, after=after, metric=run.line.metric))
    return before_after_figure(rows) if rows else None


def _searches(runs: Runs) -> str:
    """Return what the raced searches come to, each against all rules on the same test examples."""
    found = runs.found
    both = [
        (found[every], found[cell])
        for cell in runs.cells
        if cell.pays == cell
        and cell in found
        and (every := cell._replace(optimizer=found[cell].found.against)) in found
    ]
    deltas = [delta for _, run in both if (delta := run.delta) is not None]
    if not deltas:
        return "No search was made so far."
    tokens = mean((s.line.prompt_tokens or 0) / (e.line.prompt_tokens or 1) for e, s in both)
    kept = mean((s.found.rules or 0) / (e.found.rules or 1) for e, s in both)
    calls, full = (
        sum(getattr(run.found, key) or 0 for _, run in both)
        for key in ("search_calls", "search_full_calls")
    )
    lines = [
        f"Over {len(both)} searches the searched list changes the test score by "
        f"{mean(d.estimate for d in deltas):+.3f} in the mean against all rules in support order: "
        f"better by more than noise in {sum(d.low > 0 for d in deltas)}, worse by more than noise in "
        f"{sum(d.high < 0 for d in deltas)}. It keeps {kept:.0%} of the rules, at {tokens:.0%} of the "
        f"tokens a call, and the search took {calls / full:.0%} of the calls of full scoring."
    ]
    told = [run for _, run in both if run.found.select_score is not None]
    if len(told) > 1:
        held_out, seen = (
            signed(mean_interval([getattr(r.found, key) - (r.line.score or 0.0) for r in told]))
            for key in ("select_score", "search_score")
        )
        lines.append(
            f"Mean of selection score less test score: {held_out}; of validation score less test "
            f"score: {seen}."
        )
    missing = [cell.name for cell in runs.cells if cell not in found]
    if missing:
        lines.append(f"Missing so far: {', '.join(missing)}.")
    return "\n\n".join(lines)


def mean_interval(values: Sequence[float]) -> Interval:
    """Return the mean with its 95% interval by Student's t; at least two values."""
    middle = mean(values)
    reach = float(student_t.ppf(0.975, len(values) - 1)) * stdev(values) / len(values) ** 0.5
    return Interval(estimate=middle, low=middle - reach, high=middle + reach)


def _bounded(value: float | None, bounds: tuple[float, float] | None) -> Interval | None:
    if value is None or bounds is None:
        return None
    return Interval(estimate=value, low=bounds[0], high=bounds[1])


def _number(value: float | None, form: str) -> str | None:
    return None if value is None else format(value, form)


def _score(run: Run) -> str | None:
    found = _bounded(run.line.score, run.line.ci95)
    return None if found is None else interval(found)


def _unreadable(run: Run) -> str | None:
    rates = (run.found.unparsed_rate_baseline, run.line.unparsed_rate)
    known = [f"{rate:.1%}" for rate in rates if rate is not None]
    return ", ".join(known) or None


def _calls(run: Run) -> str | None:
    found = run.found
    if found.search_full_calls is None:
        return None
    return f"{found.search_calls} of {found.search_full_calls}"


_COLUMNS: dict[str, Column] = {
    "test n": lambda run: str(run.line.test_n),
    "as given": lambda run: _number(run.line.baseline_score, ".3f"),
    "score [95%]": _score,
    "change [95%]": lambda run: None if run.delta is None else signed(run.delta),
    "unreadable before, after": _unreadable,
    "prompt tokens": lambda run: _number(run.line.prompt_tokens, ".0f"),
    "rules": lambda run: _number(run.found.rules, "d"),
    "calls of the search": _calls,
    "val": lambda run: _number(run.found.search_score, ".3f"),
    "select": lambda run: _number(run.found.select_score, ".3f"),
}


def _split(cell: Cell) -> str:
    if cell.split_by == "group":
        return "unseen targets"
    return "random items" if cell.task.startswith("stereoset") else "official splits"


def _short(student: str) -> str:
    return student.rsplit("-", 1)[-1].upper()
