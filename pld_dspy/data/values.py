"""Values of a data set as text: what is missing, how a value is written, how a label is compared."""

import datetime
import decimal
import json
import unicodedata
from typing import Any

_INVISIBLE = "\u200b\u2060\ufeff"
"""Zero-width space, word joiner and byte order mark, which `str.strip` leaves."""


def is_missing(value: Any) -> bool:
    """Return whether a value is None, NaN (of Python, NumPy, decimal), `pandas.NA` or `pandas.NaT`.

    >>> is_missing(float("nan")), is_missing(None), is_missing("nan"), is_missing(0)
    (True, True, False, False)
    """
    if value is None or type(value).__name__ == "NAType":
        return True
    if isinstance(value, decimal.Decimal):
        return value.is_nan()
    try:
        return bool(value != value)  # NaN and NaT are not equal to themselves
    except (TypeError, ValueError):  # arrays have no single answer
        return False


def text_of(value: Any) -> str:
    """Return a value as text: strings and JSON's numbers as written, dates in ISO form, lists as JSON.

    Raises:
        TypeError: The value has no text, such as bytes; the message names its type.

    >>> text_of("01"), text_of(1.5), text_of(True), text_of(["ä", 2])
    ('01', '1.5', 'true', '["ä", 2]')
    """
    plain = _plain(value, top=True)
    return plain if isinstance(plain, str) else json.dumps(plain, ensure_ascii=False)


def clean_label(text: str) -> str:
    """Return a label in Unicode form NFC, without spaces and invisible characters around it.

    >>> clean_label(" red ")
    'red'
    """
    before, label = None, unicodedata.normalize("NFC", text)
    while label != before:
        before, label = label, label.strip().strip(_INVISIBLE)
    return label


def label_form(label: str) -> str:
    """Return what two spellings of one label share: no case, no width, single spaces.

    >>> label_form("Dark  Red") == label_form("dark red")
    True
    """
    return " ".join(unicodedata.normalize("NFKC", label).casefold().split())


def _plain(value: Any, *, top: bool = False) -> Any:
    """Return a value that JSON can hold; below the top, numbers as written are numbers again."""
    if isinstance(value, str):
        written_number = type(value) is not str and not top
        return json.loads(value) if written_number else str(value)
    if value is None or isinstance(value, bool | int | float):
        return value
    if isinstance(value, datetime.date | datetime.time):
        return value.isoformat()
    if isinstance(value, decimal.Decimal | datetime.timedelta):
        return str(value)
    if isinstance(value, dict):
        return {str(key): _plain(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(entry) for entry in value]
    if hasattr(value, "tolist"):  # arrays and scalars of NumPy
        return _plain(value.tolist(), top=top)
    msg = f"a value of type {type(value).__name__}"
    raise TypeError(msg)
