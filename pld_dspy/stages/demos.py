"""Chooses worked examples (demos) for the student's prompt."""

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

import dspy
import numpy as np

from pld_dspy.config.optimizer import DemoConfig
from pld_dspy.data.examples import example_id
from pld_dspy.models.reading.values import label_text
from pld_dspy.records import Evaluation
from pld_dspy.scoring.evaluator import Evaluator
from pld_dspy.scoring.statistics import PairedResult
from pld_dspy.stages.common.candidates import Leaderboard
from pld_dspy.stages.common.problem import Problem, Target

logger = logging.getLogger(__name__)


class Draw(NamedTuple):
    """One choice of demos."""

    ids: tuple[str, ...]
    """Ids of training examples, in prompt order."""
    note: str


def draw_demos(
    target: Target, examples: Sequence[dspy.Example], config: DemoConfig, *, seed: int
) -> Iterator[Draw]:
    """Yield the choices of demos to try, each once, the shortest first.

    A choice has the same number of examples of each label, if there are enough, and the labels
    alternate. The choices of one draw begin with the same examples.

    Args:
        target: The predictor. If it has inputs that the examples lack, or an output besides the
            label, there are no choices.
        examples: The training examples.
        config: Number of demos and of draws.
        seed: Seed of the draws.
    """
    if not config.per_label:
        return
    signature = target.signature
    fields = {*signature.input_fields, target.label_key}
    if set(signature.output_fields) != {target.label_key} or not all(
        fields <= set(example.keys()) for example in examples
    ):
        logger.warning(
            "%s: no worked examples, the training examples do not hold all of its fields",
            target.path,
        )
        return
    seen: set[tuple[str, ...]] = set()
    for count in sorted(set(config.per_label)):
        for number in range(config.draws):
            rng = np.random.default_rng([seed, number])
            ids = tuple(_in_turns(_by_label(target, examples), count, rng))
            if ids not in seen:
                seen.add(ids)
                yield Draw(ids, f"{count} worked examples of each label, draw {number + 1}")


def choose_demos(
    target: Target,
    problem: Problem,
    board: Leaderboard,
    evaluator: Evaluator,
    config: DemoConfig,
    *,
    max_prompt_tokens: int | None,
) -> tuple[str, ...]:
    """Return the ids of the best demos on validation; empty if none is better than no demos.

    Args:
        target: The predictor.
        problem: Its task and examples.
        board: Scores the candidates.
        evaluator: Compares them with the student as given.
        config: Number of demos and of draws.
        max_prompt_tokens: Maximum mean input tokens per call; None means no limit.
    """
    best = problem.candidate((), origin="as given")
    bare = board.run(best, "val")
    score = worth(bare)
    for ids, note in draw_demos(target, problem.train, config, seed=problem.seed):
        shown = replace(problem, demos=ids)
        candidate = shown.candidate((), origin="demos", note=note)
        evaluation = board.run(candidate, "val")
        if max_prompt_tokens is not None and evaluation.prompt_tokens > max_prompt_tokens:
            continue
        if worth(evaluation) > score and helps(evaluator.compare(bare, evaluation), config):
            best, score = candidate, worth(evaluation)
    return best.demos


def shown(
    ids: Sequence[str],
    examples: Sequence[dspy.Example],
    signature: type[dspy.Signature],
    label_key: str,
) -> list[dspy.Example]:
    """Return the examples with these ids as demos, with the fields of the predictor only."""
    by_id = {example_id(example): example for example in examples}
    fields = (*signature.input_fields, label_key)
    return [dspy.Example({name: by_id[i][name] for name in fields}) for i in ids]


def helps(change: PairedResult, config: DemoConfig) -> bool:
    """Return whether demos with this change of the validation score are used."""
    return change.delta.estimate > 0 and change.p_worse <= config.max_p_worse


def worth(evaluation: Evaluation) -> float:
    """Return the mean of validation score and gold probability; without probabilities, the score.

    On few examples, gold probabilities distinguish two choices better than right and wrong answers.
    """
    p_gold = [0.0 if a.error is not None else a.p_gold for a in evaluation.answers]
    known = [p for p in p_gold if p is not None]
    if not known or len(known) < len(p_gold):
        return evaluation.score
    return (evaluation.score + sum(known) / len(known)) / 2


def _by_label(target: Target, examples: Sequence[dspy.Example]) -> Mapping[str, list[str]]:
    # For an open output the number of demos is over all examples.
    ids: dict[str, list[str]] = {label: [] for label in target.labels}
    for example in examples:
        label = label_text(example[target.label_key]) if target.labels else ""
        ids.setdefault(label, []).append(example_id(example))
    return ids


def _in_turns(
    by_label: Mapping[str, list[str]], count: int, rng: np.random.Generator
) -> Iterator[str]:
    drawn = {label: [ids[i] for i in rng.permutation(len(ids))] for label, ids in by_label.items()}
    for turn in range(count):
        labels = [label for label in drawn if turn < len(drawn[label])]
        yield from (drawn[labels[i]][turn] for i in rng.permutation(len(labels)))
