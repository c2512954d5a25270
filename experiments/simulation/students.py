"""A student whose rules have known effects, so that the best list of all is known."""

from collections.abc import Sequence
from dataclasses import dataclass
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
        margin = examples.base.copy()
        for rank, rule in enumerate(rules):
            weight = 1.0 if rank < 4 else 0.6
            if self.copy_of.get(rule) in rules:
                weight *= 0.2
            margin += weight * (self.effect[rule][examples.gold] + examples.taste[:, rule])
        for first, second in self.pairs:
            if first in rules and second in rules:
                margin += 0.35 if rules.index(first) < rules.index(second) else -0.35
        return margin - 0.05 * max(0, len(rules) - 6)

    def said(self, rules: tuple[int, ...], examples: Examples) -> Ints:
        """Return the numbers of the labels that the student answers."""
        return np.where(self.margins(rules, examples) > 0, examples.gold, examples.slip)

    def true_score(self, rules: tuple[int, ...]) -> float:
        """Return macro-F1 on a population of 4000 examples."""
        said = self.said(rules, self.population)
        return macro_f1([LABELS[i] for i in self.population.gold], [LABELS[i] for i in said])

    def best_list(self) -> tuple[int, ...]:
        """Return the best list on the population that climbing from four starts finds."""
        rng = np.random.default_rng(0)
        tops = [self._climb(())]
        for _ in range(3):
            start = rng.permutation(self.n)[: rng.integers(2, self.n)]
            tops.append(self._climb(tuple(int(i) for i in start)))
        return max(tops, key=self._right)

    def _right(self, rules: tuple[int, ...]) -> float:
        return float((self.margins(rules, self.population) > 0).mean())

    def _climb(self, rules: tuple[int, ...]) -> tuple[int, ...]:
        score = self._right(rules)
        while True:
            options = [rules[:i] + rules[i + 1 :] for i in range(len(rules))]
            for i, rule in enumerate(rules):
                rest = rules[:i] + rules[i + 1 :]
                options += [(*rest[:j], rule, *rest[j:]) for j in range(len(rules))]
            for rule in set(range(self.n)) - set(rules):
                options += [(*rules[:j], rule, *rules[j:]) for j in range(len(rules) + 1)]
            scores = [self._right(option) for option in options]
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
