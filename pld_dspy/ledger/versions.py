"""Versions of what a result depends on."""

import platform
from importlib.metadata import PackageNotFoundError, version

_PACKAGES = (
    "pld-dspy",
    "dspy",
    "litellm",
    "optuna",
    "scikit-learn",
    "numpy",
    "mlflow",
    "xllamacpp",
)


def package_versions() -> dict[str, str]:
    """Return the versions of Python and of the packages that are installed.

    >>> sorted(package_versions())[:2]
    ['dspy', 'litellm']
    """
    found = {"python": platform.python_version()}
    for name in _PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:  # optional, or a source tree that was not installed
            continue
    return found
