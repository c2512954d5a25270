"""What README and docs tell of a grid: each program by student, and PLD's runs beside the simple rows."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import groupby
from typing import NamedTuple

from experiments.bench.cells import Cell
from experiments.bench.lines import Line
from experiments.report.coverage import Setting
from experiments.report.knowledge import decided
from experiments.report.page import Comparison
from experiments.report.resampling import SeedAnswers
from experiments.report.statistics import (
    ASKED_BEST,
    GIVEN,
    Standing,
    difference,
    is_ours,
    mean_of,
)
from experiments.report.tables import NONE, conditions, interval, signed, table
from pld_dspy.records import Interval

PROGRAMS: Mapping[str, str] = {
    GIVEN: "student as given",
    ASKED_BEST: "student as asked best",
    "hand-guidelines": "guidelines by hand",
    "knn": "nearest labelled examples",
    "labeled-few-shot": "few labelled examples",
    "labeled-more-shots": "more labelled examples",
    "mipro-instructions": "MIPROv2, instructions",
    "mipro-light": "MIPROv2, light",
    "mipro-demos": "MIPROv2, examples",
    "gepa": "GEPA",
    "infer-rules-repaired": "InferRules, repaired",
    "random-search": "random search of examples",
    "label-words": "PLD's words alone",
    "pld-clustered": "PLD, clustered rules",
    "pld-refined": "PLD, refined rules",
    "pld-guides": "PLD from guidelines",
    "pld-rules": "PLD",
    "pld-searched": "PLD with worked examples",
    "bag-of-words": "bag of words",
    "topic-majority": "majority label of the topic",
    "majority": "majority label",
}
"""Rows of the tables in their order, by optimizer; others come after them by their own names."""

_RUNS = ("pld-rules", "pld-guides")
_BESIDE = (ASKED_BEST, "labeled-more-shots", "bag-of-words")
_RULE = ", answer "
_FIRST = ("stereoset-queues", "stereoset")


def programs(comparison: Comparison) -> str:
    """Return one table for each task and split on which a PLD run has a score: a row a program.

    A student has three columns: the score as shipped, that with the decision layer, and the mean input
    tokens of a test call. Scores are means over the seeds; a row with fewer than another says so.
    """
    every = {
        setting: [*comparison.varied.get(setting, ()), *found]
        for setting, found in comparison.found.items()
    }
    shown = [setting for setting, own in every.items() if any(is_ours(s.optimizer) for s in own)]
    shown.sort(key=lambda s: (_rank(s.task), *_place(s)))
    parts = []
    for _, group in groupby(shown, key=_place):
        own = sorted(group, key=lambda setting: setting.student, reverse=True)
        parts.append(f"`{own[0].task}`, {conditions(own[0])}:")
        parts.append(_programs({setting: every[setting] for setting in own}))
    return "\n\n".join(parts)


def _place(setting: Setting) -> tuple[str, ...]:
    return (setting.task, setting.split_by, setting.traces, setting.budget)


def _programs(settings: Mapping[Setting, Sequence[Standing]]) -> str:
    by_name = [{s.optimizer: s for s in found} for found in settings.values()]
    names = dict.fromkeys([*PROGRAMS, *(name for found in by_name for name in sorted(found))])
    head = ["program"]
    for setting in settings:
        head += [_short(setting.student), "with the layer", "tokens a call"]
    rows = [
        [PROGRAMS.get(name, name), *(cell for found in by_name for cell in _cells(found, name))]
        for name in names
        if any(name in found for found in by_name)
    ]
    return table(head, rows)


def _cells(found: Mapping[str, Standing], name: str) -> list[str]:
    if name not in found:
        return [NONE] * 3
    lines, most = found[name].lines, max(len(s.lines) for s in found.values())
    seeds = f" ({len(lines)} of {most} seeds)" if len(lines) < most else ""
    if len(lines) == 1 and lines[0].ci95 is not None:
        score, layer = _own(lines[0].score, lines[0].ci95), _decided(lines[0])
    else:
        score, layer = interval(found[name].score), decided(lines)
    return [score + seeds, layer, _number(mean_of(line.prompt_tokens or None for line in lines))]


class _Run(NamedTuple):
    """A PLD run, and the rows beside it on the same test examples."""

    line: Line
    beside: Mapping[str, Line]
    """By optimizer."""
    earlier: tuple[float, ...]
    """Scores of earlier versions of the same cell."""


def runs(comparison: Comparison, earlier: Iterable[Line] = ()) -> str:
    """Return one row a PLD run by rules: its score beside those of the simple rows on the same examples.

    Args:
        comparison: What was found.
        earlier: Lines of earlier versions, whose scores stand beside that of the same cell.
    """
    head = ["task, student, seed", "PLD", "as read", "as given", "separability", "tokens"]
    head += [
        "words for the labels",
        "rules",
        "asked best; PLD minus it",
        "16 examples; PLD minus them",
    ]
    head += ["bag of words; PLD minus it", "earlier versions"]
    rows = []
    for line, beside, before in _runs(comparison, earlier):
        words = line.program.words.values() if line.program else ()
        rows.append(
            [
                _name(line),
                _own(line.score, line.ci95),
                _score(line.greedy_score),
                _score(line.baseline_score),
                f"{_score(line.baseline_separability)} to {_score(line.separability)}",
                _number(line.prompt_tokens),
                ", ".join(words) or NONE,
                _rules(line),
                *(_against(line, beside.get(name)) for name in _BESIDE),
                ", ".join(map(_score, before)) or NONE,
            ]
        )
    return table(head, rows)


def short_runs(comparison: Comparison) -> str:
    """Return the same in the few columns that a README has room for."""
    head = ["task, student, seed", "as given", "asked best", "16 examples, tokens"]
    head += ["bag of words", "PLD", "tokens"]
    rows = []
    for line, beside, _ in _runs(comparison):
        best, shots, words = (beside.get(name) for name in _BESIDE)
        examples = _score(_best(shots))
        if shots is not None:
            examples += f", {_number(shots.prompt_tokens)}"
        simple = [_score(line.baseline_score), _score(_best(best)), examples, _score(_best(words))]
        rows.append(
            [_name(line), *simple, _own(line.score, line.ci95), _number(line.prompt_tokens)]
        )
    return table(head, rows)


PLACES: Mapping[str, Callable[[Comparison, Sequence[Line]], str]] = {
    "programs": lambda comparison, _: programs(comparison),
    "runs": runs,
    "short": lambda comparison, _: short_runs(comparison),
}
"""Texts for `<!-- PLACE-NAME:start -->` in README and docs, by name."""


def _runs(comparison: Comparison, earlier: Iterable[Line] = ()) -> list[_Run]:
    before: dict[str, list[float]] = {}
    for line in earlier:
        if line.score is not None:
            before.setdefault(line.cell, []).append(line.score)
    by_cell = {line.where: line for line in comparison.lines}
    found = []
    for line in comparison.lines:
        if line.optimizer not in _RUNS or line.score is None:
            continue
        beside = {
            other.optimizer: other
            for cell, other in by_cell.items()
            if _same(cell, line.where) and other.gold == line.gold
        }
        found.append(_Run(line, beside, tuple(before.get(line.cell, ()))))
    return sorted(found, key=lambda run: _order(run.line.where))


def _rank(task: str) -> int:
    return _FIRST.index(task) if task in _FIRST else len(_FIRST)


def _order(cell: Cell) -> tuple[object, ...]:
    return (_rank(cell.task), cell.task, [-ord(c) for c in cell.student], cell.split_by, cell.seed)


def _same(one: Cell, other: Cell) -> bool:
    return (one.task, one.student, one.split_by, one.seed) == (
        other.task,
        other.student,
        other.split_by,
        other.seed,
    )


def _best(line: Line | None) -> float | None:
    return None if line is None else _with_decision(line).score


def _against(ours: Line, other: Line | None) -> str:
    """Return the score of another row, with a decision, and by how much PLD's differs from it."""
    if other is None:
        return NONE
    answers = SeedAnswers(ours.gold, _with_decision(other).said, ours.said)
    found = difference(ours.metric, [answers])
    return f"{_score(_best(other))}; {signed(None if found is None else found.delta)}"


def _with_decision(line: Line) -> Line:
    """Return the line as shipped if that has a decision, else with the layer where there is one."""
    if line.greedy_score is not None or line.decided_score is None:
        return line
    return line.model_copy(update={"score": line.decided_score, "said": line.decided_said})


def _rules(line: Line) -> str:
    """Return the number of rules that the student sees, or the least and most over the topics."""
    program = line.program
    shown = [*program.topics.values()] or [program.instructions] if program else [""]
    counts = sorted(text.count(_RULE) for text in shown)
    return f"{counts[0]}" if counts[0] == counts[-1] else f"{counts[0]} to {counts[-1]} a topic"


def _name(line: Line) -> str:
    return f"{line.task}, {_short(line.student)}, {line.seed}"


def _decided(line: Line) -> str:
    return _own(line.decided_score, line.decided_ci95)


def _own(score: float | None, ci95: tuple[float, float] | None) -> str:
    if score is None or ci95 is None:
        return NONE
    return interval(Interval(estimate=score, low=ci95[0], high=ci95[1]))


def _short(student: str) -> str:
    return student.rpartition("-")[2].upper()


def _score(value: float | None) -> str:
    return NONE if value is None else f"{value:.3f}"


def _number(value: float | None) -> str:
    return NONE if value is None else f"{value:,.0f}"
