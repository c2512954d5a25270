"""How much of a student's score is the wording of the request: as given, `field` against `sentence`.

`python -m experiments.wording` scores the students as given on the test examples of the first
experiment's StereoSet runs with each wording, and writes `experiments/results/wording.jsonl`. No
rules are involved; it says how strong a start the comparison has.
"""

import json
from pathlib import Path
from typing import Annotated, get_args

import typer
from rich.console import Console

from experiments.first import RUNS, STUDENTS, Run, config_of
from pld_dspy.cli.progress import RunProgress
from pld_dspy.config.base import Wording
from pld_dspy.ledger.store import StageStore
from pld_dspy.models.student import DirectStudent
from pld_dspy.records import Answer
from pld_dspy.runs.report import commit
from pld_dspy.runs.setup import load, make_evaluator, make_student
from pld_dspy.scoring.metrics import CorpusMetric, macro_f1
from pld_dspy.scoring.statistics import bootstrap_interval

RESULTS = Path(__file__).parent / "results" / "wording.jsonl"


def main(
    endpoint: Annotated[
        list[str], typer.Option(help="MODEL=URL: ask this address for a model of the catalogue.")
    ] = [],  # noqa: B006 - typer copies it
    seeds: Annotated[int, typer.Option(help="Seeds from 0.")] = 3,
    only: Annotated[str, typer.Option(help="Students whose name holds this text.")] = "",
) -> None:
    """Score the students as given with each wording."""
    endpoints = dict(pair.split("=", 1) for pair in endpoint)
    lines = []
    for student in (name for name in STUDENTS if only in name):
        for seed in range(seeds):
            run = Run("stereoset", student, "recorded", "item", seed)
            config = config_of(run, endpoints)
            loaded = load(config)
            with RunProgress(Console(stderr=True)) as progress:
                lm = make_student(config, progress=progress)
                store = StageStore(RUNS / run.name)
                evaluator = make_evaluator(config, loaded.task, lm, store, progress)
                for wording in get_args(Wording):
                    result = evaluator.run(
                        DirectStudent(loaded.task.signature, wording=wording),
                        loaded.splits.test,
                        candidate_id=f"as given, {wording}",
                        split="test",
                    )
                    lines.append(_line(run, wording, result.answers, macro_f1))
    RESULTS.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")


def _line(
    run: Run, wording: str, answers: tuple[Answer, ...], metric: CorpusMetric
) -> dict[str, object]:
    gold = [a.gold for a in answers if a.error is None]
    said = [a.answer for a in answers if a.error is None]
    interval = bootstrap_interval(metric, gold, said, seed=run.seed)
    return {
        "task": run.task,
        "student": run.student,
        "seed": run.seed,
        "wording": wording,
        "test_n": len(gold),
        "macro_f1": interval.estimate,
        "ci95": [interval.low, interval.high],
        "unparsed_rate": sum(answer is None for answer in said) / len(said),
        "commit": commit(),
    }


if __name__ == "__main__":
    typer.run(main)
