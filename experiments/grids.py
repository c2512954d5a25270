"""What every grid of experiments does: skip what is done, one process a run, one JSON line a result."""

import json
import subprocess
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import typer

from pld_dspy.errors import DataError, PLDError


def done(results: Path) -> set[str]:
    """Return the names of the runs that have a line."""
    if not results.exists():
        return set()
    lines = results.read_text(encoding="utf-8").splitlines()
    return {json.loads(line)["run"] for line in lines if line.strip()}


def add_lines(results: Path, name: str, make: Callable[[], Iterable[dict[str, Any]]]) -> None:
    """Make a run's lines, and add them to the file; an error of the package ends the process."""
    try:
        lines = list(make())
    except PLDError as error:
        msg = f"error: {name}: {error}"
        raise SystemExit(msg) from error
    results.parent.mkdir(exist_ok=True)
    with results.open("a", encoding="utf-8") as file:
        file.writelines(json.dumps(line, ensure_ascii=False) + "\n" for line in lines)


def work_through(module: str, names: Sequence[str], endpoints: Sequence[str]) -> None:
    """Make the runs one after the other, each in a process of its own; one that fails stops no other."""
    arguments = [arg for pair in endpoints for arg in ("--endpoint", pair)]
    for number, name in enumerate(names, 1):
        typer.echo(f"[{number}/{len(names)}] {name}")
        subprocess.run([sys.executable, "-m", module, "--one", name, *arguments], check=False)


def take_over(sources: Iterable[Path], folder: Path, stages: Sequence[str]) -> None:
    """Bring what other runs have paid for into a new run folder: keys are content hashes."""
    others = [other for other in sources if other != folder]
    for stage in stages:
        target = folder / f"{stage}.jsonl"
        paths = [path for other in others if (path := other / f"{stage}.jsonl").exists()]
        if target.exists() or not paths:
            continue
        lines = dict.fromkeys(
            line
            for path in paths
            # A last line without its end was cut off.
            for line in path.read_text(encoding="utf-8").split("\n")[:-1]
        )
        folder.mkdir(parents=True, exist_ok=True)
        target.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")


def fill(page: Path, name: str, text: str) -> None:
    """Put the text between the page's marks `<!-- name:start -->` and `<!-- name:end -->`.

    Raises:
        DataError: The page has no such marks.
    """
    start, end = f"<!-- {name}:start -->", f"<!-- {name}:end -->"
    whole = page.read_text(encoding="utf-8")
    if start not in whole or end not in whole:
        msg = f"{page} has no place for {name}; put {start} and {end} where it belongs"
        raise DataError(msg)
    head, rest = whole.split(start, 1)
    page.write_text(f"{head}{start}\n{text}\n{end}{rest.split(end, 1)[1]}", encoding="utf-8")
