"""The tables of the comparison, in Markdown. Each function returns text without a last newline."""

from collections.abc import Iterable, Mapping, Sequence

from experiments.bench.cells import OWN
from experiments.bench.lines import Line
from experiments.report.coverage import Gap, Setting
from experiments.report.findings import Fall, Standoff
from experiments.report.statistics import (
    ASKED_BEST,
    GIVEN,
    OURS,
    REFERENCES,
    TEACHER,
    Standing,
    answer_tokens,
    below_given,
    break_even,
    compile_tokens,
    mean_of,
    scored,
    seconds_of,
    validation_gap,
)
from pld_dspy.ledger.figure_style import metric_name
from pld_dspy.records import Interval

NONE = "-"
"""What a cell of a table shows where a number is not known or has no meaning."""

_SPLITS = {"item": "item split", "group": "group split"}
_TRACES = {"teacher": "teacher's traces", "recorded": "recorded traces"}
_NAMES = {
    GIVEN: "student as given",
    ASKED_BEST: "student as asked best",
    "student-cot": "student with chain of thought",
    TEACHER: "teacher with chain of thought",
}


def name(optimizer: str) -> str:
    """Return an optimizer's name as the tables write it."""
    return _NAMES.get(optimizer, optimizer)


def conditions(setting: Setting) -> str:
    """Return in words what the tables of one view have in common."""
    budget = "" if setting.budget == OWN else f", budget {setting.budget}"
    traces = _TRACES.get(setting.traces, setting.traces)
    return f"{traces}, {_SPLITS.get(setting.split_by, setting.split_by)}{budget}"


def setting_name(setting: Setting) -> str:
    """Return a setting in words."""
    return f"{setting.task}, {setting.student}, {conditions(setting)}"


def claim_table(checks: Iterable[Standoff]) -> str:
    """Return where PLD's searched list stands in each setting; the worst verdicts first."""
    rows = []
    order = ["does not hold", "holds", "not measured"]
    for check in sorted(checks, key=lambda c: (order.index(c.verdict), c.setting)):
        place, closest = NONE, check.reason
        if check.closest is not None:
            place = f"{check.rank} of {check.contenders}"
            closest = check.closest
        row = [setting_name(check.setting), check.verdict, place, closest, signed(check.gap)]
        rows.append([*row, ", ".join(check.ahead) or NONE, str(check.missing)])
    head = ["setting", "verdict", "place of PLD searched", "best of the others"]
    head += ["its score minus PLD's [95%]", "ahead by more than noise", "cells without a score"]
    return table(head, rows)


def falls_table(found: Iterable[Fall]) -> str:
    """Return the PLD runs that end below the student without rules by more than noise."""
    rows = [
        [
            fall.line.cell,
            name(fall.other),
            _score(fall.line.baseline_score if fall.than is None else fall.than.score),
            _score(fall.line.score),
            signed(fall.delta),
        ]
        for fall in found
    ]
    return table(["run", "without rules", "its score", "PLD", "change [95%]"], rows)


def standing_table(found: Sequence[Standing], gaps: Sequence[Gap]) -> str:
    """Return one row an optimizer; those without any score come last, as missing or failed."""
    main = found[0].lines[0].metric if found else "macro_f1"
    other = "accuracy" if main == "macro_f1" else "macro_f1"
    head = ["", "optimizer", "seeds", *(f"{metric_name(m)} [95%]" for m in (main, other))]
    head += ["minus as given [95%]", "minus PLD searched [95%]", "McNemar p, Holm", "near first"]
    rows = [
        _standing_row(s, {g.cell.seed for g in gaps if g.cell.optimizer == s.optimizer})
        for s in found
    ]
    seen = {s.optimizer for s in found}
    for optimizer in sorted({g.cell.optimizer for g in gaps} - seen):
        states = list(dict.fromkeys(g.state for g in gaps if g.cell.optimizer == optimizer))
        rows.append([NONE, name(optimizer), "0", plain("; ".join(states)), *[""] * 5])
    return table(head, rows)


def summary_table(found: Mapping[Setting, Sequence[Standing]]) -> str:
    """Return one row an optimizer and one column a task and student: the mean score with its interval.

    The rows go down from the best mean over the columns that a row has; references come last. A
    mean over fewer seeds than another of its column has says so.
    """
    most = {s: max((len(one.lines) for one in own), default=0) for s, own in found.items()}
    few = {
        (s.optimizer, setting): f" ({len(s.lines)} of {most[setting]} seeds)"
        for setting, own in found.items()
        for s in own
        if len(s.lines) < most[setting]
    }
    scores = {(s.optimizer, setting): s.score for setting, own in found.items() for s in own}
    means: dict[str, list[float]] = {}
    for (optimizer, _), score in scores.items():
        means.setdefault(optimizer, []).append(score.estimate)
    best = {
        setting: max((s.score.estimate for s in own if s.rank), default=None)
        for setting, own in found.items()
    }
    order = sorted(means, key=lambda n: (n in REFERENCES, -sum(means[n]) / len(means[n]), n))
    rows = []
    for optimizer in order:
        cells = []
        for setting in found:
            mean = scores.get((optimizer, setting))
            text = "missing" if mean is None else interval(mean)
            if mean is not None and mean.estimate == best[setting]:
                text = f"**{text}**"
            cells.append(text + few.get((optimizer, setting), ""))
        rows.append([name(optimizer), *cells])
    return table(["optimizer", *(f"{s.task}, {s.student}" for s in found)], rows)


def cost_table(found: Sequence[Standing]) -> str:
    """Return what each optimizer took, and what its answers take; means over the seeds."""
    teacher = next((s for s in found if s.optimizer == TEACHER), None)
    alternative = _answer_tokens(teacher)
    rows = []
    for standing in found:
        lines = standing.lines
        spent = mean_of(compile_tokens(line) for line in lines)
        paid = break_even(spent, _answer_tokens(standing), alternative)
        rows.append(
            [
                name(standing.optimizer),
                _count(mean_of(line.student_calls for line in lines)),
                _count(mean_of(line.teacher_calls for line in lines)),
                _count(spent),
                _money(mean_of(line.cost_usd for line in lines)),
                _count(seconds_of(lines, "wall_s")),
                _count(mean_of(line.prompt_tokens for line in lines)),
                _seconds(seconds_of(lines, "test_latency_s")),
                f"{_share(mean_of(line.unparsed_rate for line in lines))}, "
                f"{sum(line.failures or 0 for line in lines)}",
                _signed_number(validation_gap(lines)),
                NONE if standing.optimizer in _NAMES else _count(paid),
            ]
        )
    head = ["optimizer", "student calls", "teacher calls", "tokens of the search", "USD"]
    head += [
        "search, s",
        "prompt tokens",
        "latency, s",
        "unreadable, crashed",
        "validation minus test",
    ]
    return table([*head, "requests to break even"], rows)


def below_table(lines: Iterable[Line]) -> str:
    """Return, for each optimizer, the share of its runs that end below the student as given."""
    groups: dict[str, list[Line]] = {}
    for line in scored(lines):
        groups.setdefault(line.optimizer, []).append(line)
    rows = []
    for optimizer, own in sorted(groups.items()):
        found = below_given(own)
        if optimizer in _NAMES or not found.runs:
            continue
        rows.append(
            [name(optimizer), str(found.runs)]
            + [f"{n} ({n / found.runs:.0%})" for n in (found.below, found.beyond_noise)]
        )
    return table(["optimizer", "runs", "below", "below by more than noise"], rows)


def gap_table(without: Iterable[Gap]) -> str:
    """Return the cells without a score: those that failed one a row, those that are missing together."""
    missing: dict[Setting, dict[str, list[int]]] = {}
    rows = []
    for gap in without:
        cell = gap.cell
        if gap.state != "missing":
            rows.append([cell.name, plain(gap.state)])
            continue
        setting = Setting(*(getattr(cell, part) for part in Setting._fields))
        missing.setdefault(setting, {}).setdefault(cell.optimizer, []).append(cell.seed)
    for setting, optimizers in missing.items():
        told = (
            f"{name(optimizer)} (seed {', '.join(map(str, sorted(seeds)))})"
            for optimizer, seeds in optimizers.items()
        )
        rows.append([setting_name(setting), f"missing: {'; '.join(told)}"])
    return table(["cell", "state"], rows)


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return rows of Markdown."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def plain(text: str) -> str:
    """Return text that cannot break a table: one line, no bars, no links."""
    for mark in "\\|[]<`*_":
        text = text.replace(mark, f"\\{mark}")
    return " ".join(text.split())


def _standing_row(standing: Standing, without: set[int]) -> list[str]:
    planned = len(without.union(standing.seeds))
    other = standing.accuracy if standing.lines[0].metric == "macro_f1" else standing.macro_f1
    stopped = sum(line.status == "stopped by budget" for line in standing.lines)
    return [
        str(standing.rank or NONE),
        name(standing.optimizer) + (" †" if stopped else ""),
        f"{len(standing.seeds)} of {planned}",
        interval(standing.score),
        interval(other),
        signed(standing.vs_given.delta if standing.vs_given else None),
        signed(standing.vs_ours.delta if standing.vs_ours else None),
        _p_values(standing),
        {True: "yes", False: "no", None: NONE}[standing.near_first],
    ]


def _p_values(standing: Standing) -> str:
    if standing.optimizer == OURS or standing.mcnemar_p is None:
        return NONE
    holm = NONE if standing.holm_p is None else _p_value(standing.holm_p)
    return f"{_p_value(standing.mcnemar_p)}, {holm}"


def _p_value(p: float) -> str:
    return "<0.001" if p < 0.001 else f"{p:.3f}"


def _answer_tokens(standing: Standing | None) -> float | None:
    """Return the mean tokens of one test answer, input and output."""
    if standing is None:
        return None
    return mean_of(answer_tokens(line) for line in standing.lines)


def interval(found: Interval) -> str:
    """Return a value with its interval."""
    return f"{found.estimate:.3f} [{found.low:.3f}, {found.high:.3f}]"


def signed(found: Interval | None) -> str:
    """Return a difference with its interval."""
    if found is None:
        return NONE
    return f"{found.estimate:+.3f} [{found.low:+.3f}, {found.high:+.3f}]"


def _score(value: float | None) -> str:
    return NONE if value is None else f"{value:.3f}"


def _signed_number(value: float | None) -> str:
    return NONE if value is None else f"{value:+.3f}"


def _count(value: float | None) -> str:
    return NONE if value is None else f"{value:,.0f}"


def _money(value: float | None) -> str:
    return NONE if value is None else f"{value:.4f}"


def _seconds(value: float | None) -> str:
    return NONE if value is None else f"{value:.2f}"


def _share(value: float | None) -> str:
    return NONE if value is None else f"{value:.1%}"
