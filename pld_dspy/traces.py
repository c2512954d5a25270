"""Phase 1: one explanation and one rule for each labelled example, or recorded ones from a file."""

import hashlib
import json
import logging
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from difflib import SequenceMatcher
from pathlib import Path
from typing import Any, NamedTuple

import dspy

from pld_dspy.adapter import read_label
from pld_dspy.errors import DataError, NoTracesError
from pld_dspy.examples import example_id
from pld_dspy.models import model_name
from pld_dspy.programs import Explain
from pld_dspy.render import render_example
from pld_dspy.teacher import Request, Teacher
from pld_dspy.types import Trace

logger = logging.getLogger(__name__)

STAGE = "traces"

_STATED = re.compile(
    r"(?:^|[,;:]\s*|\b(?:then|always)\s+)"
    r"(?:(?:answer|choose|select|label)(?:\s+it)?(?:\s+(?:with|as))?"
    r"|(?:the\s+)?(?:correct\s+|right\s+)?(?:answer|label)\s+(?:is|should\s+be|must\s+be))"
    r"(?:\s*:)?\s+(?P<said>[^,.;:!?]+)",
    re.IGNORECASE,
)
"""`If ..., answer <said>`, and the like."""
_QUOTES = "\"'`*\u201c\u201d\u2018\u2019"
_PLAIN_WORDS = 3
_ALIKE = 0.6
"""From this similarity of letters on, a word may be another form of a label (entailed, entailment)."""
_SHORT = 2
_PROSE = re.compile(
    r"""\b(?: a | according | all | an | and | any | appropriate | as | based | best | by | correct
    | depending | either | first | for | from | he | her | his | how | i | if | in | its? | last | more
    | most | neither | none? | not | of | on | one | only | option | or | other | question | right | same
    | she | that | the | them | their | they | this | to | what | whatever | when | whichever | who | with
    | words? | you | your | \w+ly | \w+ing )\b""",
    re.IGNORECASE | re.VERBOSE,
)
"""Words that a description of an answer has and an answer hardly ever."""


class Traces(NamedTuple):
    """Traces, and what did not become one."""

    traces: tuple[Trace, ...]
    dropped: Counter[str]
    """Number of examples (or draws) without a usable trace, by reason."""


def extract_traces(
    teacher: Teacher,
    examples: Sequence[dspy.Example],
    *,
    signature: type[dspy.Signature],
    label_key: str,
    labels: Sequence[str],
    draws: int = 1,
) -> Traces:
    """Return one trace for each example and draw (PLD phase 1: rationale and rule in one call).

    The paper keeps every rule; here one that says another answer than the gold label, or one that is
    no label, is dropped and counted, because weak teachers write some.

    Raises:
        NoTracesError: Not one answer could be used.
        ModelError: The teacher cannot be reached.
    """
    jobs = [(example, draw) for draw in range(draws) for example in examples]
    requests = [
        Request(
            module=Explain(),
            inputs={
                "task": signature.instructions,
                "possible_answers": ", ".join(labels),
                "example": render_example(signature, example),
                "correct_answer": str(example[label_key]),
            },
            draw=draw,
        )
        for example, draw in jobs
    ]
    outputs = teacher.ask(STAGE, requests)
    traces: list[Trace] = []
    dropped: Counter[str] = Counter()
    for (example, draw), output in zip(jobs, outputs, strict=True):
        gold = str(example[label_key])
        rule = tidy_rule(output["rule"]) if output else ""
        if not output or not rule:
            dropped["teacher answers that could not be read"] += 1
            continue
        if contradicts(rule, gold, labels):
            dropped["rules that name another answer than the gold label"] += 1
            continue
        if names_no_label(rule, labels):
            dropped["rules that name an answer outside of the labels"] += 1
            continue
        traces.append(
            make_trace(
                example_id(example),
                gold,
                output["rationale"],
                rule,
                draw=draw,
                source=model_name(teacher.lm),
            )
        )
    if not traces:
        reasons = ", ".join(f"{count} {reason}" for reason, count in dropped.items())
        msg = f"the teacher {model_name(teacher.lm)} gave no usable trace for {len(jobs)} requests ({reasons}); try a stronger teacher, or import traces"
        raise NoTracesError(msg)
    return Traces(tuple(traces), dropped)


def import_traces(path: Path, examples: Sequence[dspy.Example], *, label_key: str) -> Traces:
    """Return the traces recorded in a JSONL file for `examples`.

    A line has `id` (the example's content id, or its id in the data set), `rule`, and optionally
    `rationale` and `draw`. Lines about other examples are counted, not used.

    Raises:
        DataError: The file cannot be read, or a line is not such an object; the line is named.
        NoTracesError: No line is about any of the examples.
    """
    by_id: dict[str, dspy.Example] = {}
    for example in examples:
        by_id[example_id(example)] = example
        if example.get("pld_source"):
            by_id[str(example["pld_source"])] = example
    traces: dict[str, Trace] = {}
    dropped: Counter[str] = Counter()
    for record in _records(path):
        example = by_id.get(str(record["id"]))
        if example is None:
            dropped["recorded traces of examples that are not in train"] += 1
            continue
        trace = make_trace(
            example_id(example),
            str(example[label_key]),
            str(record.get("rationale") or ""),
            tidy_rule(record["rule"]),
            draw=record.get("draw", 0),
            source=path.name,
        )
        dropped["recorded traces that repeat another"] += trace.id in traces
        traces[trace.id] = trace
    if not traces:
        msg = f"no trace in {path} is about one of the {len(examples)} training examples; check the ids"
        raise NoTracesError(msg)
    return Traces(tuple(traces.values()), +dropped)


def make_trace(
    example: str, label: str, rationale: str, rule: str, *, draw: int = 0, source: str = ""
) -> Trace:
    """Return a trace whose id is `t` and eight hex digits of its content."""
    digest = hashlib.sha256(f"{example}\n{draw}\n{rule}".encode()).hexdigest()[:8]
    return Trace(
        id=f"t{digest}",
        example_id=example,
        label=label,
        rationale=rationale,
        rule=rule,
        draw=draw,
        source=source,
    )


def tidy_rule(text: str) -> str:
    """Return the rule on one line, without numbering, markup or a heading.

    >>> tidy_rule("**1. Rule:** If it rains, answer wet")
    'If it rains, answer wet.'
    """
    line = " ".join(text.replace("**", " ").replace("`", "").split())
    number = r"\(?\d+[.)](?!\d)"
    line = re.sub(rf"^(?:[-*•.)\s]+|{number}|rule\s*\d*\s*:)+\s*", "", line, flags=re.IGNORECASE)
    line = _unquoted(line.strip())
    return line if not line or line[-1] in ".!?" else f"{line}."


def _unquoted(line: str) -> str:
    """Return the line without quotes around the whole of it; a quoted word inside keeps its own."""
    if line.count('"') == 1:
        return line.strip('"').strip()
    quote = line[:1]
    whole = quote in {'"', "'"} and line.endswith(quote) and line.count(quote) == 2
    return line[1:-1].strip() if whole else line


def contradicts(rule: str, gold: str, labels: Sequence[str]) -> bool:
    """Return whether the rule tells the reader to give another answer than `gold`, and never `gold`."""
    said = answers_of(rule, labels)
    return bool(said) and gold not in said


def answers_of(rule: str, labels: Sequence[str]) -> set[str]:
    """Return the labels that the rule tells the reader to answer.

    >>> answers_of("If it rains, answer wet; otherwise answer dry.", ["wet", "dry", "cold"]) == {
    ...     "wet",
    ...     "dry",
    ... }
    True
    """
    return {
        found
        for part in re.findall(r"\banswer(?:\s+is|\s+with|:)?\s+([^,.;]+)", rule, re.IGNORECASE)
        if (found := read_label(part, labels)) is not None
    }


def names_no_label(rule: str, labels: Sequence[str]) -> bool:
    """Return whether the rule plainly tells the reader to give an answer that is none of the labels.

    Only the plain form counts, such as `answer customer service.`: one to three words that stand alone
    and resemble no label. A rule that says its answer in prose, or says none, does not; nor does any
    rule of an open set.

    >>> names_no_label("If it is about a password, answer customer service.", ["shop", "bank"])
    True
    >>> names_no_label(
    ...     "If it is about a change, answer the team in charge of it.", ["shop", "bank"]
    ... )
    False
    """
    stated = list(_STATED.finditer(rule)) if labels else []
    if not stated or _occurs(rule[stated[0].start() :], labels):
        return False
    return any(_plain(match["said"], labels) for match in stated)


def _plain(said: str, labels: Sequence[str]) -> bool:
    """Return whether these words are an answer by themselves, and not a description of one."""
    bare = said.strip().strip(_QUOTES).strip()
    if not 1 <= len(bare.split()) <= _PLAIN_WORDS:
        return False
    if all(len(label) <= _SHORT for label in labels) and len(bare) > _SHORT:
        return False  # of a multiple choice: the words of an option
    if bare == said.strip() and _PROSE.search(bare):
        return False
    near = (SequenceMatcher(None, bare.casefold(), label.casefold()).ratio() for label in labels)
    return max(near) < _ALIKE


def _occurs(text: str, labels: Sequence[str]) -> bool:
    """Return whether any label stands in the text, however it is spaced."""
    words = re.findall(r"\w+", text.casefold())
    for label in labels:
        parts = re.findall(r"\w+", label.casefold())
        if len(label) <= _SHORT or not parts:
            if label.casefold() in words or (not parts and label in text):
                return True
        elif "".join(parts) in "".join(words):
            return True
    return False


def _records(path: Path) -> Iterator[dict[str, Any]]:
    try:
        # Not splitlines(): it also splits at U+2028 and the like, which JSON leaves as they are.
        lines = path.read_text(encoding="utf-8-sig").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        msg = f"the traces file {path} cannot be read: {error}"
        raise DataError(msg) from error
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            record = json.loads(line)
        except ValueError as error:
            msg = f"{path}, line {number} is not JSON ({error}); mend or remove it"
            raise DataError(msg) from error
        if not isinstance(record, dict) or not {"id", "rule"} <= record.keys():
            msg = f"{path}, line {number} has no `id` and `rule`; mend or remove it"
            raise DataError(msg)
        if not isinstance(record["rule"], str) or not tidy_rule(record["rule"]):
            msg = f"{path}, line {number} has the rule {record['rule']!r}; write a sentence"
            raise DataError(msg)
        if not isinstance(record.get("draw", 0), int):
            msg = f"{path}, line {number} has the draw {record['draw']!r}; write a whole number"
            raise DataError(msg)
        yield record
