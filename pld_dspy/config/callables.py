"""Checks the signatures of user-supplied objects."""

import inspect
from collections.abc import Sequence

from pld_dspy.errors import ConfigError


def check_call(
    kind: str,
    given: object,
    arguments: Sequence[str],
    keywords: Sequence[str] = (),
    *,
    expected: str,
) -> None:
    """Check that `given` can be called with these arguments.

    Args:
        kind: Name of the argument, for the message.
        given: An object; one without a readable signature passes.
        arguments: Names of the positional arguments.
        keywords: Names of the keyword arguments.
        expected: Values that are allowed, for the message.

    Raises:
        ConfigError: It is a class, is not callable, or takes other arguments.

    >>> check_call("refiner", 3, ["context"], expected="'edits' or a Refiner")
    Traceback (most recent call last):
    pld_dspy.errors.ConfigError: refiner is 3 of type int; give 'edits' or a Refiner
    """
    if isinstance(given, type):
        msg = f"{kind} is the class {given.__name__}; give an instance, {given.__name__}(...)"
        raise ConfigError(msg)
    if not callable(given):
        msg = f"{kind} is {described(given)}; give {expected}"
        raise ConfigError(msg)
    try:
        signature = inspect.signature(given)
    except ValueError:  # some functions written in C have none
        return
    try:
        signature.bind(*arguments, **dict.fromkeys(keywords))
    except TypeError as error:
        name = getattr(given, "__name__", type(given).__name__)
        called = ", ".join([*arguments, *(f"{keyword}=..." for keyword in keywords)])
        msg = f"{kind} {name} takes {_parameters(signature)} and is called with ({called}): {error}"
        raise ConfigError(msg) from error


def described(given: object) -> str:
    """Return the value, shortened to 60 characters, and its type, on one line.

    >>> described([1, 2])
    '[1, 2] of type list'
    """
    shown = " ".join(repr(given).split())
    return f"{shown if len(shown) <= 60 else shown[:57] + '...'} of type {type(given).__name__}"


def _parameters(signature: inspect.Signature) -> str:
    """Return the parameters without annotations, which can be long."""
    empty = inspect.Parameter.empty
    bare = [p.replace(annotation=empty) for p in signature.parameters.values()]
    return str(inspect.Signature(bare))
