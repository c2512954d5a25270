"""Sources of raw rows: a local folder, or the Hugging Face hub."""

import gzip
import hashlib
import logging
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

from pld_dspy.config.base import DATA_DIR_VARIABLE
from pld_dspy.data.examples import Item
from pld_dspy.data.files import Row, parse_jsonl
from pld_dspy.errors import DataError, PLDError, nearest
from pld_dspy.records import Split

logger = logging.getLogger(__name__)

_SHORT_REASON = 200
_HUB_TIMEOUT_S = 5.0


def first_available(name: str, sources: Mapping[str, Callable[[], Any]]) -> tuple[Any, str]:
    """Return the rows of the first source that works, and its name.

    Args:
        name: Name of the data set, for the message.
        sources: Readers by name, in the order in which they are tried.

    Raises:
        DataError: None works; the message has the reason of each.
    """
    reasons = []
    for source, read in sources.items():
        try:
            found = read()
        except (PLDError, KeyError) as error:
            reason = f"a row has no {error}" if isinstance(error, KeyError) else str(error)
            reasons.append(f"{source}: {reason}")
            logger.info("%s is not available from %s: %s", name, source, reason)
        else:
            logger.info("%s comes from %s", name, source)
            return found, source
    msg = (
        f"{name} cannot be found ({'; '.join(reasons)}); "
        f"set {DATA_DIR_VARIABLE} to a folder that holds it"
    )
    raise DataError(msg)


def local_file(relative: str) -> Path:
    """Return the path of a file below the folder that `PLD_DATA_DIR` names.

    Raises:
        DataError: The variable is not set, or there is no such file.
    """
    folder = os.environ.get(DATA_DIR_VARIABLE)
    if not folder:
        msg = f"{DATA_DIR_VARIABLE} is not set"
        raise DataError(msg)
    path = Path(folder).expanduser() / relative
    if not path.is_file():
        msg = f"{DATA_DIR_VARIABLE}={folder} has no {relative}"
        raise DataError(msg)
    return path


def local_text(relative: str) -> str:
    """Return the text of a local file, unpacked if its name ends in `.gz`.

    Raises:
        DataError: The file is not there or cannot be read.
    """
    path = local_file(relative)
    try:
        if path.suffix == ".gz":
            with gzip.open(path, "rt", encoding="utf-8-sig") as stream:
                return stream.read()
        return path.read_text(encoding="utf-8-sig")
    except (OSError, EOFError, UnicodeDecodeError) as error:
        msg = f"{path} cannot be read: {error}"
        raise DataError(msg) from error


def local_rows(relative: str) -> list[Row]:
    """Return the rows of a local JSONL file.

    Raises:
        DataError: The file is not there or not readable.
    """
    return [row for _, row in parse_jsonl(local_text(relative), relative)]


def hub_rows(
    repository: str, config: str | None, split: str, *, revision: str | None = None
) -> list[Row]:
    """Return the rows of one split of a data set on the Hugging Face hub, or in a local folder.

    Class labels are given by name. Data sets that the hub knows only as a loading script are read
    from the Parquet copy that the hub makes of them.

    Args:
        repository: `owner/name`, or a folder: one with data files, or one that
            `Dataset.save_to_disk` wrote.
        config: Subset (configuration); None is the only or default one.
        split: Name of the split.
        revision: Commit, tag or branch; None is the newest.

    Raises:
        DataError: The hub cannot be reached, or there is no such data set, subset or split.
    """
    import datasets

    folder = Path(repository).expanduser()
    if folder.is_dir():
        if revision is not None:
            msg = (
                f"{repository} is a folder, which has no revision {revision!r}; leave revision out"
            )
            raise DataError(msg)
        return _folder_rows(folder, config, split)
    answers = _hub_answers()
    pinned = {} if revision is None else {"revision": revision}
    try:
        with nullcontext() if answers else _offline():
            try:
                table = datasets.load_dataset(repository, config, split=split, **pinned)
            except RuntimeError:
                if revision is not None:
                    raise
                table = datasets.load_dataset(
                    repository,
                    data_dir=config or "default",
                    split=split,
                    revision="refs/convert/parquet",
                )
        return [dict(row) for row in _with_label_names(table)]
    except (OSError, ValueError, RuntimeError, datasets.exceptions.DatasetsError) as error:
        reason = _short(error)
        why = reason if answers else f"the hub does not answer; its cache: {reason}"
        msg = f"{repository} cannot be read ({why})"
        raise DataError(msg) from error


def _folder_rows(folder: Path, config: str | None, split: str) -> list[Row]:
    import datasets

    saved = any((folder / name).is_file() for name in ("dataset_dict.json", "state.json"))
    try:
        if saved:
            table = datasets.load_from_disk(str(folder))
        else:
            table = datasets.load_dataset(str(folder), config, split=split)
    except (OSError, ValueError, RuntimeError, datasets.exceptions.DatasetsError) as error:
        msg = f"the data set in {folder} cannot be read ({_short(error)})"
        raise DataError(msg) from error
    if isinstance(table, datasets.DatasetDict):
        if split not in table:
            msg = f"{folder} has no split {split!r}{nearest(split, map(str, table))}"
            raise DataError(msg)
        table = table[split]
    return [dict(row) for row in _with_label_names(table)]


def _short(error: Exception) -> str:
    return " ".join(f"{type(error).__name__}: {error}".split())[:_SHORT_REASON]


def _hub_answers() -> bool:
    """Return whether the hub can be reached; in offline mode it is not tried."""
    import datasets
    import httpx
    from huggingface_hub import constants

    if constants.HF_HUB_OFFLINE or datasets.config.HF_HUB_OFFLINE:
        return False
    try:
        httpx.head(constants.ENDPOINT, timeout=_HUB_TIMEOUT_S)
    except httpx.TransportError as error:
        logger.info("%s does not answer: %s", constants.ENDPOINT, error)
        return False
    return True


@contextmanager
def _offline() -> Iterator[None]:
    """Let the hub's libraries read their cache only.

    Where there is no network, their own five retries take half a minute a data set.
    """
    import datasets
    from huggingface_hub import constants

    before = constants.HF_HUB_OFFLINE, datasets.config.HF_HUB_OFFLINE
    constants.HF_HUB_OFFLINE = datasets.config.HF_HUB_OFFLINE = True
    try:
        yield
    finally:
        constants.HF_HUB_OFFLINE, datasets.config.HF_HUB_OFFLINE = before


def _with_label_names(table: Any) -> Iterable[Row]:
    """Yield the rows with the names of their top-level class labels in place of the numbers."""
    named = {key: kind.names for key, kind in table.features.items() if hasattr(kind, "names")}
    for row in table:
        yield {
            key: named[key][value] if key in named and isinstance(value, int) else value
            for key, value in row.items()
        }


HUB = "Hugging Face hub"


Pools = dict[Split, list[Item]]
"""Items of the official splits."""


OFFICIAL: dict[Split, tuple[str, str]] = {
    "train": ("train", "train"),
    "val": ("dev", "validation"),
    "test": ("test", "test"),
}
"""Name of each pool in the local ContractNLI files, and on the hub."""


def short_digest(text: str) -> str:
    """Return 16 hex digits of a hash of the text."""
    return hashlib.sha256(text.encode()).hexdigest()[:16]
