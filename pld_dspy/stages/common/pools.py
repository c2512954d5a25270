"""Rule pools, which the search draws from."""

from typing import NamedTuple

from pld_dspy.records import Origin, Rule


class Pool(NamedTuple):
    """Rules from one method."""

    name: str
    rules: tuple[Rule, ...]
    origin: Origin = "synthesis"
    is_candidate: bool = True
    """Whether the whole pool is scored as one list; the search uses its rules in either case."""
