"""What the training examples say of rules, for stages that make some."""

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import NamedTuple

from pld_dspy.records import Rule


class Checked(NamedTuple):
    """Rules after a check on training examples."""

    rules: Mapping[str, Rule]
    """By text, each with its `truth` if it was judged."""
    false: Mapping[str, str]
    """By text of a rule that is not true: why."""
    dropped: Mapping[str, int] = MappingProxyType({})
    """Number of judgements that failed or could not be read, by reason."""


Check = Callable[[Sequence[Rule]], Checked]


def unchecked(rules: Sequence[Rule]) -> Checked:
    """Return the rules as they are."""
    return Checked({rule.text: rule for rule in rules}, {})
