"""Measures how well words tell their labels from the others."""

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal

import dspy
import numpy as np
from sklearn.metrics import roc_auc_score

from pld_dspy.config.optimizer import WordsConfig
from pld_dspy.data.examples import example_id
from pld_dspy.errors import ConfigError, PLDError
from pld_dspy.models.reading.label_words import LabelWords
from pld_dspy.models.reading.values import label_text
from pld_dspy.records import Answer, Event, LabelWord
from pld_dspy.scoring.evaluator import Evaluator
from pld_dspy.scoring.metrics import accuracy
from pld_dspy.stages.common.problem import Problem, Target
from pld_dspy.stages.common.targets import in_turn
from pld_dspy.stages.common.turns import in_turns
from pld_dspy.stages.label_words.propose import STAGE

logger = logging.getLogger(__name__)

_FLOOR = 1e-9
_TIE = 1e-4
LEAST = 0.7
"""Minimum area under the curve of a word that tells its label; also of a further word for it."""
_KEPT = 2
"""Words of each label that a further round compares the next ones with."""

Measure = Callable[[Sequence[LabelWord]], tuple[LabelWord, ...]]
"""Returns words with their areas, those of a label together and the best first; empty if it fails."""


def in_rounds(
    proposed: Mapping[str, Sequence[LabelWord]], measure: Measure, config: WordsConfig
) -> tuple[LabelWord, ...]:
    """Return the words with their areas under the curve, measured in at most `rounds` rounds.

    The first compares the name and the next `per_label` words of each label. Each further one compares
    the words that come next for the labels of which no word has an area of `LEAST`, beside the best
    ones of every label, so that it shows no more words than the first.
    """
    taken = {label: list(words[: config.per_label + 1]) for label, words in proposed.items()}
    first = [word for words in taken.values() for word in words]
    found = measure(first)
    for _ in range(config.rounds - 1):
        ranked = {label: [word for word in found if word.label == label] for label in proposed}
        told = {
            label: words and (words[0].separates or 0.0) >= LEAST for label, words in ranked.items()
        }
        kept = [word for words in ranked.values() for word in words[:_KEPT]]
        waiting = (proposed[label][len(taken[label]) :] for label in proposed if not told[label])
        following = in_turns(waiting)[: max(0, len(first) - len(kept))]
        if not found or not following:
            break
        for word in following:
            taken[word.label].append(word)
        again = {(word.label, word.word): word for word in measure([*kept, *following])}
        found = tuple(
            word
            for label in proposed
            for word in _best_first(
                [
                    *(again.pop((word.label, word.word), word) for word in ranked[label]),
                    *(word for word in again.values() if word.label == label),
                ]
            )
        )
    return found


def measured(
    proposed: Sequence[LabelWord],
    program: dspy.Module,
    target: Target,
    problem: Problem,
    evaluator: Evaluator,
) -> tuple[LabelWord, ...]:
    """Return the words with their areas under the curve, from one answer to each example."""
    pool = readable(word.word for word in proposed)
    asked = _asking_for(program, target, pool)
    examples, sides = _measured_on(target, problem)
    fresh = replace(
        evaluator,
        metric=accuracy,
        labels=pool,
        decide="greedy",
        probabilities=True,
        topic_field=None,
        priors={},
    )

    def report(event: Event) -> None:
        evaluator.progress(replace(event, stage=STAGE))

    try:
        answers = fresh.answers(asked, examples, candidate_id=STAGE, split="train", progress=report)
    except PLDError as error:
        if type(error) is not PLDError:
            raise
        logger.warning("%s: no words for labels: %s", target.path, error)
        return ()
    gold = [label_text(example[target.label_key]) for example in examples]

    def area(word: str, label: str) -> float | None:
        return _mean_area(word, label, answers, gold, sides)

    found = [_with_areas(word, target.labels, area) for word in proposed if word.word in pool]
    return tuple(
        word
        for label in target.labels
        for word in _best_first(w for w in found if w.label == label)
    )


def _best_first(words: Iterable[LabelWord]) -> list[LabelWord]:
    return sorted(words, key=lambda word: (-worth(word), word.word))


def _measured_on(
    target: Target, problem: Problem
) -> tuple[list[dspy.Example], tuple[Sequence[int], Sequence[int]]]:
    """Return some training examples and those of validation, and the places of the two."""
    val = {example_id(example) for example in problem.val}
    others = [example for example in problem.train if example_id(example) not in val]
    train = in_turn(others, target.label_key, len(problem.val))
    examples = [*train, *problem.val]
    return examples, (range(len(train)), range(len(train), len(examples)))


def _with_areas(
    word: LabelWord, labels: Sequence[str], area: Callable[[str, str], float | None]
) -> LabelWord:
    """Return the word with its area for its own label, and the largest for another."""
    others = (area(word.word, label) for label in labels if label != word.label)
    confused = max((other for other in others if other is not None), default=None)
    return replace(word, separates=area(word.word, word.label), confused=confused)


def readable(words: Iterable[str]) -> tuple[str, ...]:
    """Return the different words that can be read back from an answer, the first ones kept."""
    kept: list[str] = []
    for word in dict.fromkeys(words):
        try:
            LabelWords.of((*kept, word), {other: other for other in (*kept, word)})
        except ConfigError:
            continue
        kept.append(word)
    return tuple(kept)


def _asking_for(program: dspy.Module, target: Target, pool: tuple[str, ...]) -> dspy.Module:
    """Return a copy of the program that chooses among the words of the pool."""
    copy = program.deepcopy()
    predictor = copy.predict
    kind: Any = Literal[pool]
    predictor.signature = predictor.signature.with_updated_fields(target.label_key, type_=kind)
    return copy


def _mean_area(
    word: str,
    label: str,
    answers: Sequence[Answer],
    gold: Sequence[str],
    sides: Sequence[Sequence[int]],
) -> float | None:
    """Return the mean over the sides of the area under the curve of a word, the label against the rest.

    None if no side has both classes.
    """
    areas = []
    for side in sides:
        usable = [place for place in side if answers[place].probabilities]
        own = [gold[place] == label for place in usable]
        if 0 < sum(own) < len(own):
            scores = [(answers[place].probabilities or {}).get(word, 0.0) for place in usable]
            areas.append(float(roc_auc_score(own, np.log(np.maximum(scores, _FLOOR)))))
    return sum(areas) / len(areas) if areas else None


def worth(word: LabelWord) -> float:
    """Return the area under the curve; of equal ones, that of a word with more behind it is larger."""
    count = behind(word)
    return (word.separates or 0.0) + _TIE * count / (count + 1)


def behind(word: LabelWord) -> int:
    """Return how many rules, traces and titles name the word."""
    return word.named + len(word.trace_ids) + len(word.rule_ids)
