"""Prints a checkup on the terminal."""

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from pld_dspy.records import Interval
from pld_dspy.runs.diagnose.advice import Advice
from pld_dspy.runs.diagnose.checkup import Asked, Checkup


def show_checkup(checkup: Checkup, advice: Advice, console: Console) -> None:
    """Print each way of asking, each step with its gain, the headroom, and what to do first."""
    console.print(_ways(checkup))
    console.print(_steps(checkup))
    for name, result in (
        ("Headroom, teacher minus best-asked student", checkup.headroom),
        ("Left after the steps above", checkup.remaining),
    ):
        if result is not None:
            _line(f"{name}: {_change(result.delta)}", console)
    for note in checkup.notes:
        console.print(f"[yellow]{escape(note)}[/yellow]", soft_wrap=True)
    used = ", ".join(
        f"{role} {usage.calls:,} calls, {usage.input_tokens:,} + {usage.output_tokens:,} tokens"
        for role, usage in checkup.usage.items()
    )
    _line(f"Asked: {used}", console)
    console.print(
        f"[bold]First: {advice.step}.[/bold] {escape(advice.line)}", highlight=False, soft_wrap=True
    )


def _ways(checkup: Checkup) -> Table:
    title = (
        f"{escape(checkup.task)}, {checkup.examples} examples of train and val, {checkup.metric}"
    )
    heads = ("as read", "probable", "calibrated", "unreadable", "bias", "separability", "tokens")
    table = Table("asked", *heads, title=title, title_justify="left")
    for asked in (*checkup.asked, *checkup.shown):
        table.add_row(f"student, {escape(asked.name)}", *_cells(asked, checkup))
    for asked in checkup.taught:
        table.add_row(f"teacher, {escape(asked.name)}", *_cells(asked, checkup))
    return table


def _cells(asked: Asked, checkup: Checkup) -> tuple[str, ...]:
    unreadable = f"{asked.unreadable:.0%}"
    if asked.failures:
        unreadable += f", {asked.failures} failed"
    return (
        _score(asked.score),
        _number(asked.probable, 3),
        "-" if asked.calibrated is None else _score(asked.calibrated),
        unreadable,
        escape(_bias(asked, checkup)),
        _number(asked.separability, 2),
        f"{asked.prompt_tokens:.0f}" if asked.prompt_tokens else "-",
    )


def _bias(asked: Asked, checkup: Checkup) -> str:
    most = checkup.favourite(asked)
    if asked.bias is None:
        return "-"
    return f"{asked.bias:.2f}" + (f" ({most[0]} +{most[1]:.0%})" if most else "")


def _steps(checkup: Checkup) -> Table:
    table = Table(
        "step", "how", "score", "over as given", "over the cheaper steps", title_justify="left"
    )
    for rung in checkup.rungs:
        changes = _change(rung.change.delta), _change(rung.ahead.delta)
        table.add_row(rung.step, escape(rung.name), f"{rung.score:.3f}", *changes)
    return table


def _score(found: Interval) -> str:
    return escape(f"{found.estimate:.3f} [{found.low:.3f}, {found.high:.3f}]")


def _change(found: Interval) -> str:
    return escape(f"{found.estimate:+.3f} [{found.low:+.3f}, {found.high:+.3f}]")


def _number(value: float | None, digits: int) -> str:
    return "-" if value is None else f"{value:.{digits}f}"


def _line(text: str, console: Console) -> None:
    console.print(text, highlight=False, markup=False, soft_wrap=True)
