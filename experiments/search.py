"""All rules in support order against the searched list, on the same test examples.

One run is made a second time without racing: what racing saves, and whether it chooses as well.

`python -m experiments.search` works through the grid below, each run in a process of its own, and
adds two JSON lines a run, one an arm, to `experiments/results/search.jsonl`. A run that has its
lines is skipped, and a run that was stopped goes on from its folder. Traces and merged rules of
`experiments.first` are taken over where they lie in `runs/first`.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple

import typer
from rich.console import Console

from experiments.first import RUNS as FIRST_RUNS
from experiments.first import STUDENTS, TEACHER, Run, config_of
from experiments.grids import add_lines, done, take_over, work_through
from pld_dspy.cli.progress import RunProgress
from pld_dspy.config.optimizer import RaceConfig, SearchConfig
from pld_dspy.config.run import RunConfig
from pld_dspy.ledger.store import StageStore
from pld_dspy.ledger.tracker import NullTracker
from pld_dspy.records import Candidate, PredictorResult
from pld_dspy.runs.report import commit, interval, search_numbers
from pld_dspy.runs.run import compile_program
from pld_dspy.runs.setup import load, make_evaluator, make_models
from pld_dspy.scoring.metrics import metric_by_name
from pld_dspy.stages.common.prompt import make_candidate, with_prompt
from pld_dspy.stages.search.orders import ordered

RESULTS = Path(__file__).parent / "results" / "search.jsonl"
RUNS = Path("runs/search")
TRIALS = 24

Arm = Literal["all-rules", "searched", "searched, every list in full"]


class Cell(NamedTuple):
    """One search: a run of `experiments.first`, raced or not."""

    run: Run
    raced: bool = True

    @property
    def name(self) -> str:
        """Folder name, and the key of the lines."""
        return self.run.name if self.raced else f"{self.run.name}-full"


def grid() -> Iterator[Cell]:
    """Yield the searches, the ones that matter most first."""
    small, large = STUDENTS
    yield Cell(Run("stereoset", large, "recorded", "item", 0))
    yield Cell(Run("stereoset", large, "recorded", "item", 0), raced=False)
    for seed in range(3):
        yield Cell(Run("stereoset", small, "recorded", "item", seed))
    for seed in (1, 2):
        yield Cell(Run("stereoset", large, "recorded", "item", seed))
    yield Cell(Run("contract_nli", small, "recorded", "item", 0))


def search_config(cell: Cell, endpoints: dict[str, str]) -> RunConfig:
    """Return the settings of `experiments.first` with a longer search and more finalists."""
    config = config_of(cell.run, endpoints)
    search = SearchConfig(trials=TRIALS, race=RaceConfig(enabled=cell.raced))
    pld = config.pld.model_copy(update={"search": search, "finalists": 3})
    return config.model_copy(update={"pld": pld, "run_dir": RUNS / cell.name})


def all_rules(part: PredictorResult, task: str) -> Candidate:
    """Return the list that the search starts from, in support order: the best one that synthesis and refinement made."""
    made = [c for c in part.candidates if c.rules and c.origin != "search"]
    best = max(made, key=lambda c: (part.score(c.id, "val") or 0.0, -len(c.prompt)))
    return make_candidate(task, ordered(best.rules, "support"), origin="synthesis")


def run_one(cell: Cell, endpoints: dict[str, str]) -> list[dict[str, Any]]:
    """Return the lines of a search's two arms; of one that is not raced, of the searched arm alone.

    Raises:
        PLDError: A model, the data or the folder cannot be used.
    """
    run, config = cell.run, search_config(cell, endpoints)
    sources = [
        *sorted(FIRST_RUNS.glob(f"{run.task}-*-recorded-{run.split}-{run.seed}")),
        *sorted(RUNS.glob(f"{run.name}*")),
    ]
    take_over(sources, RUNS / cell.name, ("answers", "traces", "rules", "refine"))
    loaded = load(config)
    with RunProgress(Console(stderr=True)) as progress:
        models = make_models(config, progress=progress)
        compiled = compile_program(config, loaded, models, NullTracker(), progress)
        part = compiled.pld_result.predictors[0]
        task = loaded.task.signature.instructions
        whole = all_rules(part, task)
        evaluator = make_evaluator(
            config, loaded.task, models.student, StageStore(config.run_dir), progress
        )
        programs = {
            "all-rules": with_prompt(loaded.baseline, part.predictor, whole.prompt),
            "searched": with_prompt(loaded.baseline, part.predictor, part.chosen.prompt),
        }
        tested = {
            arm: evaluator.run(program, loaded.splits.test, candidate_id=arm, split="test")
            for arm, program in programs.items()
        }
    paired = evaluator.compare(tested["all-rules"], tested["searched"]).delta
    usage = compiled.pld_result.usage["student"]
    lines = []
    for arm, evaluation in tested.items():
        if arm == "all-rules" and not cell.raced:
            continue  # it stands in the lines of the raced search
        own = interval(metric_by_name(loaded.task.metric), evaluation, seed=run.seed)
        searched = arm == "searched"
        numbers = search_numbers(part)
        lines.append(
            {
                "run": cell.name,
                "task": run.task,
                "student": run.student,
                "teacher": TEACHER,
                "seed": run.seed,
                "arm": arm if cell.raced else f"{arm}, every list in full",
                "metric": loaded.task.metric,
                "test_n": len(evaluation.answers),
                "macro_f1": evaluation.score,
                "ci95": [own.low, own.high],
                "delta_vs_all": paired.estimate if searched else 0.0,
                "delta_vs_all_ci95": [paired.low, paired.high] if searched else [0.0, 0.0],
                "prompt_tokens": evaluation.prompt_tokens,
                "rules_kept": len(part.chosen.rules if searched else whole.rules),
                "student_calls": usage.calls if searched else usage.calls - _search_calls(part),
                "search_calls": _search_calls(part) if searched else 0,
                "search_full_calls": part.search.full_calls if searched and part.search else 0,
                "search_score": numbers.get("search_score") if searched else None,
                "select_score": numbers.get("select_score") if searched else None,
                "reason": part.reason if searched else "",
                "commit": commit(),
            }
        )
    return lines


def _search_calls(part: PredictorResult) -> int:
    return part.search.calls if part.search is not None else 0


app = typer.Typer(add_completion=False, help=__doc__)


@app.command()
def main(
    only: Annotated[str, typer.Option(help="Runs whose name holds this text.")] = "",
    endpoint: Annotated[
        list[str], typer.Option(help="MODEL=URL: ask this address for a model of the catalogue.")
    ] = [],  # noqa: B006 - typer copies it
    one: Annotated[str, typer.Option(help="Make this run here.")] = "",
) -> None:
    """Work through the grid."""
    endpoints = dict(pair.split("=", 1) for pair in endpoint)
    if one:
        cell = next(c for c in grid() if c.name == one)
        add_lines(RESULTS, cell.name, lambda: run_one(cell, endpoints))
        return
    todo = [cell.name for cell in grid() if only in cell.name and cell.name not in done(RESULTS)]
    work_through("experiments.search", todo, endpoint)


if __name__ == "__main__":
    app()
