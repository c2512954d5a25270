"""Traces, clusters, rules, edits and candidates."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np
import numpy.typing as npt

Vectors = npt.NDArray[np.float64]
"""Shape `(n, dim)`; one row a text."""


class Embedder(Protocol):
    """Maps texts to vectors, in which traces whose rules say much the same lie close together.

    It is called once per predictor with the rules of all traces, and must be deterministic. Only
    directions count: lengths are taken out before clustering. A `name` attribute, if present, goes
    into reports and cache keys; change it when the vectors change.

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
            texts: At least one; some may be equal.
        """


Origin = Literal["as given", "demos", "synthesis", "medoid", "micro", "refine", "search"]
"""Which stage a rule or a candidate came from."""


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
    draw: int = 0
    """0 for the first explanation of an example, 1 for the second, ..."""
    source: str = ""
    """Model that wrote it, or the file it was imported from."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cluster:
    """Traces whose rules say much the same."""

    id: str
    trace_ids: tuple[str, ...]
    medoid_id: str
    """The member with the smallest mean cosine distance to the others."""
    labels: Mapping[str, int]
    """How many members carry each gold label."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Diagnosis:
    """What a clustering looks like, and what is wrong with it."""

    method: str
    """Method as run, with its settings, for instance `dbscan(eps=0.31, min_samples=3)`."""
    clusters: int
    noise_share: float
    """Share of traces in no cluster, in [0, 1]."""
    largest_share: float
    """Share of traces in the largest cluster, in [0, 1]."""
    label_mix: float
    """Mean normalised label entropy of the clusters, in [0, 1]; 0 is one label a cluster."""
    labels_without_rule: tuple[str, ...]
    """Labels whose every trace is noise."""
    warnings: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Clustering:
    """A partition of the traces: each trace is in one cluster, or is noise."""

    clusters: tuple[Cluster, ...]
    noise: tuple[str, ...]
    """Trace ids in no cluster."""
    diagnosis: Diagnosis


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """One line of the student's prompt, with the evidence behind it."""

    id: str
    """`r` and eight hex digits, from the text and the origin."""
    text: str
    trace_ids: tuple[str, ...]
    """Traces that support the rule; never empty."""
    labels: Mapping[str, int]
    """Gold labels of the supporting traces, with counts."""
    origin: Origin
    parents: tuple[str, ...] = ()
    """Ids of the rules that an edit replaced."""
    cluster_id: str | None = None

    @property
    def support(self) -> int:
        """Number of supporting traces."""
        return len(self.trace_ids)

    @property
    def main_label(self) -> str:
        """The label that most supporting traces carry; ties go to the first in alphabetical order."""
        return min(self.labels, key=lambda label: (-self.labels[label], label))


@dataclass(frozen=True, slots=True, kw_only=True)
class Edit:
    """One change that the resolver proposed for the rule list (PLD, phase 3)."""

    action: Literal["add", "modify", "split", "merge", "delete"]
    targets: tuple[str, ...]
    """Ids of the rules that go."""
    added: tuple[Rule, ...]
    """Rules that come in their place."""
    reason: str = ""
    accepted: bool | None = None
    """None until it was checked on validation examples."""
    delta: float | None = None
    """Change of the validation score, in metric units."""
    p_worse: float | None = None
    """Paired bootstrap probability that the edit makes validation worse, in [0, 1]."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """An ordered rule list and the prompt that it makes."""

    id: str
    """`c` and eight hex digits, from the prompt and the worked examples."""
    rules: tuple[Rule, ...]
    prompt: str
    """The full instructions of the predictor, verbatim."""
    origin: Origin
    note: str = ""
    demos: tuple[str, ...] = ()
    """Ids of the training examples that are shown with their labels before the question."""

    @property
    def changes(self) -> bool:
        """Whether it differs from the student as given."""
        return bool(self.rules or self.demos)
