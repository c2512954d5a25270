"""The page of the comparison: everything that `REPORT.md` says, from the lines alone."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from experiments.bench.cells import Cell
from experiments.bench.forecast import Forecast
from experiments.bench.lines import Line, Results
from experiments.report import forecasts, knowledge, method, tables
from experiments.report.coverage import RECORDED, Gap, Setting, gaps, tables_of
from experiments.report.findings import Fall, Standoff, beside_best, falls, reasons, standoff
from experiments.report.looks import Panel
from experiments.report.statistics import (
    ASKED_BEST,
    GIVEN,
    OURS,
    REFERENCES,
    Standing,
    below_given,
    is_ablation,
    is_ours,
    standings,
)
from experiments.report.why import why_section

KINDS = {
    "bars": "Score on test, with 95% intervals",
    "curves": "Best validation score so far over calls",
    "tokens": "Score on test against prompt tokens",
    "latency": "Seconds of a test call",
}
"""The pictures of each view, with their titles."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """What the lines hold, computed once."""

    lines: tuple[Line, ...]
    broken: tuple[str, ...]
    gaps: tuple[Gap, ...]
    found: Mapping[Setting, Sequence[Standing]]
    varied: Mapping[Setting, Sequence[Standing]]
    """PLD with one setting varied, beside its searched list; a table of its own."""
    lacking: Mapping[Setting, Sequence[Gap]]
    """The cells of each table that have no score."""
    checks: tuple[Standoff, ...]
    falls: tuple[Fall, ...]
    forecasts: tuple[Forecast, ...] = ()


def compare(
    results: Results, expected: Iterable[Cell] = (), forecasts: Iterable[Forecast] = ()
) -> Comparison:
    """Return all that the report needs.

    Args:
        results: The good lines and the broken ones.
        expected: The cells that there should be; others than these are shown too.
        forecasts: What `pld diagnose` foretold.
    """
    without = gaps(results.lines, expected)
    by_name = {line.where: line for line in results.lines}
    cells = tables_of([*by_name, *(gap.cell for gap in without if gap.cell not in by_name)])
    found, varied, lacking = {}, {}, {}
    for setting, members in cells.items():
        lines = [by_name[cell] for cell in sorted(members) if cell in by_name]
        found[setting] = standings(line for line in lines if not is_ablation(line.optimizer))
        lacking[setting] = [gap for gap in without if gap.cell in members]
        if any(is_ablation(cell.optimizer) for cell in members):
            apart = [line for line in lines if is_ablation(line.optimizer)]
            varied[setting] = standings([*apart, *(x for x in lines if x.optimizer == OURS)])
    return Comparison(
        lines=tuple(sorted(results.lines, key=lambda line: line.cell)),
        broken=tuple(str(broken) for broken in results.broken),
        gaps=tuple(without),
        found=found,
        varied=varied,
        lacking=lacking,
        checks=tuple(
            standoff(setting, own, missing=len(_gaps(lacking[setting], varied=False)))
            for setting, own in found.items()
        ),
        falls=tuple(falls(results.lines)),
        forecasts=tuple(sorted(forecasts, key=lambda forecast: forecast.cell)),
    )


def views(comparison: Comparison) -> dict[str, list[Panel]]:
    """Return the panels of each view, by the words that end the names of its pictures.

    A setting that has nothing but what stands in several tables, such as the student as given, is
    not shown.
    """
    several = len({setting.teacher for setting in comparison.found}) > 1
    made: dict[str, list[Panel]] = {}
    for setting, found in comparison.found.items():
        if not _begun(setting, found):
            continue
        parts = [setting.traces, setting.split_by, setting.budget]
        key = "-".join([*parts, setting.teacher] if several else parts)
        safe = "".join(c if c.isalnum() or c in "-." else "_" for c in key)
        made.setdefault(safe, []).append(Panel(setting, found))
    return dict(sorted(made.items()))


def view_name(panels: Sequence[Panel]) -> str:
    """Return a view in words."""
    return tables.conditions(panels[0].setting)


def headline(comparison: Comparison) -> list[str]:
    """Return the report's first lines: what does not hold first, then what does."""
    checks = comparison.checks
    lost = [c for c in checks if c.verdict == "does not hold"]
    measured = [c for c in checks if c.verdict != "not measured"]
    lines = [
        f"**Does not hold:** in {tables.setting_name(c.setting)}, {OURS} is behind "
        f"{', '.join(map(tables.name, c.ahead))} by more than noise ({c.closest} minus it: "
        f"{tables.signed(c.gap)})."
        for c in lost
    ]
    lines += [
        f"**Does not hold:** `{fall.line.cell}` ends below the {tables.name(fall.other)} by more than "
        f"noise ({tables.signed(fall.delta)})."
        for fall in comparison.falls
    ]
    if len(measured) > len(lost):
        lacking = sum(c.missing for c in measured if c.verdict == "holds")
        so_far = f" Cells of their tables without a score: {lacking}." if lacking else ""
        lines.append(
            f"**Holds:** {OURS} is first or within noise of first in {len(measured) - len(lost)} "
            f"of {len(measured)} settings that were measured at a matched budget.{so_far}"
        )
    ours = _runs_of_ours(comparison)
    fell = {fall.other for fall in comparison.falls}
    lines += [
        f"**Holds:** none of the {runs} PLD runs ends below the {tables.name(other)} by more than noise."
        for other, runs in ((GIVEN, ours), (ASKED_BEST, len(beside_best(comparison.lines))))
        if runs and other not in fell
    ]
    if not ours:
        lines.append("**Not measured:** no PLD run has a score.")
    if len(checks) > len(measured) or not checks:
        lines.append(
            f"**Not measured:** {len(checks) - len(measured)} of {len(checks)} settings lack {OURS} "
            "or a rival at a matched budget."
        )
    return lines


def page(comparison: Comparison, pictures: Mapping[str, str]) -> str:
    """Return the text of `REPORT.md`; the same lines give the same text.

    Args:
        comparison: What was found.
        pictures: Address of each picture, by `KIND-VIEW`.
    """
    parts = ["# Comparison of prompt optimizers", _intro(comparison), _claim(comparison)]
    parts += [why_section(reasons(comparison.checks, comparison.found, comparison.falls))]
    parts += [_results(comparison, pictures), _varied(comparison), _below(comparison)]
    parts += [forecasts.section(comparison.forecasts, comparison.lines)]
    parts += [_missing(comparison), *method.sections(comparison.lines)]
    return "\n\n".join(part for part in parts if part) + "\n"


def readme_section(comparison: Comparison, pictures: Mapping[str, str]) -> str:
    """Return what the README tells: the verdicts, and the overview of the teacher's traces at `x1`.

    Args:
        comparison: What was found.
        pictures: Address of each picture, as seen from the README, by `KIND-VIEW`.
    """
    parts = ["\n".join(f"- {line}" for line in headline(comparison))]
    for view, panels in views(comparison).items():
        if panels[0].setting.traces == RECORDED or panels[0].setting.budget != "x1":
            continue
        parts.append(
            f"Score on test, mean over seeds with its 95% interval; {view_name(panels)}. The best of "
            "each column is bold; the last rows are no contenders."
        )
        parts.append(tables.summary_table({p.setting: p.standings for p in panels}))
        if (address := pictures.get(f"tokens-{view}")) is not None:
            parts.append(f"![{KINDS['tokens']}]({address})")
    return "\n\n".join(parts)


def _intro(comparison: Comparison) -> str:
    failed = sum(gap.state != "missing" for gap in comparison.gaps)
    scored = len(comparison.lines) - failed
    told = (
        f"Cells with a score: {scored}; failed: {failed}; missing: {len(comparison.gaps) - failed}. "
        f"Lines of the results file that cannot be read: {len(comparison.broken)}."
    )
    return "\n".join(f"- {line}" for line in headline(comparison)) + f"\n\n{told}"


def _claim(comparison: Comparison) -> str:
    text = (
        "## What it must show\n\n"
        f"`{OURS}` is first, or within noise of first, on every task at the matched budget; and no PLD "
        "run ends below the student as given, or as asked best, by more than noise.\n\n"
        "It is behind by more than noise where the paired 95% interval of any contender minus it lies "
        "above 0, without a correction for their number; contenders are PLD's other variants and all rivals, and none of the references "
        f"({', '.join(map(tables.name, REFERENCES))}). The width of the interval says what difference could have "
        "been seen. A setting with cells that have no score is judged on those that have one.\n\n"
    )
    text += tables.claim_table(comparison.checks)
    if comparison.falls:
        text += "\n\nRuns below the student without rules by more than noise:\n\n"
        text += tables.falls_table(comparison.falls)
    return text


def _results(comparison: Comparison, pictures: Mapping[str, str]) -> str:
    parts = ["## Results"]
    for view, panels in views(comparison).items():
        shown = [(k, pictures[f"{k}-{view}"]) for k in KINDS if f"{k}-{view}" in pictures]
        parts.append(f"### Overview: {view_name(panels)}")
        parts.append(
            "Score on test, mean over seeds, with its 95% interval; the best contender of each column is bold."
        )
        parts.append(tables.summary_table({p.setting: p.standings for p in panels}))
        parts += [f"![{KINDS[kind]}]({address})" for kind, address in shown]
    for setting, found in comparison.found.items():
        if not _begun(setting, found):
            continue
        parts.append(f"### {tables.setting_name(setting)}")
        parts.append(tables.standing_table(found, _gaps(comparison.lacking[setting], varied=False)))
        if found:
            parts.append(tables.cost_table(found))
        parts.append(knowledge.section(found))
        if any(line.status == "stopped by budget" for s in found for line in s.lines):
            parts.append(
                "† stopped by its budget in at least one seed; the best so far was tested."
            )
    waiting = [setting for setting, found in comparison.found.items() if not _begun(setting, found)]
    if waiting:
        listed = "\n".join(
            f"- {tables.setting_name(setting)}; cells without a score: {len(comparison.lacking[setting])}"
            for setting in waiting
        )
        parts.append(f"### Not measured so far\n\n{listed}")
    return "\n\n".join(part for part in parts if part)


def _begun(setting: Setting, found: Sequence[Standing]) -> bool:
    return any(setting.has_own(standing.lines) for standing in found)


def _varied(comparison: Comparison) -> str:
    begun = {
        setting: found
        for setting, found in comparison.varied.items()
        if any(is_ablation(standing.optimizer) for standing in found)
    }
    if not begun:
        return ""
    parts = [
        "## Variants of PLD\n\nOne setting varied each. They are no contenders: the best of many "
        "variants on test would be chosen by chance."
    ]
    for setting, found in begun.items():
        without = _gaps(comparison.lacking[setting], varied=True)
        parts += [f"### {tables.setting_name(setting)}", tables.standing_table(found, without)]
        parts += [tables.cost_table(found), knowledge.section(found)] if found else []
    return "\n\n".join(part for part in parts if part)


def _gaps(found: Iterable[Gap], *, varied: bool) -> list[Gap]:
    return [gap for gap in found if is_ablation(gap.cell.optimizer) == varied]


def _below(comparison: Comparison) -> str:
    return (
        "## Runs that end below the student as given\n\nEvery scored run of all settings, each "
        "against the student as given on its own test examples.\n\n"
        f"{tables.below_table(comparison.lines)}"
    )


def _missing(comparison: Comparison) -> str:
    text = ""
    if comparison.gaps:
        text += f"## Missing and failed cells\n\n{tables.gap_table(comparison.gaps)}"
    if comparison.broken:
        listed = "\n".join(f"- {tables.plain(line)}" for line in comparison.broken)
        text += ("\n\n" if text else "") + f"## Lines that cannot be read\n\n{listed}"
    return text


def _runs_of_ours(comparison: Comparison) -> int:
    return below_given(line for line in comparison.lines if is_ours(line.optimizer)).runs
