"""`python -m experiments forecast CONFIG`: what `pld diagnose` foretells for the settings of a config."""

import time
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated

import typer

from experiments.bench.cells import OWN, Cell
from experiments.bench.configs import cells_of, read_bench, results_file
from experiments.bench.lines import Broken, Record, add_line, read_records
from experiments.bench.plan import RUNS, Plan, endpoints_of, repeated, run_config
from experiments.bench.workers import run_here
from pld_dspy.errors import PLDError
from pld_dspy.ledger.versions import commit
from pld_dspy.runs.diagnose.advice import advise
from pld_dspy.runs.diagnose.checkup import Checkup
from pld_dspy.runs.diagnose.run import run_diagnose

DIAGNOSE = "diagnose"
"""Stands in the name of a forecast's cell where others have their optimizer."""


class Forecast(Record):
    """What a few answers of train and validation examples foretold for one setting."""

    step: str
    """What to do first, as in `pld diagnose`."""
    line: str
    """Why, in one line."""
    examples: int
    """Labelled examples that were asked about."""
    scores: dict[str, float]
    """Score on them by step: `as given`, and each step that could be tried."""
    separability: float | None = None
    """Of the best-asked student."""
    ceiling: float | None = None
    """Score of the teacher with a chain of thought; None if it gave no usable answers."""
    metric: str
    calls: dict[str, int]
    """Requests by role."""
    wall_s: float
    commit: str | None = None

    @property
    def where(self) -> Cell:
        """The setting, as a cell of the optimizer `diagnose`."""
        return Cell.named(self.cell)


def forecasts_file(results: Path) -> Path:
    """Return the file of the forecasts that belong to a file of lines."""
    return results.with_name(f"{results.stem}_forecasts.jsonl")


def read_forecasts(results: Path) -> tuple[tuple[Forecast, ...], tuple[Broken, ...]]:
    """Return the forecasts that belong to a file of lines, and the broken ones.

    Raises:
        StorageError: The file is there and cannot be read.
    """
    return read_records(forecasts_file(results), Forecast)


def settings_of(cells: Iterable[Cell]) -> list[Cell]:
    """Return the settings to be foretold, each once, of its first seed in the config.

    Traces and budgets make no other setting: only the teacher and the student are asked.
    """
    first: dict[Cell, Cell] = {}
    for cell in cells:
        setting = cell._replace(optimizer=DIAGNOSE, traces="teacher", budget=OWN)
        first.setdefault(setting._replace(seed=0), setting)
    return list(first.values())


def forecast(
    config: Annotated[Path, typer.Argument(help="A TOML file of experiments/configs.")],
    only: Annotated[str, typer.Option(help="Settings whose name holds this text.")] = "",
    dry_run: Annotated[bool, typer.Option(help="List the settings, and stop.")] = False,
    endpoint: Annotated[
        list[str], typer.Option(help="MODEL=URL: ask this address for a model.")
    ] = [],  # noqa: B006 - typer copies it
    one: Annotated[str, typer.Option(help="Ask about this setting here.")] = "",
    results: Annotated[
        Path | None, typer.Option(help="File of the lines; its forecasts stand beside it.")
    ] = None,
    runs: Annotated[Path, typer.Option(help="Folder of answers and logs.")] = RUNS,
) -> None:
    """Ask what `pld diagnose` asks in each setting that has no forecast yet; test is not looked at."""
    try:
        plan = Plan(
            config=read_bench(config), endpoints=endpoints_of(endpoint), runs=runs.resolve()
        )
        results = results or results_file(config, plan.config)
        if one:
            add_line(foretell(Cell.named(one), plan), forecasts_file(results))
            return
        known = {found.cell for found in read_forecasts(results)[0]}
        every = [cell for cell in settings_of(cells_of(plan.config)) if only in cell.name]
        todo = [cell for cell in every if cell.name not in known]
        if dry_run:
            for cell in every:
                typer.echo(f"{'to do' if cell in todo else 'done':6} {cell.name}")
        typer.echo(f"{len(every)} settings, {len(every) - len(todo)} done, {len(todo)} to do")
        if not dry_run:
            arguments = [str(config), "--results", str(results), "--runs", str(runs)]
            _here(todo, results, [*arguments, *repeated("--endpoint", endpoint)], runs)
    except PLDError as error:
        typer.echo(f"error: {error}", err=True)
        raise typer.Exit(2) from error


def foretell(cell: Cell, plan: Plan) -> Forecast:
    """Return the forecast of a setting; answers are kept in the folder, and none is asked for twice.

    Raises:
        PLDError: The data or a model cannot be used.
    """
    started = time.monotonic()
    settings = run_config(cell, plan)
    folder = plan.runs / "forecasts" / cell.name.replace("/", "-")
    checkup = run_diagnose(settings.model_copy(update={"run_dir": folder}))
    advice = advise(checkup)
    return Forecast(
        cell=cell.name,
        step=advice.step,
        line=advice.line,
        examples=checkup.examples,
        scores=_scores(checkup),
        separability=checkup.best_asked.separability,
        ceiling=None if checkup.ceiling is None else checkup.ceiling.score.estimate,
        metric=checkup.metric,
        calls={role: usage.calls for role, usage in checkup.usage.items()},
        wall_s=time.monotonic() - started,
        commit=commit(),
    )


def _scores(checkup: Checkup) -> dict[str, float]:
    found = {"as given": checkup.given.score.estimate}
    return found | {str(rung.step): rung.score for rung in checkup.rungs}


def _here(cells: list[Cell], results: Path, arguments: list[str], runs: Path) -> None:
    failed: list[str] = []

    def begun(cell: Cell, log: Path) -> None:
        typer.echo(f"[{cells.index(cell) + 1}/{len(cells)}] {cell.name} (log: {log})")

    def ended(cell: Cell, problem: str | None) -> None:
        found = {known.cell: known for known in read_forecasts(results)[0]}.get(cell.name)
        if problem is not None or found is None:
            failed.append(cell.name)
            typer.echo(f"    failed: {problem}; the log says why")
            return
        typer.echo(f"    {found.step}: {found.line} ({found.wall_s:.0f} s)")

    run_here(
        cells,
        lambda cell: ["-m", "experiments", "forecast", *arguments, "--one", cell.name],
        logs=runs / "logs",
        begun=begun,
        ended=ended,
    )
    if failed:
        msg = f"{len(failed)} of {len(cells)} settings have no forecast: {', '.join(failed)}"
        raise PLDError(msg)
