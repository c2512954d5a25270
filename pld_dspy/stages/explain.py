"""Phase 1: explanations of labelled examples by the teacher, or from a file."""

import logging
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import dspy

from pld_dspy.data.examples import example_id
from pld_dspy.data.files import parse_jsonl, read_text
from pld_dspy.errors import DataError, NoTracesError
from pld_dspy.ledger.store import Record
from pld_dspy.models.lm import model_name
from pld_dspy.models.reading.values import label_text
from pld_dspy.models.teacher import Explain, Reply, Request, Teacher
from pld_dspy.records import Trace
from pld_dspy.stages.common.problem import Target
from pld_dspy.stages.common.prompt import render_example
from pld_dspy.stages.common.rule_text import contradicts, make_trace, names_no_label, tidy_rule
from pld_dspy.stages.common.targets import in_turn

logger = logging.getLogger(__name__)

STAGE = "traces"


class Traces(NamedTuple):
    """Traces, and counts of what was dropped."""

    traces: tuple[Trace, ...]
    dropped: Counter[str]
    """Number of answers or records without a usable trace, by reason."""


def collect_traces(
    given: Path | str | Sequence[Path | str] | Sequence[Trace] | None,
    teacher: Teacher,
    target: Target,
    train: Sequence[dspy.Example],
    *,
    explain: int | None,
    draws: int,
) -> Traces:
    """Return the traces of the training examples, recorded ones or the teacher's.

    Args:
        given: Traces, or one or several JSONL files of them; None asks the teacher.
        teacher: Explains the examples.
        target: The predictor.
        train: The training examples; traces of other examples are dropped and counted.
        explain: Maximum examples to explain, balanced by label; None means all.
        draws: Explanations per example.

    Raises:
        DataError: A file cannot be read.
        NoTracesError: No trace can be used.
        ModelError: The teacher cannot be reached.
    """
    if given is None:
        return extract_traces(
            teacher,
            in_turn(train, target.label_key, explain),
            signature=target.signature,
            label_key=target.label_key,
            labels=target.labels,
            draws=draws,
        )
    listed = [given] if isinstance(given, Path | str) else list(given)
    files = [Path(file) for file in listed if isinstance(file, Path | str)]
    if files and len(files) == len(listed):
        return import_traces(files, train, label_key=target.label_key)
    traces = [trace for trace in listed if isinstance(trace, Trace)]
    known = {example_id(example) for example in train}
    kept = tuple(trace for trace in traces if trace.example_id in known)
    if not kept:
        msg = f"none of the {len(traces)} traces is about one of the {len(known)} training examples; check the ids"
        raise NoTracesError(msg)
    lost = Counter({"recorded traces of examples that are not in train": len(traces) - len(kept)})
    return Traces(kept, +lost)


def extract_traces(
    teacher: Teacher,
    examples: Sequence[dspy.Example],
    *,
    signature: type[dspy.Signature],
    label_key: str,
    labels: Sequence[str],
    draws: int = 1,
) -> Traces:
    """Return one trace for each example and draw (PLD phase 1: rationale, kinds and rule in one call).

    The paper keeps every rule. Here a rule with another answer than the gold label, or with one that is
    not a label, is dropped and counted, because weak teachers write such rules.

    Raises:
        NoTracesError: No answer could be used.
        ModelError: The teacher cannot be reached.
    """
    jobs = [(example, draw) for draw in range(draws) for example in examples]
    requests = [
        Request(
            module=Explain(teacher.prompts.explain),
            inputs={
                "task": signature.instructions,
                "possible_answers": ", ".join(labels),
                "example": render_example(signature, example),
                "correct_answer": label_text(example[label_key]),
            },
            draw=draw,
            name=f"example {example_id(example)}",
        )
        for example, draw in jobs
    ]
    traces: list[Trace] = []
    dropped: Counter[str] = Counter()
    for (example, draw), reply in zip(jobs, teacher.replies(STAGE, requests), strict=True):
        gold = label_text(example[label_key])
        problem = _problem(reply, gold, labels)
        if problem is not None or reply.output is None:
            dropped[str(problem)] += 1
            continue
        source = model_name(teacher.lm)
        traces.append(_trace(example_id(example), gold, reply.output, draw, source))
    if not traces:
        raise NoTracesError(_none_usable(model_name(teacher.lm), len(jobs), dropped))
    return Traces(tuple(traces), dropped)


def _trace(example: str, gold: str, output: Record, draw: int, source: str) -> Trace:
    return make_trace(
        example,
        gold,
        output["rationale"],
        tidy_rule(output["rule"]),
        kinds=output.get("kinds", ""),
        draw=draw,
        source=source,
    )


def _none_usable(teacher: str, requests: int, dropped: Counter[str]) -> str:
    reasons = ", ".join(f"{count} {reason}" for reason, count in dropped.items())
    return f"the teacher {teacher} gave no usable trace for {requests} requests ({reasons}); try a stronger teacher, or import traces"


def _problem(reply: Reply, gold: str, labels: Sequence[str]) -> str | None:
    """Return why the reply cannot be used; None if it can."""
    rule = tidy_rule(reply.output["rule"]) if reply.output else ""
    if reply.error is not None:
        return "requests that the teacher's endpoint refused"
    if not rule:
        return "teacher answers that could not be read"
    if contradicts(rule, gold, labels):
        return "rules that name another answer than the gold label"
    if names_no_label(rule, labels):
        return "rules that name an answer outside of the labels"
    return None


def import_traces(
    paths: Path | Sequence[Path], examples: Sequence[dspy.Example], *, label_key: str
) -> Traces:
    """Return the traces recorded for `examples` in one or several JSONL files, in their order.

    A line has `id` (the example's content id, or its id in the data set), `rule`, and optionally
    `rationale`, `draw` and `doubt`. Lines about other examples, lines in doubt (`"doubt": true`) and
    lines that repeat another are dropped and counted.

    Raises:
        DataError: The file cannot be read, or a line is malformed; the message has its number.
        NoTracesError: No line is about any of the examples.
    """
    by_id: dict[str, dspy.Example] = {}
    for example in examples:
        by_id[example_id(example)] = example
        if example.get("pld_source"):
            by_id[str(example["pld_source"])] = example
    traces: dict[str, Trace] = {}
    dropped: Counter[str] = Counter()
    files = [paths] if isinstance(paths, Path) else paths
    for path, record in ((file, record) for file in files for record in _records(file)):
        if record.get("doubt"):
            dropped["recorded traces in doubt"] += 1
            continue
        example = by_id.get(str(record["id"]))
        if example is None:
            dropped["recorded traces of examples that are not in train"] += 1
            continue
        trace = make_trace(
            example_id(example),
            label_text(example[label_key]),
            str(record.get("rationale") or ""),
            tidy_rule(record["rule"]),
            draw=record.get("draw", 0),
            source=path.name,
        )
        dropped["recorded traces that repeat another"] += trace.id in traces
        traces[trace.id] = trace
    if not traces:
        named = ", ".join(map(str, files))
        msg = f"no trace in {named} is about one of the {len(examples)} training examples; check the ids"
        raise NoTracesError(msg)
    return Traces(tuple(traces.values()), +dropped)


def trace_ids(paths: Iterable[Path]) -> Iterator[str]:
    """Yield the ids of the examples of which the files have a trace that is not in doubt.

    Raises:
        DataError: A file cannot be read.
    """
    for path in paths:
        text, _ = read_text(path)
        for _, record in parse_jsonl(text, str(path)):
            if "id" in record and record.get("doubt") is not True:
                yield str(record["id"])


def _records(path: Path) -> Iterator[dict[str, Any]]:
    text, _ = read_text(path)
    for number, record in parse_jsonl(text, str(path)):
        place = f"line {number} of {path}"
        if not {"id", "rule"} <= record.keys():
            msg = f"{place} has no `id` and `rule`; correct or remove it"
            raise DataError(msg)
        if not isinstance(record["rule"], str) or not tidy_rule(record["rule"]):
            msg = f"{place} has the rule {record['rule']!r}; write a sentence"
            raise DataError(msg)
        if not isinstance(record.get("draw", 0), int):
            msg = f"{place} has the draw {record['draw']!r}; write an integer"
            raise DataError(msg)
        if not isinstance(record.get("doubt", False), bool):
            msg = f"{place} has the doubt {record['doubt']!r}; write true or false"
            raise DataError(msg)
        yield record
