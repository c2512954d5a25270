"""Which words for the labels tell the labels of targets that the decision was not fitted to.

`python -m experiments transfer` reads `results/transfer.jsonl`: label probabilities of the 0.5B student for 206
StereoSet sentences about targets that no test sentence of seed 0 has, asked with several sets of words. In each draw
a decision is fitted to sentences about half of the targets of each label, and decides those about the others. It takes
half a minute, and no model.
"""

import json
from collections.abc import Sequence
from typing import Annotated, Any

import numpy as np
import typer
from rich.console import Console
from rich.table import Table
from sklearn.metrics import roc_auc_score

from experiments.bench.configs import HERE
from experiments.bench.likelihood import LABELS
from pld_dspy.records import Answer
from pld_dspy.scoring.decisions.calibration import Calibrator, decided
from pld_dspy.scoring.metrics import macro_f1

FILE = HERE / "results" / "transfer.jsonl"


def transfer(
    draws: Annotated[int, typer.Option(min=1, help="Draws of the targets.")] = 60,
    size: Annotated[int, typer.Option(min=8, help="Sentences that a decision is fitted to.")] = 76,
) -> None:
    """Print how well a decision for each set of words does on targets that it was not fitted to."""
    rows = [json.loads(line) for line in FILE.read_text(encoding="utf-8").splitlines()]
    table = Table("words for the labels", "macro-F1, other targets", "lowest tenth", *LABELS)
    for words in rows[0]["asked"]:
        answers = [_answer(row, words) for row in rows]
        scores = [_score(answers, rows, size, np.random.default_rng(draw)) for draw in range(draws)]
        areas = (_area(answers, label) for label in LABELS)
        figures = (float(np.mean(scores)), float(np.quantile(scores, 0.1)), *areas)
        table.add_row(words, *(f"{figure:.3f}" for figure in figures))
    Console().print(table)


def _answer(row: Any, words: str) -> Answer:
    shares = dict(zip(LABELS, row["asked"][words], strict=True))
    said = max(shares, key=lambda label: shares[label])
    return Answer(
        example_id=row["id"], gold=row["gold"], answer=said, read=said, probabilities=shares
    )


def _score(
    answers: Sequence[Answer], rows: Sequence[Any], size: int, rng: np.random.Generator
) -> float:
    """Return the score on the targets of one half, of a decision fitted to those of the other.

    A label with one target has it among those that the decision is fitted to.
    """
    known: list[Answer] = []
    others: list[Answer] = []
    for label in LABELS:
        own = [(row["target"], a) for row, a in zip(rows, answers, strict=True) if a.gold == label]
        targets = sorted({target for target, _ in own})
        seen = set(rng.permutation(targets)[: max(1, len(targets) // 2)].tolist())
        fitting = [answer for target, answer in own if target in seen]
        known += [fitting[i] for i in rng.permutation(len(fitting))[: size // len(LABELS)]]
        others += [answer for target, answer in own if target not in seen]
    decision = Calibrator(labels=LABELS, metric=macro_f1).fit(known)
    said = [decided(answer, decision).answer for answer in others]
    return float(macro_f1([answer.gold for answer in others], said))


def _area(answers: Sequence[Answer], label: str) -> float:
    """Return the area under the curve of a label against the rest."""
    shares = [(answer.probabilities or {})[label] for answer in answers]
    return float(roc_auc_score([answer.gold == label for answer in answers], shares))
