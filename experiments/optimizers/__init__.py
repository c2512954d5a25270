"""Every optimizer of the comparison: each module of this folder adds its `ENTRIES` to the table."""

import importlib
import pkgutil

from experiments.optimizers.table import Found, Job, Optimizer, table_of

__all__ = ["OPTIMIZERS", "Found", "Job", "Optimizer"]

_MODULES = [
    importlib.import_module(f"{__name__}.{found.name}")
    for found in pkgutil.iter_modules(__path__)
    if found.name != "table"
]
OPTIMIZERS: dict[str, Optimizer] = table_of([e for module in _MODULES for e in module.ENTRIES])
