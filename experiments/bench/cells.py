"""A cell of a comparison: what its name says, and which cell sets its budget."""

from typing import Literal, NamedTuple

from pld_dspy.config.base import By
from pld_dspy.errors import ConfigError

OWN = "own"
"""Budget of the optimizers that spend nothing, or what their settings say."""
SETS_BUDGET = "pld-searched"
"""The optimizer whose calls are the budget of the others."""

Traces = Literal["teacher", "recorded"]


class Cell(NamedTuple):
    """One run: one line of the results.

    >>> Cell.named("stereoset/gepa/small/large/teacher/item/0/x1").pays.name
    'stereoset/pld-searched/small/large/teacher/item/0/own'
    """

    task: str
    optimizer: str
    student: str
    teacher: str
    traces: Traces
    split_by: By
    seed: int
    budget: str

    @property
    def name(self) -> str:
        """Key of the line."""
        return "/".join(str(part) for part in self)

    @property
    def pays(self) -> "Cell":
        """The cell whose calls are this one's budget."""
        return self._replace(optimizer=SETS_BUDGET, budget=OWN)

    @classmethod
    def named(cls, name: str) -> "Cell":
        """Return the cell of that name.

        Raises:
            ConfigError: The name has not eight parts, or its seed is no number.
        """
        parts = name.split("/")
        if len(parts) != len(cls._fields) or not parts[6].isdigit():
            msg = f"{name!r} names no cell; a name is {'/'.join(cls._fields)}, seed a number"
            raise ConfigError(msg)
        return cls._make([*parts[:6], int(parts[6]), parts[7]])
