"""Records of a CSV or TSV text, with the lines where they begin."""

import bisect
import csv
import io
import re
import unicodedata
from collections.abc import Sequence
from typing import NamedTuple

from pld_dspy.errors import DataError

DELIMITERS = ",;\t|"
"""Delimiters that are tried where none is set."""

_LINE_BREAK = re.compile(r"\r\n|\r|\n")


class Record(NamedTuple):
    """One record: the header, or a row."""

    line: int
    """Line of the file where it begins, from 1."""
    cells: list[str | None]
    """As many as the header has; None where the record ends before."""


def clean_name(column: str) -> str:
    """Return the name of a column in Unicode form NFC, without spaces around it."""
    return unicodedata.normalize("NFC", column).strip()


def read_delimited(text: str, delimiter: str, name: str) -> list[Record]:
    """Return the records, the header first; lines before the header are skipped if they are blank.

    Args:
        text: A whole file.
        delimiter: One character.
        name: Of the file, for messages.

    Raises:
        DataError: The text is empty, quotes do not match, or a record has more cells than the header.
    """
    body = text.lstrip("\r\n")
    if not body.strip():
        msg = f"{name} is empty; give a header with the names of the columns, and rows"
        raise DataError(msg)
    line = 1 + _breaks(text[: len(text) - len(body)])
    found = []
    for cells in _records(body, delimiter, name, line):
        found.append(Record(line, cells))
        line += _lines(cells)
    return found


def detect_delimiter(text: str, wanted: Sequence[str]) -> str:
    r"""Return the one of `DELIMITERS` that gives the most of the wanted columns in the header.

    >>> detect_delimiter("text;kind\nx, y, z;a\n", ["text", "kind"])
    ';'
    """
    body = text.lstrip("\r\n")

    def found(delimiter: str) -> tuple[int, int]:
        try:
            cells = [clean_name(str(cell)) for cell in _header(body, delimiter)]
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


def _records(text: str, delimiter: str, name: str, line: int) -> list[list[str | None]]:
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
        msg = f"line {at} of {name} has {cells[2]} cells where the header has {cells[1]} ({names}); quote cells with {delimiter!r} in them, or set delimiter"
    elif "unexpected end" in reason:
        msg = f"line {at} of {name} opens a quote that is never closed; close it, or double a quote inside of a cell"
    else:
        msg = f"line {at} of {name} is not CSV: {reason}; double a quote inside of a quoted cell"
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
