"""What `pld diagnose` foretold for each setting, and what then gained on test."""

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from experiments.bench.cells import OWN, Cell
from experiments.bench.forecast import Forecast
from experiments.bench.lines import Line
from experiments.report.resampling import SeedAnswers
from experiments.report.statistics import difference
from experiments.report.tables import NONE, signed, table
from pld_dspy.records import Interval

NOTHING = "nothing"
STEPS: Mapping[str, str] = {
    "wording": "asked-best",
    "calibration": "asked-best",
    "examples": "labeled-more-shots",
    "rules": "pld-rules",
}
"""By step, from cheap to dear, the optimizer that took it; the forecast has four examples of each label, too."""


class Outcome(NamedTuple):
    """What each step gained in one setting."""

    gains: Mapping[str, Interval]
    """By step, over the student as given on the same test examples, paired."""
    missing: tuple[str, ...]
    """Steps without a line that has the answers."""
    best: str | None
    """The dearest step that is ahead of the cheaper ones by more than noise, or `nothing`; None while
    one is missing."""


def outcome(lines: Iterable[Line]) -> Outcome:
    """Return the outcome from the lines of one setting, over all seeds that they have."""
    found: dict[str, dict[int, _Answers]] = {step: {} for step in (NOTHING, *STEPS)}
    metric = "accuracy"
    for line in lines:
        for step in (step for step, optimizer in STEPS.items() if optimizer == line.optimizer):
            if line.baseline_said and (said := _said(line, step)):
                found[step][line.seed] = _Answers(line.gold, said)
                found[NOTHING][line.seed] = _Answers(line.gold, line.baseline_said)
                metric = line.metric
    gains: dict[str, Interval] = {}
    leader = NOTHING
    for step in STEPS:
        gain = difference(metric, _pairs(found[NOTHING], found[step]))
        if gain is None:
            continue
        gains[step] = gain.delta
        over = difference(metric, _pairs(found[leader], found[step]))
        if over is not None and over.delta.low > 0:
            leader = step
    missing = tuple(step for step in STEPS if step not in gains)
    return Outcome(gains, missing, None if missing else leader)


class _Answers(NamedTuple):
    gold: Sequence[str]
    said: Sequence[str | None]


def _said(line: Line, step: str) -> Sequence[str | None]:
    """Return the answers of the line that count for a step; empty if it has none."""
    if step == "wording":
        # A program without a decision of its own ships what is read from the text.
        return line.said if line.greedy_score is None else line.greedy_said
    if step == "examples":
        return line.decided_said or line.said
    return line.said


def _pairs(first: Mapping[int, _Answers], second: Mapping[int, _Answers]) -> list[SeedAnswers]:
    return [
        SeedAnswers(own.gold, first[seed].said, own.said)
        for seed, own in second.items()
        if seed in first and first[seed].gold == own.gold
    ]


def section(forecasts: Sequence[Forecast], lines: Iterable[Line]) -> str:
    """Return the table of forecast against outcome; empty without a forecast."""
    if not forecasts:
        return ""
    every = list(lines)
    rows, right, told = [], 0, 0
    for found in forecasts:
        result = outcome(line for line in every if _same(line, found.where))
        verdict = _verdict(found, result)
        right, told = right + (verdict == "yes"), told + (verdict != NONE)
        rows.append(
            [
                ", ".join([found.where.task, found.where.student, f"{found.where.split_by} split"]),
                found.step,
                ", ".join(f"{step} {score:.2f}" for step, score in found.scores.items()),
                *(signed(result.gains.get(step)) for step in STEPS),
                result.best or NONE,
                verdict,
            ]
        )
    head = ["setting", "foretold", f"scores on {forecasts[0].examples} examples"]
    head += [f"{step}, gain on test [95%]" for step in STEPS]
    head += ["what gained most", "foretold right"]
    text = (
        "## What `pld diagnose` foretold\n\n"
        "Before anything was distilled, some labelled examples of train and validation were answered as "
        "`pld diagnose` asks, and it said what to do first. On test the steps are: the student in its best "
        "wording, as read; the same with a decision; 16 worked examples drawn at random, with the layer; and "
        "rules, as PLD ships them. What gained most is the dearest step that is ahead of the cheaper ones by "
        "more than noise. A forecast of a stronger model is right where no step gains."
    )
    count = f"Right in {right} of {told} settings whose steps were all measured."
    return "\n\n".join([text, table(head, rows), count])


def _same(line: Line, setting: Cell) -> bool:
    """Return whether a line is of the setting; rules of another teacher, or recorded, are not."""
    own = line.where
    return own._replace(optimizer=setting.optimizer, seed=setting.seed, budget=OWN) == setting


def _verdict(found: Forecast, result: Outcome) -> str:
    if result.best is None:
        return NONE
    expected = found.step if found.step in STEPS else NOTHING
    return "yes" if expected == result.best else "no"
