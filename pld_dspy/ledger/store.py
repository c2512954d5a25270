"""The run folder: one readable JSONL per stage, from which a killed run resumes."""

import hashlib
import json
import logging
import os
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pld_dspy.errors import StorageError

logger = logging.getLogger(__name__)

Record = dict[str, Any]


def key_of(*parts: Any) -> str:
    """Return 16 hex digits that change whenever any part does.

    Args:
        parts: Anything JSON can hold; mappings count the same in any order.
    """
    text = json.dumps(parts, sort_keys=True, ensure_ascii=False, default=str)
    return hashlib.sha256(text.encode(errors="backslashreplace")).hexdigest()[:16]


@dataclass(frozen=True, slots=True)
class Spent:
    """Calls and tokens that one stored record cost."""

    role: str
    calls: int = 0
    cached_calls: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    model: str = ""


class StageStore:
    """Append-only records by stage and key; a key holds what was paid for, once.

    Each record is one line of `<folder>/<stage>.jsonl`, written before `put` returns, so a process
    killed at any moment loses at most the call in progress. A last line that was cut off is removed
    at the next start; any other broken line is skipped with a warning and left as it is.
    """

    def __init__(self, folder: Path | None = None) -> None:
        """Use `folder`, made if need be; None keeps the records in memory only.

        Raises:
            StorageError: The folder cannot be made or read.
        """
        self.folder = folder
        self._lock = threading.RLock()
        self._stages: dict[str, dict[str, Record]] = {}
        self._used: set[tuple[str, str]] = set()
        if folder is not None:
            try:
                folder.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                msg = f"the run folder {folder} cannot be made: {error.strerror}; choose another"
                raise StorageError(msg) from error

    def check(self) -> None:
        """Return if the folder can be written, which is best known before anything is paid for.

        Raises:
            StorageError: It cannot.
        """
        if self.folder is None:
            return
        probe = self.folder / f".{os.getpid()}.tmp"
        try:
            probe.write_bytes(b"")
            probe.unlink()
        except OSError as error:
            msg = f"the run folder {self.folder} cannot be written: {error.strerror}; choose another run_dir"
            raise StorageError(msg) from error

    def get(self, stage: str, key: str) -> Record | None:
        """Return the record, and mark it as part of this run; None if it is not there."""
        with self._lock:
            record = self._stage(stage).get(key)
            if record is not None:
                self._used.add((stage, key))
            return record

    def put(self, stage: str, key: str, record: Mapping[str, Any]) -> Record:
        """Write the record under `key` and return it as it will be read back.

        Raises:
            StorageError: It cannot be written (a full disk, say); nothing written before is lost.
        """
        line = json.dumps({"key": key, **record}, ensure_ascii=False)
        with self._lock:
            records = self._stage(stage)
            if self.folder is not None:
                self._append(self.folder / f"{stage}.jsonl", line + "\n")
            stored: Record = json.loads(line)
            records[key] = stored
            self._used.add((stage, key))
            return stored

    def all(self, stage: str) -> list[Record]:
        """Return every record of `stage`, whichever run wrote it."""
        with self._lock:
            return list(self._stage(stage).values())

    def spent(self) -> list[Spent]:
        """Return what the records that this run read or wrote cost, whenever they were paid for."""
        with self._lock:
            found = [self._stages[stage][key].get("spent") for stage, key in sorted(self._used)]
        return [Spent(**spent) for spent in found if spent]

    def _stage(self, stage: str) -> dict[str, Record]:
        if stage not in self._stages:
            path = None if self.folder is None else self.folder / f"{stage}.jsonl"
            self._stages[stage] = {} if path is None else _read(path)
        return self._stages[stage]

    def _append(self, path: Path, text: str) -> None:
        # Models send lone surrogates, which UTF-8 has no bytes for but JSON has an escape.
        rest = memoryview(text.encode(errors="backslashreplace"))
        try:
            # Unbuffered: a buffer would try again on closing, after the cut below.
            with path.open("ab", buffering=0) as file:
                start = file.tell()
                try:
                    while rest:
                        rest = rest[file.write(rest) :]
                    os.fsync(file.fileno())
                except OSError:
                    # Half a line must not stick to the next one.
                    os.truncate(path, start)
                    raise
        except OSError as error:
            msg = (
                f"{path} cannot be written: {error.strerror}; make room, then start again: "
                "what was paid for is kept"
            )
            raise StorageError(msg) from error


def _read(path: Path) -> dict[str, Record]:
    if not path.exists():
        return {}
    try:
        data = path.read_bytes()
        if data and not data.endswith(b"\n"):
            whole = data.rfind(b"\n") + 1
            logger.warning("%s: the last line was cut off and is done again", path)
            os.truncate(path, whole)
            data = data[:whole]
    except OSError as error:
        msg = f"{path} cannot be read: {error.strerror}"
        raise StorageError(msg) from error
    records: dict[str, Record] = {}
    # Not splitlines(): it also splits at U+2028 and the like, which JSON leaves as they are.
    for number, line in enumerate(data.decode(errors="replace").split("\n")[:-1], 1):
        try:
            record = json.loads(line)
            records[record["key"]] = record
        except (ValueError, KeyError, TypeError):
            logger.warning("%s, line %d cannot be read and is skipped", path, number)
    return records
