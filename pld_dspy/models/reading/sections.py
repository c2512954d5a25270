"""Splits an answer into the sections of its outputs."""

import re
from collections.abc import Collection, Iterable, Mapping, Set

from pld_dspy.models.reading.thoughts import answer_part


def sections(
    completion: str,
    titles: Mapping[str, str],
    inputs: Collection[str] = (),
    *,
    optional: Collection[str] = (),
) -> dict[str, str]:
    r"""Return the text under each output's heading; the last one if a heading is repeated.

    Args:
        completion: The answer of a model.
        titles: Headings of the outputs, by name.
        inputs: Headings of the inputs, at which a further example would begin.
        optional: Names of the outputs that an answer may leave out.

    >>> sections("Rationale: it is red.\nRule: none", {"rationale": "Rationale", "rule": "Rule"})
    {'rationale': 'it is red.', 'rule': 'none'}
    """
    text = answer_part(completion)
    names = {title.lower(): name for name, title in titles.items()}
    if len(titles) > 1:
        needed = {title.lower() for name, title in titles.items() if name not in optional}
        text = _before_next_example(text, titles, inputs, needed)
    pieces = re.split(_heading(titles.values()), text)
    found: dict[str, str] = {}
    for title, body in zip(pieces[1::2], pieces[2::2], strict=True):
        content = _without_stray_stars(body)
        if content:
            found[names[title.lower()]] = content
    if len(titles) == 1 and not found:
        found[next(iter(titles))] = text if len(pieces) == 1 else ""
    elif len(titles) > 1 and pieces[0].strip():
        # Models often leave out the heading of the first section.
        found.setdefault(next(iter(titles)), pieces[0].strip())
    return found


def _heading(titles: Iterable[str]) -> str:
    named = "|".join(re.escape(title) for title in titles)
    # A model may repeat the request, with the labels in brackets, before it answers.
    repeated = r"(?:\((?:[^()\n]|\([^()\n]*\))*\)[\s*_]*)?"
    return rf"(?im)^[\s*#>_-]*(?:the\s+)?({named})(?:\s+is)?[\s*_]*{repeated}[:\uff1a][ \t*_]*"


def _before_next_example(
    text: str, titles: Mapping[str, str], inputs: Collection[str], needed: Set[str]
) -> str:
    """Return the text without further examples that the model made up after its answer."""
    seen: set[str] = set()
    outputs = {title.lower() for title in titles.values()}
    for match in re.finditer(
        _heading([*titles.values(), *(title.lower() for title in inputs)]), text
    ):
        title = match[1].lower()
        if title in outputs:
            seen.add(title)
        elif seen >= needed:
            return text[: match.start()]
    return text


def _without_stray_stars(body: str) -> str:
    """Return the body without the closing `**` of bold type that began before the heading."""
    text = body.strip()
    return text.removesuffix("**").rstrip() if text.count("**") % 2 else text
