"""Text of a finished run: its verdict, the rows of its tables, and the Markdown page."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from pld_dspy.runs.artifacts import write_text
from pld_dspy.runs.report import Report
from pld_dspy.runs.topics import sections

PAGE_FILE = "report.md"
GAINS = {"gain": "gain", "list_gain": "in this list"}
"""What a rule is worth, by its key in `rules.json`: over all lists, and in the chosen one."""
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

Rules = Mapping[str, Mapping[str, Any]]
"""The content of `rules.json`: by predictor, the list with its evidence."""


def verdict(report: Report) -> str:
    """Return the result in one sentence, with its uncertainty."""
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
    """Return the optimism of the search and the calls it took; None without a search."""
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


def score_rows(report: Report) -> Sequence[tuple[str, str, str]]:
    """Return the rows of the table of scores: name, student as given, compiled program."""
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
    for name, (before, after) in others.items():
        if name != report.metric:
            rows.append((_METRICS[name], f"{before:.3f}", f"{after:.3f}"))
    low, high = report.delta_ci95
    unread = report.unparsed_rate_baseline, report.unparsed_rate_compiled
    tokens = report.prompt_tokens_baseline, report.prompt_tokens
    return [
        *rows,
        ("difference", "", f"{report.delta:+.3f} [{low:+.3f}, {high:+.3f}]"),
        ("unreadable answers", f"{unread[0]:.1%}", f"{unread[1]:.1%}"),
        ("crashed examples", str(report.failures_baseline), str(report.failures)),
        ("input tokens per call", f"{tokens[0]:.0f}", f"{tokens[1]:.0f}"),
    ]


def demos_line(chosen: Mapping[str, Any]) -> str | None:
    """Return which worked examples the prompt shows; None if it shows none."""
    demos = chosen.get("demos") or []
    if not demos:
        return None
    counts = Counter(demo["label"] for demo in demos)
    labels = ", ".join(f"{label} {count}" for label, count in sorted(counts.items()))
    return f"{len(demos)} worked examples before the question: {labels} (rules.json has their ids)"


def topics_line(report: Report) -> str | None:
    """Return how many topics have rules of their own, and how many test examples none; or None."""
    if report.topics is None:
        return None
    unseen = f"{report.unseen_topics} of {report.test_n} test examples"
    return (
        f"{report.topics} topics have rules of their own; {unseen} have a topic that training lacks"
    )


def support(rule: Mapping[str, Any]) -> str:
    """Return how many training examples of each label support an entry of `rules.json`."""
    if not rule["trace_ids"]:
        return "given"
    return ", ".join(f"{label} {count}" for label, count in rule["labels"].items())


def gain(rule: Mapping[str, Any], key: str) -> str:
    """Return a measured gain with its interval; empty where none was measured."""
    if not rule.get(key):
        return ""
    estimate, low, high = rule[key]
    return f"{estimate:+.2f} [{low:+.2f}, {high:+.2f}]"


def gains(rule: Mapping[str, Any]) -> list[str]:
    """Return the measured gains of a rule, each with its name."""
    return [f"{name} {gain(rule, key)}" for key, name in GAINS.items() if rule.get(key)]


def pictures_in(folder: Path) -> dict[str, str]:
    """Return the pictures by file name, with what they show; each predictor of several has its own."""
    found = {}
    for stem in _PICTURES:
        what = stem.replace("_", " ")
        if (folder / f"{stem}.png").exists():
            found[f"{stem}.png"] = what
        for path in sorted(folder.glob(f"{stem}-*.png")):
            found[path.name] = f"{what} of {path.stem.removeprefix(f'{stem}-')}"
    return found


def write_markdown(report: Report, rules: Rules, path: Path) -> None:
    """Write the report as a page; its pictures are in the same folder.

    Raises:
        StorageError: It cannot be written.
    """
    write_text(path, "\n".join(_page(report, rules, path.parent)) + "\n")


def _page(report: Report, rules: Rules, folder: Path) -> Iterator[str]:
    yield f"# {report.task}: {report.student}\n"
    yield f"{verdict(report)}\n"
    yield "| | as given | compiled |\n| --- | --- | --- |"
    for row in score_rows(report):
        yield f"| {' | '.join(_cell(cell) for cell in row)} |"
    yield f"\nIntervals: 95%, paired bootstrap over examples. McNemar p = {report.mcnemar_p:.3g}."
    yield f"\n{report.reason}\n"
    if (line := search_line(report)) is not None:
        yield f"Search: {line}.\n"
    if (line := topics_line(report)) is not None:
        yield f"{line}.\n"
    for predictor, chosen in rules.items():
        yield "## Rules" if len(rules) == 1 else f"## Rules of {predictor}"
        yield ""
        yield from _rule_lines(chosen)
        if (demos := demos_line(chosen)) is not None:
            yield f"\n{demos}"
        elif not chosen["rules"]:
            yield "None: the student stays as given."
    yield ""
    for name, what in pictures_in(folder).items():
        yield f"![{what}]({name})\n"
    teacher = f"{report.teacher_calls} calls, {report.teacher_output_tokens} output tokens"
    yield f"Teacher `{report.teacher}` ({report.traces} traces): {teacher}. "
    yield f"Student calls: {report.student_calls} to compile, {report.test_calls} to test. "
    yield f"{report.wall_s:.0f} s; seed {report.seed}; commit {report.commit or 'unknown'}."
    yield f"\nData: {report.task_notes}. Splits by {report.split['by']}: {report.split['sizes']}."


def _rule_lines(chosen: Mapping[str, Any]) -> Iterator[str]:
    for heading, rules in sections(chosen):
        if heading:
            yield f"\n### {heading}\n"
        for rule in rules:
            facts = "; ".join((f"`{rule['id']}`", support(rule), *gains(rule)))
            yield f"{rule['number']}. {rule['text']} ({facts})"


def _with_interval(score: float, ends: tuple[float, float]) -> str:
    return f"{score:.3f} [{ends[0]:.3f}, {ends[1]:.3f}]"


def _metric(report: Report) -> str:
    return _METRICS.get(report.metric, report.metric)


def _cell(text: str) -> str:
    return text.replace("|", "\\|")
