"""Checks rules on training examples: which conditions hold where, and what follows for the pools."""

import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Literal

import dspy

from pld_dspy.config.optimizer import VerifyConfig
from pld_dspy.data.examples import example_id
from pld_dspy.models.lm import is_local_lm
from pld_dspy.models.reading.values import label_text
from pld_dspy.models.teacher import Teacher
from pld_dspy.records import Rule, Truth
from pld_dspy.stages.common.pools import Pool
from pld_dspy.stages.common.problem import Problem, Target
from pld_dspy.stages.common.prompt import render_example
from pld_dspy.stages.common.targets import in_turn
from pld_dspy.stages.verify.conditions import Stated, stated
from pld_dspy.stages.verify.judging import judge
from pld_dspy.stages.verify.sift import Sifted, is_judged, sift
from pld_dspy.stages.verify.truth import truth_of

logger = logging.getLogger(__name__)


def verify_pools(
    pools: Sequence[Pool],
    teacher: Teacher,
    target: Target,
    problem: Problem,
    config: VerifyConfig,
) -> Sifted:
    """Return the pools without rules that are false on training examples; see `sift`.

    The paper keeps whatever the teacher writes. Here it also says for which training examples each
    condition holds, without their labels, and the labels then say which rules are true.

    Args:
        pools: The rules.
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
    read = {rule.text: said for rule in rules if (said := stated(rule, target.labels))}
    conditions = _first_conditions(rules, read, config.max_conditions)
    examples = in_turn(problem.train, target.label_key, config.max_examples)
    judgements = judge(
        teacher,
        [(example_id(e), render_example(target.signature, e)) for e in examples],
        conditions,
        how=way(config, teacher.lm),
    )
    gold = {example_id(e): label_text(e[target.label_key]) for e in examples}
    truths: dict[str, Truth] = {}
    for text, said in read.items():
        holds = {
            key: judgements.holds[said.condition, key]
            for key in gold
            if (said.condition, key) in judgements.holds
        }
        truth = truth_of(said.answer, holds, gold)
        if truth is not None:
            truths[text] = truth
    if len(truths) < len(rules):
        logger.info(
            "%d of %d rules were not judged, and stay", len(rules) - len(truths), len(rules)
        )
    sifted = sift(pools, truths, config)
    for warning in sifted.warnings:
        logger.warning("rules: %s", warning)
    return sifted._replace(dropped=sifted.dropped + judgements.dropped)


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


def gaps(
    rules: Sequence[Rule], target: Target, train: Sequence[dspy.Example], config: VerifyConfig
) -> tuple[str, ...]:
    """Return a warning that names the labels of the examples that no rule of the list answers.

    A rule with several answers, or one that cannot be read, counts for the labels of its traces.
    There is no warning about an empty list, or with `enabled=False`.
    """
    if not rules or not config.enabled:
        return ()
    answered: set[str] = set()
    for rule in rules:
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
