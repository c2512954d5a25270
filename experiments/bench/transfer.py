"""Which words for the labels tell the labels of targets that the decision was not fitted to.

`python -m experiments transfer` reads label probabilities of students for 206 StereoSet sentences about targets that no
test sentence of seed 0 has, asked with several sets of words. In each draw a decision is fitted to sentences about half
of the targets of each label, and decides those about the others. And it is fitted to some of the targets of a third, as
validation and selection have, and to some of another third as well, as training has, and decides the last third. The
last two columns say how far a decision can go: one that is fitted to the sentences about all other targets decides
those about each, and one that is fitted to all sentences decides the same ones. It takes two minutes, and no model.
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
from pld_dspy.records import Answer, Decision
from pld_dspy.scoring.decisions.calibration import Calibrator, decided
from pld_dspy.scoring.metrics import macro_f1

FILE = HERE / "results" / "transfer.jsonl"
FILES = {"0.5B": FILE, "1.5B": HERE / "results" / "transfer_large.jsonl"}
"""Answers of each student."""

CAPTION = """\
Macro-F1 of a decision fitted to half of the targets, on the others (and its lowest tenth of draws); to a third, two \
thirds, or all others; to all, on the same ones. Labels: separability."""
VALIDATION, TRAINING = 19, 12
"""Sentences of each label that a decision is fitted to, about as many as in the comparison."""


def transfer(
    draws: Annotated[int, typer.Option(min=1, help="Draws of the targets.")] = 60,
    size: Annotated[int, typer.Option(min=8, help="Sentences that a decision is fitted to.")] = 76,
) -> None:
    """Print how well a decision for each set of words does on targets that it was not fitted to."""
    for student, file in FILES.items():
        rows = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
        labels = (label[:6] for label in LABELS)
        columns = ("half", "tenth", *labels, "third", "2/3", "others", "all")
        table = Table("", *columns, title=student, padding=0, caption=CAPTION)
        for number, words in enumerate(rows[0]["asked"], 1):
            figures = _figures([_answer(row, words) for row in rows], rows, draws, size)
            table.add_row(str(number), *(f"{figure:.3f}" for figure in figures))
        console = Console()
        console.print(table)
        for number, words in enumerate(rows[0]["asked"], 1):
            console.print(f"{number:2} {words}", soft_wrap=True, highlight=False)


def _figures(
    answers: Sequence[Answer], rows: Sequence[Any], draws: int, size: int
) -> tuple[float, ...]:
    """Return the figures of a row of the table, in its order."""
    scores = [_score(answers, rows, size, np.random.default_rng(draw)) for draw in range(draws)]
    thirds = [_with_more(answers, rows, np.random.default_rng(draw)) for draw in range(draws)]
    return (
        float(np.mean(scores)),
        float(np.quantile(scores, 0.1)),
        *(_area(answers, label) for label in LABELS),
        *map(float, np.mean(thirds, axis=0)),
        _all_others(answers, rows),
        _decided(answers, answers),
    )


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
    return _decided(known, others)


def _with_more(
    answers: Sequence[Answer], rows: Sequence[Any], rng: np.random.Generator
) -> tuple[float, float]:
    """Return the scores on a third of the targets, of decisions fitted to one and to both of the others.

    The sentences of a label with one target are parted instead.
    """
    validation: list[Answer] = []
    training: list[Answer] = []
    others: list[Answer] = []
    for label in LABELS:
        own = [(row["target"], a) for row, a in zip(rows, answers, strict=True) if a.gold == label]
        if len({target for target, _ in own}) == 1:
            own = [(str(place), answer) for place, (_, answer) in enumerate(own)]
        targets = rng.permutation(sorted({target for target, _ in own})).tolist()
        third = max(1, round(0.3 * len(targets)))
        parts = targets[:third], targets[third : 2 * third], targets[2 * third :]
        for part, into, most in zip(
            parts, (validation, training, others), (VALIDATION, TRAINING, len(own)), strict=True
        ):
            of_part = [answer for target, answer in own if target in part]
            into += [of_part[i] for i in rng.permutation(len(of_part))[:most]]
    return _decided(validation, others), _decided([*validation, *training], others)


def _all_others(answers: Sequence[Answer], rows: Sequence[Any]) -> float:
    """Return the score where each target is decided by what fits the sentences about all others.

    A label with one target is fitted to it as well.
    """
    about = [(row["gold"], row["target"]) for row in rows]
    several = {label for label in LABELS if len({a for a in about if a[0] == label}) > 1}
    golds: list[str] = []
    said: list[str | None] = []
    for target in dict.fromkeys(about):
        known = [a for a, of in zip(answers, about, strict=True) if of != target]
        decision = _fitted(known if target[0] in several else answers)
        own = [a for a, of in zip(answers, about, strict=True) if of == target]
        said += [decided(answer, decision).answer for answer in own]
        golds += [answer.gold for answer in own]
    return float(macro_f1(golds, said))


def _decided(known: Sequence[Answer], others: Sequence[Answer]) -> float:
    """Return the score of the others under a decision fitted to the known ones."""
    decision = _fitted(known)
    said = [decided(answer, decision).answer for answer in others]
    return float(macro_f1([answer.gold for answer in others], said))


def _fitted(known: Sequence[Answer]) -> Decision:
    return Calibrator(labels=LABELS, metric=macro_f1).fit(known)


def _area(answers: Sequence[Answer], label: str) -> float:
    """Return the area under the curve of a label against the rest."""
    shares = [(answer.probabilities or {})[label] for answer in answers]
    return float(roc_auc_score([answer.gold == label for answer in answers], shares))
