"""Student as given against PLD: StereoSet, ContractNLI and LogiQA, two students, two kinds of traces.

`python -m experiments.first` works through the grid below, each run in a process of its own, and
adds one JSON line a run to `experiments/results/first.jsonl`. A run that has its line is skipped,
and a run that was stopped goes on from its folder.
"""

import json
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple

import typer
from rich.console import Console

from experiments.grids import add_lines, done, take_over, work_through
from pld_dspy.cli.progress import RunProgress
from pld_dspy.config.run import RunConfig
from pld_dspy.runs.run import run_distill

logger = logging.getLogger(__name__)

RESULTS = Path(__file__).parent / "results" / "first.jsonl"
RUNS = Path("runs/first")
TEACHER = "qwen2.5-coder-1.5b"
STUDENTS = ("qwen2.5-coder-0.5b", "qwen2.5-coder-1.5b")
ENDPOINT_NAMES = {
    "qwen2.5-coder-0.5b": "openai/qwen2.5-coder-0.5b@1d961463-q4_k_m",
    "qwen2.5-coder-1.5b": "openai/qwen2.5-coder-1.5b@cc324af0-q4_k_m",
}
"""What a local model is called behind an endpoint, so that stored answers fit either way."""

TASKS: dict[str, dict[str, Any]] = {
    "stereoset": {
        "task": {"name": "stereoset"},
        "sizes": {"train": 48, "val": 36, "select": 40, "test": 200},
        "balance": "equal",
        "clusters": {"label_aware": True},
        "recorded": "teacher/stereoset.jsonl",
        "context": 4096,
    },
    "contract_nli": {
        "task": {"name": "contract_nli", "max_premise_chars": 1200},
        "sizes": {"train": 48, "val": 36, "select": 36, "test": 150},
        "balance": "equal",
        "clusters": {},
        "recorded": "teacher/contract_nli.jsonl",
        "context": 8192,
    },
    "logiqa": {
        "task": {"name": "logiqa"},
        "sizes": {"train": 48, "val": 36, "select": 36, "test": 150},
        "balance": "natural",
        "clusters": {},
        "recorded": "teacher/logiqa.jsonl",
        "context": 8192,
    },
}
"""Sizes are what two cores can answer."""


class Run(NamedTuple):
    """One cell of the grid."""

    task: str
    student: str
    traces: Literal["teacher", "recorded"]
    split: Literal["item", "group"]
    seed: int

    @property
    def name(self) -> str:
        """Folder name, and the key of the line."""
        return "-".join([self.task, self.student, self.traces, self.split, str(self.seed)])


def grid() -> Iterator[Run]:
    """Yield the runs, the ones that matter most first."""
    for seed in range(3):
        for student in STUDENTS:
            for traces in ("recorded", "teacher"):
                yield Run("stereoset", student, traces, "item", seed)
    for task in ("contract_nli", "logiqa"):
        for student in STUDENTS:
            for traces in ("recorded", "teacher"):
                yield Run(task, student, traces, "item", 0)  # type: ignore[arg-type]
    for seed in range(3):
        for student in STUDENTS:
            for traces in ("recorded", "teacher"):
                yield Run("stereoset", student, traces, "group", seed)  # type: ignore[arg-type]


def config_of(run: Run, endpoints: dict[str, str]) -> RunConfig:
    """Return the settings of a run; `endpoints` maps a model to an address that serves it."""
    spec = TASKS[run.task]
    settings: dict[str, Any] = {
        "run_dir": RUNS / run.name,
        "seed": run.seed,
        "task": spec["task"],
        "split": {**spec["sizes"], "by": run.split, "balance": spec["balance"]},
        "student": _model(run.student, 12, spec["context"], endpoints),
        "teacher": {**_model(TEACHER, 256, spec["context"], endpoints), "threads": 4},
        "pld": {
            "clusters": spec["clusters"],
            "refine": {"rounds": 1, "edits": 2, "feedback": 32},
            "search": {"trials": 3},
            "finalists": 2,
        },
        "mlflow": {"enabled": False},
    }
    settings["traces"] = {"file": spec["recorded"], "use": run.traces == "recorded"}
    return RunConfig(**settings)


def _model(name: str, max_tokens: int, context: int, endpoints: dict[str, str]) -> dict[str, Any]:
    if name in endpoints:
        return {
            "model": ENDPOINT_NAMES[name],
            "api_base": endpoints[name],
            "max_tokens": max_tokens,
        }
    return {
        "model": f"local/{name}",
        "max_tokens": max_tokens,
        "server": {"context_tokens": context},
    }


def run_one(run: Run, endpoints: dict[str, str]) -> dict[str, Any]:
    """Return the line of a run, made in this process.

    Raises:
        PLDError: A model, the data or the folder cannot be used.
    """
    sources = sorted(RUNS.glob(f"{run.task}-*-{run.split}-{run.seed}"))
    take_over(sources, RUNS / run.name, ("answers", "traces", "rules"))
    config = config_of(run, endpoints)
    with RunProgress(Console(stderr=True)) as progress:
        report = run_distill(config, progress=progress)
    line: dict[str, Any] = json.loads(report.to_json())
    return {
        **line,
        "run": run.name,
        "task": run.task,
        "student": run.student,
        "teacher": TEACHER,
        "traces": "1.5B teacher" if run.traces == "teacher" else "recorded strong teacher",
        "split_by": {"item": "random items", "group": "unseen targets"}[run.split],
        "engine": "endpoint" if endpoints else "xllamacpp",
    }


app = typer.Typer(add_completion=False, help=__doc__)


@app.command()
def main(
    only: Annotated[str, typer.Option(help="Runs whose name holds this text.")] = "",
    endpoint: Annotated[
        list[str], typer.Option(help="MODEL=URL: ask this address for a model of the catalogue.")
    ] = [],  # noqa: B006 - typer copies it
    one: Annotated[str, typer.Option(help="Make this run here, and print its line.")] = "",
    limit: Annotated[int, typer.Option(help="Most runs; 0 is all.")] = 0,
) -> None:
    """Work through the grid."""
    endpoints = dict(pair.split("=", 1) for pair in endpoint)
    if one:
        run = next(r for r in grid() if r.name == one)
        add_lines(RESULTS, run.name, lambda: [run_one(run, endpoints)])
        return
    todo = [run.name for run in grid() if only in run.name and run.name not in done(RESULTS)]
    work_through("experiments.first", todo[: limit or None], endpoint)


if __name__ == "__main__":
    app()
