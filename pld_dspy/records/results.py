"""What a search and a compile return."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from pld_dspy.records.rules import Candidate, Clustering, Edit, Rule, Trace
from pld_dspy.records.scores import Evaluation, Interval, Split, Usage


@dataclass(frozen=True, slots=True, kw_only=True)
class TriedList:
    """One list that the search asked the student about."""

    number: int
    """Place among the study's trials that count, from 0."""
    candidate_id: str
    rule_ids: tuple[str, ...]
    """In the order of the list."""
    proposed_by: str
    """`start`, `sampler`, `forecast` or `drawn forecast`."""
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
