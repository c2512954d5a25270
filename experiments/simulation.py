"""The search against simulated students whose best lists are known: what it finds, and what it asks.

`python -m experiments.simulation` searches for 40 students of three kinds, with the package's search,
with parts of it left out, and with simpler ones, at 4, 12, 30 and 60 lists. It writes one JSON line
for each kind, student, number of lists and arm to `experiments/results/simulation.jsonl`, and goes
on from what the file has. All arms use the same 100 validation examples, and start from the student
as given and from all rules in support order.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import cache
from importlib import import_module
from pathlib import Path
from statistics import mean
from time import perf_counter
from typing import Annotated, Any

import optuna
import typer
from rich.progress import track

from experiments.arms import Arm, Proposer, tried_by
from experiments.simulated import STUDENTS
from pld_dspy.contest import Contest, margins_of
from pld_dspy.gains import marginal_gains
from pld_dspy.margins import Margins
from pld_dspy.metrics import macro_f1
from pld_dspy.outcome import commit
from pld_dspy.search import search
from pld_dspy.space import Hints, RuleList
from pld_dspy.studies import quiet
from pld_dspy.trials import Tried

package: Any = import_module("pld_dspy.search")
RESULTS = Path(__file__).parent / "results" / "simulation.jsonl"
TRIALS = (4, 12, 30, 60)
EXAMPLES = 100
_SHORT_AND_LONG = ((4, 12), (30,))
PACKAGE: Mapping[str, Sequence[tuple[int, ...]]] = {
    "as it is": _SHORT_AND_LONG,
    "as it is, in full": (),
    "without designed subsets": ((30,),),
    "right and wrong only": _SHORT_AND_LONG,
}
"""The package's search; with every list asked in full; without one part; for an endpoint without
log-probabilities. It plans by the number of lists, so that only 4 are the first of 12 lists; below
16 it has no designed subsets."""
SETTINGS: Mapping[str, Mapping[str, Any]] = {
    "as it is, in full": {"race": {"enabled": False}},
    "without designed subsets": {"subsets": False},
    "right and wrong only": {"odds": False},
}
_BOTH: tuple[Proposer, ...] = ("sampler", "forecast", "draw")
ARMS: Mapping[str, Arm] = {
    "anchors only": Arm(starts=8, turns=()),
    "anchors, then random, racing": Arm(starts=4, sampler="random"),
    "TPE, Wilcoxon": Arm(stop="wilcoxon"),
    "TPE, racing": Arm(),
    "anchors, then TPE, Wilcoxon": Arm(starts=4, stop="wilcoxon"),
    "anchors, then TPE, racing": Arm(starts=4),
    "anchors, then TPE, in full": Arm(starts=4, stop="never"),
    "anchors, then neighbours, racing": Arm(starts=4, turns=("neighbour",)),
    "anchors, then neighbours and TPE, racing": Arm(starts=4, turns=("neighbour", "sampler")),
    "2 anchors, then forecasts, racing": Arm(starts=2, turns=("forecast", "draw")),
    "anchors, then forecasts, racing": Arm(starts=4, turns=("forecast", "draw")),
    "anchors, then forecasts, racing by forecast": Arm(
        starts=4, turns=("forecast", "draw"), stop="race by forecast"
    ),
    "anchors, then TPE and forecasts, racing": Arm(starts=4, turns=_BOTH),
    "2 anchors, then TPE and forecasts, racing": Arm(starts=2, turns=_BOTH),
    "half anchors, then TPE, racing": Arm(starts=4, halves=True),
    "half anchors, then TPE and forecasts, racing": Arm(starts=4, halves=True, turns=_BOTH),
    "half anchors, then TPE and forecasts, racing by forecast": Arm(
        starts=4, halves=True, turns=_BOTH, stop="race by forecast"
    ),
    "half anchors, then TPE and forecasts, Wilcoxon 0.3": Arm(
        starts=4, halves=True, turns=_BOTH, stop="wilcoxon", p_threshold=0.3
    ),
    "half anchors, then TPE and forecasts, racing by differences": Arm(
        starts=4, halves=True, turns=_BOTH, stop="differences"
    ),
    "half anchors, then TPE and forecasts, racing by differences and forecast": Arm(
        starts=4, halves=True, turns=_BOTH, stop="differences and forecast"
    ),
    "half anchors, then TPE and forecasts, racing by expected answers": Arm(
        starts=4, halves=True, turns=_BOTH, stop="expected answers"
    ),
    "half anchors, then TPE and forecasts, right and wrong only, expected answers": Arm(
        starts=4, halves=True, turns=_BOTH, odds=False, stop="expected answers"
    ),
    "half anchors, then TPE and forecasts, right and wrong only": Arm(
        starts=4, halves=True, turns=_BOTH, odds=False
    ),
    "half anchors, then TPE and forecasts, Wilcoxon by probability": Arm(
        starts=4, halves=True, turns=_BOTH, stop="wilcoxon by probability"
    ),
    "random": Arm(sampler="random", stop="never"),
}
"""Simpler searches; what they try does not depend on how many lists are to come, so one search
gives the shorter ones, too."""
FIRST = (
    "as it is",
    "without designed subsets",
    "right and wrong only",
    "anchors, then TPE, racing",
    "anchors, then forecasts, racing",
    "anchors, then TPE and forecasts, racing",
    "half anchors, then TPE, racing",
    "half anchors, then TPE and forecasts, racing",
    "half anchors, then TPE and forecasts, Wilcoxon 0.3",
    "half anchors, then TPE and forecasts, racing by differences",
    "half anchors, then TPE and forecasts, racing by differences and forecast",
    "half anchors, then TPE and forecasts, racing by expected answers",
    "half anchors, then TPE and forecasts, right and wrong only",
    "half anchors, then TPE and forecasts, right and wrong only, expected answers",
    "half anchors, then TPE and forecasts, racing by forecast",
    "random",
)
LONG = (
    "as it is",
    "as it is, in full",
    "without designed subsets",
    "right and wrong only",
    "anchors, then TPE, racing",
    "anchors, then forecasts, racing",
    "anchors, then TPE and forecasts, racing",
    "half anchors, then TPE, racing",
    "half anchors, then TPE and forecasts, racing",
    "random",
)
"""Arms that are tried with 60 lists, too."""
SHORTER = 20
"""Students of each kind for which they are."""

Line = dict[str, Any]
Key = tuple[str, int, str, int]


def repetition(kind: str, seed: int, arm: str, trials: Sequence[int] = TRIALS) -> Iterator[Line]:
    """Yield one line a number of lists: scores of all rules, of the list chosen, and of the best one.

    `closed` is the share of the gap between all rules and the best list, by true macro-F1, that the
    list with the best validation score closes; `closed_by_mean` that of the list with the best mean
    of score and forecast. `calls` counts student answers, `full_calls` those that the same number
    of lists takes in full.
    """
    low, top = _bounds(kind, seed)
    student = STUDENTS[kind](seed)
    settings = dict(SETTINGS.get(arm, {}))
    odds, subsets = settings.pop("odds", True), settings.pop("subsets", True)
    odds = odds and (arm not in ARMS or ARMS[arm].odds)
    contest, _ = student.contest(EXAMPLES, seed=seed, odds=odds, trials=max(trials), **settings)
    every = contest.space.ordered(next(iter(contest.space.groups)), "support", Hints())
    contest = replace(contest, known=tuple(_asked(contest, rules) for rules in ((), every)))
    begun = perf_counter()
    with quiet(), _package(subsets=subsets):
        if arm in PACKAGE:
            tried = search(contest, optuna.create_study(direction="maximize")).tried
        else:
            tried = tuple(tried_by(ARMS[arm], contest, max(trials)))
    seconds = perf_counter() - begun
    for count in trials:
        first = tried[:count]
        by_score, by_mean = choose(contest, first)
        score = student.true_score(by_score.listing.rules)
        mixed = student.true_score(by_mean.listing.rules) if odds else None
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


def choose(contest: Contest, found: Sequence[Tried]) -> tuple[Tried, Tried]:
    """Return the best list by validation score, and by the mean of it and the forecast, as `select` does."""
    everything = (*contest.known, *found)
    full = [t for t in everything if len(t.answers) == EXAMPLES]
    margins = margins_of(contest, everything)
    by_score = max(full, key=lambda t: t.score(macro_f1))
    if margins is None:
        return by_score, by_score
    forecasts = margins.forecast([t.listing.rules for t in full])
    worth = [t.score(macro_f1) + told for t, told in zip(full, forecasts, strict=True)]
    return by_score, full[worth.index(max(worth))]


def plan(students: int) -> Iterator[tuple[str, int, str, tuple[int, ...]]]:
    """Yield kind, seed, arm and numbers of lists of each search.

    First up to 30 lists, the arms that matter most before the others, so that the start of the file
    tells most; then 60 for the first `SHORTER` students.
    """
    for arms in (FIRST, [arm for arm in (*PACKAGE, *ARMS) if arm not in FIRST]):
        for seed in range(students):
            for kind in STUDENTS:
                for arm in arms:
                    for together in PACKAGE.get(arm, (TRIALS[:-1],)):
                        yield kind, seed, arm, together
    for seed in range(min(students, SHORTER)):
        for kind in STUDENTS:
            yield kind, seed, "as it is, in full", (30,)
            for arm in LONG:
                yield kind, seed, arm, TRIALS[-1:]


def summary(lines: Sequence[Mapping[str, Any]]) -> str:
    """Return a Markdown table with one row a kind, number of lists and arm."""
    rows = [
        "| student | lists | arm | repetitions | gap closed, mean | true macro-F1 | calls of full scoring |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    for kind, trials, arm in sorted({(x["kind"], x["trials"], x["arm"]) for x in lines}):
        own = [x for x in lines if (x["kind"], x["trials"], x["arm"]) == (kind, trials, arm)]
        rows.append(
            f"| {kind} | {trials} | {arm} | {len(own)} | {mean(x['closed'] for x in own):.0%} "
            f"| {mean(x['chosen'] for x in own):.3f} "
            f"| {sum(x['calls'] for x in own) / sum(x['full_calls'] for x in own):.0%} |"
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
def _package(*, subsets: bool) -> Iterator[None]:
    """Leave designed subsets out of the package's search, and what only costs time here.

    The regression is made once where it was made twice for a trial, from the same answers; intervals
    of the gains, which nothing here uses, are not resampled.
    """
    before = package.probes, package.margins_of, package.marginal_gains
    made: dict[Any, Margins | None] = {}

    def margins_once(contest: Contest, tried: Sequence[Tried]) -> Margins | None:
        key = tuple((t.listing, tuple(t.answers)) for t in tried)
        if key not in made:
            made.clear()
            made[key] = margins_of(contest, tried)
        return made[key]

    if not subsets:
        package.probes = lambda *_, **__: []
    package.margins_of = margins_once
    package.marginal_gains = lambda *args, **given: marginal_gains(*args, **{**given, "n": 1})
    try:
        yield
    finally:
        package.probes, package.margins_of, package.marginal_gains = before


def _key(line: Mapping[str, Any]) -> Key:
    return line["kind"], line["seed"], line["arm"], line["trials"]


def main(
    students: Annotated[int, typer.Option(help="Of each kind, with seeds from 0.")] = 40,
    results: Annotated[Path, typer.Option(help="File of lines that is added to.")] = RESULTS,
) -> None:
    """Make what is missing, and print the table."""
    text = results.read_text(encoding="utf-8") if results.exists() else ""
    lines: list[Line] = [json.loads(line) for line in text.splitlines()]
    done, made_by = {_key(line) for line in lines}, commit()
    todo = [
        (kind, seed, arm, counts)
        for kind, seed, arm, counts in plan(students)
        if any((kind, seed, arm, count) not in done for count in counts)
    ]
    with results.open("a", encoding="utf-8") as file:
        for kind, seed, arm, counts in track(todo, description="searches"):
            for line in repetition(kind, seed, arm, counts):
                if _key(line) not in done:
                    lines.append(line | {"commit": made_by})
                    file.write(json.dumps(lines[-1]) + "\n")
            file.flush()
    typer.echo(summary(lines))


if __name__ == "__main__":
    typer.run(main)
