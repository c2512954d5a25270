"""Students whose rules have known effects, so that the best list of all is known."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import combinations
from typing import Any

import numpy as np
import numpy.typing as npt

from pld_dspy.config.optimizer import SearchConfig
from pld_dspy.records import Answer, Rule
from pld_dspy.scoring.metrics import macro_f1
from pld_dspy.stages.common.rule_text import make_rule, make_trace
from pld_dspy.stages.search.contest import Contest, Tried
from pld_dspy.stages.search.space import RuleList, make_space

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

LABELS = ("red", "green", "blue", "grey")


@dataclass(frozen=True, slots=True)
class Examples:
    """Gold labels by number, how sure the student is of each without rules, and its usual mistake."""

    gold: Ints
    base: Floats
    slip: Ints
    taste: Floats
    """What each rule does to each example beyond its effect on the label, shape `(n, rules)`."""
    followed: Floats = field(default_factory=lambda: np.zeros((0, 0)))
    """1.0 where a student of short attention follows a late rule all the same; shape as `taste`."""


class SimulatedStudent:
    """Answers by a margin: its own, plus what each rule does to the label, less further down the list.

    Some rules help their own label and cost another; some repeat another rule, so that the second
    of them adds nothing; some harm; some pairs work in one order only.
    """

    def __init__(self, seed: int, *, rules: int = 12) -> None:
        """Draw the effects of the rules."""
        rng = np.random.default_rng(seed)
        self.n = rules
        effect = rng.normal(-0.15, 0.25, (rules, len(LABELS)))
        own = np.arange(rules) % len(LABELS)
        effect[np.arange(rules), own] += rng.choice([1.3, 0.9, 0.4, -0.5], rules)
        self.effect = effect
        self.copy_of = {i: i - len(LABELS) for i in range(len(LABELS), rules, 3)}
        pairs = rng.permutation(rules)
        self.pairs = [(int(a), int(b)) for a, b in zip(pairs[0:4:2], pairs[1:4:2], strict=True)]
        self._rng = rng
        self.population = self.examples(4000)

    def examples(self, n: int) -> Examples:
        """Return `n` fresh examples, as many of each label."""
        gold = np.arange(n) % len(LABELS)
        return Examples(
            gold=gold,
            base=self._rng.normal(-0.1, 1.2, n),
            slip=(gold + self._rng.integers(1, len(LABELS), n)) % len(LABELS),
            taste=self._rng.normal(0, 0.35, (n, self.n)),
        )

    def margins(self, rules: tuple[int, ...], examples: Examples) -> Floats:
        """Return by example how far the student is on the right side under the list."""
        return examples.base + self._weights(rules) @ self._columns(examples)

    def _columns(self, examples: Examples) -> Floats:
        """Return what can move the margin, one row a cause: each rule, then 1."""
        own = self.effect[:, examples.gold] + examples.taste.T
        return np.concatenate([own, np.ones((1, len(examples.gold)))])

    def _weights(self, rules: tuple[int, ...]) -> Floats:
        """Return how much of each row of `_columns` the list brings about."""
        weights = np.zeros(self.n + 1)
        for rank, rule in enumerate(rules):
            weights[rule] = 1.0 if rank < 4 else 0.6
            if self.copy_of.get(rule) in rules:
                weights[rule] *= 0.2
        for first, second in self.pairs:
            if first in rules and second in rules:
                weights[-1] += 0.35 if rules.index(first) < rules.index(second) else -0.35
        weights[-1] -= 0.05 * max(0, len(rules) - 6)
        return weights

    def said(self, rules: tuple[int, ...], examples: Examples) -> Ints:
        """Return the numbers of the labels that the student answers."""
        return np.where(self.margins(rules, examples) > 0, examples.gold, examples.slip)

    def true_score(self, rules: tuple[int, ...]) -> float:
        """Return macro-F1 on a population of 4000 examples."""
        said = self.said(rules, self.population)
        return macro_f1([LABELS[i] for i in self.population.gold], [LABELS[i] for i in said])

    def best_list(self, starts: int = 8) -> tuple[int, ...]:
        """Return the best list on the population that climbing from the empty list and others finds.

        Args:
            starts: Random lists to climb from besides.
        """
        rng = np.random.default_rng(0)
        tops = [self._climb(())]
        for _ in range(starts):
            start = rng.permutation(self.n)[: rng.integers(2, self.n)]
            tops.append(self._climb(tuple(int(i) for i in start)))
        return max(zip(self._right(tops), tops, strict=True))[1]

    @cached_property
    def _population_columns(self) -> Floats:
        return self._columns(self.population)

    def _right(self, lists: Sequence[tuple[int, ...]]) -> list[float]:
        """Return the share of right answers on the population under each list."""
        weights = np.stack([self._weights(rules) for rules in lists])
        margins = self.population.base + weights @ self._population_columns
        return [float(share) for share in (margins > 0).mean(axis=1)]

    def _climb(self, rules: tuple[int, ...]) -> tuple[int, ...]:
        (score,) = self._right([rules])
        while True:
            options = [rules[:i] + rules[i + 1 :] for i in range(len(rules))]
            for i, rule in enumerate(rules):
                rest = rules[:i] + rules[i + 1 :]
                options += [(*rest[:j], rule, *rest[j:]) for j in range(len(rules))]
            for rule in set(range(self.n)) - set(rules):
                options += [(*rules[:j], rule, *rules[j:]) for j in range(len(rules) + 1)]
            scores = self._right(options)
            top = int(np.argmax(scores))
            if scores[top] <= score:
                return rules
            rules, score = options[top], scores[top]

    def contest(
        self,
        n: int = 100,
        *,
        seed: int = 0,
        odds: bool = True,
        known: Sequence[Tried] = (),
        **config: Any,
    ) -> tuple[Contest, list[int]]:
        """Return a contest over the student's rules on `n` fresh examples, and the sizes of its calls.

        Without `odds` the answers have no gold probability, as of an endpoint that tells none.
        """
        drawn = self.examples(n)
        calls: list[int] = []

        def ask(listing: RuleList, places: Sequence[int]) -> list[Answer]:
            said = self.said(listing.rules, drawn)
            p = 1 / (1 + np.exp(-1.5 * self.margins(listing.rules, drawn)))
            calls.append(len(places))
            return [
                Answer(
                    example_id=f"v{i}",
                    gold=LABELS[drawn.gold[i]],
                    answer=LABELS[said[i]],
                    score=float(said[i] == drawn.gold[i]),
                    p_gold=float(p[i]) if odds else None,
                    calls=1,
                    input_tokens=40 + 12 * len(listing.rules),
                )
                for i in places
            ]

        contest = Contest(
            space=make_space({"pool": self.rules()}),
            metric=macro_f1,
            ids=tuple(f"v{i}" for i in range(n)),
            gold=tuple(LABELS[i] for i in drawn.gold),
            ask=ask,
            known=tuple(known),
            config=SearchConfig(**config),
            seed=seed,
        )
        return contest, calls

    def rules(self) -> list[Rule]:
        """Return the rules; their support is a noisy hint at their effect."""
        own = self.effect[np.arange(self.n), np.arange(self.n) % len(LABELS)]
        noisy = own + np.random.default_rng(1).normal(0, 0.6, self.n)
        support = 1 + np.argsort(np.argsort(noisy))
        return [
            make_rule(
                f"Rule number {i} about {LABELS[i % len(LABELS)]}.",
                [make_trace(f"e{i}-{j}", LABELS[i % len(LABELS)], "w", f"{i}") for j in range(k)],
                origin="synthesis",
            )
            for i, k in enumerate(support)
        ]


class InteractingStudent(SimulatedStudent):
    """What two rules do together is as large as what each does by itself, and differs by label.

    Half of the pairs interact, so a list of six has about seven such terms: log-odds do not add up.
    """

    def __init__(self, seed: int, *, rules: int = 12) -> None:
        """Draw the effects of the rules and of their pairs."""
        rng = np.random.default_rng((seed, 1))
        self.couples = list(combinations(range(rules), 2))
        strength = rng.normal(-0.1, 0.35, (len(self.couples), 1))
        strength = strength + rng.normal(0, 0.35, (len(self.couples), len(LABELS)))
        self.together = strength * (rng.random((len(self.couples), 1)) < 0.5)
        super().__init__(seed, rules=rules)

    def _columns(self, examples: Examples) -> Floats:
        return np.concatenate([super()._columns(examples), self.together[:, examples.gold]])

    def _weights(self, rules: tuple[int, ...]) -> Floats:
        inside = set(rules)
        both = [float(a in inside and b in inside) for a, b in self.couples]
        return np.concatenate([super()._weights(rules), both])


class ShortStudent(SimulatedStudent):
    """Follows the first `k` rules, 2 to 5 of them, and each later one on a fifth of the examples."""

    def __init__(self, seed: int, *, rules: int = 12) -> None:
        """Draw the effects of the rules, and how many are followed."""
        self._attention = np.random.default_rng((seed, 2))
        self.k = int(self._attention.integers(2, 6))
        super().__init__(seed, rules=rules)

    def examples(self, n: int) -> Examples:
        """Return `n` fresh examples, as many of each label."""
        drawn = super().examples(n)
        followed = (self._attention.random(drawn.taste.shape) < 0.2).astype(np.float64)
        return replace(drawn, followed=followed)

    def _columns(self, examples: Examples) -> Floats:
        columns = super()._columns(examples)
        return np.concatenate([columns, columns[: self.n] * examples.followed.T])

    def _weights(self, rules: tuple[int, ...]) -> Floats:
        weights = np.concatenate([super()._weights(rules), np.zeros(self.n)])
        for rule in rules[self.k :]:
            weights[self.n + 1 + rule], weights[rule] = weights[rule], 0.0
        return weights


STUDENTS: Mapping[str, type[SimulatedStudent]] = {
    "additive": SimulatedStudent,
    "interacting": InteractingStudent,
    "short": ShortStudent,
}
