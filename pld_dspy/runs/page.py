"""Text of a finished run: its verdict, the rows of its tables, and the Markdown page."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from pld_dspy.runs.artifacts import write_text
from pld_dspy.runs.report import Report
from pld_dspy.runs.rules.lines import (
    demos_line,
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
    signed,
    step_rows,
    with_interval,
)

PAGE_FILE = "report.md"
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
    """Return the result in one sentence, with its uncertainty.

    Rules are credited with what they add to the student asked as well without them.
    """
    whole = f"{signed(report.delta, report.delta_ci95, _metric(report))}"
    on = f"on {report.test_n} test examples"
    if report.kept_as_given and report.asked_best is None:
        stays = f"No rule list beat the student, so it stays as it was given ({report.reason})"
        return (
            f"{stays}. Its labels are calibrated: {whole} {on}." if report.decision else f"{stays}."
        )
    step = report.rules_step
    if step is None or step.change is None or step.change_ci95 is None or len(report.steps) < 3:
        return _said(changed(report), whole, report.delta_ci95, on)
    own = signed(step.change, step.change_ci95, _metric(report))
    return f"{_said('rules', own, step.change_ci95, on)} In all {whole} from the student as given."


def _said(what: str, change: str, ends: tuple[float, float], on: str) -> str:
    if ends[0] > 0:
        return f"The {what} help: {change} {on}."
    if ends[1] < 0:
        return f"The {what} hurt: {change} {on}."
    return f"No clear difference by the {what}: {change} {on}; the interval holds 0."


def changed(report: Report) -> str:
    """Return what differs from the student as given: its wording, words, rules, worked examples."""
    parts = {
        "wording": report.asked_best is not None,
        "words for the labels": report.words,
        "rules": report.rules,
        "worked examples": report.demos,
    }
    names = [name for name, there in parts.items() if there]
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)


def asked_line(report: Report) -> str | None:
    """Return the test score of the student as asked best; None if that is the student as given."""
    best = report.asked_best
    if best is None:
        return None
    score = with_interval(best.score, best.ci95)
    return (
        f"without rules, asked best ({report.form}): {score} {_metric(report)} on test, "
        f"{best.prompt_tokens:.0f} input tokens per call"
    )


def wording_rows(report: Report) -> Sequence[tuple[str, str, str, str]]:
    """Return the rows of the forms that were compared: form, score on validation, tokens, `chosen`."""
    return [
        (
            one.form,
            "unreadable" if one.score is None else f"{one.score:.3f}",
            f"{one.prompt_tokens:.0f}",
            "chosen" if one.chosen else "",
        )
        for one in report.wordings
    ]


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


def shared_line(report: Report) -> str | None:
    """Return the labels with too few groups to keep all sides apart; None if there are none."""
    shared = report.split.get("shared")
    if not shared:
        return None
    named = ", ".join(f"{label} ({count})" for label, count in shared.items())
    return f"Too few groups of {named}: for these labels only test has groups of its own"


def score_rows(report: Report) -> Sequence[tuple[str, str, str]]:
    """Return the rows of the table of scores: name, student as given, compiled program."""
    rows = [
        (
            f"{_metric(report)}, 95% interval",
            with_interval(report.baseline, report.baseline_ci95),
            with_interval(report.compiled, report.compiled_ci95),
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


def topics_line(report: Report) -> str | None:
    """Return how many topics have rules of their own, and how many test examples none; or None."""
    if report.topics is None:
        return None
    unseen = f"{report.unseen_topics} of {report.test_n} test examples"
    return (
        f"{report.topics} topics have rules of their own; {unseen} have a topic that training lacks"
    )


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
    yield from _steps(report)
    if (line := search_line(report)) is not None:
        yield f"Search: {line}.\n"
    yield from _wordings(report)
    yield from (f"Note: {warning}\n" for warning in report.rule_warnings)
    if (line := topics_line(report)) is not None:
        yield f"{line}.\n"
    for predictor, chosen in rules.items():
        yield "## Rules" if len(rules) == 1 else f"## Rules of {predictor}"
        yield ""
        lines = [line for line in (words_line(chosen), demos_line(chosen)) if line is not None]
        yield from (f"{line}\n" for line in lines)
        yield from _rule_lines(chosen)
        if not chosen["rules"]:
            yield "No rules in addition." if lines else "None: the student stays as given."
        for place, line in enumerate(unused_lines(chosen)):
            yield f"- {line}" if place else f"\n{line}\n"
    yield ""
    for name, what in pictures_in(folder).items():
        yield f"![{what}]({name})\n"
    teacher = f"{report.teacher_calls} calls, {report.teacher_output_tokens} output tokens"
    yield f"Teacher `{report.teacher}` ({report.traces} traces): {teacher}. "
    if report.wording_calls:
        yield f"Student calls to compare forms of asking: {report.wording_calls}. "
    yield f"Student calls: {report.student_calls} to compile, {report.test_calls} to test. "
    yield f"{report.wall_s:.0f} s; seed {report.seed}; commit {report.commit or 'unknown'}."
    yield f"\nData: {report.task_notes}. Splits by {report.split['by']}: {report.split['sizes']}."
    if (line := shared_line(report)) is not None:
        yield f"{line}."


def _steps(report: Report) -> Iterator[str]:
    if len(report.steps) > 1:
        yield "## What brought what\n"
        yield f"| step | {_metric(report)}, 95% interval | {' | '.join(STEP_HEADS)} |"
        yield f"| --- | --- |{' --- |' * len(STEP_HEADS)}"
        for cells in step_rows(report.steps):
            yield f"| {' | '.join(_cell(cell) for cell in cells)} |"
        yield ""
    for line in (
        knowledge_line(report.steps),
        decision_line(report.decision, report.steps),
        right_line(report.steps),
        reference_line(report.references),
    ):
        if line is not None:
            yield f"{_cell(line)}\n"


def _wordings(report: Report) -> Iterator[str]:
    if not report.wordings:
        return
    yield f"## Forms of asking\n\n| form | {_metric(report)} on validation | input tokens per call | |"
    yield "| --- | --- | --- | --- |"
    for row in wording_rows(report):
        yield f"| {' | '.join(_cell(cell) for cell in row)} |"
    if (line := asked_line(report)) is not None:
        yield f"\n{line[:1].upper()}{line[1:]}."
    yield ""


def _rule_lines(chosen: Mapping[str, Any]) -> Iterator[str]:
    for heading, rules in sections(chosen):
        if heading:
            yield f"\n### {heading}\n"
        for rule in rules:
            facts = "; ".join((f"`{rule['id']}`", support(rule), *gains(rule)))
            yield f"{rule['number']}. {rule_text(rule)} ({facts})"


def _metric(report: Report) -> str:
    return _METRICS.get(report.metric, report.metric)


def _cell(text: str) -> str:
    return text.replace("|", "\\|")
