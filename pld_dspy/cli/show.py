"""Prints a plan, a report, or the evidence of a rule on the terminal."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from pld_dspy.records import Evaluation
from pld_dspy.runs.estimate import Plan
from pld_dspy.runs.page import (
    PAGE_FILE,
    Rules,
    asked_line,
    pictures_in,
    score_rows,
    search_line,
    shared_line,
    topics_line,
    verdict,
    wording_rows,
)
from pld_dspy.runs.report import Report
from pld_dspy.runs.rules.lines import (
    demos_line,
    gain,
    gain_names,
    gains,
    rule_text,
    sections,
    support,
    unused_lines,
    words_line,
)
from pld_dspy.runs.waterfall import (
    STEP_HEADS,
    decision_line,
    knowledge_line,
    reference_line,
    right_line,
    step_rows,
)
from pld_dspy.scoring.metrics import Metric
from pld_dspy.scoring.statistics import interval


def show_report(report: Report, rules: Rules, run_dir: Path, console: Console) -> None:
    """Print the scores before and after, the rules, the files, and what can be done next."""
    console.print(f"[bold]{escape(verdict(report))}[/bold]")
    console.print(_scores(report))
    if len(report.steps) > 1:
        console.print(_steps(report))
    _show_lines(report, console)
    show_rules(rules, console)
    console.print(f"Files in [bold]{escape(str(run_dir))}[/bold]:")
    files = _files(run_dir)
    width = max((len(name) for name, _ in files), default=0)
    for name, what in files:
        console.print(f"  {escape(name):<{width}} {escape(what)}", highlight=False)
    console.print("Next:")
    for command, what in _next(report, run_dir):
        console.print(f"  {escape(command)}   [dim]# {what}[/dim]", highlight=False, soft_wrap=True)


def _show_lines(report: Report, console: Console) -> None:
    """Print what there is to say besides the scores, notes first and warnings last."""
    search = search_line(report)
    notes = (
        knowledge_line(report.steps),
        decision_line(report.decision, report.steps),
        right_line(report.steps),
        reference_line(report.references),
        None if search is None else f"Search: {search}",
        topics_line(report),
    )
    for note in notes:
        if note is not None:
            console.print(escape(note), highlight=False, soft_wrap=True)
    _show_wordings(report, console)
    shared = shared_line(report)
    warnings = (
        *(() if shared is None else (shared,)),
        *(f"clusters: {warning}" for warning in report.warnings),
        *(f"rules: {warning}" for warning in report.rule_warnings),
    )
    for warning in warnings:
        console.print(f"[yellow]{escape(warning)}[/yellow]", highlight=False, soft_wrap=True)


def _steps(report: Report) -> Table:
    heads = ("step", report.metric, *STEP_HEADS)
    table = Table(*heads, title="What brought what", title_justify="left")
    for cells in step_rows(report.steps):
        table.add_row(*map(escape, cells))
    return table


def _show_wordings(report: Report, console: Console) -> None:
    if not report.wordings:
        return
    table = Table(
        "form", "score", "tokens", "", title="Forms of asking, validation", title_justify="left"
    )
    for row in wording_rows(report):
        table.add_row(*(escape(cell) for cell in row))
    console.print(table)
    if (line := asked_line(report)) is not None:
        console.print(f"Student {escape(line)}", highlight=False, soft_wrap=True)


def show_score(
    metric: Metric, evaluation: Evaluation, name: str, console: Console, *, seed: int
) -> None:
    """Print a score with its interval, and how many answers could not be read.

    Args:
        metric: Metric of the evaluation.
        evaluation: Answers and score.
        name: What was scored.
        console: Where to print.
        seed: Of the bootstrap.
    """
    found = interval(metric, evaluation, seed=seed)
    console.print(
        f"{evaluation.metric} on {name}, {len(evaluation.answers)} examples: "
        f"{evaluation.score:.3f} [{found.low:.3f}, {found.high:.3f}]",
        highlight=False,
        markup=False,
        soft_wrap=True,
    )
    console.print(
        f"unreadable answers: {evaluation.unparsed_rate:.1%}, "
        f"crashed examples: {evaluation.failures}"
    )


def show_rules(rules: Rules, console: Console) -> None:
    """Print the final rules in order, with how many training examples of each label support each.

    The gain is how much a rule changes the mean score over the lists that were tried, with its 95%
    interval; `in this list` is the same against this very list without the rule. Both are shown where
    the search measured one, unless the gain in the final list was measured by leaving each rule out.
    The judged rules of other lists follow.
    """
    for predictor, chosen in rules.items():
        lines = [line for line in (words_line(chosen), demos_line(chosen)) if line is not None]
        for line in lines:
            console.print(line, highlight=False, markup=False, soft_wrap=True)
        if chosen["rules"]:
            title = "Rules" if len(rules) == 1 else f"Rules of {escape(predictor)}"
            console.print(_rule_table(chosen, title))
        elif not lines:
            console.print("No rules: the student stays as given.")
        for place, line in enumerate(unused_lines(chosen)):
            console.print(
                f"  {line}" if place else line, highlight=False, markup=False, soft_wrap=True
            )


def _rule_table(chosen: Mapping[str, Any], title: str) -> Table:
    measured = gain_names(chosen["rules"])
    heads = ("no.", "id", "rule", "support", *measured.values())
    table = Table(*heads, title=title, title_justify="left")
    for scope, section in sections(chosen):
        if scope:
            table.add_section()
            table.add_row("", "", f"[bold]{escape(scope)}[/bold]")
        for rule in section:
            told = (str(rule["number"]), rule["id"], rule_text(rule), support(rule))
            gained = (gain(rule, key) for key in measured)
            table.add_row(*map(escape, (*told, *gained)))
    return table


def show_rule(rule: Mapping[str, Any], examples: Mapping[str, str], console: Console) -> None:
    """Print one rule with its ancestors, its traces, and the examples that these explain.

    Args:
        rule: An entry of `rules.json`.
        examples: Text of the training examples by id; those that are missing are not shown.
        console: Where to print.
    """
    console.print(f"[bold]{rule['id']}[/bold] {escape(rule['text'])}", soft_wrap=True)
    topic = (f"only for {rule['scope']}",) if rule.get("scope") else ()
    facts = (f"origin {rule['origin']}", f"support {support(rule)}", *topic, *gains(rule))
    console.print(escape(", ".join(facts)), soft_wrap=True)
    for old in rule["ancestors"]:
        console.print(f"from {old['id']}: {escape(old['text'])}", soft_wrap=True)
    for trace in rule["traces"]:
        source = f", source {trace['source_id']}" if trace["source_id"] else ""
        head = f"{trace['id']} ({trace['label']}, example {trace['example_id']}{source})"
        console.print(f"\n[bold]{escape(head)}[/bold]", soft_wrap=True)
        for line in (examples.get(trace["example_id"], ""), trace["rationale"], trace["rule"]):
            if line:
                console.print(escape(line), soft_wrap=True)


def show_plan(planned: Plan, console: Console) -> None:
    """Print the calls, tokens, money and downloads that a run would take."""
    sizes = ", ".join(f"{split} {size}" for split, size in planned.sizes.items())
    console.print(f"{escape(planned.task)}: {sizes}", soft_wrap=True)
    console.print(f"[dim]{escape(planned.task_notes)}[/dim]", soft_wrap=True)
    table = Table("role", "stage", "calls", "input tokens", "output tokens")
    for stage in planned.stages:
        # What is turned off needs no row; explanations that are recorded do, for it says so.
        if stage.calls == 0 and not stage.exact:
            continue
        calls = f"{stage.calls:,}" if stage.exact else f"up to {stage.calls:,}"
        tokens = f"{stage.input_tokens:,}", f"{stage.output_tokens:,}"
        table.add_row(stage.role, stage.name, calls, *tokens)
    console.print(table)
    console.print(
        "Tokens are estimates: characters / 4 of the examples, and typical lengths of rules. What a "
        "run folder already holds is not asked for again.",
    )
    hosted = [m for m in planned.models.values() if not m.startswith("local/")]
    if hosted:
        cost = planned.cost_usd
        known = "not known" if cost is None else f"up to about ${cost:.2f}"
        console.print(f"Price of the calls: {known}")
    for model, size in planned.downloads.items():
        console.print(f"To download: {escape(model)}, {size / 1e6:,.0f} MB")


def _scores(report: Report) -> Table:
    table = Table(
        "", "as given", "compiled", title=f"{escape(report.task)}, test", title_justify="left"
    )
    for row in score_rows(report):
        table.add_row(*(escape(cell) for cell in row))
    return table


def _files(run_dir: Path) -> list[tuple[str, str]]:
    known = {
        "prompt.txt": "the student's instructions, verbatim",
        "rules.json": "each rule with the examples behind it",
        "program.json": "the DSPy program, for `program.load`",
        "report.json": "all the numbers",
        PAGE_FILE: "this report as a page",
        **pictures_in(run_dir),
    }
    return [(name, what) for name, what in known.items() if (run_dir / name).exists()]


def _next(report: Report, run_dir: Path) -> list[tuple[str, str]]:
    commands = [
        (f"pld show {run_dir} --rule ID", "the evidence of a rule"),
        (f"pld evaluate {run_dir} --file table.csv", "score the program on data of your own"),
    ]
    if report.kept_as_given:
        return [("pld distill CONFIG teacher.model=...", "try a stronger teacher")]
    if (run_dir / "mlflow_run.json").exists():
        commands.append((f"pld ui {run_dir}", "look at the run in MLflow"))
    return commands
