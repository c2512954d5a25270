"""`python -m experiments report CONFIG`: a page with pictures, from the lines of a config alone.

A cell that the config has and the file has not is shown as missing. The same lines give the same
bytes.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from os.path import relpath
from pathlib import Path
from typing import Annotated

import typer

from experiments.bench.configs import HERE, BenchConfig, cells_of, read_bench, results_file
from experiments.bench.forecast import read_forecasts
from experiments.bench.lines import Results, read_lines
from experiments.report import critics, pictures
from experiments.report.page import (
    KINDS,
    Comparison,
    compare,
    headline,
    page,
    readme_section,
    view_name,
    views,
)
from experiments.report.runs import Runs, picture, runs_of, section, summary
from experiments.report.tracked import TRACKING_URI, log_report
from experiments.simulation import ablation
from experiments.simulation import command as simulation
from pld_dspy.errors import ConfigError, PLDError, StorageError

ROOT = HERE.parent

_DRAW = {
    "bars": pictures.bars,
    "curves": pictures.curves,
    "tokens": pictures.tokens,
    "latency": pictures.latency,
}


def report(
    config: Annotated[
        Path | None, typer.Argument(help="A TOML file of experiments/configs; none: all pages.")
    ] = None,
    results: Annotated[
        Path | None, typer.Option(help="Another file of lines; its page is written beside it.")
    ] = None,
    report: Annotated[Path | None, typer.Option(help="Another page to write.")] = None,
    folder: Annotated[
        Path | None, typer.Option("--pictures", help="Another folder of its pictures.")
    ] = None,
    mlflow: Annotated[bool, typer.Option(help="Log a comparison to MLflow.")] = True,
    tracking_uri: Annotated[str, typer.Option(help="Store of the runs.")] = TRACKING_URI,
) -> None:
    """Write the report of a config with its pictures, and log it."""
    uri = tracking_uri if mlflow else None
    try:
        if config is not None:
            _report(config, read_bench(config), (results, report, folder), uri)
            return
        if any((results, report, folder)):
            msg = "--results, --report and --pictures are for one config; name it"
            raise ConfigError(msg)
        for path in sorted((HERE / "configs").glob("*.toml")):
            if "[[grid]]" in path.read_text(encoding="utf-8") and read_bench(path).page:
                _report(path, read_bench(path), (None, None, None), uri)
        simulated = simulation.read()
        fill_places("simulation", lambda _: simulation.summary(simulated))
        fill_places("ablation", lambda _: ablation.table(simulated))
    except PLDError as error:
        typer.echo(f"error: {error}", err=True)
        raise typer.Exit(2) from error


def _report(
    path: Path, config: BenchConfig, others: Sequence[Path | None], uri: str | None
) -> None:
    results, other_page, folder = others
    lines = results or results_file(path, config)
    # Other lines have their page beside them, and never take the place of a committed one.
    named = None if results or config.page is None else HERE / config.page
    target = other_page or named or lines.with_suffix(".md")
    folder = folder or lines.with_suffix("")
    found, cells = read_lines(lines), cells_of(config)
    foretold, unread = read_forecasts(lines)
    found = found._replace(broken=(*found.broken, *unread))
    earlier = runs_of(found.lines, cells)
    rest = [line for line in found.lines if line.earlier is None]
    comparison = None
    if rest or not earlier.found:
        wanted = [cell for cell in cells if cell not in earlier.found]
        comparison = compare(Results(tuple(rest), found.broken), wanted, foretold)
    # Only the config's own lines and page are what README and docs tell of.
    place = "" if any(others) else config.place
    write_report(comparison, target, folder, earlier=earlier, place=place)
    if comparison is not None and place:
        _tell(comparison, config, place)
    if comparison is not None and uri is not None:
        typer.echo(
            f"MLflow run {log_report(comparison, target, folder, tracking_uri=uri)} in {uri}"
        )
    told = [] if comparison is None else headline(comparison)
    for line in (*found.broken, *told, target):
        typer.echo(str(line))


def _tell(comparison: Comparison, config: BenchConfig, place: str) -> None:
    """Put the tables of the grid into README and docs."""
    files = (HERE / "results" / name for name in config.earlier)
    before = [line for file in files for line in read_lines(file).lines]
    for name, make in critics.PLACES.items():
        text = make(comparison, before)
        fill_places(f"{place}-{name}", partial(_same, text))


def write_report(
    comparison: Comparison | None,
    report: Path,
    folder: Path,
    *,
    earlier: Runs | None = None,
    place: str = "",
) -> None:
    """Write the page, and its pictures into `folder`; pictures of views that are gone are removed.

    Args:
        comparison: What was found; None where all lines are of the first experiments.
        report: The page.
        folder: Of its pictures.
        earlier: The runs of the first experiments, which come first on the page.
        place: Of the summary in README and docs.

    Raises:
        StorageError: A file cannot be written.
    """
    try:
        report.parent.mkdir(parents=True, exist_ok=True)
        texts: list[str] = []
        told: list[Callable[[Path], str]] = []
        if earlier is not None and earlier.found:
            address = _draw_runs(earlier, report.with_suffix(".png"))
            texts.append(section(earlier, report.stem, address))
            told.append(lambda _: summary(earlier))
        if comparison is not None:
            paths = _draw(comparison, folder)
            texts.append(page(comparison, _seen_from(report, paths)))
            told.append(lambda other: readme_section(comparison, _seen_from(other, paths)))
        report.write_text("\n".join(texts), encoding="utf-8")
        if place:
            fill_places(place, lambda other: "\n\n".join(make(other) for make in told))
    except OSError as error:
        msg = f"{error.filename} cannot be written: {error.strerror}; make room or name another"
        raise StorageError(msg) from error


def fill_places(name: str, text: Callable[[Path], str]) -> None:
    """Put a text between `<!-- name:start -->` and `<!-- name:end -->` of each page that has them.

    Args:
        name: Of the place.
        text: Makes the text for a page; links are relative to it.
    """
    start, end = f"<!-- {name}:start -->", f"<!-- {name}:end -->"
    for other in (
        ROOT / "README.md",
        ROOT / "experiments" / "README.md",
        *sorted((ROOT / "docs").rglob("*.md")),
    ):
        whole = other.read_text(encoding="utf-8") if other.exists() else ""
        head, begun, rest = whole.partition(start)
        _, ended, tail = rest.partition(end)
        if begun and ended:
            other.write_text(f"{head}{start}\n{text(other)}\n{end}{tail}", encoding="utf-8")


def _same(text: str, _: Path) -> str:
    """Return the text, which is the same on every page."""
    return text


def _draw(comparison: Comparison, folder: Path) -> dict[str, Path]:
    folder.mkdir(parents=True, exist_ok=True)
    for kind in KINDS:
        for old in folder.glob(f"{kind}-*.png"):
            old.unlink()
    paths = {}
    for view, panels in views(comparison).items():
        for kind, draw in _DRAW.items():
            path = folder / f"{kind}-{view}.png"
            figure = draw(panels, f"{KINDS[kind]}: {view_name(panels)}")
            # The name of the drawing software has its version in it; without it the bytes stay the same.
            figure.savefig(path, dpi=110, metadata={"Software": None})
            paths[f"{kind}-{view}"] = path
    return paths


def _draw_runs(earlier: Runs, path: Path) -> str | None:
    figure = picture(earlier)
    if figure is None:
        return None
    figure.savefig(path, dpi=110)
    return path.name


def _seen_from(page: Path, paths: Mapping[str, Path]) -> dict[str, str]:
    return {name: Path(relpath(path, page.parent)).as_posix() for name, path in paths.items()}
