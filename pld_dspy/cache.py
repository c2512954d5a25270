"""The folder for downloads, and which files were checked against their sha256."""

import contextlib
import hashlib
import json
import logging
import os
from pathlib import Path
from typing import IO, Protocol

import platformdirs

from pld_dspy.errors import ModelError

logger = logging.getLogger(__name__)

_BLOCK = 1 << 24


class Progress(Protocol):
    """Called while a download or a check goes on, from the thread that runs it."""

    def __call__(self, done_bytes: int, total_bytes: int, note: str) -> None:
        """Take notice that `done_bytes` of `total_bytes` are there; `note` says what is going on."""


def cache_root(cache_dir: Path | None = None) -> Path:
    """Return the folder for downloads: `cache_dir`, else `PLD_CACHE_DIR`, else the user's cache."""
    if cache_dir is not None:
        return cache_dir
    chosen = os.environ.get("PLD_CACHE_DIR")
    return Path(chosen) if chosen else platformdirs.user_cache_path("pld_dspy")


def silent(done_bytes: int, total_bytes: int, note: str) -> None:
    """Show no progress."""


def file_sha256(
    path: Path, *, cache_dir: Path | None = None, progress: Progress | None = None
) -> str:
    """Return the sha256 of any file; the file is read again only if its size or time changed.

    The answer is remembered in the cache folder, so that a model of gigabytes starts quickly.

    Raises:
        ModelError: The file cannot be read.
    """
    full = path.resolve()
    name = hashlib.sha256(str(full).encode()).hexdigest()[:16]
    note = cache_root(cache_dir) / "models" / f"path-{name}"
    try:
        known = _read_mark(note, full)
        if known is None:
            with full.open("rb") as file:
                known = sha256_of(file, full.stat().st_size, progress or silent)
    except OSError as error:
        msg = f"model file {path} cannot be read: {error.strerror}"
        raise ModelError(msg) from error
    # Remembering only saves time, so a cache that cannot be written does not matter here.
    with contextlib.suppress(OSError):
        note.parent.mkdir(parents=True, exist_ok=True)
        mark(note, full, known)
    return known


def sha256_of(file: IO[bytes], size: int, report: Progress) -> str:
    """Return the sha256 of what is left of an open file of `size` bytes."""
    digest = hashlib.sha256()
    done = 0
    while chunk := file.read(_BLOCK):
        digest.update(chunk)
        done += len(chunk)
        report(done, size, "checking sha256")
    return digest.hexdigest()


def _mark_path(path: Path) -> Path:
    return path.with_name(path.name + ".verified.json")


def mark(note: Path, path: Path, digest: str) -> None:
    """Remember beside `note` that `path` has this sha256, as long as its size and time stay."""
    stat = path.stat()
    text = json.dumps({"size": stat.st_size, "mtime_ns": stat.st_mtime_ns, "sha256": digest})
    fresh = note.with_name(f"{note.name}.{os.getpid()}.tmp")
    fresh.write_text(text, encoding="utf-8")
    fresh.replace(_mark_path(note))


def _read_mark(note: Path, path: Path) -> str | None:
    """Return the sha256 that was found for `path`, or None if it must be computed."""
    try:
        known = json.loads(_mark_path(note).read_text(encoding="utf-8"))
        stat = path.stat()
        if (known["size"], known["mtime_ns"]) == (stat.st_size, stat.st_mtime_ns):
            return str(known["sha256"])
    except (OSError, ValueError, KeyError, TypeError):
        logger.debug("no usable mark for %s", path)
    return None


def is_marked(path: Path, sha256: str) -> bool:
    """Return whether `path` was found to have this sha256, and was not touched since."""
    return _read_mark(path, path) == sha256
