"""The predictor under work, with its data."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import dspy

from pld_dspy.records import Candidate, Origin, Rule
from pld_dspy.stages.common.prompt import HEADER, make_candidate


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """The predictor under work: its task, its data, and how to build a program from a candidate."""

    task: str
    """Instructions of the student as given."""
    signature: type[dspy.Signature]
    labels: tuple[str, ...]
    build: Callable[[Candidate], dspy.Module]
    """Makes the program whose predictor has its instructions and worked examples."""
    train: Sequence[dspy.Example]
    val: Sequence[dspy.Example]
    select: Sequence[dspy.Example]
    seed: int
    demos: tuple[str, ...] = ()
    """Ids of the training examples that every rule list is shown with."""

    def candidate(
        self, rules: Sequence[Rule], *, origin: Origin, header: str = HEADER, note: str = ""
    ) -> Candidate:
        """Return the candidate with these rules and the worked examples."""
        return make_candidate(
            self.task, rules, origin=origin, header=header, note=note, demos=self.demos
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """A predictor that rules are distilled into."""

    path: str
    signature: type[dspy.Signature]
    label_key: str
    """Output field whose gold value the examples carry."""
    labels: tuple[str, ...]
    """The closed label set; empty if the output is open."""
