"""The predictor to optimize, with its task and examples."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import dspy

from pld_dspy.records import Candidate, Origin, Rule
from pld_dspy.stages.common.prompt import HEADER, make_candidate
from pld_dspy.stages.common.topics import Show, Topics, by_topic


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """The predictor to optimize: its task, its examples, and how to build a program."""

    task: str
    """Instructions of the uncompiled student."""
    signature: type[dspy.Signature]
    labels: tuple[str, ...]
    build: Callable[[Candidate], dspy.Module]
    """Returns the program with the candidate's instructions and demos."""
    train: Sequence[dspy.Example]
    val: Sequence[dspy.Example]
    select: Sequence[dspy.Example]
    seed: int
    demos: tuple[str, ...] = ()
    """Ids of the training examples that are shown as demos with every rule list."""
    words: Mapping[str, str] = field(default_factory=dict)
    """Word that the student sees for each label, with every rule list; empty changes nothing."""
    alike: frozenset[frozenset[str]] = frozenset()
    """Pairs of texts of rules that the search does not put in one list."""
    topics: Topics | None = None
    """Topics of the examples; None without rules by topic."""

    def candidate(
        self,
        rules: Sequence[Rule],
        *,
        origin: Origin,
        header: str = HEADER,
        note: str = "",
        show: Show = "topic",
    ) -> Candidate:
        """Return the candidate with these rules, the demos, and the words for the labels.

        Rules for a topic are shown with questions of that topic, or all of them with each question.
        """
        made = make_candidate(
            self.task,
            rules,
            origin=origin,
            header=header,
            note=note,
            demos=self.demos,
            words=self.words,
        )
        if self.topics is None:
            return made
        return by_topic(made, self.task, self.topics, header=header, show=show)


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """A predictor that rules are distilled into."""

    path: str
    signature: type[dspy.Signature]
    label_key: str
    """Output field that the examples label."""
    labels: tuple[str, ...]
    """The closed label set; empty if the output is open."""
