"""The search against simulated students whose best lists are known: what it finds, and what it asks.

`python -m experiments simulate` searches for 40 students of three kinds, with the package's search,
with parts of it left out, and at random, at 4, 12 and 30 lists, and at 60 for the first 20. It adds
one JSON line for each kind, student, number of lists and arm to `experiments/results/simulation/`,
and resumes from what the file has. All arms use the same 100 validation examples, and start from the
student as given and from all rules in support order. Lines of other arms are of the search before it
was cut down (`experiments.simulation.ablation`); their commit has the code.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import cache
from pathlib import Path
from statistics import mean
from time import perf_counter
from typing import Annotated, Any

import optuna
import typer
from rich.progress import track

from experiments.simulation.students import STUDENTS
from pld_dspy.ledger.versions import commit
from pld_dspy.scoring.metrics import macro_f1
from pld_dspy.stages.search import loop
from pld_dspy.stages.search.contest import Contest, Tried, forecast_of
from pld_dspy.stages.search.forecast import Forecast
from pld_dspy.stages.search.gains import marginal_gains
from pld_dspy.stages.search.shared.storage import quiet
from pld_dspy.stages.search.space import Hints, RuleList

RESULTS = Path(__file__).parents[1] / "results" / "simulation"
TRIALS = (4, 12, 30)
LONG = 60
"""Lists that the first `SHORTER` students of each kind are searched for, too."""
SHORTER = 20
EXAMPLES = 100
ARMS: Mapping[str, Mapping[str, Any]] = {
    "search": {},
    "search, in full": {"race": {"enabled": False}},
    "search, right and wrong only": {"odds": False},
    "search, without forecasts": {"guided": False},
    "starts, then random": {"guided": False, "sampler": "random", "race": {"enabled": False}},
}
"""The package's search; with every list asked in full; for an endpoint without log-probabilities; by
Optuna's TPE alone after the starts; by its random sampler, every list asked in full."""

Line = dict[str, Any]
Key = tuple[str, int, str, int]


def repetition(kind: str, seed: int, arm: str, trials: Sequence[int] = TRIALS) -> Iterator[Line]:
    """Yield one line a number of lists: scores of all rules, of the list chosen, and of the best one.

    One search gives all of them: what it tries does not depend on how many lists are to come.
    `closed` is the share of the gap between all rules and the best list, by true macro-F1, that the
    list with the best validation score closes; `closed_by_mean` that of the list with the best mean
    of score and forecast, null without log-probabilities. `calls` counts student answers,
    `full_calls` those that the same number of lists takes in full.
    """
    low, top = _bounds(kind, seed)
    student = STUDENTS[kind](seed)
    contest, _ = student.contest(EXAMPLES, seed=seed, trials=max(trials), **ARMS[arm])
    every = contest.space.ordered(next(iter(contest.space.groups)), "support", Hints())
    contest = replace(contest, known=tuple(_asked(contest, rules) for rules in ((), every)))
    begun = perf_counter()
    with quiet(), _no_waste():
        study = optuna.create_study(direction="maximize")
        tried = loop.search(contest, study, shared=False).tried
    seconds = perf_counter() - begun
    for count in trials:
        first = tried[:count]
        by_score, by_mean = choose(contest, first)
        score = student.true_score(by_score.listing.rules)
        mixed = None if by_mean is None else student.true_score(by_mean.listing.rules)
        yield {
            "kind": kind,
            "seed": seed,
            "trials": count,
            "arm": arm,
            "all_rules": low,
            "chosen": score,
            "best": top,
            "closed": (score - low) / (top - low),
            "closed_by_mean": None if mixed is None else (mixed - low) / (top - low),
            "val_score": by_score.score(macro_f1),
            "rules_kept": len(by_score.listing.rules),
            "calls": sum(len(t.answers) for t in first),
            "full_calls": count * EXAMPLES,
            "seconds": round(seconds * count / max(trials), 2),
        }


def choose(contest: Contest, found: Sequence[Tried]) -> tuple[Tried, Tried | None]:
    """Return the best list by validation score, and by the mean of score and forecast, as `select` does.

    The second is None where answers came without log-probabilities.
    """
    everything = (*contest.known, *found)
    full = [t for t in everything if len(t.answers) == EXAMPLES]
    by_score = max(full, key=lambda t: t.score(macro_f1))
    forecast = forecast_of(contest, everything)
    if forecast is None or any(a.p_gold is None for a in by_score.answers.values()):
        return by_score, None
    expected = forecast.expected([t.listing.rules for t in full])
    worth = [t.score(macro_f1) + share for t, share in zip(full, expected, strict=True)]
    return by_score, full[worth.index(max(worth))]


def plan(students: int) -> Iterator[tuple[str, int, str, tuple[int, ...]]]:
    """Yield kind, seed, arm and numbers of lists of each search, all arms of a student together."""
    for seed in range(students):
        for kind in STUDENTS:
            for arm in ARMS:
                yield kind, seed, arm, TRIALS
    for seed in range(min(students, SHORTER)):
        for kind in STUDENTS:
            for arm in ARMS:
                yield kind, seed, arm, (LONG,)


def summary(lines: Sequence[Mapping[str, Any]]) -> str:
    """Return a Markdown table of today's arms, one row a number of lists and arm."""
    rows = [
        f"| lists | arm | students | gap closed: {' | '.join(STUDENTS)} | mean of the kinds | calls of full scoring |",
        "| --- | --- | --- " + "| --- " * (len(STUDENTS) + 2) + "|",
    ]
    for trials in (*TRIALS, LONG):
        for arm in ARMS:
            own = [x for x in lines if x["arm"] == arm and x["trials"] == trials]
            by_kind = [[x["closed"] for x in own if x["kind"] == kind] for kind in STUDENTS]
            if not all(by_kind):
                continue
            shares = [mean(closed) for closed in by_kind]
            calls = sum(x["calls"] for x in own) / sum(x["full_calls"] for x in own)
            rows.append(
                f"| {trials} | {arm} | {len(own)} | {' | '.join(f'{x:.0%}' for x in shares)} "
                f"| {mean(shares):.0%} | {calls:.0%} |"
            )
    return "\n".join(rows)


@cache
def _bounds(kind: str, seed: int) -> tuple[float, float]:
    """Return the true scores of all rules in support order and of the best list."""
    student = STUDENTS[kind](seed)
    space = student.contest(len(student.rules()))[0].space
    every = space.ordered(next(iter(space.groups)), "support", Hints())
    return student.true_score(every), student.true_score(student.best_list())


def _asked(contest: Contest, rules: tuple[int, ...]) -> Tried:
    listing, places = RuleList(rules), range(len(contest.gold))
    return Tried(listing=listing, answers=dict(enumerate(contest.ask(listing, places))))


@contextmanager
def _no_waste() -> Iterator[None]:
    """Leave out of the search what only costs time here, and changes nothing that it tries.

    The regression is made once where it is made twice for a trial, from the same answers; intervals
    of the gains, which nothing here uses, are not resampled.
    """
    made: dict[Any, Forecast | None] = {}

    def forecast_once(contest: Contest, tried: Sequence[Tried]) -> Forecast | None:
        key = tuple((t.listing, tuple(t.answers)) for t in tried)
        if key not in made:
            made.clear()
            made[key] = forecast_of(contest, tried)
        return made[key]

    patched: Any = loop
    patched.forecast_of = forecast_once
    patched.marginal_gains = lambda *args, **given: marginal_gains(*args, **{**given, "n": 1})
    try:
        yield
    finally:
        patched.forecast_of, patched.marginal_gains = forecast_of, marginal_gains


def read(folder: Path = RESULTS) -> list[Line]:
    """Return the lines of the folder's files, one file per kind; none if there is no folder."""
    texts = [path.read_text(encoding="utf-8") for path in sorted(folder.glob("*.jsonl"))]
    return [json.loads(line) for text in texts for line in text.splitlines() if line.strip()]


def key(line: Mapping[str, Any]) -> Key:
    """Return what no two lines have in common."""
    return line["kind"], line["seed"], line["arm"], line["trials"]


def main(
    students: Annotated[int, typer.Option(help="Of each kind, with seeds from 0.")] = 40,
    results: Annotated[Path, typer.Option(help="Folder of lines that is added to.")] = RESULTS,
) -> None:
    """Make what is missing, and print the table."""
    lines = read(results)
    done, made_by = {key(line) for line in lines}, commit()
    todo = [
        (kind, seed, arm, counts)
        for kind, seed, arm, counts in plan(students)
        if any((kind, seed, arm, count) not in done for count in counts)
    ]
    results.mkdir(parents=True, exist_ok=True)
    for kind, seed, arm, counts in track(todo, description="searches"):
        with (results / f"{kind}.jsonl").open("a", encoding="utf-8") as file:
            for line in repetition(kind, seed, arm, counts):
                if key(line) not in done:
                    lines.append(line | {"commit": made_by})
                    file.write(json.dumps(lines[-1]) + "\n")
    typer.echo(summary(lines))
