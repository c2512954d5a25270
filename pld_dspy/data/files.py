"""Rows of a CSV, TSV, JSONL or Parquet file, each with its place in the file."""

import bisect
import codecs
import csv
import io
import json
import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pld_dspy.config.table import Format
from pld_dspy.errors import DataError

Row = dict[str, Any]

DELIMITERS = ",;\t|"
"""Delimiters that are tried where none is set."""

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
_LINE_BREAK = re.compile(r"\r\n|\r|\n")


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
    told = marked is not None and encoding is None and marked != "utf-8-sig"
    return text.removeprefix("\ufeff"), (f"encoding {marked!r}",) if told else ()


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


def clean_name(column: str) -> str:
    """Return the name of a column in Unicode form NFC, without spaces around it."""
    return unicodedata.normalize("NFC", column).strip()


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
    body = text.lstrip("\r\n")
    if not body.strip():
        msg = f"{path} is empty; give a header with the names of the columns, and rows"
        raise DataError(msg)
    line = 1 + _breaks(text[: len(text) - len(body)])
    delimiter = given or _detect_delimiter(body, [clean_name(column) for column in columns])
    header, *records = _records(body, delimiter, path, line)
    names = _columns([str(cell) for cell in header], path)
    line += _lines(header)
    rows: list[Row] = []
    places: list[str] = []
    for record in records:
        if any(record):
            rows.append(dict(zip(names, record, strict=True)))
            places.append(f"line {line} of {path}")
        line += _lines(record)
    if given is None and delimiter != ",":
        notes = (*notes, f"delimiter {delimiter!r}")
    return Rows(values=tuple(rows), places=tuple(places), notes=notes)


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


def _detect_delimiter(text: str, wanted: Sequence[str]) -> str:
    def found(delimiter: str) -> tuple[int, int]:
        try:
            cells = [clean_name(str(cell)) for cell in _header(text, delimiter)]
        except ValueError:
            return -1, 0
        return sum(name in cells for name in wanted), len(cells)

    return max(DELIMITERS, key=found)


def _header(text: str, delimiter: str) -> list[str | None]:
    try:
        # pandas looks at the second record too, which may be the broken one.
        return _parse(_LINE_BREAK.split(text, maxsplit=1)[0], delimiter)[0]
    except ValueError:
        return _parse(text, delimiter, count=1)[0]  # a line break in a cell of the header


def _records(text: str, delimiter: str, path: Path, line: int) -> list[list[str | None]]:
    """Return the cells of each record, None where a record has fewer cells than the header.

    Raises:
        DataError: Quotes do not match, or a record has more cells than the header.
    """
    try:
        return _parse(text, delimiter)
    except ValueError as error:
        reason = str(error)

    def fails(count: int) -> bool:
        try:
            _header(text, delimiter) if count == 1 else _parse(text, delimiter, count=count)
        except ValueError:
            return True
        return False

    # The first record that cannot be read: pandas does not say in which line it is.
    good = bisect.bisect_left(range(1, _breaks(text) + 2), True, key=fails)
    before = _parse(text, delimiter, count=good) if good > 1 else []
    if good == 1:
        before = [_header(text, delimiter)]
    at = line + sum(map(_lines, before))
    if cells := re.search(r"Expected (\d+) fields in line \d+, saw (\d+)", reason):
        names = ", ".join(str(cell) for cell in _header(text, delimiter))
        msg = f"line {at} of {path} has {cells[2]} cells where the header has {cells[1]} ({names}); quote cells with {delimiter!r} in them, or set delimiter"
    elif "unexpected end" in reason:
        msg = f"line {at} of {path} opens a quote that is never closed; close it, or double a quote inside of a cell"
    else:
        msg = f"line {at} of {path} is not CSV: {reason}; double a quote inside of a quoted cell"
    raise DataError(msg)


def _parse(text: str, delimiter: str, *, count: int | None = None) -> list[list[str | None]]:
    """Return the cells of the first `count` records, or of all; ValueError if one is broken."""
    import pandas as pd

    # Long documents are cells too; the limit is the process's, so it is put back.
    limit = csv.field_size_limit()
    csv.field_size_limit(max(limit, len(text)))
    try:
        # Of pandas' two engines only this one refuses unmatched quotes and tells a missing cell
        # from an empty one.
        frame = pd.read_csv(
            io.StringIO(text, newline=""),
            engine="python",
            sep=delimiter,
            header=None,
            dtype=object,
            na_filter=False,
            skip_blank_lines=False,
            nrows=count,
        )
    except csv.Error as error:  # pandas passes it on as it is where `nrows` is set
        raise ValueError(str(error)) from error
    finally:
        csv.field_size_limit(limit)
    cells: list[list[str | None]] = frame.to_numpy(dtype=object).tolist()
    return cells


def _breaks(text: str) -> int:
    return len(_LINE_BREAK.findall(text))


def _lines(record: Sequence[str | None]) -> int:
    """Return how many lines of the file the record takes."""
    return 1 + sum(_breaks(cell) for cell in record if cell)
