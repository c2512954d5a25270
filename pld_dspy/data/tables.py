"""Reads a user's labelled table, from files or a hub data set, and checks its values."""

import inspect
import keyword
import logging
import re
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import dspy

from pld_dspy.config.table import TableConfig
from pld_dspy.data.delimited import clean_name
from pld_dspy.data.examples import Item
from pld_dspy.data.files import Row, Rows, read_rows
from pld_dspy.data.values import clean_label, is_missing, label_form, text_of
from pld_dspy.errors import DataError, nearest
from pld_dspy.records import Split

logger = logging.getLogger(__name__)

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
    notes: str
    """Where the rows come from, and what was detected there."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Pool:
    """The rows of one file or hub split."""

    rows: Rows
    name: str
    """For messages."""
    prefix: str
    """What the number of a row is put after to make its id."""


def read_tables(config: TableConfig) -> Table:
    """Return the rows of all the files, or of the hub's splits, of `config`.

    Labels are stripped of spaces around them and brought to Unicode form NFC; inputs stay as they
    are.

    Raises:
        DataError: A file, a column or a value is missing, two columns have the same field name, a
            label is not allowed or is spelt in two ways, or there are fewer than two labels.
    """
    fields = _fields(config)
    pools = _read_pools(config)
    items = {split: _items(pool, config, fields) for split, pool in pools.items()}
    label_key = field_name(config.label)
    places: dict[str, list[str]] = {}
    changed = []
    for split, pool in pools.items():
        rows = zip(items[split], pool.rows.values, pool.rows.places, strict=True)
        for item, row, place in rows:
            label = item.fields[label_key]
            places.setdefault(label, []).append(place)
            if (written := text_of(row[clean_name(config.label)])) != label:
                changed.append(f"{written!r} in {place}")
    if changed:
        logger.warning(
            "%d labels had spaces around them or another Unicode form, and were unified: %s",
            len(changed),
            _few(changed),
        )
    return Table(
        items=items,
        input_columns={field: column for field, column in fields.items() if field != label_key},
        label_key=label_key,
        labels=_labels(config, places, ", ".join(pool.name for pool in pools.values())),
        notes="; ".join(_note(pool) for pool in pools.values()),
    )


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


def _fields(config: TableConfig) -> dict[str, str]:
    fields: dict[str, str] = {}
    for column in (*config.inputs, config.label):
        field = field_name(column)
        if field in fields:
            msg = (
                f"columns {fields[field]!r} and {column!r} are the same field {field!r}; rename one"
            )
            raise DataError(msg)
        fields[field] = column
    return fields


def _read_pools(config: TableConfig) -> dict[Split, _Pool]:
    found: dict[Split, _Pool] = {}
    for split, path in config.files.items():
        rows = read_rows(
            path,
            form=config.format,
            delimiter=config.delimiter,
            encoding=config.encoding,
            columns=config.columns,
        )
        found[split] = _Pool(rows=rows, name=str(path), prefix=path.name)
    if config.hub is not None:
        from pld_dspy.data.sources import hub_rows

        for split, name in config.hub_splits.items():
            values = [
                {clean_name(column): value for column, value in row.items()}
                for row in hub_rows(config.hub, config.subset, name, revision=config.revision)
            ]
            where = f"{config.hub} ({name})"
            places = tuple(f"row {number} of {where} (from 0)" for number in range(len(values)))
            rows = Rows(values=tuple(values), places=places)
            found[split] = _Pool(rows=rows, name=where, prefix=f"{config.hub}/{name}")
    for pool in found.values():
        if not pool.rows.values:
            msg = f"{pool.name} has no rows; give labelled examples"
            raise DataError(msg)
    return found


def _items(pool: _Pool, config: TableConfig, fields: Mapping[str, str]) -> list[Item]:
    rows = enumerate(zip(pool.rows.values, pool.rows.places, strict=True))
    return [
        _item(row, place, f"{pool.prefix}:{number}", config, fields)
        for number, (row, place) in rows
    ]


def _item(
    row: Row, place: str, default_id: str, config: TableConfig, fields: Mapping[str, str]
) -> Item:
    values = {field: _cell(row, column, place) for field, column in fields.items()}
    label_key = field_name(config.label)
    values[label_key] = clean_label(values[label_key])
    if not values[label_key]:
        msg = f"{place} has an empty label in column {config.label!r}; fill it in or drop the row"
        raise DataError(msg)
    return Item(
        id=default_id if config.id is None else _cell(row, config.id, place),
        group=None if config.group is None else _cell(row, config.group, place),
        fields=values,
    )


def _cell(row: Row, column: str, place: str) -> str:
    name = clean_name(column)
    if name not in row:
        msg = f"{place} has no column {column!r} but {', '.join(filter(None, row))}{nearest(name, row)}"
        raise DataError(msg)
    value = row[name]
    if is_missing(value):
        said = "no value" if value is None else f"the value {value!s}"
        msg = f"{place} has {said} in column {column!r}; fill it in or drop the row"
        raise DataError(msg)
    try:
        return text_of(value)
    except TypeError as error:
        msg = f"{place} has {error} in column {column!r}; write text"
        raise DataError(msg) from error


def _labels(
    config: TableConfig, places: Mapping[str, Sequence[str]], source: str
) -> tuple[str, ...]:
    """Return the label set: the one that is set, else the labels of the data, sorted.

    Args:
        config: Says which labels are allowed, if any are named.
        places: Where each label of the data is.
        source: Name of the files, for messages.
    """
    if config.labels is not None:
        allowed = tuple(clean_label(label) for label in config.labels)
        for label in places:
            if label not in allowed:
                msg = (
                    f"{places[label][0]} has the label {label!r} in column {config.label!r}, "
                    f"which is not one of labels{nearest(label, allowed)}"
                )
                raise DataError(msg)
        return allowed
    found = tuple(sorted(places))
    if len(found) < 2:
        msg = f"column {config.label!r} of {source} has the labels {list(found)}; at least two are needed"
        raise DataError(msg)
    _refuse_variants(config.label, places)
    return found


def _refuse_variants(column: str, places: Mapping[str, Sequence[str]]) -> None:
    forms: dict[str, list[str]] = {}
    for label in sorted(places):
        forms.setdefault(label_form(label), []).append(label)
    variants = [
        " and ".join(f"{label!r} ({_few(places[label])})" for label in labels)
        for labels in forms.values()
        if len(labels) > 1
    ]
    if variants:
        msg = (
            f"labels of column {column!r} differ only in case, width or spaces: "
            f"{'; '.join(variants)}; spell each in one way, or list all of them in labels if they "
            "are different labels"
        )
        raise DataError(msg)


def _few(places: Sequence[str], most: int = 3) -> str:
    rest = f" and {len(places) - most} more" if len(places) > most else ""
    return ", ".join(places[:most]) + rest


def _note(pool: _Pool) -> str:
    return " ".join([pool.name, *(f"({note})" for note in pool.rows.notes)])
