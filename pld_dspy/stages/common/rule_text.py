"""Cleans the text of rules and reads the labels that they answer."""

import hashlib
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from difflib import SequenceMatcher

from pld_dspy.models.reading.labels import clause, occurring, read_label
from pld_dspy.models.reading.thoughts import answer_part
from pld_dspy.records import Origin, Rule, Trace

_STATED = re.compile(
    r"(?:^|[,;:]\s*|\b(?:then|always)\s+)"
    r"(?:(?:answer|choose|select|label)(?:\s+it)?(?:\s+(?:with|as))?"
    r"|(?:the\s+)?(?:correct\s+|right\s+)?(?:answer|label)\s+(?:is|should\s+be|must\s+be))"
    r"(?:\s*:)?\s+(?P<answer>[^,.;:!?]+)",
    re.IGNORECASE,
)
"""`If ..., answer <answer>`, and similar forms."""


_ANSWER = re.compile(r"\banswer(?:\s+is|\s+with|:)?\s+", re.IGNORECASE)


_QUOTES = "\"'`*\u201c\u201d\u2018\u2019"


_PLAIN_WORDS = 3


_ALIKE = 0.6
"""Minimum similarity at which a word may be another form of a label (entailed, entailment)."""


_SHORT = 2

_KIND_WORDS = 5
"""Maximum words of a kind; longer ones tell the example again."""


_PROSE = re.compile(
    r"""\b(?: a | according | all | an | and | any | appropriate | as | based | best | by | correct
    | depending | either | first | for | from | he | her | his | how | i | if | in | its? | last | more
    | most | neither | none? | not | of | on | one | only | option | or | other | question | right | same
    | she | that | the | them | their | they | this | to | what | whatever | when | whichever | who | with
    | words? | you | your | \w+ly | \w+ing )\b""",
    re.IGNORECASE | re.VERBOSE,
)
"""Words that are common in a description of an answer and rare in an answer."""


def make_trace(
    example: str,
    label: str,
    rationale: str,
    rule: str,
    *,
    kinds: str = "",
    draw: int = 0,
    source: str = "",
) -> Trace:
    """Return a trace whose id is `t` and eight hex digits of its content.

    Args:
        example: Id of the example.
        label: Its gold label.
        rationale: Why that is right.
        rule: The rule.
        kinds: Kinds of things that the example is about, separated by commas.
        draw: 0 for the first explanation of the example.
        source: Who wrote it.
    """
    digest = hashlib.sha256(f"{example}\n{draw}\n{rule}".encode()).hexdigest()[:8]
    return Trace(
        id=f"t{digest}",
        example_id=example,
        label=label,
        rationale=rationale,
        rule=rule,
        kinds=_kinds(kinds),
        draw=draw,
        source=source,
    )


def _kinds(text: str) -> tuple[str, ...]:
    """Return the kinds of things in a list, in lower case.

    >>> _kinds("A piece of bread, something to eat, and something to buy.")
    ('a piece of bread', 'something to eat', 'something to buy')
    """
    parts = (part.strip(" .;:*-").casefold() for part in re.split(r"[,;\n]", text))
    named = (part.removeprefix("and ").removeprefix("or ") for part in parts)
    return tuple(dict.fromkeys(k for k in named if k and len(k.split()) <= _KIND_WORDS))


def tidy_rule(text: str) -> str:
    """Return the rule on one line, without reasoning, numbering, markup or heading.

    >>> tidy_rule("**1. Rule:** If it rains, answer wet")
    'If it rains, answer wet.'
    """
    line = " ".join(answer_part(text).replace("**", " ").replace("`", "").split())
    number = r"\(?\d+[.)](?!\d)"
    line = re.sub(rf"^(?:[-*•.)\s]+|{number}|rule\s*\d*\s*:)+\s*", "", line, flags=re.IGNORECASE)
    line = _unquoted(line.strip())
    return line if not line or line[-1] in ".!?" else f"{line}."


def _unquoted(line: str) -> str:
    """Return the line without quotes around the whole of it; quotes inside stay."""
    if line.count('"') == 1:
        return line.strip('"').strip()
    quote = line[:1]
    whole = quote in {'"', "'"} and line.endswith(quote) and line.count(quote) == 2
    return line[1:-1].strip() if whole else line


def contradicts(rule: str, gold: str, labels: Sequence[str]) -> bool:
    """Return whether the rule answers some label but not `gold`."""
    answers = answers_of(rule, labels)
    return bool(answers) and gold not in answers


def answers_of(rule: str, labels: Sequence[str]) -> set[str]:
    """Return the labels that the rule answers.

    >>> answers_of("If it rains, answer wet; otherwise answer dry.", ["wet", "dry", "cold"]) == {
    ...     "wet",
    ...     "dry",
    ... }
    True
    """
    clauses = (clause(rule[match.end() :], labels) for match in _ANSWER.finditer(rule))
    read = (read_label(part, labels) for part in clauses)
    return {label for label in read if label is not None}


def names_no_label(rule: str, labels: Sequence[str]) -> bool:
    """Return whether the rule plainly answers something that is not a label.

    Only the plain form counts, such as `answer customer service.`: one to three words that resemble
    no label. It is False for a rule that describes its answer or has none, and for an open label set.

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
    return any(_plain(match["answer"], labels) for match in stated)


def _plain(answer: str, labels: Sequence[str]) -> bool:
    """Return whether these words are an answer, unlike any label, and not a description of one."""
    bare = answer.strip().strip(_QUOTES).strip()
    if not 1 <= len(bare.split()) <= _PLAIN_WORDS:
        return False
    if all(len(label) <= _SHORT for label in labels) and len(bare) > _SHORT:
        return False  # the words of an option of a multiple choice
    if bare == answer.strip() and _PROSE.search(bare):
        return False
    near = (SequenceMatcher(None, bare.casefold(), label.casefold()).ratio() for label in labels)
    return max(near) < _ALIKE


def _occurs(text: str, labels: Sequence[str]) -> bool:
    """Return whether any label occurs in the text, with any spacing."""
    if occurring(text, labels):
        return True
    words = re.findall(r"\w+", text.casefold())
    for label in labels:
        parts = re.findall(r"\w+", label.casefold())
        if len(label) > _SHORT and parts and "".join(parts) in "".join(words):
            return True
    return False


def make_rule(
    text: str,
    traces: Iterable[Trace],
    *,
    origin: Origin,
    parents: Sequence[str] = (),
    cluster_id: str | None = None,
) -> Rule:
    """Return a rule with its evidence; the id is a hash of text and origin."""
    members = list(traces)
    digest = hashlib.sha256(f"{origin}\n{text}".encode()).hexdigest()[:8]
    return Rule(
        id=f"r{digest}",
        text=text,
        trace_ids=tuple(trace.id for trace in members),
        labels=dict(sorted(Counter(trace.label for trace in members).items())),
        origin=origin,
        parents=tuple(parents),
        cluster_id=cluster_id,
    )
