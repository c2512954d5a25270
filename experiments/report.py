"""The comparison as a page: `python -m experiments.report` writes `experiments/REPORT.md`.

Tables and pictures come from the lines of the results file alone; a cell that the grid has and the
file has not is shown as missing. The same lines give the same bytes.
"""

import shutil
from collections.abc import Mapping
from os.path import relpath
from pathlib import Path
from typing import Annotated

import typer
from matplotlib.figure import Figure

from experiments.comparison import pictures
from experiments.comparison.lines import RESULTS, read_lines
from experiments.comparison.page import (
    KINDS,
    Comparison,
    compare,
    headline,
    overview_section,
    page,
    view_name,
    views,
)
from experiments.comparison.tracked import TRACKING_URI, log_report
from experiments.grids import fill
from pld_dspy.errors import PLDError, StorageError

REPORT = Path(__file__).parent / "REPORT.md"
OVERVIEW = REPORT.parents[1] / "docs" / "comparing.md"
PICTURES = Path(__file__).parent / "results" / "compare"

_DRAW = {
    "bars": pictures.bars,
    "curves": pictures.curves,
    "tokens": pictures.tokens,
    "latency": pictures.latency,
}


def write_report(
    comparison: Comparison, report: Path, folder: Path, *, overview: Path | None = None
) -> None:
    """Write the page, and its pictures into `folder`; pictures of views that are gone are removed.

    Args:
        comparison: What was found.
        report: The page.
        folder: Of its pictures.
        overview: A page whose place `compare` gets the verdicts and the overview; its pictures are
            copied into `images` beside it.

    Raises:
        StorageError: A file cannot be written.
        DataError: The overview has no such place.
    """
    try:
        pictures = _write(comparison, report, folder)
        if overview is not None:
            _fill_overview(comparison, overview, pictures)
    except OSError as error:
        msg = f"{error.filename} cannot be written: {error.strerror}; make room or name another"
        raise StorageError(msg) from error


def _write(comparison: Comparison, report: Path, folder: Path) -> dict[str, Path]:
    folder.mkdir(parents=True, exist_ok=True)
    for kind in KINDS:
        for old in folder.glob(f"{kind}-*.png"):
            old.unlink()
    report.parent.mkdir(parents=True, exist_ok=True)
    paths = {}
    for view, panels in views(comparison).items():
        for kind, draw in _DRAW.items():
            title = f"{KINDS[kind]}: {view_name(panels)}"
            path = folder / f"{kind}-{view}.png"
            _save(draw(panels, title), path)
            paths[f"{kind}-{view}"] = path
    report.write_text(page(comparison, _seen_from(report, paths)), encoding="utf-8")
    return paths


def _fill_overview(comparison: Comparison, overview: Path, pictures: Mapping[str, Path]) -> None:
    addresses = {name: f"images/{path.name}" for name, path in pictures.items()}
    section = overview_section(comparison, addresses)
    # The documentation is built from its own folder alone, so the pictures it shows lie there too.
    for name, path in pictures.items():
        if f"({addresses[name]})" in section:
            target = overview.parent / addresses[name]
            target.parent.mkdir(exist_ok=True)
            shutil.copyfile(path, target)
    fill(overview, "compare", section)


def _seen_from(page: Path, paths: Mapping[str, Path]) -> dict[str, str]:
    return {name: Path(relpath(path, page.parent)).as_posix() for name, path in paths.items()}


def expected_cells(grid: Path) -> list[str]:
    """Return the names of the cells of a comparison's config.

    Raises:
        ConfigError: The config cannot be read or used.
    """
    # Only here, because the optimizers come with it, and a report needs none of them.
    from experiments.comparison.cells import cells_of, read_compare

    return [cell.name for cell in cells_of(read_compare(grid))]


def _save(figure: Figure, path: Path) -> None:
    # The name of the drawing software has its version in it; without it the bytes stay the same.
    figure.savefig(path, dpi=110, metadata={"Software": None})


def main(
    results: Annotated[Path, typer.Option(help="Lines of the comparison.")] = RESULTS,
    grid: Annotated[
        Path | None, typer.Option(help="Settings of the grid, to know what is missing.")
    ] = None,
    report: Annotated[Path, typer.Option(help="Page to write.")] = REPORT,
    folder: Annotated[Path, typer.Option("--pictures", help="Folder of its pictures.")] = PICTURES,
    mlflow: Annotated[bool, typer.Option(help="Log the report to MLflow.")] = True,
    tracking_uri: Annotated[str, typer.Option(help="Store of the runs.")] = TRACKING_URI,
) -> None:
    """Write the report and its pictures, and log them."""
    try:
        comparison = compare(read_lines(results), expected_cells(grid) if grid else ())
        own = report == REPORT and results == RESULTS
        write_report(comparison, report, folder, overview=OVERVIEW if own else None)
        if mlflow:
            run = log_report(comparison, report, folder, tracking_uri=tracking_uri)
            typer.echo(f"MLflow run {run} in {tracking_uri}")
    except PLDError as error:
        typer.echo(f"error: {error}", err=True)
        raise typer.Exit(2) from error
    for line in (*comparison.broken, *headline(comparison)):
        typer.echo(line)
    typer.echo(str(report))


if __name__ == "__main__":
    typer.run(main)
