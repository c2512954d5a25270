"""A user's own labelled data: CSV or JSONL files, and which of their columns are what."""

import csv
import inspect
import json
import keyword
import re
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dspy

from pld_dspy.config.table import Format, TableConfig
from pld_dspy.data.examples import Item
from pld_dspy.data.sources import Row, parse_jsonl
from pld_dspy.errors import DataError, nearest
from pld_dspy.records import Split

_SUFFIXES: Mapping[str, Format] = {".csv": "csv", ".jsonl": "jsonl", ".ndjson": "jsonl"}
_TAKEN = frozenset(
    name
    for owner in (dspy.Signature, dspy.Example())
    for name, _ in inspect.getmembers_static(owner)
) | {"instructions"}
"""Names that would hide something of a signature or an example if a field had them."""
_PREFIXES = ("model_", "pld_", "dspy_")
"""Beginnings that pydantic, this package and DSPy keep for themselves."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """Items read, with columns renamed to field names."""

    items: Mapping[Split, Sequence[Item]]
    input_columns: Mapping[str, str]
    """Column of each input field."""
    label_key: str
    labels: tuple[str, ...]


def read_tables(config: TableConfig) -> Table:
    """Return the rows of all the files of `config`.

    Raises:
        DataError: A file, a column or a value is missing, two columns have the same field name, or
            there are fewer than two labels.
    """
    fields: dict[str, str] = {}
    for column in (*config.inputs, config.label):
        field = field_name(column)
        if field in fields:
            msg = (
                f"columns {fields[field]!r} and {column!r} are the same field {field!r}; rename one"
            )
            raise DataError(msg)
        fields[field] = column
    items = {
        split: [
            _convert(row, f"row {number} of {path}", f"{path.name}:{number}", config, fields)
            for number, row in enumerate(read_rows(path, config.format))
        ]
        for split, path in config.files.items()
    }
    label_key = field_name(config.label)
    found = sorted({item.fields[label_key] for split in items.values() for item in split})
    labels = config.labels or tuple(found)
    if len(labels) < 2:
        msg = f"column {config.label!r} has the labels {found}; at least two are needed"
        raise DataError(msg)
    inputs = {field: column for field, column in fields.items() if field != label_key}
    return Table(items=items, input_columns=inputs, label_key=label_key, labels=labels)


def read_rows(path: Path, form: Format | None = None) -> list[Row]:
    """Return the rows of a CSV (with a header) or JSONL file, in UTF-8.

    Args:
        path: The file.
        form: What it is; None reads it off the suffix.

    Raises:
        DataError: The file is not there, has another suffix, or cannot be read.
    """
    kind = form or _SUFFIXES.get(path.suffix.lower())
    if kind is None:
        msg = f"{path} ends in neither {', '.join(_SUFFIXES)}; rename it or set format"
        raise DataError(msg)
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        msg = f"{path} cannot be read: {error}"
        raise DataError(msg) from error
    if kind == "jsonl":
        return parse_jsonl(text, str(path))
    # A list of lines with their ends keeps line breaks inside quoted cells.
    reader = csv.DictReader(text.splitlines(keepends=True), strict=True)
    try:
        rows = list(reader)
    except csv.Error as error:
        msg = f"line {reader.line_num} of {path} is not CSV: {error}"
        raise DataError(msg) from error
    for number, row in enumerate(rows):
        if None in row:
            msg = f"row {number} of {path} has more cells than the header; quote its commas"
            raise DataError(msg)
    return rows


def field_name(column: str) -> str:
    """Return the signature field for a column: an identifier that hides nothing.

    >>> field_name("Ticket text"), field_name("labels"), field_name("2nd")
    ('Ticket_text', 'labels_', 'field_2nd')
    """
    plain = unicodedata.normalize("NFKC", column)
    name = re.sub("_+", "_", "".join(c if f"x{c}".isidentifier() else "_" for c in plain)).strip(
        "_"
    )
    if not name.isidentifier():
        name = f"field_{name}"
    reserved = name in _TAKEN or keyword.iskeyword(name) or name.startswith(_PREFIXES)
    return f"{name}_" if reserved else name


def _convert(
    row: Row, where: str, default_id: str, config: TableConfig, fields: Mapping[str, str]
) -> Item:
    values = {field: _cell(row, column, where) for field, column in fields.items()}
    if not values[field_name(config.label)].strip():
        msg = f"{where} has an empty label in column {config.label!r}; fill it in or drop the row"
        raise DataError(msg)
    return Item(
        id=default_id if config.id is None else _cell(row, config.id, where),
        group=None if config.group is None else _cell(row, config.group, where),
        fields=values,
    )


def _cell(row: Row, column: str, where: str) -> str:
    if column not in row:
        msg = f"{where} has no column {column!r} but {', '.join(row)}{nearest(column, row)}"
        raise DataError(msg)
    value: Any = row[column]
    if value is None:
        msg = f"{where} has no value in column {column!r}; fill it in or drop the row"
        raise DataError(msg)
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
