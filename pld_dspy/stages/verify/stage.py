"""Checks rules on training examples: which conditions hold where, and what follows for the pools."""

import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Literal, NamedTuple

import dspy

from pld_dspy.config.optimizer import VerifyConfig
from pld_dspy.data.examples import example_id
from pld_dspy.models.lm import is_local_lm
from pld_dspy.models.reading.values import label_text
from pld_dspy.models.teacher import Teacher
from pld_dspy.records import Candidate, Rule, Trace, Truth
from pld_dspy.stages.common.checks import Checked, unchecked
from pld_dspy.stages.common.pools import Pool
from pld_dspy.stages.common.problem import Problem, Target
from pld_dspy.stages.common.prompt import render_example
from pld_dspy.stages.common.targets import in_turn
from pld_dspy.stages.verify.conditions import Stated, stated
from pld_dspy.stages.verify.covering import covering, drafts
from pld_dspy.stages.verify.judging import Judgements, judge_own_first
from pld_dspy.stages.verify.sift import (
    FALSE,
    OTHERS,
    Sifted,
    falsity,
    is_judged,
    pairs_alike,
    sift,
)
from pld_dspy.stages.verify.truth import truth_of

logger = logging.getLogger(__name__)


def verify_pools(
    pools: Sequence[Pool],
    traces: Sequence[Trace],
    teacher: Teacher,
    target: Target,
    problem: Problem,
    config: VerifyConfig,
) -> Sifted:
    """Return the pools without rules that are false on training examples; see `sift`.

    The paper keeps whatever the teacher writes. Here it also says for which training examples each
    condition holds, without their labels, and the labels then say which rules are true. Rules that the
    traces suggest are judged beside those of the pools, and the true ones that cover the examples
    best are one more candidate, see `covering`.

    Args:
        pools: The rules.
        traces: Suggest further rules, see `drafts`; with topics, which these are of, none is judged.
        teacher: Judges.
        target: The predictor.
        problem: Has the training examples.
        config: Bounds; with `enabled=False` the pools are returned as they are.

    Raises:
        ModelError: The teacher cannot be reached; answers so far are kept.
    """
    if not config.enabled:
        return Sifted(tuple(pools), frozenset(), (), Counter())
    rules = unique_texts(pools)
    known = {rule.text for rule in rules}
    # Without clusters there are no rules, and the student stays as given.
    count = config.max_drafts if rules and not problem.topics else 0
    suggested = drafts(traces, count, groups_of(problem.train))
    others = [rule for rule in suggested if rule.text not in known]
    read = {rule.text: said for rule in (*rules, *others) if (said := stated(rule, target.labels))}
    conditions = (
        *_first_conditions(rules, read, config.max_conditions),
        *_first_conditions(others, read, config.max_drafts),
    )
    truths, gold, groups, lost = _judged(read, conditions, teacher, target, problem, config)
    if unjudged := sum(rule.text not in truths for rule in rules):
        logger.info("%d of %d rules were not judged, and stay", unjudged, len(rules))
    judged = [replace(rule, truth=truths.get(rule.text)) for rule in others]
    true = [rule for rule in judged if rule.truth and falsity(rule, config) is None]
    answered = {rule.truth.answer for rule in true if rule.truth}
    sifted = sift(pools, truths, config, answered=answered)
    found = _with_covering(sifted, true, config, gold, groups)
    return found._replace(
        dropped=found.dropped + lost, false=_false((*rules, *others), truths, config)
    )


def check_rules(
    rules: Sequence[Rule],
    teacher: Teacher,
    target: Target,
    problem: Problem,
    config: VerifyConfig,
) -> Checked:
    """Return the rules of a later stage with what the judged examples say of them; see `verify_pools`.

    Args:
        rules: At most `max_conditions` different conditions of them are judged.
        teacher: Judges.
        target: The predictor.
        problem: Has the training examples.
        config: Bounds; with `enabled=False` nothing is judged.

    Raises:
        ModelError: The teacher cannot be reached; answers so far are kept.
    """
    own = [rule for rule in rules if is_judged(rule)] if config.enabled else []
    read = {rule.text: said for rule in own if (said := stated(rule, target.labels))}
    conditions = _first_conditions(own, read, config.max_conditions)
    if not conditions:
        return unchecked(rules)
    truths, *_, lost = _judged(read, conditions, teacher, target, problem, config)
    found = {rule.text: replace(rule, truth=truths.get(rule.text)) for rule in rules}
    false = {text: why for text, rule in found.items() if (why := falsity(rule, config))}
    return Checked(found, false, lost)


class _Judged(NamedTuple):
    truths: dict[str, Truth]
    """By text of the rule."""
    gold: dict[str, str]
    """Label of each judged example, by id."""
    groups: dict[str, str] | None
    dropped: Counter[str]


def _judged(
    read: Mapping[str, Stated],
    conditions: Sequence[str],
    teacher: Teacher,
    target: Target,
    problem: Problem,
    config: VerifyConfig,
) -> _Judged:
    """Return what the training examples, the same ones each time, say of the rules."""
    examples = in_turn(problem.train, target.label_key, config.max_examples)
    gold = {example_id(e): label_text(e[target.label_key]) for e in examples}
    groups = groups_of(examples)
    judgements = judge_own_first(
        teacher,
        {example_id(e): render_example(target.signature, e) for e in examples},
        gold,
        {c: {s.answer for s in read.values() if s.condition == c} for c in conditions},
        how=way(config, teacher.lm),
    )
    truths = _truths(read, judgements, gold, groups)
    return _Judged(truths, gold, groups, judgements.dropped)


def left_to_words(sifted: Sifted, words: Mapping[str, str]) -> Sifted:
    """Return `sifted.left_to_words(words)`, and log the labels of which no rule is true."""
    found = sifted.left_to_words(words)
    for warning in found.warnings(words):
        logger.warning("rules: %s", warning)
    return found


def _false(
    rules: Sequence[Rule], truths: Mapping[str, Truth], config: VerifyConfig
) -> tuple[Rule, ...]:
    """Return the judged rules that are false for too many training examples."""
    judged = (replace(rule, truth=truths[rule.text]) for rule in rules if rule.text in truths)
    return tuple(rule for rule in judged if falsity(rule, config) == FALSE)


def _truths(
    read: Mapping[str, Stated],
    judgements: Judgements,
    gold: Mapping[str, str],
    groups: Mapping[str, str] | None,
) -> dict[str, Truth]:
    """Return what the judgements say about each rule, by its text; nothing about those not judged."""
    truths: dict[str, Truth] = {}
    for text, said in read.items():
        holds = {
            key: judgements.holds[said.condition, key]
            for key in gold
            if (said.condition, key) in judgements.holds
        }
        truth = truth_of(said.answer, holds, gold, groups)
        if truth is not None:
            truths[text] = truth
    return truths


def _with_covering(
    sifted: Sifted,
    others: Sequence[Rule],
    config: VerifyConfig,
    gold: Mapping[str, str],
    groups: Mapping[str, str] | None,
) -> Sifted:
    """Return the pools with the covering list before the other drafts, unless one is the same."""
    rules = [rule for pool in sifted.pools for rule in pool.rules if is_judged(rule)]
    best = covering([*rules, *others], gold, groups)
    texts = frozenset(rule.text for rule in best)
    same = any(
        pool.is_candidate and frozenset(rule.text for rule in pool.rules) == texts
        for pool in sifted.pools
    )
    if same or not best:
        return sifted
    last = [pool for pool in sifted.pools if pool.name == OTHERS]
    pools = [pool for pool in sifted.pools if pool.name != OTHERS]
    every = {rule.text: rule for rule in (*rules, *best)}
    return sifted._replace(
        pools=(*pools, Pool("covering", best), *last),
        alike=sifted.alike | pairs_alike(list(every.values()), config.same),
    )


def groups_of(examples: Sequence[dspy.Example]) -> dict[str, str] | None:
    """Return the group of each example by id; None unless every example has one."""
    groups = {example_id(example): example.get("pld_group") for example in examples}
    if any(group is None for group in groups.values()):
        return None
    return {key: str(group) for key, group in groups.items()}


def unique_texts(pools: Sequence[Pool]) -> list[Rule]:
    """Return the rules of all pools that are judged, one of each text, the best supported first."""
    found: dict[str, Rule] = {}
    for rule in (rule for pool in pools for rule in pool.rules if is_judged(rule)):
        known = found.get(rule.text)
        if known is None or len(rule.trace_ids) > len(known.trace_ids):
            found[rule.text] = rule
    return sorted(found.values(), key=lambda rule: (-len(rule.trace_ids), rule.id))


def way(config: VerifyConfig, lm: dspy.BaseLM) -> Literal["list", "each"]:
    """Return how the conditions are asked for."""
    if config.how != "auto":
        return config.how
    return "each" if is_local_lm(lm) else "list"


def warnings_of(
    sifted: Sifted,
    chosen: Candidate,
    target: Target,
    train: Sequence[dspy.Example],
    config: VerifyConfig,
) -> tuple[str, ...]:
    """Return what the report must say of the rules: labels without a true one, or without any."""
    return sifted.warnings(chosen.words) + gaps(chosen, target, train, config)


def gaps(
    chosen: Candidate, target: Target, train: Sequence[dspy.Example], config: VerifyConfig
) -> tuple[str, ...]:
    """Return a warning that names the labels of the examples that the list leaves unexplained.

    A label is explained by a rule that answers it, or by a word that it is shown by. A rule with
    several answers, or one that cannot be read, counts for the labels of its traces. There is no
    warning about an empty list, or with `enabled=False`.
    """
    if not chosen.rules or not config.enabled:
        return ()
    answered = {label for label, word in chosen.words.items() if word != label}
    for rule in chosen.rules:
        said = stated(rule, target.labels)
        answered |= set(rule.labels) if said is None else {said.answer}
    missing = sorted({label_text(e[target.label_key]) for e in train} - answered)
    named = ", ".join(map(repr, missing))
    return (f"no rule of the final list answers {named}",) if missing else ()


def _first_conditions(
    rules: Sequence[Rule], read: Mapping[str, Stated], count: int
) -> tuple[str, ...]:
    """Return the different conditions of the rules in order, at most `count`; defaults have none."""
    conditions = (read[rule.text].condition for rule in rules if rule.text in read)
    return tuple(dict.fromkeys(condition for condition in conditions if condition))[:count]
