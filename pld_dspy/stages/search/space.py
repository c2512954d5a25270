"""What the search may try: ordered lists from a pool of rules, as few numbers that a sampler can learn."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import optuna

from pld_dspy.records import Rule
from pld_dspy.stages.common.prompt import HEADER
from pld_dspy.stages.search.orders import ORDERS, Order, ordered

HEADERS = (HEADER, "Answer by the first rule that fits:", "Rules, the most important first:")
"""Wordings of the line above the rules, that of every other list first."""

ALL = "all"
"""The group that holds every rule."""


class RuleList(NamedTuple):
    """An ordered list of rules, each by its place in the pool, and the line above them."""

    rules: tuple[int, ...]
    header: str = HEADER


@dataclass(frozen=True, slots=True, kw_only=True)
class Hints:
    """What is known so far about rules and labels; orders follow it."""

    weak: Mapping[str, int] = field(default_factory=dict)
    """How often each label is missed, less how often it is said wrongly; see `lists.weakness`."""
    gains: Mapping[int, float] = field(default_factory=dict)
    """Measured gain by place in the pool."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Space:
    """Ordered sublists of a rule pool.

    A list is a group of rules, an order, a size, and bounded random keys that disturb the order:
    the priority of a rule is `(1 - amplitude) * rank / n + amplitude * key`, and the first `size`
    rules stay. With `amplitude` 0 the list is the start of a known order, with 1 it is any list at
    all. At a few dozen trials such an encoding decides more than the sampler does.
    """

    rules: tuple[Rule, ...]
    groups: Mapping[str, tuple[int, ...]]
    """Places in `rules` by the name of the group, the most promising first; each may be searched alone."""
    headers: tuple[str, ...]
    most: int
    """Longest list."""

    def suggest(self, trial: optuna.Trial) -> dict[str, Any]:
        """Return the parameters that the sampler, or an enqueued trial, chose."""
        params: dict[str, Any] = {
            "group": trial.suggest_categorical("group", sorted(self.groups)),
            "order": trial.suggest_categorical("order", ORDERS),
            "size": trial.suggest_int("size", 1, self.most),
            "amplitude": trial.suggest_float("amplitude", 0.0, 1.0, step=0.25),
            "header": trial.suggest_categorical("header", self.headers),
        }
        if params["amplitude"] > 0:
            params |= {key: trial.suggest_float(key, 0.0, 1.0) for key in self._keys}
        return params

    def decode(self, params: Mapping[str, Any], hints: Hints) -> RuleList:
        """Return the list that the parameters stand for, given what is known so far."""
        ranked = self.ordered(params["group"], params["order"], hints)
        amplitude = params["amplitude"]
        if amplitude > 0:
            priority = {
                place: (1 - amplitude) * rank / len(ranked) + amplitude * params[f"key{place}"]
                for rank, place in enumerate(ranked)
            }
            ranked = tuple(sorted(ranked, key=lambda place: priority[place]))
        return RuleList(ranked[: params["size"]], params["header"])

    def encode(self, listing: RuleList) -> dict[str, Any]:
        """Return parameters that stand for exactly this list, whatever the hints."""
        rest = [place for place in range(len(self.rules)) if place not in listing.rules]
        places = [*listing.rules, *rest]
        group = next((name for name, held in self.groups.items() if set(held) == set(places)), None)
        if group is None:
            msg = "a space without the group of all rules cannot encode every list"
            raise ValueError(msg)
        return {
            "group": group,
            "order": ORDERS[0],
            "size": len(listing.rules),
            "amplitude": 1.0,
            "header": listing.header,
            **{f"key{place}": rank / len(places) for rank, place in enumerate(places)},
        }

    def ordered(self, group: str, order: Order, hints: Hints) -> tuple[int, ...]:
        """Return the rules of a group in one of the known orders."""
        places = {self.rules[place].id: place for place in self.groups[group]}
        gains = {self.rules[place].id: gain for place, gain in hints.gains.items()}
        chosen = [self.rules[place] for place in self.groups[group]]
        return tuple(
            places[rule.id] for rule in ordered(chosen, order, weak=hints.weak, gains=gains)
        )

    def take(self, places: Sequence[int]) -> tuple[Rule, ...]:
        """Return the rules in these places."""
        return tuple(self.rules[place] for place in places)

    @property
    def _keys(self) -> tuple[str, ...]:
        return tuple(f"key{place}" for place in range(len(self.rules)))


def make_space(
    groups: Mapping[str, Sequence[Rule]],
    *,
    max_rules: int | None = None,
    headers: Sequence[str] = HEADERS,
) -> Space:
    """Return the space over the groups and over all their rules together.

    Args:
        groups: Rules by name, the most promising group first; empty ones are left out.
        max_rules: Longest list; None is as long as the longest group.
        headers: Wordings of the line above the rules.
    """
    pool: dict[str, Rule] = {}
    by_text: dict[str, str] = {}
    for rules in groups.values():
        for rule in rules:
            # The same text twice in a prompt says nothing new, whatever evidence each copy has.
            kept = by_text.setdefault(rule.text, rule.id)
            if kept == rule.id:
                pool.setdefault(rule.id, rule)
    place = {rule_id: at for at, rule_id in enumerate(pool)}
    filled = {
        name: tuple(dict.fromkeys(place[by_text[rule.text]] for rule in rules))
        for name, rules in groups.items()
        if rules
    }
    longest = max((len(places) for places in filled.values()), default=0)
    if not any(set(places) == set(place.values()) for places in filled.values()):
        filled[ALL] = tuple(place.values())
    return Space(
        rules=tuple(pool.values()),
        groups=filled,
        headers=tuple(headers),
        most=min(longest, max_rules or longest),
    )
