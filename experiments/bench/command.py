"""`python -m experiments run CONFIG`: the cells of a config that have no line yet."""

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from experiments.bench.cells import Cell
from experiments.bench.configs import (
    BenchConfig,
    budget_of,
    cells_of,
    read_bench,
    results_file,
)
from experiments.bench.lines import Line, Status, add_line, read_lines
from experiments.bench.plan import RUNS, Plan, endpoints_of, repeated
from experiments.bench.run_cell import failed_line, run_cell
from experiments.bench.workers import run_here, run_on_ray
from pld_dspy.errors import ConfigError, PLDError


def run(  # noqa: PLR0913 - the options
    config: Annotated[Path, typer.Argument(help="A TOML file of experiments/configs.")],
    only: Annotated[str, typer.Option(help="Cells whose name holds this text.")] = "",
    limit: Annotated[int, typer.Option(help="Most cells; 0 is all.")] = 0,
    endpoint: Annotated[
        list[str], typer.Option(help="MODEL=URL: ask this address for a model.")
    ] = [],  # noqa: B006 - typer copies it
    jobs: Annotated[int, typer.Option(min=1, help="Cells that run at once.")] = 1,
    ray: Annotated[str, typer.Option(help="Address of a Ray cluster that shares the cells.")] = "",
    dry_run: Annotated[bool, typer.Option(help="List the cells, and stop.")] = False,
    one: Annotated[str, typer.Option(help="Run this cell here, and add its line.")] = "",
    results: Annotated[
        Path | None, typer.Option(help="File of the lines; the config names it otherwise.")
    ] = None,
    runs: Annotated[Path, typer.Option(help="Folder of answers and logs.")] = RUNS,
) -> None:
    """Run the cells of a config that have no line yet, each in a process of its own.

    A cell that was stopped goes on from what it was answered.
    """
    try:
        plan = Plan(
            config=read_bench(config),
            endpoints=endpoints_of(endpoint),
            # A cluster gives a machine as many cells as it has cores.
            alone=jobs == 1 and not ray,
            runs=runs.resolve(),
        )
        results = results or results_file(config, plan.config)
        if one:
            add_line(_run_one(Cell.named(one), plan, results), results)
            return
        cells = _todo(plan.config, results, only=only, limit=limit, show=dry_run)
        if dry_run:
            return
        if ray:
            _spread(cells, plan, results, ray)
        else:
            arguments = [str(config), "--results", str(results), "--runs", str(runs)]
            arguments += ["--jobs", str(jobs), *repeated("--endpoint", endpoint)]
            _here(cells, plan, results, arguments, jobs)
    except PLDError as error:
        typer.echo(f"error: {error}", err=True)
        raise typer.Exit(2) from error


def work(name: str, budget: int | None, *, plan: Plan) -> str:
    """Return the line of a cell as JSON; what a Ray worker runs."""
    return run_cell(Cell.named(name), plan, budget).to_json()


def _todo(config: BenchConfig, results: Path, *, only: str, limit: int, show: bool) -> list[Cell]:
    """Return the cells without a line, and those that failed: what was missing may be there now."""
    found = read_lines(results)
    for broken in found.broken:
        typer.echo(f"{results}: {broken}", err=True)
    status = {line.cell: line.status for line in found.lines}
    every = cells_of(config)
    named = [cell for cell in every if only in cell.name]
    # The cells that set a budget are needed, whatever was asked for.
    needed = {*named, *(cell.pays for cell in named if cell.budget != cell.pays.budget)}
    cells = [cell for cell in every if cell in needed]
    todo = [cell for cell in cells if status.get(cell.name, "failed") == "failed"]
    if show:
        for cell in cells:
            typer.echo(f"{status.get(cell.name, 'to do'):18} {cell.name}")
    typer.echo(f"{len(cells)} cells, {len(cells) - len(todo)} done, {len(todo)} to do")
    return todo[: limit or None]


def _run_one(cell: Cell, plan: Plan, results: Path) -> Line:
    try:
        budget = budget_of(cell, read_lines(results).lines)
    except ConfigError as error:
        return failed_line(cell, str(error))
    return run_cell(cell, plan, budget)


def _here(
    cells: Sequence[Cell], plan: Plan, results: Path, arguments: Sequence[str], jobs: int
) -> None:
    numbers = {cell: number for number, cell in enumerate(cells, 1)}
    started = time.monotonic()
    ends: list[Status] = []

    def begun(cell: Cell, log: Path) -> None:
        typer.echo(f"[{numbers[cell]}/{len(cells)}] {cell.name} (log: {log})")

    def ended(cell: Cell, problem: str | None) -> None:
        if problem is not None:
            add_line(failed_line(cell, problem), results)
        line = next(line for line in read_lines(results).lines if line.cell == cell.name)
        _tell(line)
        ends.append(line.status)
        minutes = (time.monotonic() - started) / 60
        left = minutes / len(ends) * (len(cells) - len(ends))
        typer.echo(
            f"    {len(ends)} of {len(cells)} cells in {minutes:.0f} min, {ends.count('failed')} failed"
            + (f"; some {left:.0f} min left" if left else "")
        )

    run_here(
        cells,
        lambda cell: ["-m", "experiments", "run", *arguments, "--one", cell.name],
        logs=plan.runs / "logs",
        begun=begun,
        ended=ended,
        jobs=jobs,
    )


def _spread(cells: Sequence[Cell], plan: Plan, results: Path, address: str) -> None:
    ended = run_on_ray(
        cells,
        work,
        address=address,
        budget=lambda cell: budget_of(cell, read_lines(results).lines),
        arguments={"plan": plan},
    )
    for number, (cell, text, problem) in enumerate(ended, 1):
        line = failed_line(cell, str(problem)) if text is None else Line.model_validate_json(text)
        add_line(line, results)
        typer.echo(f"[{number}/{len(cells)}] {cell.name}")
        _tell(line)


def _tell(line: Line) -> None:
    if line.status == "failed":
        typer.echo(f"    failed: {line.error}")
        return
    calls = f"{line.student_calls} student and {line.teacher_calls} teacher calls"
    typer.echo(
        f"    {line.status}: {line.metric} {line.score:.3f} (as given {line.baseline_score:.3f}), "
        f"{calls}, {line.wall_s:.0f} s"
    )
