"""Reads the condition and the answer of a rule."""

import re
from collections.abc import Sequence
from typing import NamedTuple

from pld_dspy.records import Rule
from pld_dspy.stages.common.rule_text import answers_of

_SAYS = r"(?:please\s+)?(?:always\s+)?(?:answer|choose|select|label\s+it|the\s+(?:correct\s+)?(?:answer|label)\s+(?:is|should\s+be))\b"
_IF = r"\b(?:if|when|whenever)\s+"
_WITH_COMMA = re.compile(
    rf"{_IF}(?P<condition>.+?)(?:[,;:]|\s+then\b)\s*(?:then\s+)?{_SAYS}", re.I | re.S
)
_WITHOUT = re.compile(rf"{_IF}(?P<condition>.+?)\s+{_SAYS}", re.I | re.S)
_AFTER = re.compile(rf"^\W*{_SAYS}.+?\s{_IF}(?P<condition>.+)", re.I | re.S)
_DEFAULT = re.compile(
    rf"^\W*(?:otherwise|else|by\s+default|in\s+(?:all|any)\s+other\s+cases?|{_SAYS})", re.I
)
# Teachers call what they are shown by one name or another; rules that differ only there are one.
_WHOLE = re.compile(r"\b(?:the|this)\s+(?:given\s+)?(?:sentence|example|input)(?=\s)", re.I)
_CONDITIONAL = re.compile(r"\b(?:if|when|whenever|unless|only)\b", re.I)


class Stated(NamedTuple):
    """What a rule says."""

    condition: str
    """Without "if", and with "the text" for the whole input; empty for a default, which holds whenever no
    other rule does."""
    answer: str


def stated(rule: Rule, labels: Sequence[str]) -> Stated | None:
    """Return condition and answer of a rule; None if it has several answers or another form.

    >>> from pld_dspy.stages.common.rule_text import make_rule
    >>> stated(make_rule("If it rains, answer wet.", [], origin="micro"), ["wet", "dry"])
    Stated(condition='it rains', answer='wet')
    >>> stated(make_rule("Otherwise answer dry.", [], origin="micro"), ["wet", "dry"])
    Stated(condition='', answer='dry')
    >>> stated(
    ...     make_rule("If this sentence is about rain, answer wet.", [], origin="micro"),
    ...     ["wet", "dry"],
    ... )
    Stated(condition='the text is about rain', answer='wet')
    """
    answers = answers_of(rule.text, labels)
    if len(answers) > 1 or not (answers or rule.labels):
        return None
    answer = next(iter(answers)) if answers else rule.main_label
    text = " ".join(rule.text.split())
    for form in (_WITH_COMMA, _WITHOUT):
        # A rule of several sentences holds if one of its conditions does.
        found = [match["condition"].strip(" ,;:") for match in form.finditer(text)]
        if found and re.match(rf"\W*{_IF}", text, re.I):
            return Stated("; or ".join(dict.fromkeys(map(_of_the_text, found))), answer)
    after = _AFTER.match(text)
    if after is not None:
        return Stated(_of_the_text(after["condition"].rstrip(" .")), answer)
    if _DEFAULT.match(text) and not _CONDITIONAL.search(text):
        return Stated("", answer)
    return None


def _of_the_text(condition: str) -> str:
    return _WHOLE.sub("the text", condition)
