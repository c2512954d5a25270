"""Records that pass between the stages. All are frozen; none has behaviour beyond properties."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import numpy.typing as npt

Vectors = npt.NDArray[np.float64]
"""Shape `(n, dim)`; one row a text."""

Embedder = Callable[[Sequence[str]], Vectors]
"""Maps `n` texts to an array of shape `(n, dim)`. A `name` attribute, if present, goes into cache keys."""

Split = Literal["train", "val", "select", "test"]

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


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What the program said to one example."""

    example_id: str
    gold: str
    answer: str | None
    """The label read from the output; None if none could be read (counted as wrong)."""
    raw: str = ""
    """The output as it came."""
    score: float = 0.0
    """Per-example score in [0, 1]; 1.0 is right."""
    error: str | None = None
    """The error that kept the program from answering; such an answer has no score in any metric."""
    calls: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    p_gold: float | None = None
    """Probability that the answer is the gold label, in [0, 1], among the labels of the closed set;
    0.0 if the alternatives that the endpoint told hold none of it. None where it was not asked for,
    or the endpoint tells none, or the answer cannot be followed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluation:
    """One candidate on one split."""

    candidate_id: str
    split: Split
    metric: str
    score: float
    """Metric value in [0, 1] over the answers without `error` (MCC: [-1, 1])."""
    answers: tuple[Answer, ...]

    @property
    def unparsed_rate(self) -> float:
        """Share of answers from which no label could be read, in [0, 1]."""
        read = [a for a in self.answers if a.error is None]
        return sum(a.answer is None for a in read) / len(read) if read else 0.0

    @property
    def failures(self) -> int:
        """Number of examples on which the program crashed."""
        return sum(a.error is not None for a in self.answers)

    @property
    def prompt_tokens(self) -> float:
        """Mean input tokens of one answered example; 0.0 where the endpoint reports none."""
        counted = [a.input_tokens for a in self.answers if a.input_tokens]
        return sum(counted) / len(counted) if counted else 0.0

    @property
    def answer_tokens(self) -> float:
        """Mean output tokens of one answered example; 0.0 where the endpoint reports none."""
        counted = [a.output_tokens for a in self.answers if a.output_tokens]
        return sum(counted) / len(counted) if counted else 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Interval:
    """An estimate with its 95% interval."""

    estimate: float
    low: float
    high: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """Calls and tokens of one role, as counted at the LM."""

    calls: int = 0
    """Requests, answered from a cache or not."""
    cached_calls: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    cost_usd: float | None = None
    """None where the price is not known, which is not the same as free."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TriedList:
    """One list that the search asked the student about."""

    number: int
    """Place among the study's trials that count, from 0."""
    candidate_id: str
    rule_ids: tuple[str, ...]
    """In the order of the list."""
    proposed_by: str
    """`anchor`, `probe`, `greedy`, `neighbour` or `sampler`."""
    score: float
    """Metric over the examples that were asked."""
    asked: int
    """Validation examples that were asked."""
    stopped: bool
    """Whether it was stopped before the last example."""
    prompt_tokens: float
    """Mean input tokens of a call; 0.0 where the endpoint reports none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchRecord:
    """What the search over size and order did."""

    study: str
    """Name of the Optuna study."""
    trials: tuple[TriedList, ...]
    gains: Mapping[str, Interval]
    """By rule id: how much the mean score changes when the rule is in the list."""
    calls: int
    """Student answers that the trials took."""
    full_calls: int
    """Student answers that the same lists would have taken without racing."""
    forecasts: Mapping[str, float] = field(default_factory=dict)
    """By candidate id: share of right answers expected of it on validation, its labels weighted the
    same, in [0, 1]. From all lists' gold probabilities, so less a matter of luck than one list's
    score; empty where the endpoint told none."""
    list_gains: Mapping[str, Mapping[str, Interval]] = field(default_factory=dict)
    """By candidate id, then rule id: the mean score of the list less that of the same list without
    the rule, over the examples that both were asked; only where both lists were tried."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PredictorResult:
    """What was distilled into one predictor."""

    predictor: str
    """Path of the predictor in the program, as in `named_predictors()`."""
    traces: tuple[Trace, ...]
    clustering: Clustering
    rules: tuple[Rule, ...]
    """Every rule that was considered, in order of creation."""
    edits: tuple[Edit, ...]
    candidates: tuple[Candidate, ...]
    evaluations: tuple[Evaluation, ...]
    chosen_id: str
    """Id of the candidate that was kept."""
    select_delta: Interval | None
    """Chosen minus as given, on the selection examples; None if the student was kept as given."""
    reason: str
    """One sentence: why this candidate was kept."""
    search: SearchRecord | None = None
    """None if there was nothing to search."""

    def score(self, candidate_id: str, split: Split) -> float | None:
        """Return a candidate's score on a split; None if it was not scored there in full."""
        found = (
            e.score for e in self.evaluations if e.candidate_id == candidate_id and e.split == split
        )
        return next(found, None)

    @property
    def chosen(self) -> Candidate:
        """The candidate that was kept."""
        return next(c for c in self.candidates if c.id == self.chosen_id)


@dataclass(frozen=True, slots=True, kw_only=True)
class PLDResult:
    """Everything that a compile did, attached to the program as `pld_result`."""

    predictors: tuple[PredictorResult, ...]
    usage: Mapping[str, Usage]
    """Usage by role: `teacher`, `student`, `embedder`."""
    dropped: Mapping[str, int]
    """What was dropped, by reason, for instance `unreadable teacher answers`."""
    split_sizes: Mapping[str, int]
    seed: int
    wall_s: float
    """Seconds, summed over all the sessions that worked on the run folder."""
    versions: Mapping[str, str] = field(default_factory=dict)

    @property
    def rules(self) -> tuple[Rule, ...]:
        """The rules of the final prompts, in order, over all predictors."""
        return tuple(rule for p in self.predictors for rule in p.chosen.rules)
