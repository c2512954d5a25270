"""Tables and a picture of `experiments/results/first.jsonl`, and of nothing else.

`python -m experiments.first_report` writes the picture and fills the marked places of
`docs/results.md` and of `experiments/README.md`. A run without a line is shown as missing. Scores are
macro-F1, for LogiQA accuracy.
"""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from statistics import mean
from typing import Any

import typer

from experiments.first import RESULTS, Run, grid
from experiments.grids import fill
from pld_dspy.errors import DataError
from pld_dspy.plots import BeforeAfter, before_after_figure
from pld_dspy.types import Interval

ROOT = Path(__file__).parent.parent
PAGE = ROOT / "docs" / "results.md"
PICTURE = ROOT / "docs" / "images" / "first.png"

Line = Mapping[str, Any]


def read_lines(path: Path = RESULTS) -> dict[str, Line]:
    """Return the lines by run name.

    Raises:
        DataError: A line is not a JSON object with a `run`; the line number is named.
    """
    found: dict[str, Line] = {}
    if not path.exists():
        return found
    for number, text in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        try:
            line = json.loads(text)
            found[line["run"]] = line
        except (ValueError, KeyError, TypeError) as error:
            msg = f"{path}, line {number} is no result ({error}); mend or remove it"
            raise DataError(msg) from error
    return found


def table(runs: Iterable[Run], lines: Mapping[str, Line]) -> str:
    """Return a Markdown table with one row a run."""
    rows = [
        "| task, split | student | traces | seed | test n | as given | PLD | change [95%] "
        "| unreadable before, after | prompt tokens | rules |",
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for run in runs:
        head = f"| {run.task}, {_split(run)} | {_short(run.student)} | {run.traces} | {run.seed} "
        line = lines.get(run.name)
        rows.append(head + ("| missing | | | | | | |" if line is None else _cells(line)))
    return "\n".join(rows)


def summary(lines: Mapping[str, Line]) -> str:
    """Return a Markdown table with one row for each task, split, student and kind of traces.

    Rows without any run are counted in a last line; the full table names each missing run.
    """
    groups: dict[tuple[str, str, str, str], list[Run]] = {}
    for run in grid():
        groups.setdefault((run.task, _split(run), run.student, run.traces), []).append(run)
    rows = [
        "| task, split | student | traces | seeds | as given | PLD | change, by seed |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    for (task, split, student, traces), runs in groups.items():
        found = [lines[run.name] for run in runs if run.name in lines]
        head = f"| {task}, {split} | {_short(student)} | {traces} | {len(found)} of {len(runs)} |"
        if not found:
            continue
        deltas = ", ".join(
            f"{line['delta']:+.2f} [{line['delta_ci95'][0]:+.2f}, {line['delta_ci95'][1]:+.2f}]"
            for line in found
        )
        before = mean(line["baseline"] for line in found)
        after = mean(line["compiled"] for line in found)
        rows.append(f"{head} {before:.3f} | {after:.3f} | {deltas} |")
    runs_done = sum(run.name in lines for run in grid())
    total = sum(1 for _ in grid())
    missing = f"\n\n{total - runs_done} of {total} planned runs are missing so far."
    return "\n".join(rows) + (missing if runs_done < total else "")


def _cells(line: Line) -> str:
    low, high = line["delta_ci95"]
    return (
        f"| {line['test_n']} | {line['baseline']:.3f} | {line['compiled']:.3f} "
        f"| {line['delta']:+.3f} [{low:+.3f}, {high:+.3f}] "
        f"| {line['unparsed_rate_baseline']:.1%}, {line['unparsed_rate_compiled']:.1%} "
        f"| {line['prompt_tokens']:.0f} | {line['rules']} |"
    )


def _split(run: Run) -> str:
    if run.split == "group":
        return "unseen targets"
    return "random items" if run.task == "stereoset" else "official splits"


def _short(student: str) -> str:
    return student.rsplit("-", 1)[-1].upper()


def _picture(lines: Mapping[str, Line]) -> None:
    rows = [
        BeforeAfter(
            name=f"{run.task}, {_split(run)}\n{_short(run.student)}, {run.traces}, seed {run.seed}",
            before=_interval(lines[run.name], "baseline"),
            after=_interval(lines[run.name], "compiled"),
            metric=lines[run.name]["metric"],
        )
        for run in grid()
        if run.name in lines
    ]
    before_after_figure(rows).savefig(PICTURE, dpi=110)


def _interval(line: Line, which: str) -> Interval:
    low, high = line[f"{which}_ci95"]
    return Interval(estimate=line[which], low=low, high=high)


def main() -> None:
    """Write the picture and the tables."""
    lines = read_lines()
    _picture(lines)
    fill(PAGE, "results", summary(lines))
    fill(ROOT / "experiments" / "README.md", "results", table(grid(), lines))
    typer.echo(f"{len(lines)} of {len(list(grid()))} runs; {PICTURE}")


if __name__ == "__main__":
    typer.run(main)
