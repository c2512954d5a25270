"""Worked examples in the student's prompt: training examples with their labels, before the question."""

import logging
from collections.abc import Iterator, Mapping, Sequence
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
from pld_dspy.stages.common.prompt import make_candidate

logger = logging.getLogger(__name__)


class Draw(NamedTuple):
    """One choice of worked examples."""

    ids: tuple[str, ...]
    """Of the training examples, in the order of the prompt."""
    note: str


def draw_demos(
    target: Target, examples: Sequence[dspy.Example], config: DemoConfig, *, seed: int
) -> Iterator[Draw]:
    """Yield the choices of worked examples that are tried, each once, the shortest first.

    A choice has the same number of examples of each label, as far as there are so many, and the
    labels follow each other in turn. The choices of one draw begin with the same examples.

    Args:
        target: The predictor that reads them. One that has inputs which the examples lack, or
            an output besides the label, cannot be shown a worked example, and gets none.
        examples: The training examples.
        config: How many are tried.
        seed: Draws the examples.
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
    """Return the ids of the worked examples that do best on validation; none if none helps.

    Args:
        target: The predictor that reads them.
        problem: Its examples.
        board: Where the candidates are scored.
        evaluator: Compares them with the student as given.
        config: Which choices are tried.
        max_prompt_tokens: Mean input tokens per call above which a choice is not taken.
    """
    best = make_candidate(problem.task, (), origin="as given")
    bare = board.run(best, "val")
    score = worth(bare)
    for ids, note in draw_demos(target, problem.train, config, seed=problem.seed):
        candidate = make_candidate(problem.task, (), origin="demos", note=note, demos=ids)
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
    """Return the examples of these ids as demonstrations: the predictor's own fields alone."""
    by_id = {example_id(example): example for example in examples}
    fields = (*signature.input_fields, label_key)
    return [dspy.Example({name: by_id[i][name] for name in fields}) for i in ids]


def helps(change: PairedResult, config: DemoConfig) -> bool:
    """Return whether examples that change the validation score so are shown."""
    return change.delta.estimate > 0 and change.p_worse <= config.max_p_worse


def worth(evaluation: Evaluation) -> float:
    """Return how good a choice looks on validation: the mean of its score and its gold probability.

    Few examples tell two choices apart better by how probable the gold labels were than by which
    answers happened to be right. Without probabilities it is the score.
    """
    told = [0.0 if a.error is not None else a.p_gold for a in evaluation.answers]
    known = [p for p in told if p is not None]
    if not known or len(known) < len(told):
        return evaluation.score
    return (evaluation.score + sum(known) / len(known)) / 2


def _by_label(target: Target, examples: Sequence[dspy.Example]) -> Mapping[str, list[str]]:
    # Open outputs have as many labels as examples; there the number is that of all examples.
    found: dict[str, list[str]] = {label: [] for label in target.labels}
    for example in examples:
        label = label_text(example[target.label_key]) if target.labels else ""
        found.setdefault(label, []).append(example_id(example))
    return found


def _in_turns(
    by_label: Mapping[str, list[str]], count: int, rng: np.random.Generator
) -> Iterator[str]:
    drawn = {label: [ids[i] for i in rng.permutation(len(ids))] for label, ids in by_label.items()}
    for turn in range(count):
        labels = [label for label in drawn if turn < len(drawn[label])]
        yield from (drawn[labels[i]][turn] for i in rng.permutation(len(labels)))
