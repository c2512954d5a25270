"""What every grid of experiments does: skip what is done, one process a run, one JSON line a result."""

import json
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import typer

from pld_dspy.errors import PLDError


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
    """Copy what other runs have paid for into a new run folder: keys are content hashes."""
    for other in sources:
        for stage in stages:
            source, target = other / f"{stage}.jsonl", folder / f"{stage}.jsonl"
            if other != folder and source.exists() and not target.exists():
                folder.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(source, target)
