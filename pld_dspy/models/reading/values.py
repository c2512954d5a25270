"""Converts labels between text and values of `Literal`, bool and Enum types."""

import types
from collections.abc import Iterable, Mapping
from enum import Enum
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pld_dspy.errors import ConfigError


def label_text(value: object) -> str:
    """Return a label or an input as text for a prompt; of an Enum member its value.

    >>> label_text(True), label_text(2), label_text("red")
    ('True', '2', 'red')
    """
    return str(value.value) if isinstance(value, Enum) else str(value)


def label_values(annotation: Any) -> Mapping[str, Any]:
    """Return the values of a type with a closed label set, by text; empty if the type is open.

    `Literal`, `bool`, `Enum` and unions of these are closed; `None` in a union is not a label.

    Raises:
        ConfigError: Two labels have the same text.

    >>> label_values(Literal[1, 2] | None)
    {'1': 1, '2': 2}
    >>> label_values(str)
    {}
    """
    values: dict[str, Any] = {}
    for value in _values(annotation) or ():
        text = label_text(value)
        if text in values:
            msg = f"the labels {values[text]!r} and {value!r} of {annotation} have the same text; rename one"
            raise ConfigError(msg)
        values[text] = value
    return values


def allows_none(annotation: Any) -> bool:
    """Return whether the type allows None."""
    return annotation is None or annotation is type(None) or type(None) in get_args(annotation)


def _values(annotation: Any) -> Iterable[Any] | None:
    """Return the values of a closed type; None if it is open."""
    origin = get_origin(annotation)
    if origin is Literal:
        return [value for value in get_args(annotation) if value is not None]
    if origin is Annotated:
        return _values(get_args(annotation)[0])
    if origin in {Union, types.UnionType}:
        parts = [_values(part) for part in get_args(annotation) if part is not type(None)]
        return None if None in parts else [value for part in parts for value in part or ()]
    if annotation is bool:
        return [True, False]
    if isinstance(annotation, type) and issubclass(annotation, Enum):
        return list(annotation)
    return None
