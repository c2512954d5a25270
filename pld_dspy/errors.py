"""Exceptions of the package; each message is one line with the value and the remedy."""

import difflib
from collections.abc import Iterable


class PLDError(Exception):
    """Base of every error that this package raises on purpose."""


class ConfigError(PLDError, ValueError):
    """A setting is unknown, out of range, or contradicts another one."""


class DataError(PLDError, ValueError):
    """The examples cannot be used as they are."""


class LeakageError(DataError):
    """An example, or a group of examples, is in more than one split."""


class ModelError(PLDError, RuntimeError):
    """A model cannot be found, loaded, reached, or read."""


class NoTracesError(PLDError, RuntimeError):
    """The teacher returned no usable trace."""


class StorageError(PLDError, RuntimeError):
    """The run folder cannot be read or written."""


def nearest(name: str, options: Iterable[str]) -> str:
    """Return `; did you mean 'x'?` for the option closest to `name`, or a list of the options.

    >>> nearest("dbscam", ["dbscan", "kmeans"])
    "; did you mean 'dbscan'?"
    """
    known = list(options)
    close = difflib.get_close_matches(name, known, n=1)
    return f"; did you mean {close[0]!r}?" if close else f"; known are {', '.join(known)}"
