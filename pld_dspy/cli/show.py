"""A finished run for people to read: on the terminal, and as a Markdown page."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from pld_dspy.runs.estimate import Plan
from pld_dspy.runs.report import Report

__all__ = [
    "search_line",
    "show_plan",
    "show_report",
    "show_rule",
    "show_rules",
    "verdict",
    "write_markdown",
]

_METRICS = {"macro_f1": "macro-F1", "accuracy": "accuracy", "mcc": "MCC"}
_PICTURES = (
    "before_after",
    "confusion",
    "candidates",
    "front",
    "gains",
    "search_history",
    "search_importances",
    "clusters",
)

_GAINS = {"gain": "gain", "list_gain": "in this list"}
"""What a rule is worth, by its key in `rules.json`: over all lists, and in the chosen one."""

Rules = Mapping[str, Mapping[str, Any]]
"""The content of `rules.json`: by predictor, the list with its evidence."""


def verdict(report: Report) -> str:
    """Return one sentence: what the run found, with its uncertainty."""
    if report.kept_as_given:
        return f"No rule list beat the student, so it stays as it was given ({report.reason})."
    parts = {"rules": report.rules, "worked examples": report.demos}
    what = " and ".join(name for name, count in parts.items() if count)
    low, high = report.delta_ci95
    change = f"{report.delta:+.3f} {_metric(report)} [{low:+.3f}, {high:+.3f}]"
    if low > 0:
        return f"The {what} help: {change} on {report.test_n} test examples."
    if high < 0:
        return f"The {what} hurt: {change} on {report.test_n} test examples."
    return f"No clear difference: {change} on {report.test_n} test examples; the interval holds 0."


def search_line(report: Report) -> str | None:
    """Return how far the search's score was luck, and what the search took; None without one."""
    if report.search_trials is None:
        return None
    found = (
        f"{report.search_trials} lists tried with {report.search_calls} of "
        f"{report.search_full_calls} calls"
    )
    if report.kept_as_given or report.search_score is None:
        return found
    score = f"validation {report.search_score:.2f}"
    if report.select_score is not None:
        score += f", selection {report.select_score:.2f} (optimism {report.optimism:+.2f})"
    return f"{score}; {found}"


def show_report(report: Report, rules: Rules, run_dir: Path, console: Console) -> None:
    """Print the scores before and after, the rules, the files, and what can be done next."""
    console.print(f"[bold]{escape(verdict(report))}[/bold]")
    console.print(_scores(report))
    if (line := search_line(report)) is not None:
        console.print(f"Search: {line}", highlight=False, soft_wrap=True)
    for warning in report.warnings:
        console.print(f"[yellow]clusters: {escape(warning)}[/yellow]", soft_wrap=True)
    show_rules(rules, console)
    console.print(f"Files in [bold]{escape(str(run_dir))}[/bold]:")
    files = _files(run_dir)
    width = max((len(name) for name, _ in files), default=0)
    for name, what in files:
        console.print(f"  {escape(name):<{width}} {escape(what)}", highlight=False)
    console.print("Next:")
    for command, what in _next(report, run_dir):
        console.print(f"  {escape(command)}   [dim]# {what}[/dim]", highlight=False, soft_wrap=True)


def show_rules(rules: Rules, console: Console) -> None:
    """Print the final rules in order, with how many training examples of each label support each.

    The gain is how much a rule changes the mean score over the lists that were tried, with its 95%
    interval; `in this list` is the same against this very list without the rule. Both stand where the
    search measured one.
    """
    for predictor, chosen in rules.items():
        if (demos := _demos_line(chosen)) is not None:
            console.print(demos, highlight=False, soft_wrap=True)
        if not chosen["rules"]:
            if demos is None:
                console.print("No rules: the student stays as given.")
            continue
        title = "Rules" if len(rules) == 1 else f"Rules of {escape(predictor)}"
        measured = [key for key in _GAINS if any(rule.get(key) for rule in chosen["rules"])]
        heads = ("no.", "id", "rule", "support", *(_GAINS[key] for key in measured))
        table = Table(*heads, title=title, title_justify="left")
        for rule in chosen["rules"]:
            cells = str(rule["number"]), rule["id"], escape(rule["text"]), escape(_support(rule))
            table.add_row(*cells, *(escape(_gain(rule, key)) for key in measured))
        console.print(table)


def show_rule(rule: Mapping[str, Any], examples: Mapping[str, str], console: Console) -> None:
    """Print one rule with its ancestors, its traces, and the examples that these explain.

    Args:
        rule: An entry of `rules.json`.
        examples: Text of the training examples by id; those that are missing are not shown.
        console: Where to print.
    """
    console.print(f"[bold]{rule['id']}[/bold] {escape(rule['text'])}", soft_wrap=True)
    facts = (f"origin {rule['origin']}", f"support {_support(rule)}", *_gains(rule))
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


def _demos_line(chosen: Mapping[str, Any]) -> str | None:
    """Return which worked examples the prompt shows; None if it shows none."""
    demos = chosen.get("demos") or []
    if not demos:
        return None
    counts = Counter(demo["label"] for demo in demos)
    labels = ", ".join(f"{label} {count}" for label, count in sorted(counts.items()))
    return f"{len(demos)} worked examples before the question: {labels} (rules.json has their ids)"


def write_markdown(report: Report, rules: Rules, path: Path) -> None:
    """Write the report as a page; its pictures lie in the same folder."""
    path.write_text("\n".join(_page(report, rules, path.parent)) + "\n", encoding="utf-8")


def _page(report: Report, rules: Rules, folder: Path) -> Iterator[str]:
    yield f"# {report.task}: {report.student}\n"
    yield f"{verdict(report)}\n"
    yield "| | as given | compiled |\n| --- | --- | --- |"
    for row in _rows(report):
        yield f"| {' | '.join(_cell(cell) for cell in row)} |"
    yield f"\nIntervals: 95%, paired bootstrap over examples. McNemar p = {report.mcnemar_p:.3g}."
    yield f"\n{report.reason}\n"
    if (line := search_line(report)) is not None:
        yield f"Search: {line}.\n"
    for predictor, chosen in rules.items():
        yield "## Rules" if len(rules) == 1 else f"## Rules of {predictor}"
        yield ""
        for rule in chosen["rules"]:
            facts = "; ".join((f"`{rule['id']}`", _support(rule), *_gains(rule)))
            yield f"{rule['number']}. {rule['text']} ({facts})"
        if (demos := _demos_line(chosen)) is not None:
            yield f"\n{demos}"
        elif not chosen["rules"]:
            yield "None: the student stays as given."
    yield ""
    for name, what in _pictures(folder).items():
        yield f"![{what}]({name})\n"
    teacher = f"{report.teacher_calls} calls, {report.teacher_output_tokens} output tokens"
    yield f"Teacher `{report.teacher}` ({report.traces} traces): {teacher}. "
    yield f"Student calls: {report.student_calls} to compile, {report.test_calls} to test. "
    yield f"{report.wall_s:.0f} s; seed {report.seed}; commit {report.commit or 'unknown'}."
    yield f"\nData: {report.task_notes}. Splits by {report.split['by']}: {report.split['sizes']}."


def _scores(report: Report) -> Table:
    table = Table(
        "", "as given", "compiled", title=f"{escape(report.task)}, test", title_justify="left"
    )
    for row in _rows(report):
        table.add_row(*(escape(cell) for cell in row))
    return table


def _rows(report: Report) -> Sequence[tuple[str, str, str]]:
    rows = [
        (
            f"{_metric(report)}, 95% interval",
            _with_interval(report.baseline, report.baseline_ci95),
            _with_interval(report.compiled, report.compiled_ci95),
        )
    ]
    others = {
        "macro_f1": (report.baseline_macro_f1, report.compiled_macro_f1),
        "accuracy": (report.baseline_accuracy, report.compiled_accuracy),
    }
    for name, pair in others.items():
        if name != report.metric:
            rows.append((_METRICS[name], *(f"{value:.3f}" for value in pair)))  # type: ignore[arg-type]
    low, high = report.delta_ci95
    unread = report.unparsed_rate_baseline, report.unparsed_rate_compiled
    return [
        *rows,
        ("difference", "", f"{report.delta:+.3f} [{low:+.3f}, {high:+.3f}]"),
        ("unreadable answers", f"{unread[0]:.1%}", f"{unread[1]:.1%}"),
        ("crashed examples", str(report.failures_baseline), str(report.failures)),
        (
            "input tokens a call",
            f"{report.prompt_tokens_baseline:.0f}",
            f"{report.prompt_tokens:.0f}",
        ),
    ]


def _with_interval(score: float, ends: tuple[float, float]) -> str:
    return f"{score:.3f} [{ends[0]:.3f}, {ends[1]:.3f}]"


def _metric(report: Report) -> str:
    return _METRICS.get(report.metric, report.metric)


def _support(rule: Mapping[str, Any]) -> str:
    return ", ".join(f"{label} {count}" for label, count in rule["labels"].items())


def _gain(rule: Mapping[str, Any], key: str) -> str:
    """Return a measured gain with its interval, or nothing; old files have none."""
    if not rule.get(key):
        return ""
    estimate, low, high = rule[key]
    return f"{estimate:+.2f} [{low:+.2f}, {high:+.2f}]"


def _gains(rule: Mapping[str, Any]) -> list[str]:
    return [f"{name} {_gain(rule, key)}" for key, name in _GAINS.items() if rule.get(key)]


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def _files(run_dir: Path) -> list[tuple[str, str]]:
    known = {
        "prompt.txt": "the student's instructions, verbatim",
        "rules.json": "each rule with the examples behind it",
        "program.json": "the DSPy program, for `program.load`",
        "report.json": "all the numbers",
        "report.md": "this report as a page",
        **_pictures(run_dir),
    }
    return [(name, what) for name, what in known.items() if (run_dir / name).exists()]


def _pictures(folder: Path) -> dict[str, str]:
    """Return the pictures by file name, and what they show; several predictors have one of a kind each."""
    found = {}
    for stem in _PICTURES:
        what = stem.replace("_", " ")
        if (folder / f"{stem}.png").exists():
            found[f"{stem}.png"] = what
        for path in sorted(folder.glob(f"{stem}-*.png")):
            found[path.name] = f"{what} of {path.stem.removeprefix(f'{stem}-')}"
    return found


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
