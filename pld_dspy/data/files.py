"""Rows of a CSV, TSV, JSONL or Parquet file, each with its place in the file."""

import codecs
import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pld_dspy.config.table import Format
from pld_dspy.data.delimited import clean_name, detect_delimiter, read_delimited
from pld_dspy.errors import DataError

Row = dict[str, Any]

_SUFFIXES: Mapping[str, Format] = {
    ".csv": "csv",
    ".tsv": "tsv",
    ".tab": "tsv",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".parquet": "parquet",
    ".pq": "parquet",
}
_BYTE_ORDER_MARKS = {  # UTF-32 first: its mark begins with that of UTF-16
    codecs.BOM_UTF32_LE: "utf-32",
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF8: "utf-8-sig",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Rows:
    """Rows of one file or data set."""

    values: tuple[Row, ...]
    places: tuple[str, ...]
    """Where each row is, for messages: `line 3 of tickets.csv`."""
    notes: tuple[str, ...] = ()
    """What was detected and can be set instead: `delimiter ';'`, `encoding 'utf-16'`."""


class Number(str):
    """A number of a JSON file, as it is written there."""

    __slots__ = ()


def read_rows(
    path: Path,
    *,
    form: Format | None = None,
    delimiter: str | None = None,
    encoding: str | None = None,
    columns: Iterable[str] = (),
) -> Rows:
    """Return the rows of a file; blank lines are skipped, and numbers of JSON are `Number`.

    Args:
        path: The file.
        form: Its format; None takes it from the suffix.
        delimiter: Of a CSV file; None takes the one of `DELIMITERS` that gives the most of `columns`
            in the header.
        encoding: Of a text file; None is UTF-8, or what the byte order mark says.
        columns: Columns that will be used.

    Raises:
        DataError: The file is not there, has an unknown suffix, or cannot be read; the message names
            the line.
    """
    kind = form or _SUFFIXES.get(path.suffix.lower())
    if kind is None:
        msg = f"{path} ends in none of {', '.join(_SUFFIXES)}; rename it or set format"
        raise DataError(msg)
    if delimiter is not None and kind != "csv":
        msg = f"{path} is {kind}, which has no delimiter setting; leave delimiter out"
        raise DataError(msg)
    if kind == "parquet":
        return _read_parquet(path)
    text, notes = read_text(path, encoding)
    if kind == "jsonl":
        found = list(parse_jsonl(text, str(path), number=Number))
        places = tuple(f"line {line} of {path}" for line, _ in found)
        return Rows(values=tuple(row for _, row in found), places=places, notes=notes)
    return _read_csv(text, path, "\t" if kind == "tsv" else delimiter, columns, notes)


def read_text(path: Path, encoding: str | None = None) -> tuple[str, tuple[str, ...]]:
    """Return the text of a file without its byte order mark, and a note of a detected encoding.

    Raises:
        DataError: The file cannot be read, or is not in this encoding.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        msg = f"{path} cannot be read: {error.strerror}; give the path of a file"
        raise DataError(msg) from error
    marked = next((name for mark, name in _BYTE_ORDER_MARKS.items() if data.startswith(mark)), None)
    name = encoding or marked or "utf-8"
    try:
        text = data.decode(name)
    except LookupError as error:
        msg = f"encoding {name!r} of {path} is not known; give one of Python's, such as 'cp1252'"
        raise DataError(msg) from error
    except UnicodeError as error:
        at = error.start if isinstance(error, UnicodeDecodeError) else len(data)
        line = data[:at].count(b"\n") + 1
        msg = f"{path} cannot be read as {name} (line {line}); set encoding, for instance 'cp1252'"
        raise DataError(msg) from error
    detected = marked is not None and encoding is None and marked != "utf-8-sig"
    return text.removeprefix("\ufeff"), (f"encoding {marked!r}",) if detected else ()


def parse_jsonl(
    text: str, name: str, *, number: Callable[[str], Any] | None = None
) -> Iterator[tuple[int, Row]]:
    """Yield the line number, from 1, and the object of each line that is not blank.

    Args:
        text: Lines of JSON objects. Only line feeds end a line: U+2028 and the like are text.
        name: Of the file, for messages.
        number: Makes the value of a number from its text; None makes int and float.

    Raises:
        DataError: A line is not a JSON object, or an object has a key twice.
    """
    for line, content in enumerate(text.removeprefix("\ufeff").split("\n"), start=1):
        if not content.strip():
            continue
        try:
            row = json.loads(
                content, parse_float=number, parse_int=number, object_pairs_hook=_without_repeats
            )
        except ValueError as error:
            why = error.msg if isinstance(error, json.JSONDecodeError) else error
            msg = f"line {line} of {name} is not JSON: {why}; write one object a line"
            raise DataError(msg) from error
        if not isinstance(row, dict):
            msg = f"line {line} of {name} is not a JSON object but {type(row).__name__}; write one object a line"
            raise DataError(msg)
        yield line, row


def _without_repeats(pairs: Sequence[tuple[str, Any]]) -> Row:
    row: Row = {}
    for key, value in pairs:
        name = clean_name(key)
        if name in row:
            msg = f"it has the key {name!r} twice"
            raise ValueError(msg)
        row[name] = value
    return row


def _read_parquet(path: Path) -> Rows:
    import pandas as pd

    try:
        # Arrow's types keep whole numbers whole where a value is missing.
        frame = pd.read_parquet(path, dtype_backend="pyarrow")
    except (OSError, ValueError) as error:
        reason = " ".join(str(error).split())[:200]
        msg = f"{path} cannot be read as Parquet: {reason}"
        raise DataError(msg) from error
    if any(name is not None for name in frame.index.names):
        frame = frame.reset_index()
    names = _columns([str(name) for name in frame.columns], path)
    rows = tuple(
        dict(zip(names, values, strict=True)) for values in frame.itertuples(index=False, name=None)
    )
    return Rows(values=rows, places=tuple(f"row {n} of {path} (from 0)" for n in range(len(rows))))


def _read_csv(
    text: str, path: Path, given: str | None, columns: Iterable[str], notes: tuple[str, ...]
) -> Rows:
    delimiter = given or detect_delimiter(text, [clean_name(column) for column in columns])
    header, *records = read_delimited(text, delimiter, str(path))
    names = _columns([str(cell) for cell in header.cells], path)
    filled = [record for record in records if any(record.cells)]
    if given is None and delimiter != ",":
        notes = (*notes, f"delimiter {delimiter!r}")
    return Rows(
        values=tuple(dict(zip(names, record.cells, strict=True)) for record in filled),
        places=tuple(f"line {record.line} of {path}" for record in filled),
        notes=notes,
    )


def _columns(names: Sequence[str], path: Path) -> list[str]:
    """Return the clean names.

    Raises:
        DataError: Two columns have the same name; columns without a name may be many.
    """
    clean = [clean_name(name) for name in names]
    for name, count in Counter(clean).items():
        if count > 1 and name:
            first, second, *_ = (n for n, other in enumerate(clean, 1) if other == name)
            msg = f"columns {first} and {second} of {path} are both called {name!r}; rename one"
            raise DataError(msg)
    return clean
