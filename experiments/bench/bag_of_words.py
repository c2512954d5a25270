"""A classifier without a language model on the splits of the first experiment: what a task asks for.

`python -m experiments bag-of-words` trains logistic regression on TF-IDF of words and character
n-grams, with the labelled examples that PLD has (train, validation and selection), and writes its
test scores to `experiments/results/bag_of_words.jsonl`. It takes seconds, and no model.
"""

import json
from pathlib import Path
from typing import Any

import typer

from experiments.bench.cells import Cell
from experiments.bench.configs import cells_of, read_bench
from experiments.bench.plan import Plan, run_config
from pld_dspy.ledger.versions import commit
from pld_dspy.runs.setup import load
from pld_dspy.scoring.metrics import corpus_metric_by_name
from pld_dspy.scoring.references import bag_of_words as fitted
from pld_dspy.scoring.references import texts
from pld_dspy.scoring.statistics import bootstrap_interval

HERE = Path(__file__).parents[1]
RESULTS = HERE / "results" / "bag_of_words.jsonl"


def score(cell: Cell, plan: Plan) -> dict[str, Any]:
    """Return the line of one split: the score on its test examples with a 95% interval."""
    loaded = load(run_config(cell, plan))
    task, splits = loaded.task, loaded.splits
    known = [*splits.train, *splits.val, *splits.select]

    model = fitted(known, task.input_keys, task.label_key)
    gold = [e[task.label_key] for e in splits.test]
    said = [str(label) for label in model.predict(texts(splits.test, task.input_keys))]
    interval = bootstrap_interval(corpus_metric_by_name(task.metric), gold, said, seed=cell.seed)
    return {
        "task": cell.task,
        "split_by": cell.split_by,
        "seed": cell.seed,
        "labelled": len(known),
        "test_n": len(gold),
        "metric": task.metric,
        "score": interval.estimate,
        "ci95": [interval.low, interval.high],
        "commit": commit(),
    }


def bag_of_words() -> None:
    """Score every split of the first experiment once, by a classifier without a language model."""
    config = read_bench(HERE / "configs" / "first.toml")
    splits = {(cell.task, cell.split_by, cell.seed): cell for cell in cells_of(config)}
    lines = [score(cell, Plan(config=config, endpoints={})) for cell in splits.values()]
    RESULTS.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    for line in lines:
        low, high = line["ci95"]
        typer.echo(
            f"{line['task']}, {line['split_by']}, seed {line['seed']}: "
            f"{line['metric']} {line['score']:.3f} [{low:.3f}, {high:.3f}]"
        )
