"""Leaves out false rules, and finds the pairs that are not to stand in one list."""

import logging
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from itertools import combinations
from typing import NamedTuple, Self

from pld_dspy.config.optimizer import VerifyConfig
from pld_dspy.records import Rule, Truth
from pld_dspy.stages.common.pools import Pool
from pld_dspy.stages.verify.truth import p_chance

logger = logging.getLogger(__name__)

OTHERS = "other drafts"
"""Name of the pool of rules that no whole list has; only the search may use them."""

FALSE = "rules that are false for too many training examples"

Pair = frozenset[str]
"""Texts of two rules that are alike."""


class LastRule(NamedTuple):
    """The best rule of a label of which no rule is true."""

    label: str
    rule: Rule
    reason: str
    """Why it is not true."""
    is_kept: bool = True
    """False where the label is shown by a word that explains it."""
    word: str | None = None
    """Word that the label is shown by in the end."""

    @property
    def warning(self) -> str:
        """The sentence that the report shows."""
        best, truth = "the best one", self.rule.truth
        if truth is not None:
            group = " of 1 group" if truth.groups == 1 else ""
            best = f"{best}, right for {len(truth.borne_by)} of {truth.holds} examples{group},"
        kept = "is kept" if self.is_kept else "is left out"
        if not self.is_kept and self.word is not None:
            kept += f", since the label is shown as {self.word!r}"
        return (
            f"no rule for {self.label!r} is true of the training examples; {best} {kept}: "
            f"{self.rule.text}"
        )


class Sifted(NamedTuple):
    """Rules after the check."""

    pools: tuple[Pool, ...]
    """In the given order, with `OTHERS` last; without empty ones."""
    alike: frozenset[Pair]
    last: tuple[LastRule, ...]
    """By label, for the labels of which no rule is true."""
    dropped: Counter[str]
    """Number of rules left out, by reason."""
    false: tuple[Rule, ...] = ()
    """Judged rules that are false for too many training examples, also those that no pool had."""

    def warnings(self, words: Mapping[str, str]) -> tuple[str, ...]:
        """Return a sentence on each label of which no rule is true.

        Args:
            words: The words that the labels are shown by in the end.
        """
        shown = {label: word for label, word in words.items() if word != label}
        return tuple(last._replace(word=shown.get(last.label)).warning for last in self.last)

    @property
    def checked(self) -> tuple[tuple[Rule, ...], tuple[Rule, ...]]:
        """The rules of the pools that are not false, each once, and the false ones."""
        false = {rule.text for rule in self.false}
        every = {rule.id: rule for pool in self.pools for rule in pool.rules}
        return tuple(rule for rule in every.values() if rule.text not in false), self.false

    def left_to_words(self, words: Mapping[str, str]) -> Self:
        """Return the rules without the false ones of labels that are shown by a word.

        A false rule is kept only so that its label is answered at all; a word that says what the label
        means does that better.
        """
        shown = {label for label, word in words.items() if word != label}
        last = tuple(rule._replace(is_kept=rule.label not in shown) for rule in self.last)
        gone = {rule.rule.text: rule.reason for rule in last if not rule.is_kept}
        pools = (
            pool._replace(rules=tuple(rule for rule in pool.rules if rule.text not in gone))
            for pool in self.pools
        )
        return self._replace(
            pools=tuple(pool for pool in pools if pool.rules),
            last=last,
            dropped=self.dropped + Counter(gone.values()),
        )


def sift(
    pools: Sequence[Pool],
    truths: Mapping[str, Truth],
    config: VerifyConfig,
    *,
    answered: Collection[str] = (),
) -> Sifted:
    """Return the rules that are true, each with its `truth`.

    A label that is not `answered` keeps the best of its rules (coverage times precision) even if all
    are false, with a warning. Of several drafts for one cluster and answer, and of two rules that are
    alike, a pool that is a candidate keeps the better one, then the shorter; the others go to
    `OTHERS`.

    Args:
        pools: The rules.
        truths: By text of the rule; rules that were not judged have none, and stay.
        config: Bounds.
        answered: Labels of which another true rule is at hand.
    """
    judged = [
        pool._replace(rules=tuple(_with_truth(rule, truths) for rule in pool.rules))
        for pool in pools
    ]
    by_text: dict[str, Rule] = {}
    for rule in (rule for pool in judged for rule in pool.rules):
        by_text.setdefault(rule.text, rule)
    reasons = {text: why for text, rule in by_text.items() if (why := falsity(rule, config))}
    last = _last_rules(by_text, reasons, answered)
    for kept in last:
        del reasons[kept.rule.text]
    _log(by_text, reasons)
    alike = pairs_alike([r for text, r in by_text.items() if text not in reasons], config.same)
    sifted: list[Pool] = []
    moved: dict[str, Rule] = {}
    for pool in judged:
        true = [rule for rule in pool.rules if rule.text not in reasons]
        best = _best_drafts(true, alike) if pool.is_candidate else true
        moved |= {rule.text: rule for rule in true if rule not in best}
        sifted.append(pool._replace(rules=tuple(best)))
    sifted.append(Pool(OTHERS, tuple(moved.values()), is_candidate=False))
    kept_pools = tuple(pool for pool in sifted if pool.rules)
    return Sifted(kept_pools, alike, last, Counter(reasons.values()))


def is_judged(rule: Rule) -> bool:
    """Return whether a rule may be judged: not a given one, nor one for a topic.

    Too few of the judged examples are of one topic.
    """
    return rule.scope is None and rule.origin != "initial"


def _with_truth(rule: Rule, truths: Mapping[str, Truth]) -> Rule:
    return replace(rule, truth=truths.get(rule.text)) if is_judged(rule) else rule


def falsity(rule: Rule, config: VerifyConfig) -> str | None:
    """Return why the rule is left out; None if it is true or was not judged."""
    truth = rule.truth
    if truth is None:
        return None
    if len(truth.borne_by) < 2:
        return "rules that no two training examples bear"
    # Of two groups, one is half of what is known of the label.
    if truth.groups == 1 and (truth.groups_labelled or 0) > 2:
        return "rules that training examples of one group alone bear"
    if truth.precision.estimate < config.min_precision:
        return FALSE
    if p_chance(truth) > config.max_p_chance:
        return "rules no truer than chance on training examples"
    return None


def better(rule: Rule) -> tuple[float, int, str]:
    """Return a sort key: by coverage times precision, then the shorter text; unjudged rules last."""
    worth = -1.0 if rule.truth is None else rule.truth.worth
    return (-worth, len(rule.text), rule.text)


def pairs_alike(rules: Sequence[Rule], same: float) -> frozenset[Pair]:
    """Return the pairs of rules that are not to stand in one list.

    They have the same answer and about the same examples bear them, or one is the other with
    instances added.
    """
    return frozenset(
        frozenset((one.text, two.text))
        for one, two in combinations(rules, 2)
        if _overlap(one, two) >= same or is_variant(one, two) or is_variant(two, one)
    )


def _overlap(one: Rule, two: Rule) -> float:
    """Return the Jaccard index of the examples that bear the rules; 0.0 if none does."""
    if one.truth is None or two.truth is None or one.truth.answer != two.truth.answer:
        return 0.0
    first, second = set(one.truth.borne_by), set(two.truth.borne_by)
    return len(first & second) / len(first | second) if first & second else 0.0


def is_variant(rule: Rule, bare: Rule) -> bool:
    """Return whether a rule is another one with instances of what it is about."""
    return rule.text.startswith(f"{bare.text.rstrip('.')} (for example:")


def _best_drafts(rules: Sequence[Rule], alike: frozenset[Pair]) -> list[Rule]:
    """Return one rule per cluster and answer, and of each pair the better one, in the given order."""
    best: list[Rule] = []
    drafts: set[tuple[str | None, str]] = set()
    for rule in sorted(rules, key=better):
        if any(frozenset((rule.text, other.text)) in alike for other in best):
            continue
        if rule.truth is not None:
            draft = (rule.cluster_id, rule.truth.answer)
            if draft in drafts:
                continue
            drafts.add(draft)
        best.append(rule)
    return [rule for rule in rules if rule in best]


def _last_rules(
    by_text: Mapping[str, Rule], reasons: Mapping[str, str], answered: Collection[str]
) -> tuple[LastRule, ...]:
    """Return the best rule of each label without a true one."""
    of_label: dict[str, list[Rule]] = {}
    for rule in by_text.values():
        label = rule.main_label if rule.truth is None and rule.labels else None
        label = rule.truth.answer if rule.truth is not None else label
        if label is not None:
            of_label.setdefault(label, []).append(rule)
    found = []
    for label, rules in sorted(of_label.items()):
        if label in answered or any(rule.text not in reasons for rule in rules):
            continue
        best = min(rules, key=better)
        found.append(LastRule(label, best, reasons[best.text]))
    return tuple(found)


def _log(by_text: Mapping[str, Rule], reasons: Mapping[str, str]) -> None:
    if not reasons:
        return
    told = []
    for text in reasons:
        truth = by_text[text].truth
        if truth is not None:
            told.append(f"{text!r} (right for {len(truth.borne_by)} of {truth.holds})")
    logger.info(
        "%d of %d rules are not true of the training examples and are left out: %s",
        len(reasons),
        len(by_text),
        "; ".join(told),
    )
