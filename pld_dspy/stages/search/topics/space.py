"""Lists with rules by topic, encoded in few parameters."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import optuna

from pld_dspy.records import Rule
from pld_dspy.stages.common.prompt import HEADER
from pld_dspy.stages.search.space import HEADERS, Order, ordered

_LISTED = "listed"
"""The order of the pool, which for given rules is that of their author."""
_ORDERS: tuple[Order, ...] = ("label", "short first", "exceptions first")
_MOST_GENERAL = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class TopicSpace:
    """Lists with some general rules and up to so many rules of each topic.

    The parameters are two pools, two numbers, an order, the place of the general rules, the header and
    what is shown; one number holds for all topics, so the space does not grow with them.
    """

    general: Mapping[str, tuple[Rule, ...]]
    """Pools of general rules, the most promising first; may be empty."""
    topical: Mapping[str, tuple[Rule, ...]]
    """Pools of rules by topic, the most promising first."""
    most: int | None
    """Maximum number of rules shown with one question; None means no limit."""

    @property
    def sizes(self) -> tuple[int, int]:
        """Most general rules, and most rules of one topic."""
        general = max(map(len, self.general.values()), default=0)
        per_topic = max(
            sum(rule.scope == topic for rule in rules)
            for rules in self.topical.values()
            for topic in {rule.scope for rule in rules}
        )
        limit = self.most or max(general, per_topic)
        return min(general, _MOST_GENERAL, limit), min(per_topic, limit)

    def starts(self) -> Iterator[dict[str, Any]]:
        """Yield the first parameters: everything by topic, the same to all, and fewer rules."""
        general, per_topic = self.sizes
        first = {
            **({"general pool": next(iter(self.general))} if self.general else {}),
            "topic pool": next(iter(self.topical)),
            "general": general,
            "per topic": per_topic,
            "order": _LISTED,
            "general first": True,
            "header": HEADER,
            "show": "topic",
        }
        yield first
        yield first | {"show": "all"}
        yield first | {"general": 0, "order": "label"}
        yield first | {"general": min(general, 2), "general first": False}

    def suggest(self, trial: optuna.Trial) -> dict[str, Any]:
        """Return the parameters of the trial, from the sampler or enqueued."""
        general, per_topic = self.sizes
        params: dict[str, Any] = {}
        if self.general:
            params["general pool"] = trial.suggest_categorical("general pool", list(self.general))
        return params | {
            "topic pool": trial.suggest_categorical("topic pool", list(self.topical)),
            "general": trial.suggest_int("general", 0, general),
            "per topic": trial.suggest_int("per topic", 0, per_topic),
            "order": trial.suggest_categorical("order", [_LISTED, *_ORDERS]),
            "general first": trial.suggest_categorical("general first", [True, False]),
            "header": trial.suggest_categorical("header", HEADERS),
            "show": trial.suggest_categorical("show", ["topic", "all"]),
        }

    def decode(self, params: Mapping[str, Any]) -> tuple[Rule, ...]:
        """Return the rules that the parameters encode, those of one topic in a row."""
        order = params["order"]
        pool = self.general.get(params.get("general pool", ""), ())
        general = _in_order(pool, order)[: params["general"]]
        left = params["per topic"]
        if self.most is not None:
            left = min(left, self.most - len(general))
        rules = self.topical[params["topic pool"]]
        of_topics = [
            rule
            for topic in dict.fromkeys(rule.scope for rule in rules)
            for rule in _in_order([r for r in rules if r.scope == topic], order)[:left]
        ]
        return (*general, *of_topics) if params["general first"] else (*of_topics, *general)


def _in_order(rules: Sequence[Rule], order: Any) -> tuple[Rule, ...]:
    return tuple(rules) if order == _LISTED else ordered(rules, order)
