"""Search space: ordered lists from a pool of rules, encoded in few parameters."""

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any, Literal, NamedTuple, get_args

import optuna

from pld_dspy.records import Answer, Rule
from pld_dspy.stages.common.prompt import HEADER
from pld_dspy.stages.common.turns import in_turns

Order = Literal[
    "support",
    "label",
    "general first",
    "exceptions first",
    "short first",
    "reverse",
    "weak first",
    "gain",
    "ends",
]


ORDERS: tuple[Order, ...] = get_args(Order)


HEADERS = (HEADER, "Answer by the first rule that fits:", "Rules, the most important first:")
"""Wordings of the line above the rules; the first is the default."""

ALL = "all"
"""Name of the group of all rules."""


class RuleList(NamedTuple):
    """An ordered list of rules, as indices in the pool, and the line above them."""

    rules: tuple[int, ...]
    header: str = HEADER


@dataclass(frozen=True, slots=True, kw_only=True)
class Hints:
    """Results so far by rule and label, which some orders use."""

    weak: Mapping[str, int] = field(default_factory=dict)
    """Errors by label: gold label missed minus label answered wrongly; see `weakness`."""
    gains: Mapping[int, float] = field(default_factory=dict)
    """Estimated gain by index in the pool."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Space:
    """Ordered sublists of a rule pool.

    The parameters are a group of rules, an order, a size, and random keys that perturb the order:
    the priority of a rule is `(1 - amplitude) * rank / n + amplitude * key`, and the first `size`
    rules are the list. With `amplitude` 0 it is the start of a known order, with 1 any list. At a few
    dozen trials the encoding matters more than the sampler.
    """

    rules: tuple[Rule, ...]
    groups: Mapping[str, tuple[int, ...]]
    """Indices in `rules` by group name, the most promising group first."""
    headers: tuple[str, ...]
    most: int
    """Maximum number of rules in a list."""
    alike: tuple[tuple[int, int], ...] = ()
    """Pairs of rules that are not in one list."""

    def suggest(self, trial: optuna.Trial) -> dict[str, Any]:
        """Return the parameters of the trial, from the sampler or enqueued."""
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
        """Return the list that the parameters encode, given the hints."""
        ranked = self.ordered(params["group"], params["order"], hints)
        amplitude = params["amplitude"]
        if amplitude > 0:
            priority = {
                place: (1 - amplitude) * rank / len(ranked) + amplitude * params[f"key{place}"]
                for rank, place in enumerate(ranked)
            }
            ranked = tuple(sorted(ranked, key=lambda place: priority[place]))
        else:
            # A known order has the better rule of two that are alike; random keys may have either.
            better = self.without_alike(sorted(ranked, key=self._worth))
            ranked = tuple(place for place in ranked if place in better)
        return RuleList(self.without_alike(ranked)[: params["size"]], params["header"])

    def without_alike(self, places: Sequence[int]) -> tuple[int, ...]:
        """Return the rules without those that are alike an earlier one."""
        kept: list[int] = []
        for place in places:
            if self.allows((*kept, place)):
                kept.append(place)
        return tuple(kept)

    def allows(self, places: Sequence[int]) -> bool:
        """Return whether no two of the rules are alike."""
        return not any(one in places and two in places for one, two in self.alike)

    def encode(self, listing: RuleList) -> dict[str, Any]:
        """Return parameters that encode this list, for any hints."""
        rest = [place for place in range(len(self.rules)) if place not in listing.rules]
        places = [*listing.rules, *rest]
        group = next(
            (name for name, rules in self.groups.items() if set(rules) == set(places)), None
        )
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
        """Return the rules of a group in this order, as indices."""
        places = {self.rules[place].id: place for place in self.groups[group]}
        gains = {self.rules[place].id: gain for place, gain in hints.gains.items()}
        chosen = [self.rules[place] for place in self.groups[group]]
        return tuple(
            places[rule.id] for rule in ordered(chosen, order, weak=hints.weak, gains=gains)
        )

    def take(self, places: Sequence[int]) -> tuple[Rule, ...]:
        """Return the rules with these indices."""
        return tuple(self.rules[place] for place in places)

    def _worth(self, place: int) -> tuple[float, int, int]:
        """Return a sort key: coverage times precision, then the shorter text."""
        rule = self.rules[place]
        return (0.0 if rule.truth is None else -rule.truth.worth, len(rule.text), place)

    @property
    def _keys(self) -> tuple[str, ...]:
        return tuple(f"key{place}" for place in range(len(self.rules)))


def make_space(
    groups: Mapping[str, Sequence[Rule]],
    *,
    max_rules: int | None = None,
    headers: Sequence[str] = HEADERS,
    alike: Collection[Collection[str]] = (),
) -> Space:
    """Return the space of the groups and of all rules together.

    Args:
        groups: Rules by group name, the most promising group first; empty groups are dropped.
        max_rules: Maximum number of rules in a list; None means the size of the largest group.
        headers: Wordings of the line above the rules.
        alike: Pairs of texts of rules that are not in one list; those of other rules are ignored.
    """
    pool: dict[str, Rule] = {}
    by_text: dict[str, str] = {}
    for rules in groups.values():
        for rule in rules:
            # A rule with the same text is in the pool once, even if the evidence differs.
            kept = by_text.setdefault(rule.text, rule.id)
            if kept == rule.id:
                pool.setdefault(rule.id, rule)
    place = {rule_id: number for number, rule_id in enumerate(pool)}
    filled = {
        name: tuple(dict.fromkeys(place[by_text[rule.text]] for rule in rules))
        for name, rules in groups.items()
        if rules
    }
    longest = max((len(places) for places in filled.values()), default=0)
    if not any(set(places) == set(place.values()) for places in filled.values()):
        filled[ALL] = tuple(place.values())
    space = Space(
        rules=tuple(pool.values()),
        groups=filled,
        headers=tuple(headers),
        most=min(longest, max_rules or longest),
        alike=_pairs({text: place[key] for text, key in by_text.items()}, alike),
    )
    if not space.alike:
        return space
    fitting = max(
        len(space.without_alike(sorted(places, key=space._worth))) for places in filled.values()
    )
    return replace(space, most=min(space.most, fitting))


def _pairs(
    places: Mapping[str, int], alike: Collection[Collection[str]]
) -> tuple[tuple[int, int], ...]:
    """Return the pairs of texts as sorted pairs of places; pairs with another text are left out."""
    known = [[places[text] for text in pair] for pair in alike if set(pair) <= places.keys()]
    return tuple(sorted((min(pair), max(pair)) for pair in known))


def weakness(answers: Sequence[Answer]) -> dict[str, int]:
    """Return by label how often it was missed minus how often it was a wrong answer.

    >>> weakness([Answer(example_id="1", gold="job", answer="sex")])
    {'job': 1, 'sex': -1}
    """
    counts: Counter[str] = Counter()
    for answer in answers:
        if answer.error is None and answer.answer != answer.gold:
            counts[answer.gold] += 1
            if answer.answer is not None:
                counts[answer.answer] -= 1
    return dict(counts)


def ordered(
    rules: Sequence[Rule],
    order: Order,
    *,
    weak: Mapping[str, int] = MappingProxyType({}),
    gains: Mapping[str, float] = MappingProxyType({}),
) -> tuple[Rule, ...]:
    """Return the rules in this order; ties are in order of the rule ids.

    `support`: by support, highest first. `reverse`: by support, lowest first. `label`: one rule of
    each label in turn. `general first`: rules of a whole label, then of a cluster, then exceptions.
    `exceptions first`: the reverse, so that defaults come last. `short first`: by length of the text.
    `weak first`: labels that the student misses before those that it answers too often, by `weak`
    (see `weakness`). `gain`: by estimated gain, highest first, by rule id in `gains`. `ends`: the best
    supported rule first, the next one last, and so on inwards, since models use the first and last
    lines best. For a small student the order can matter more than the text of the rules.
    """
    by_support = sorted(rules, key=lambda rule: (-rule.support, rule.id))
    if order == "reverse":
        return tuple(reversed(by_support))
    if order == "weak first":
        return tuple(sorted(by_support, key=lambda rule: -weak.get(rule.main_label, 0)))
    if order == "short first":
        return tuple(sorted(by_support, key=lambda rule: len(rule.text)))
    if order == "general first":
        return tuple(sorted(by_support, key=_breadth))
    if order == "exceptions first":
        return tuple(sorted(by_support, key=lambda rule: -_breadth(rule)))
    if order == "gain":
        return tuple(sorted(by_support, key=lambda rule: -gains.get(rule.id, 0.0)))
    if order == "ends":
        return (*by_support[::2], *reversed(by_support[1::2]))
    if order == "label":
        names = sorted({rule.main_label for rule in by_support})
        columns = [[rule for rule in by_support if rule.main_label == name] for name in names]
        return tuple(in_turns(columns))
    return tuple(by_support)


def _breadth(rule: Rule) -> int:
    if rule.cluster_id is None:
        return 0
    return 1 if rule.origin == "synthesis" else 2
