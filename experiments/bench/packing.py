"""Answers of a results line, with one character an answer."""

import string
from collections.abc import Sequence
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, PlainSerializer

CODES = string.digits + string.ascii_letters
UNREAD = "-"
"""The code of an answer that could not be read."""


class Packed(BaseModel):
    """`codes` has a character for each answer: a label's place in `labels`, or `-` for None."""

    model_config = ConfigDict(extra="forbid")

    labels: tuple[str, ...]
    codes: str


def pack(answers: Sequence[str | None]) -> dict[str, Any] | list[str | None]:
    """Return `labels` and `codes`; the answers themselves where they have more labels than codes.

    >>> pack(["no", None, "yes", "no"])
    {'labels': ('no', 'yes'), 'codes': '0-10'}
    """
    labels = tuple(sorted({answer for answer in answers if answer is not None}))
    if not answers or len(labels) > len(CODES):
        return list(answers)
    code: dict[str | None, str] = dict(zip(labels, CODES, strict=False))
    code[None] = UNREAD
    return Packed(labels=labels, codes="".join(code[answer] for answer in answers)).model_dump()


def unpack(value: Any) -> Any:
    """Return the answers of what `pack` made, and anything else as it is.

    Raises:
        ValueError: A code is no label's.
    """
    if not isinstance(value, dict):
        return value
    packed = Packed.model_validate(value)
    answer = {UNREAD: None, **dict(zip(CODES, packed.labels, strict=False))}
    unknown = sorted(set(packed.codes) - set(answer))
    if unknown:
        msg = f"the code {unknown[0]!r} has no label; there are {len(packed.labels)} labels"
        raise ValueError(msg)
    return tuple(answer[code] for code in packed.codes)


_FORM = (BeforeValidator(unpack), PlainSerializer(pack, when_used="json"))
Gold = Annotated[tuple[str, ...], *_FORM]
Said = Annotated[tuple[str | None, ...], *_FORM]
