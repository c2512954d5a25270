"""Every optimizer of the comparison: each module of this folder adds its `ENTRIES` to the table."""

import importlib
import pkgutil

from experiments.rivals.table import Found, Job, Rival, by_name, table_of

__all__ = ["RIVALS", "Found", "Job", "Rival", "by_name"]

_MODULES = [
    importlib.import_module(f"{__name__}.{found.name}")
    for found in pkgutil.iter_modules(__path__)
    if found.name != "table"
]
RIVALS: dict[str, Rival] = table_of([e for module in _MODULES for e in module.ENTRIES])
