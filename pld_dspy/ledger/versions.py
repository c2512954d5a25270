"""Versions of what a result depends on: packages, and the commit of this one."""

import platform
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

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


def commit() -> str | None:
    """Return the commit of this package's checkout, with `-dirty` if tracked files are changed."""
    here = Path(__file__)
    try:
        # An installation inside another project's checkout is not tracked there.
        _git(here.parent, "ls-files", "--error-unmatch", here.name)
        head = _git(here.parent, "rev-parse", "HEAD")
        # Results are added while other runs of the same code go on.
        code = (":/", ":(top,exclude)experiments/results")
        changed = _git(here.parent, "status", "--porcelain", "--untracked-files=no", "--", *code)
    except (OSError, subprocess.SubprocessError):
        return None
    return f"{head}-dirty" if changed else head


def _git(folder: Path, *words: str) -> str:
    command = ["git", "-C", str(folder), *words]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=20)
    return done.stdout.strip()
