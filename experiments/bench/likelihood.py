"""How often a few examples tell which of two ways of asking is better: by the metric, and by likelihood.

`python -m experiments likelihood` draws validation examples from `results/likelihood.jsonl`: label probabilities of
the 0.5B student for 206 StereoSet sentences about targets that no test sentence of seed 0 has, asked with the names
of the labels, with "country" for race, and with two words a label. It prints for each pair what all sentences say,
in how many draws the metric and the likelihood say so too, and in how many the selector takes the second way, with
40 further sentences as selection examples. It takes a minute, and no model.
"""

import json
from collections.abc import Sequence
from typing import Any

import numpy as np
import typer
from dspy.utils import DummyLM
from rich.console import Console
from rich.table import Table

from experiments.bench.configs import HERE
from pld_dspy.ledger.store import StageStore
from pld_dspy.records import Answer, Evaluation
from pld_dspy.scoring.decisions.likelihood import likelier
from pld_dspy.scoring.evaluator import Evaluator
from pld_dspy.scoring.metrics import macro_f1
from pld_dspy.stages.common.prompt import make_candidate
from pld_dspy.stages.select.never_worse import NeverWorse
from pld_dspy.stages.select.selector import SelectContext

FILE = HERE / "results" / "likelihood.jsonl"
LABELS = ("gender", "profession", "race", "religion")
PAIRS = (
    ("names", "two words"),
    ("names", "country"),
    ("two words", "names"),
    ("country", "names"),
)
_SELECT = 40
_SURE = 0.05


def likelihood(draws: int = 100, size: int = 36) -> None:
    """Print how often draws of sentences tell the better of two ways of asking."""
    rows = [json.loads(line) for line in FILE.read_text(encoding="utf-8").splitlines()]
    evaluator = Evaluator(
        lm=DummyLM([]),
        metric=macro_f1,
        label_key="label",
        labels=LABELS,
        store=StageStore(),
        decide="calibrated",
    )
    table = Table(
        "first, second",
        "all sentences",
        "right sign",
        "by likelihood",
        "p <= 0.05",
        "by likelihood",
        "chosen",
    )
    for first, second in PAIRS:
        whole = [_scored(evaluator, rows, name).score for name in (first, second)]
        better = whole[1] > whole[0]
        found, chosen = [], 0
        for draw in range(draws):
            chosen += _chosen(evaluator, rows, (first, second), size, np.random.default_rng(draw))
            few = _drawn(rows, size, np.random.default_rng(draw))
            one, two = (_scored(evaluator, few, name) for name in (first, second))
            by_metric, by_likelihood = evaluator.compare(one, two), likelier(evaluator, one, two)
            assert by_likelihood is not None
            found.append([(c.delta.estimate, c.p_worse) for c in (by_metric, by_likelihood)])
        changes, p_worse = np.moveaxis(np.array(found), 2, 0)
        right = ((changes > 0) == better).mean(axis=0)
        sure = (p_worse <= _SURE).mean(axis=0)
        figures = (right[0], right[1], sure[0], sure[1], chosen / draws)
        table.add_row(
            f"{first}, {second}", f"{whole[1] - whole[0]:+.3f}", *(f"{x:.2f}" for x in figures)
        )
    Console().print(table)


def _chosen(
    evaluator: Evaluator,
    rows: Sequence[Any],
    pair: tuple[str, str],
    size: int,
    rng: np.random.Generator,
) -> bool:
    """Return whether the selector prefers the second way; validation and selection share targets."""
    drawn = _drawn(rows, size + _SELECT, rng)
    by_label = [[row for row in drawn if row["gold"] == label] for label in LABELS]
    mixed = [[own[i] for i in rng.permutation(len(own))] for own in by_label]
    share = size // len(LABELS)
    val, select = ([r for own in mixed for r in own[a:b]] for a, b in ((0, share), (share, None)))
    given, other = (
        make_candidate("", (), origin="label words", words={"gender": name} if changed else {})
        for name, changed in zip(pair, (False, True), strict=True)
    )
    named = {given.id: pair[0], other.id: pair[1]}
    context = SelectContext(
        candidates=(given, other),
        val={i: _scored(evaluator, val, name) for i, name in named.items()},
        run=lambda candidate: _scored(evaluator, select, named[candidate.id]),
        evaluator=evaluator,
    )
    return NeverWorse()(context).chosen is other


def _scored(evaluator: Evaluator, rows: Sequence[Any], name: str) -> Evaluation:
    """Return the answers with labels by decisions that were fitted to other ones of them."""
    answers = []
    for row in rows:
        said = LABELS[int(np.argmax(row[name]))]
        shares = dict(zip(LABELS, row[name], strict=True))
        answers.append(
            Answer(
                example_id=row["id"], gold=row["gold"], answer=said, read=said, probabilities=shares
            )
        )
    decided = evaluator.calibrator.crossfit(answers)
    return Evaluation(
        candidate_id=name,
        split="val",
        metric="macro_f1",
        score=evaluator.score(decided),
        answers=decided,
    )


def _drawn(rows: Sequence[Any], size: int, rng: np.random.Generator) -> list[Any]:
    """Return as many rows of each label, of as few targets as there need be, as a split by group has them."""
    targets = list(dict.fromkeys(row["target"] for row in rows))
    place = {
        target: int(at) for target, at in zip(targets, rng.permutation(len(targets)), strict=True)
    }
    few = []
    for label in LABELS:
        own = sorted(
            (row for row in rows if row["gold"] == label),
            key=lambda row: (place[row["target"]], row["id"]),
        )
        few += own[: size // len(LABELS)]
    return few


if __name__ == "__main__":
    typer.run(likelihood)
