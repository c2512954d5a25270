"""What a report says of rules by topic."""

from collections.abc import Mapping, Sequence
from typing import Any

import dspy

from pld_dspy.models.topics import unseen
from pld_dspy.records import PLDResult


def topic_numbers(result: PLDResult, test: Sequence[dspy.Example]) -> dict[str, Any]:
    """Return the fields of a report about the topics; none of them if rules are not by topic."""
    found = [part.chosen.topics for part in result.predictors if part.chosen.topics is not None]
    own = {rule.scope for rule in result.rules if rule.scope is not None}
    return {"topics": len(own), "unseen_topics": unseen(found[0], test)} if found else {}


def sections(chosen: Mapping[str, Any]) -> list[tuple[str, list[Mapping[str, Any]]]]:
    """Return the rules of a list by heading, in order; one section without a heading if none has a topic."""
    scopes = [rule.get("scope") for rule in chosen["rules"]]
    if not any(scopes):
        return [("", chosen["rules"])] if scopes else []
    found: dict[str, list[Mapping[str, Any]]] = {}
    for scope, rule in zip(scopes, chosen["rules"], strict=True):
        found.setdefault("Always" if scope is None else f"Only for: {scope}", []).append(rule)
    return list(found.items())
