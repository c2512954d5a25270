"""Tables of `results/search.jsonl` and `results/simulation.jsonl`, and of nothing else.

`python -m experiments.search_report` fills the marked places of `docs/searching.md` and
of `experiments/README.md`. A search without its lines is shown as missing.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import typer
from scipy.stats import t as student_t

from experiments.grids import fill
from experiments.search import RESULTS, Cell, grid
from experiments.simulation import RESULTS as SIMULATED
from experiments.simulation import summary as simulated
from pld_dspy.types import Interval

ROOT = Path(__file__).parent.parent

Line = Mapping[str, Any]
Pair = tuple[Line | None, Line]
"""All rules and the searched list; None stands for the former where it is in the raced search."""


def read(path: Path) -> list[Line]:
    """Return the lines; none where there is no file."""
    if not path.exists():
        return []
    return [json.loads(text) for text in path.read_text(encoding="utf-8").splitlines() if text]


def pairs(lines: Sequence[Line]) -> dict[str, Pair]:
    """Return the two arms by run."""
    found: dict[str, dict[str, Line]] = {}
    for line in lines:
        arm = "all-rules" if line["arm"] == "all-rules" else "searched"
        found.setdefault(line["run"], {})[arm] = line
    return {run: (arms.get("all-rules"), arms["searched"]) for run, arms in found.items()}


def table(found: Mapping[str, Pair]) -> str:
    """Return a Markdown table with one row a search."""
    rows = [
        "| task | student | seed | test n | all rules | searched | change [95%] | rules | tokens a call "
        "| calls of the search | val | select |",
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    rows += [_row(cell, found) for cell in grid()]
    return "\n".join(rows)


def _row(cell: Cell, found: Mapping[str, Pair]) -> str:
    run = cell.run
    name = f"{run.student.rsplit('-', 1)[-1].upper()}{'' if cell.raced else ', not raced'}"
    head = f"| {run.task} | {name} | {run.seed} "
    if cell.name not in found:
        return f"{head}| missing | | | | | | | | |"
    every, searched = found[cell.name]
    low, high = searched["delta_vs_all_ci95"]
    before = {"macro_f1": "", "rules_kept": "", "prompt_tokens": ""}
    if every is not None:
        before = {
            "macro_f1": f"{every['macro_f1']:.3f}",
            "rules_kept": f"{every['rules_kept']} to ",
            "prompt_tokens": f"{every['prompt_tokens']:.0f} to ",
        }
    scores = (
        f"{searched[name]:.3f}" if searched[name] is not None else "-"
        for name in ("search_score", "select_score")
    )
    return (
        f"{head}| {searched['test_n']} | {before['macro_f1']} | {searched['macro_f1']:.3f} "
        f"| {searched['delta_vs_all']:+.3f} [{low:+.3f}, {high:+.3f}] "
        f"| {before['rules_kept']}{searched['rules_kept']} "
        f"| {before['prompt_tokens']}{searched['prompt_tokens']:.0f} "
        f"| {searched['search_calls']} of {searched['search_full_calls']} | {' | '.join(scores)} |"
    )


def summary(found: Mapping[str, Pair]) -> str:
    """Return what the raced searches come to, in sentences."""
    done = [pair for cell in grid() if cell.raced and (pair := found.get(cell.name))]
    both = [(every, searched) for every, searched in done if every is not None]
    if not both:
        return "No search was made so far."
    deltas = [searched["delta_vs_all"] for _, searched in both]
    worse = sum(searched["delta_vs_all_ci95"][1] < 0 for _, searched in both)
    better = sum(searched["delta_vs_all_ci95"][0] > 0 for _, searched in both)
    tokens = mean(s["prompt_tokens"] / e["prompt_tokens"] for e, s in both)
    kept = mean(s["rules_kept"] / max(e["rules_kept"], 1) for e, s in both)
    calls = sum(s["search_calls"] for _, s in both) / sum(s["search_full_calls"] for _, s in both)
    told = [s for _, s in both if s["select_score"] is not None]
    lines = [
        f"Over {len(both)} searches the searched list changes the test score by {mean(deltas):+.3f} in the "
        f"mean against all rules in support order: better by more than noise in {better}, worse by "
        f"more than noise in {worse}. It keeps {kept:.0%} of the rules, at {tokens:.0%} of the tokens "
        f"a call, and the search took {calls:.0%} of the calls of full scoring.",
    ]
    if len(told) > 1:
        lines.append(
            f"Mean of selection score less test score: {_of(told, 'select_score')}; of "
            f"validation score less test score: {_of(told, 'search_score')}."
        )
    missing = [cell.name for cell in grid() if cell.name not in found]
    if missing:
        lines.append(f"Missing so far: {', '.join(missing)}.")
    return "\n\n".join(lines)


def _of(lines: Sequence[Line], which: str) -> str:
    found = mean_interval([line[which] - line["macro_f1"] for line in lines])
    return f"{found.estimate:+.3f} [{found.low:+.3f}, {found.high:+.3f}]"


def mean_interval(values: Sequence[float]) -> Interval:
    """Return the mean with its 95% interval by Student's t; at least two values."""
    middle = mean(values)
    reach = float(student_t.ppf(0.975, len(values) - 1)) * stdev(values) / len(values) ** 0.5
    return Interval(estimate=middle, low=middle - reach, high=middle + reach)


def main() -> None:
    """Fill the marked places."""
    found = pairs(read(RESULTS))
    for page in (ROOT / "docs" / "searching.md", ROOT / "experiments" / "README.md"):
        fill(page, "search", summary(found))
    fill(ROOT / "experiments" / "README.md", "searches", table(found))
    fill(ROOT / "experiments" / "README.md", "simulation", simulated(read(SIMULATED)))
    typer.echo(f"{len(found)} of {len(list(grid()))} searches")


if __name__ == "__main__":
    typer.run(main)
