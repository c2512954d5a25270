"""Traces, clusters, rules, edits and candidates."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

import numpy as np
import numpy.typing as npt

from pld_dspy.records.scores import Interval

Vectors = npt.NDArray[np.float64]
"""Shape `(n, dim)`; one row per text."""


class Embedder(Protocol):
    """Maps texts to vectors; texts of similar meaning should get vectors of similar direction.

    It is called once per predictor with the rules of all traces, and must be deterministic. Rows
    are scaled to length 1 before clustering. A `name` attribute, if present, goes into reports and
    cache keys; change it when the vectors change.

    >>> class Lengths:
    ...     name = "lengths"
    ...
    ...     def __call__(self, texts: Sequence[str], /) -> Vectors:
    ...         return np.array([[len(text.split()), len(text)] for text in texts], dtype=float)
    >>> embedder: Embedder = Lengths()  # PLD(embedder=Lengths(), ...)
    >>> embedder(["If it rains, answer wet."]).tolist()
    [[5.0, 24.0]]
    """

    def __call__(self, texts: Sequence[str], /) -> Vectors:
        """Return an array of finite numbers, shape `(len(texts), dim)` with `dim` at least 1.

        Args:
            texts: At least one; may hold duplicates.
        """


Origin = Literal[
    "as given",
    "label words",
    "demos",
    "synthesis",
    "medoid",
    "micro",
    "refine",
    "search",
    "initial",
]
"""The stage that made a rule or a candidate; `initial` are rules that were given."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Trace:
    """One teacher explanation of one labelled example (PLD, phase 1)."""

    id: str
    example_id: str
    label: str
    """The gold label that the explanation was conditioned on."""
    rationale: str
    """Why the gold label is right."""
    rule: str
    """One abstract, checkable rule that the example supports."""
    kinds: tuple[str, ...] = ()
    """Kinds of things that the example is about, with their articles, the narrowest first."""
    draw: int = 0
    """0 for the first explanation of an example, 1 for the second, ..."""
    source: str = ""
    """Model that wrote it, or file that it was imported from."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cluster:
    """Traces with similar rules."""

    id: str
    trace_ids: tuple[str, ...]
    medoid_id: str
    """Id of the trace with the smallest mean cosine distance to the others."""
    labels: Mapping[str, int]
    """Number of traces by gold label."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Diagnosis:
    """Statistics of a clustering, and warnings."""

    method: str
    """Method and settings, for instance `dbscan(eps=0.31, min_samples=3)`."""
    clusters: int
    noise_share: float
    """Share of traces in no cluster, in [0, 1]."""
    largest_share: float
    """Share of traces in the largest cluster, in [0, 1]."""
    label_mix: float
    """Mean normalised label entropy of the clusters, in [0, 1]; 0 means one label per cluster."""
    labels_without_rule: tuple[str, ...]
    """Labels of which all traces are noise."""
    warnings: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Clustering:
    """A partition of the traces: each trace is in one cluster or is noise."""

    clusters: tuple[Cluster, ...]
    noise: tuple[str, ...]
    """Trace ids in no cluster."""
    diagnosis: Diagnosis


@dataclass(frozen=True, slots=True, kw_only=True)
class Truth:
    """On which of the judged training examples a rule's condition holds, and its answer is right.

    The judge sees neither gold labels nor the rule's answer.
    """

    answer: str
    """The label that the rule answers."""
    borne_by: tuple[str, ...]
    """Ids of the examples for which the condition holds and the answer is right."""
    holds: int
    """Number of examples for which the condition holds."""
    labelled: int
    """Number of judged examples with the rule's label."""
    judged: int
    """Number of examples with a readable judgement."""
    coverage: Interval
    """Share of the examples of the rule's label that bear it, in [0, 1]."""
    precision: Interval
    """Share of the examples for which the condition holds whose label is the rule's, in [0, 1]; 0.0
    with the interval [0, 1] where it holds for none."""

    groups: int | None = None
    """Number of groups with an example that bears the rule; None if examples have no groups."""
    groups_labelled: int | None = None
    """Number of groups with a judged example of the rule's label."""
    coverage_of_groups: float | None = None
    """Share of a group's examples of the rule's label that bear it, mean over the groups, in [0, 1]."""

    @property
    def worth(self) -> float:
        """Coverage times precision, in [0, 1].

        With groups the coverage is that of the groups: new inputs are of other groups, so a large group
        says no more of them than a small one.
        """
        by_group = self.coverage_of_groups
        coverage = self.coverage.estimate if by_group is None else by_group
        return coverage * self.precision.estimate

    def to_dict(self) -> dict[str, Any]:
        """Return the values, JSON-compatible: intervals as `[estimate, low, high]`, without None."""
        ends = {"coverage": self.coverage, "precision": self.precision}
        names = ("holds", "labelled", "judged", "groups", "groups_labelled", "coverage_of_groups")
        counts = {name: value for name in names if (value := getattr(self, name)) is not None}
        return {
            **{"answer": self.answer, "borne_by": list(self.borne_by), **counts},
            **{name: [found.estimate, found.low, found.high] for name, found in ends.items()},
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """One rule of the student's prompt, with the traces that support it."""

    id: str
    """`r` and eight hex digits, from the text and the origin."""
    text: str
    trace_ids: tuple[str, ...]
    """Traces that support the rule; empty only for a rule that was given (`initial`)."""
    labels: Mapping[str, int]
    """Number of supporting traces by gold label."""
    origin: Origin
    parents: tuple[str, ...] = ()
    """Ids of the rules that an edit replaced."""
    cluster_id: str | None = None
    truth: Truth | None = None
    """What the training examples say about it; None if it was not judged."""
    scope: str | None = None
    """Topic that the rule is for, a value of the topic field; None means that it always holds."""

    @property
    def support(self) -> int:
        """Number of training examples that bear the rule; of supporting traces if it was not judged."""
        return len(self.trace_ids) if self.truth is None else len(self.truth.borne_by)

    @property
    def main_label(self) -> str:
        """The most frequent label of the supporting traces; ties go to the alphabetically first.

        Empty for a given rule that names no label.
        """
        return min(self.labels, key=lambda label: (-self.labels[label], label), default="")


@dataclass(frozen=True, slots=True, kw_only=True)
class Edit:
    """One change of the rule list that the teacher proposed (PLD, phase 3)."""

    action: Literal["add", "modify", "split", "merge", "delete"]
    targets: tuple[str, ...]
    """Ids of the rules to remove."""
    added: tuple[Rule, ...]
    """Rules to insert in their place."""
    reason: str = ""
    accepted: bool | None = None
    """None until it was evaluated on validation."""
    delta: float | None = None
    """Change of the validation score, in metric units."""
    p_worse: float | None = None
    """Paired bootstrap probability that the edit lowers the validation score, in [0, 1]."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelWord:
    """A word that the student could see for a label, and how well it tells the label from the others."""

    label: str
    word: str
    """The label itself where its own name was compared."""
    rule_ids: tuple[str, ...] = ()
    """Rules of the label that are about it."""
    trace_ids: tuple[str, ...] = ()
    """Traces of the label that name it as a kind of thing."""
    named: int = 0
    """Number of the teacher's answers that give it as the name of the label's examples."""
    elsewhere: int = 0
    """Number of traces and of the teacher's names of other labels that name it."""
    separates: float | None = None
    """Area under the ROC curve of the word's probability, the label against the rest, in [0, 1]; mean of
    validation and training examples. None if it was not measured."""
    confused: float | None = None
    """The largest such area for another label."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TopicPrompts:
    """Instructions by topic, which is the value of one input field."""

    field: str
    """Name of the input field."""
    general: str
    """Instructions for every value that is not in `prompts`."""
    prompts: Mapping[str, str]
    """Instructions by topic, for each value that training has."""
    general_rules: tuple[str, ...]
    """Ids of the rules in `general`."""
    rules: Mapping[str, tuple[str, ...]]
    """Ids of the rules in each of `prompts`, in order."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """An ordered rule list and its prompt."""

    id: str
    """`c` and eight hex digits, from the prompt, the worked examples and the words for the labels."""
    rules: tuple[Rule, ...]
    prompt: str
    """The full instructions of the predictor, verbatim; with `topics`, all rules as one document."""
    origin: Origin
    note: str = ""
    demos: tuple[str, ...] = ()
    """Ids of the training examples that the prompt shows as demos."""
    topics: TopicPrompts | None = None
    """What the student is shown instead of `prompt`, by topic; None shows `prompt` with each input."""
    words: Mapping[str, str] = field(default_factory=dict)
    """Word that the student sees for each label; empty shows labels as the student as given does."""

    @property
    def changes(self) -> bool:
        """Whether it differs from the student as given."""
        return bool(self.rules or self.demos or self.words)
