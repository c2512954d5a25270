"""Base class of the settings, with one-line validation errors."""

import re
from collections.abc import Iterable, Iterator
from typing import Any, Literal, get_args

from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic_core import ErrorDetails

from pld_dspy.errors import ConfigError, nearest
from pld_dspy.records import LabelsAs as LabelsAs
from pld_dspy.records import Wording as Wording

DATA_DIR_VARIABLE = "PLD_DATA_DIR"
"""Environment variable with the folder of local data sets."""

By = Literal["item", "group"]
"""Unit that is kept out of the other splits: single examples, or whole groups."""

Scarce = Literal["refuse", "share"]
"""What to do with a label that has too few groups to have some in train, in val with select, and in
test: refuse the data, or keep only its groups of test apart."""

Balance = Literal["natural", "equal"]
"""Label shares of the splits: those of the data, or equal counts."""


class Settings(BaseModel):
    """Base class of the settings: frozen, unknown keys are refused, errors are one line.

    >>> class Example(Settings):
    ...     trials: int = 3
    >>> Example(trails=4)
    Traceback (most recent call last):
    pld_dspy.errors.ConfigError: trails: unknown setting; did you mean 'trials'?
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    def __init__(self, /, **data: Any) -> None:
        """Validate the settings.

        Raises:
            ConfigError: A key is unknown, or a value is not allowed.
        """
        try:
            super().__init__(**data)
        except ValidationError as error:
            raise ConfigError(explain(error, type(self))) from error


def explain(error: ValidationError, model: type[BaseModel]) -> str:
    """Return the problems as one line, `key: problem; did you mean ...`, joined by ` | `.

    Args:
        error: Raised by pydantic for `model`.
        model: The settings class; an unknown key is compared with its fields.
    """
    problems: dict[str, list[ErrorDetails]] = {}
    for detail in error.errors():
        # Each branch of a union reports an error; together they are one problem of one key.
        problems.setdefault(_key(detail, model), []).append(detail)
    return " | ".join(
        f"{key}: {_problem(details, model)}" if key else _problem(details, model)
        for key, details in problems.items()
    )


def explain_value(error: ValidationError) -> str:
    """Return the problem of a single value as one line, `'x' is not allowed, should be ...`."""
    return _problem(error.errors(), BaseModel)


def _key(detail: ErrorDetails, model: type[BaseModel]) -> str:
    """Return the dotted path of the key, without the names of union branches."""
    path = [str(part) for part, _ in _walk(detail["loc"], model)]
    if detail["type"] == "extra_forbidden":
        path.append(str(detail["loc"][-1]))
    return ".".join(path)


def _walk(
    loc: Iterable[int | str], model: type[BaseModel]
) -> Iterator[tuple[int | str, type[BaseModel] | None]]:
    """Yield each field or index of `loc` with the settings class of its value, if any."""
    current: type[BaseModel] | None = model
    for part in loc:
        if isinstance(part, str):
            if current is None or part not in current.model_fields:
                return
            current = _nested(current.model_fields[part].annotation)
        yield part, current


def _nested(annotation: Any) -> type[BaseModel] | None:
    """Return the first settings class inside a type such as `tuple[Inner, ...] | None`."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next((found for arg in get_args(annotation) if (found := _nested(arg))), None)


def _problem(details: list[ErrorDetails], model: type[BaseModel]) -> str:
    first = details[0]
    if first["type"] == "extra_forbidden":
        *_, (_, owner) = [(None, model), *_walk(first["loc"][:-1], model)]
        known = owner.model_fields if owner else {}
        return f"unknown setting{nearest(str(first['loc'][-1]), known)}"
    if first["type"] == "missing":
        return "is required"
    if first["type"] == "value_error":
        return str(first["ctx"]["error"])
    allowed = " or ".join(_allowed(detail) for detail in details)
    options = [word for detail in details for word in _literals(detail)]
    hint = nearest(str(first["input"]), options) if options else ""
    # The message names the options already.
    hint = hint if "did you mean" in hint else ""
    return f"{first['input']!r} is not allowed, should be {allowed}{hint}"


def _allowed(detail: ErrorDetails) -> str:
    text = detail["msg"].removeprefix("Input should be ").partition(", unable to parse")[0]
    return " ".join(text.split())


def _literals(detail: ErrorDetails) -> list[str]:
    if detail["type"] != "literal_error":
        return []
    return re.findall(r"'([^']*)'", str(detail["ctx"]["expected"]))
