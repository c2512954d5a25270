"""Draws the examples to ask about, and the worked examples that may be shown with each of them."""

from collections.abc import Sequence
from dataclasses import dataclass

import dspy
import numpy as np

from pld_dspy.config.base import Balance, By
from pld_dspy.config.optimizer import DemoConfig
from pld_dspy.data.examples import example_id, group_of
from pld_dspy.data.stratify import label_totals
from pld_dspy.data.tasks import Task
from pld_dspy.errors import ConfigError, DataError
from pld_dspy.models.reading.values import label_text
from pld_dspy.stages.common.problem import Target
from pld_dspy.stages.demos import draw_demos

FEWEST = 16
"""Minimum number of examples; intervals of fewer say nothing."""
PER_LABEL = 4
"""Worked examples of each label."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Half:
    """Half of the examples, with worked examples from outside of it."""

    examples: tuple[dspy.Example, ...]
    others: tuple[dspy.Example, ...]
    """All other labelled examples; under a group split those of other groups only."""
    worked: tuple[str, ...]
    """Ids of up to `PER_LABEL` examples of each label among the others, labels in turn."""


def draw_examples(
    pool: Sequence[dspy.Example], count: int, *, label_key: str, balance: Balance, seed: int
) -> tuple[dspy.Example, ...]:
    """Return `count` examples, or all if there are fewer, in random order.

    Args:
        pool: Labelled examples outside test.
        count: Number wanted.
        label_key: Field that holds the label.
        balance: `equal` label counts as far as they reach, or `natural`, those of the pool.
        seed: Seed of the draw.

    Raises:
        ConfigError: `count` is below `FEWEST`.
        DataError: The pool has fewer than `FEWEST` examples, or the examples one label only.
    """
    if count < FEWEST:
        msg = f"examples is {count}; give at least {FEWEST}, since fewer tell nothing"
        raise ConfigError(msg)
    if len(pool) < FEWEST:
        msg = f"train and val have {len(pool)} examples, at least {FEWEST} are needed; raise split.train or split.val"
        raise DataError(msg)
    rng = np.random.default_rng(seed)
    by_label: dict[str, list[dspy.Example]] = {}
    for place in rng.permutation(len(pool)).tolist():
        by_label.setdefault(label_text(pool[place][label_key]), []).append(pool[place])
    labels = sorted(by_label)
    available = np.array([len(by_label[label]) for label in labels])
    totals = label_totals(available, min(count, len(pool)), balance).tolist()
    chosen = [e for label, n in zip(labels, totals, strict=True) for e in by_label[label][:n]]
    if len({label_text(e[label_key]) for e in chosen}) < 2:
        msg = f"all the examples of train and val have the label {labels[0]!r}; at least two labels are needed"
        raise DataError(msg)
    return tuple(chosen[i] for i in rng.permutation(len(chosen)).tolist())


def halves(
    examples: Sequence[dspy.Example],
    pool: Sequence[dspy.Example],
    *,
    task: Task,
    by: By,
    seed: int,
) -> tuple[Half, Half]:
    """Return the examples in two halves, each with worked examples that are not in it.

    So no example is ever shown with its own label, and none is lost for being shown. Under a group
    split a group is in one half, and no worked example shares a group with it.
    """
    first, second = _halves(examples, task.label_key, by)
    target = Target(
        path="predict", signature=task.signature, label_key=task.label_key, labels=task.labels
    )
    made = []
    for half in (first, second):
        own = {example_id(e) for e in half}
        groups = {group_of(e) for e in half} if by == "group" else set()
        others = [
            e
            for e in pool
            if example_id(e) not in own and (not groups or group_of(e) not in groups)
        ]
        config = DemoConfig(per_label=(PER_LABEL,), draws=1)
        worked = next((d.ids for d in draw_demos(target, others, config, seed=seed)), ())
        made.append(Half(examples=tuple(half), others=tuple(others), worked=worked))
    return made[0], made[1]


def _halves(
    examples: Sequence[dspy.Example], label_key: str, by: By
) -> tuple[list[dspy.Example], list[dspy.Example]]:
    def unit(example: dspy.Example) -> str:
        return group_of(example) if by == "group" else example_id(example)

    # Units of one label follow each other, so that dealing them out in turn balances the labels.
    label_of = {unit(e): label_text(e[label_key]) for e in examples}
    units = sorted(label_of, key=lambda name: (label_of[name], name))
    first = set(units[::2])
    inside = [e for e in examples if unit(e) in first]
    return inside, [e for e in examples if unit(e) not in first]
