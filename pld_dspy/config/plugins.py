"""Finds extensions by name: built-in ones and entry points of installed packages."""

import importlib.metadata
import sys
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any

from pld_dspy.errors import ConfigError, nearest

TASKS = "pld_dspy.tasks"
METRICS = "pld_dspy.metrics"
EMBEDDERS = "pld_dspy.embedders"
CLUSTERERS = "pld_dspy.clusterers"

OWN_PACKAGE = "pld-dspy"


def find(
    group: str,
    name: str,
    built_in: Mapping[str, Any],
    *,
    is_valid: Callable[[Any], bool] = callable,
    expected: str = "a callable",
) -> Any:
    """Return the extension called `name`: from `built_in`, or loaded from an entry point of `group`.

    A package adds one in its `pyproject.toml`:

        [project.entry-points."pld_dspy.metrics"]
        f2 = "my_package.metrics:f2"

    Args:
        group: Entry-point group; its last part is the kind of extension in messages.
        name: Name of the extension.
        built_in: Extensions of this package, by name.
        is_valid: Whether an object from an entry point is of the right kind.
        expected: What `is_valid` accepts, for the message.

    Raises:
        ConfigError: No extension or more than one has this name, importing it failed, or it is of
            the wrong kind; the message names the package.

    >>> find("pld_dspy.metrics", "one", {"one": 1})
    1
    """
    kind = kind_of(group)
    found = [point for point in _entry_points(group) if point.name == name]
    packages = ([OWN_PACKAGE] if name in built_in else []) + [_package(p) for p in found]
    if len(packages) > 1:
        msg = f"{kind} {name!r} is in the packages {' and '.join(packages)}; uninstall one"
        raise ConfigError(msg)
    if name in built_in:
        return built_in[name]
    if not found:
        msg = f"no {kind} is called {name!r}{nearest(name, names(group, built_in))}"
        raise ConfigError(msg)
    try:
        loaded = found[0].load()
    except Exception as error:  # importing the other package may raise anything
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        msg = f"{kind} {name!r} of package {packages[0]} cannot be imported ({reason}); mend or uninstall the package"
        raise ConfigError(msg) from error
    if not is_valid(loaded):
        msg = f"{kind} {name!r} of package {packages[0]} is {_described(loaded)}, should be {expected}"
        raise ConfigError(msg)
    return loaded


def names(group: str, built_in: Mapping[str, Any]) -> list[str]:
    """Return the names of the extensions that can be found, sorted."""
    return sorted({*built_in, *(point.name for point in _entry_points(group))})


def is_added(group: str, name: str) -> bool:
    """Return whether an installed package adds an extension of this name."""
    return any(point.name == name for point in _entry_points(group))


def owner(group: str, name: str) -> str:
    """Return `metric 'f2' of package my-package`, for messages about an extension."""
    package = next((_package(p) for p in _entry_points(group) if p.name == name), OWN_PACKAGE)
    return f"{kind_of(group)} {name!r} of package {package}"


def kind_of(group: str) -> str:
    """Return the kind of extension of a group.

    >>> kind_of("pld_dspy.metrics")
    'metric'
    """
    return group.rpartition(".")[2].removesuffix("s")


def _entry_points(group: str) -> tuple[importlib.metadata.EntryPoint, ...]:
    return _entry_points_on(group, tuple(sys.path))


@lru_cache(maxsize=32)
def _entry_points_on(
    group: str, path: tuple[str, ...]
) -> tuple[importlib.metadata.EntryPoint, ...]:
    """Return the entry points of the packages on `path`; reading all of them takes a while."""
    return tuple(importlib.metadata.entry_points(group=group))


def _package(point: importlib.metadata.EntryPoint) -> str:
    return point.dist.name if point.dist is not None else point.value


def _described(value: Any) -> str:
    if isinstance(value, type):
        return f"the class {value.__name__}"
    return f"of type {type(value).__name__}"
