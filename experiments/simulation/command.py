"""The search against a simulated student whose best list is known: what it finds, and what it asks.

`python -m experiments simulate` makes 20 repetitions, each with another student, and writes one
JSON line for each repetition and arm to `experiments/results/simulation.jsonl`. All arms may try
60 lists on the same 100 validation examples, and start from the student as given and from all rules
in support order.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from statistics import mean
from typing import Annotated, Any

import optuna
import typer
from rich.progress import track

from experiments.simulation.students import SimulatedStudent
from pld_dspy.ledger.versions import commit
from pld_dspy.scoring.metrics import macro_f1
from pld_dspy.stages.search.contest import Contest, Tried
from pld_dspy.stages.search.loop import Searched, search
from pld_dspy.stages.search.shared.storage import quiet
from pld_dspy.stages.search.space import Hints, RuleList

RESULTS = Path(__file__).parents[1] / "results" / "simulation.jsonl"
TRIALS = 60
EXAMPLES = 100
ARMS: Mapping[str, Mapping[str, Any]] = {
    "raced": {},
    "full": {"race": {"enabled": False}},
    "raced, right and wrong only": {"odds": False},
    "random": {"guided": False, "sampler": "random", "race": {"enabled": False}},
}
"""The search as it is; every list asked in full; an endpoint without log-probabilities; Optuna's
random sampler with every list asked in full."""

Line = dict[str, Any]


def repetition(
    seed: int, arms: Sequence[str] = tuple(ARMS), *, trials: int = TRIALS
) -> Iterator[Line]:
    """Yield one line an arm: scores of all rules, of the list chosen and of the best one, and calls.

    `closed` is the share of the gap between all rules and the best list, by true macro-F1, that the
    list chosen closes; `calls` counts student answers, `full_calls` those that the same number of
    lists takes in full.
    """
    for arm in arms:
        student = SimulatedStudent(seed)
        contest, _ = student.contest(EXAMPLES, seed=seed, trials=trials, **ARMS[arm])
        every = contest.space.ordered(next(iter(contest.space.groups)), "support", Hints())
        contest = replace(contest, known=tuple(_asked(contest, rules) for rules in ((), every)))
        with quiet():
            found = search(contest, optuna.create_study(direction="maximize"))
        chosen = choose(contest, found)
        low, top = student.true_score(every), student.true_score(student.best_list())
        score = student.true_score(chosen.listing.rules)
        yield {
            "seed": seed,
            "arm": arm,
            "all_rules": low,
            "chosen": score,
            "best": top,
            "closed": (score - low) / (top - low),
            "val_score": chosen.score(macro_f1),
            "rules_kept": len(chosen.listing.rules),
            "calls": found.calls,
            "full_calls": trials * EXAMPLES,
        }


def choose(contest: Contest, found: Searched) -> Tried:
    """Return the list that `select` ranks first: by the mean of validation score and forecast."""
    full = [t for t in (*contest.known, *found.tried) if len(t.answers) == EXAMPLES]

    def worth(tried: Tried) -> float:
        score = tried.score(macro_f1)
        return (score + found.forecasts.get(tried.listing, score)) / 2

    return max(full, key=worth)


def summary(lines: Sequence[Mapping[str, Any]]) -> str:
    """Return a Markdown table with one row an arm."""
    rows = [
        "| arm | repetitions | gap closed, mean | closes 80% or more | true macro-F1 | calls of full scoring |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for arm in dict.fromkeys(line["arm"] for line in lines):
        own = [line for line in lines if line["arm"] == arm]
        rows.append(
            f"| {arm} | {len(own)} | {mean(x['closed'] for x in own):.0%} "
            f"| {sum(x['closed'] >= 0.8 for x in own)} of {len(own)} "
            f"| {mean(x['chosen'] for x in own):.3f} "
            f"| {sum(x['calls'] for x in own) / sum(x['full_calls'] for x in own):.0%} |"
        )
    return "\n".join(rows)


def _asked(contest: Contest, rules: tuple[int, ...]) -> Tried:
    listing, places = RuleList(rules), range(len(contest.gold))
    return Tried(listing=listing, answers=dict(enumerate(contest.ask(listing, places))))


def main(
    repetitions: Annotated[int, typer.Option(help="Students, with seeds from 0.")] = 20,
) -> None:
    """Make the repetitions, and print the table."""
    lines: list[Line] = []
    for seed in track(range(repetitions), description="repetitions"):
        lines.extend(line | {"commit": commit()} for line in repetition(seed))
    RESULTS.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    typer.echo(summary(lines))
