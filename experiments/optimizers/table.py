"""What an optimizer gets and gives, and the table of all of them."""

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import dspy

from experiments.bench.decided import Layer
from experiments.bench.meter import Meter, Role
from pld_dspy.config.base import Wording
from pld_dspy.config.optimizer import PLDConfig
from pld_dspy.data.tasks import Task
from pld_dspy.errors import ConfigError
from pld_dspy.models.student import DirectStudent
from pld_dspy.scoring.metrics import CorpusMetric

MAX_ERRORS = 1_000_000
"""DSPy gives up a whole evaluation after ten errors, and takes that for a score of zero."""


@dataclass(frozen=True, kw_only=True)
class Job:
    """All that an optimizer may use. Test examples are not among it."""

    task: Task
    train: tuple[dspy.Example, ...]
    val: tuple[dspy.Example, ...]
    select: tuple[dspy.Example, ...]
    """Kept apart by optimizers with a final choice of their own; the others validate on them too."""
    student_lm: dspy.LM
    teacher_lm: dspy.LM
    budget: int | None
    """Student and teacher calls; None is no limit."""
    seed: int
    meter: Meter
    corpus_metric: CorpusMetric
    layer: Layer
    """The decision layer, which asks with label probabilities."""
    context_tokens: int
    """Room for a prompt and its answer."""
    guidelines: str
    """Written by hand for the task."""
    wording: Wording
    """How the student is asked."""
    pld: PLDConfig
    embedder: str
    traces: tuple[Path, ...] | None
    """Recorded traces in the teacher's place."""
    guides: Path | None = None
    """Rules of the model whose traces were recorded; None without such traces."""

    @property
    def valset(self) -> list[dspy.Example]:
        """What the others validate on: as many labelled examples as PLD has for its choices."""
        return [*self.val, *self.select]

    @property
    def pool(self) -> list[dspy.Example]:
        """Train and validation together, for optimizers that take no separate validation set."""
        return [*self.train, *self.valset]

    @property
    def shuffled(self) -> list[dspy.Example]:
        """The training examples in an order of the seed: most optimizers' own seed is fixed."""
        return random.Random(self.seed).sample(list(self.train), len(self.train))

    @property
    def calls(self) -> int:
        """The budget as a number for an optimizer's settings.

        Raises:
            ConfigError: There is none.
        """
        if self.budget is None:
            msg = "this optimizer needs a budget; give x1 or x3"
            raise ConfigError(msg)
        return self.budget

    def student(
        self, instructions: str | None = None, *, wording: Wording | None = None
    ) -> DirectStudent:
        """Return the student as given, or asked otherwise; its Signature class is its own."""
        signature = self.task.signature
        text = signature.instructions if instructions is None else instructions
        return DirectStudent(signature.with_instructions(text), wording=wording or self.wording)

    def exact(self, example: dspy.Example, prediction: Any, trace: Any = None) -> bool:
        """Return whether the answer is the gold label, for optimizers that score one example."""
        key = self.task.label_key
        return bool(str(getattr(prediction, key, None)) == str(example[key]))


class Found(NamedTuple):
    """What an optimizer came back with."""

    program: dspy.Module
    note: str = ""
    answers: Role = "student"
    """Whose model answers the test examples."""
    max_tokens: int | None = None
    """Longest answer; None is the student's own limit."""
    labelled: int | None = None
    """Labelled examples that it was made from; None is all that the job has."""


@dataclass(frozen=True, kw_only=True)
class Optimizer:
    """One optimizer of the comparison."""

    name: str
    run: Callable[[Job], Found]
    matched: bool = True
    """Whether it may spend a multiple of what PLD spent; False spends what its settings say."""
    traces: bool = False
    """Whether recorded traces can take the place of the teacher's."""
    extra: bool = False
    """Whether a config has to name it; `all` leaves it out."""
    module: str | None = None
    """Package of the extra `compare` that it needs."""


def rounds(budget: int, *, first: int, each: int, least: int = 1, most: int = 100) -> int:
    """Return how many rounds of `each` calls fit into the budget after `first` calls.

    >>> rounds(540, first=76, each=100), rounds(10, first=76, each=100)
    (4, 1)
    """
    return max(least, min(most, (budget - first) // max(1, each)))


def table_of(entries: Sequence[Optimizer]) -> dict[str, Optimizer]:
    """Return the entries by name.

    Raises:
        ConfigError: Two have the same name.
    """
    table: dict[str, Optimizer] = {}
    for entry in entries:
        if entry.name in table:
            msg = f"two optimizers are called {entry.name!r}; rename one"
            raise ConfigError(msg)
        table[entry.name] = entry
    return table
