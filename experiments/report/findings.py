"""What the comparison must show, whether the lines show it, and the evidence where they do not."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

from experiments.bench.cells import OWN
from experiments.bench.lines import Line
from experiments.report.coverage import Setting
from experiments.report.resampling import SeedAnswers
from experiments.report.statistics import (
    ASKED_BEST,
    GIVEN,
    OURS,
    REFERENCES,
    Standing,
    beyond_noise_below,
    change,
    difference,
    is_ours,
    pairs,
    scored,
    with_given,
)
from pld_dspy.records import Interval
from pld_dspy.scoring.statistics import PairedResult

Verdict = Literal["holds", "does not hold", "not measured"]

UNREAD = "(unreadable)"
_MOST_CONFUSIONS = 6


@dataclass(frozen=True, slots=True, kw_only=True)
class Standoff:
    """Whether PLD's searched list is first, or within noise of first, in one setting."""

    setting: Setting
    verdict: Verdict
    reason: str = ""
    """Why it is not measured."""
    rank: int | None = None
    contenders: int = 0
    closest: str | None = None
    """The contender that does best against it on common seeds."""
    gap: Interval | None = None
    """`closest` minus PLD's searched list, in metric units."""
    ahead: tuple[str, ...] = ()
    """The contenders whose whole interval lies above it, the farthest ahead first."""
    missing: int = 0
    """Expected cells of the setting without a score."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fall:
    """A run of a PLD variant that ends below the student without rules by more than noise."""

    line: Line
    than: Line | None = None
    """The student as asked best; None is the student as given, which the line itself knows."""
    delta: Interval

    @property
    def other(self) -> str:
        """Name of the row that it ends below."""
        return GIVEN if self.than is None else self.than.optimizer


class LabelRow(NamedTuple):
    """One gold label in the evidence."""

    label: str
    n: int
    ours: float
    """Recall of PLD."""
    other: float
    naming: int
    """Rules of PLD, over all seeds, that name the label."""


class Confusion(NamedTuple):
    """How often one label is answered for another."""

    gold: str
    said: str
    ours: int
    other: int


class Rules(NamedTuple):
    """What PLD's student was asked with in one seed."""

    seed: int
    text: str
    note: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """Where PLD and another differ, on the same test examples."""

    title: str
    ours: str
    other: str
    examples: int
    only_ours: int
    """Examples that only PLD has right."""
    only_other: int
    labels: tuple[LabelRow, ...]
    """The largest loss of right answers first."""
    confusions: tuple[Confusion, ...]
    """PLD's most frequent errors."""
    rules: tuple[Rules, ...]


def standoff(setting: Setting, found: Sequence[Standing], *, missing: int = 0) -> Standoff:
    """Return the claim check of one setting.

    The claim does not hold if any contender, PLD's other variants among them, is ahead by more
    than noise: its paired 95% interval against PLD's searched list lies above 0.
    """
    contenders = [s for s in found if s.optimizer not in REFERENCES]
    ours = next((s for s in contenders if s.optimizer == OURS), None)
    others = [(s, s.vs_ours.delta) for s in contenders if s is not ours and s.vs_ours is not None]
    reason = _not_measured(setting, ours, [s for s, _ in others])
    if ours is None or reason:
        return Standoff(setting=setting, verdict="not measured", reason=reason, missing=missing)
    others.sort(key=lambda pair: (-pair[1].estimate, pair[0].optimizer))
    closest, gap = others[0]
    ahead = tuple(s.optimizer for s, delta in others if delta.low > 0)
    return Standoff(
        setting=setting,
        verdict="does not hold" if ahead else "holds",
        rank=ours.rank,
        contenders=len(contenders),
        closest=closest.optimizer,
        gap=gap,
        ahead=ahead,
        missing=missing,
    )


def falls(lines: Iterable[Line]) -> list[Fall]:
    """Return the PLD runs that end below the student as given, or as asked best, by more than noise."""
    every = scored(lines)
    ours = [line for line in every if is_ours(line.optimizer)]
    given = [(line, None, change(line)) for line in ours]
    best = [(line, other, _against(other, line)) for line, other in beside_best(every)]
    return [
        Fall(line=line, than=other, delta=delta.delta)
        for line, other, delta in (*given, *best)
        if delta is not None and beyond_noise_below(delta)
    ]


def beside_best(lines: Iterable[Line]) -> list[tuple[Line, Line]]:
    """Return each PLD run with the student as asked best on the same test examples, where it was run."""
    every = scored(lines)
    best = [line for line in every if line.optimizer == ASKED_BEST]
    return [
        (line, other)
        for line in every
        for other in best
        if is_ours(line.optimizer)
        and all(getattr(line, key) == getattr(other, key) for key in _SAME_STUDENT)
        and pairs([other], [line])
    ]


_SAME_STUDENT = ("task", "student", "split_by", "seed", "metric")


def _against(other: Line, line: Line) -> PairedResult | None:
    return difference(line.metric, pairs([other], [line]))


def why_behind(check: Standoff, found: Sequence[Standing]) -> Evidence:
    """Return what tells PLD's searched list from the contender that is farthest ahead."""
    by_name = {s.optimizer: s for s in found}
    ours, other = by_name[OURS], by_name[check.ahead[0]]
    runs = pairs(other.lines, ours.lines)
    return _evidence(", ".join(check.setting), ours.lines, other.optimizer, runs)


def why_below(fall: Fall) -> Evidence:
    """Return what tells a PLD run from the student without rules."""
    runs = with_given([fall.line]) if fall.than is None else pairs([fall.than], [fall.line])
    return _evidence(fall.line.cell, [fall.line], fall.other, runs)


def reasons(
    checks: Iterable[Standoff], found: Mapping[Setting, Sequence[Standing]], fell: Iterable[Fall]
) -> list[Evidence]:
    """Return the evidence for everything that does not hold."""
    behind = [why_behind(check, found[check.setting]) for check in checks if check.ahead]
    return behind + [why_below(fall) for fall in fell]


def budget_shares(lines: Iterable[Line]) -> list[float]:
    """Return what each matched cell might call over its multiple of PLD's calls, the smallest first.

    All are 1 unless PLD was run again after its rivals, with other settings. A cell whose budget was
    set by a line that is not here has none.
    """
    every = scored(lines)
    paid = {
        line.where: line.student_calls + line.teacher_calls
        for line in every
        if line.optimizer == OURS and line.student_calls and line.teacher_calls is not None
    }
    found = []
    for line in every:
        spent = paid.get(line.where.pays)
        if line.budget != OWN and line.budget_calls is not None and spent:
            found.append(line.budget_calls / (int(line.budget.removeprefix("x")) * spent))
    return sorted(found)


def _not_measured(setting: Setting, ours: Standing | None, others: Sequence[Standing]) -> str:
    if ours is None:
        return f"no {OURS} run has a score"
    if setting.budget == OWN or not any(
        line.budget == setting.budget
        for s in others
        if not is_ours(s.optimizer)
        for line in s.lines
    ):
        return "no rival at a matched budget has a score on the same test examples"
    return ""


def _evidence(
    title: str, lines: Sequence[Line], other: str, runs: Sequence[SeedAnswers]
) -> Evidence:
    rows = [row for run in runs for row in zip(*run, strict=True)]
    texts = [line.program.instructions if line.program else "" for line in lines]
    right_other = Counter(gold for gold, said, _ in rows if gold == said)
    right_ours = Counter(gold for gold, _, said in rows if gold == said)
    labels = Counter(gold for gold, _, _ in rows)
    ranked = sorted(labels, key=lambda label: (right_ours[label] - right_other[label], label))
    return Evidence(
        title=title,
        ours=lines[0].optimizer,
        other=other,
        examples=len(rows),
        only_ours=sum(first != gold == second for gold, first, second in rows),
        only_other=sum(second != gold == first for gold, first, second in rows),
        labels=tuple(
            LabelRow(
                label=label,
                n=labels[label],
                ours=right_ours[label] / labels[label],
                other=right_other[label] / labels[label],
                naming=_naming(label, texts, labels),
            )
            for label in ranked
        ),
        confusions=_confusions(rows),
        rules=tuple(
            Rules(line.seed, text, line.note) for line, text in zip(lines, texts, strict=True)
        ),
    )


def _confusions(rows: Sequence[tuple[str | None, ...]]) -> tuple[Confusion, ...]:
    ours = Counter((gold, said) for gold, _, said in rows if gold != said)
    other = Counter((gold, said) for gold, said, _ in rows if gold != said)
    ranked = sorted(ours.items(), key=lambda item: (-item[1], str(item[0])))[:_MOST_CONFUSIONS]
    return tuple(
        Confusion(str(gold), UNREAD if said is None else said, count, other[gold, said])
        for (gold, said), count in ranked
    )


def _naming(label: str, texts: Iterable[str], labels: Mapping[str, int]) -> int:
    """Return how many lines of the rules name the label; a line that lists every label does not."""
    found = 0
    for row in (row.lower() for text in texts for row in text.splitlines()):
        named = {name for name in labels if name.lower() in row}
        found += label in named and len(named) < max(len(labels), 2)
    return found
