"""Converts settings and names to what MLflow takes, with keys and passwords masked."""

import dataclasses
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from pld_dspy.ledger.mlflow.uri import MASK, without_secrets

MAX_VALUE = 6000  # MLflow's limit for a parameter value, in characters
_CUT = " [cut; whole value in params.json]"
_SECRET_KEY = re.compile(
    r"(?:^|[^a-z])(?:(?:api|access|secret|private)_?key|token|secret|passw(?:or)?d|pwd"
    r"|credentials?|authorization)$",
    re.IGNORECASE,
)


def flatten(params: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    """Return dotted keys with values as text, each at most 6000 characters.

    >>> flatten({"search": {"trials": 40, "order": ["label", "support"]}})
    {'search.trials': '40', 'search.order': '["label", "support"]'}
    """
    flat: dict[str, str] = {}
    for key, value in params.items():
        name = prefix + metric_key(str(key))
        if isinstance(value, Mapping) and value:
            flat |= flatten(value, f"{name}.")
            continue
        text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
        flat[name] = text if len(text) <= MAX_VALUE else text[: MAX_VALUE - len(_CUT)] + _CUT
    return flat


def plain(value: object, key: str = "") -> Any:
    """Return JSON types only; the value of a name like `api_key` is masked."""
    if value is None or isinstance(value, bool | int | float):
        return value
    if _SECRET_KEY.search(key):
        return MASK
    if isinstance(value, Mapping):
        return {str(name): plain(part, str(name)) for name, part in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [plain(part, key) for part in value]
    if isinstance(value, str | Path):
        return without_secrets(str(value))
    if isinstance(value, np.generic):
        return value.item()
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: plain(getattr(value, f.name), f.name) for f in dataclasses.fields(value)}
    if hasattr(value, "model_dump"):
        return plain(value.model_dump())
    # Any other object may show a key in its repr, so only its name goes out.
    return getattr(value, "__qualname__", type(value).__qualname__)


def metric_key(name: str) -> str:
    """Return `name` with only the characters that MLflow allows in a name."""
    return re.sub(r"[^\w./: -]", "_", name)
