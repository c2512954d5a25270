"""Results of a search and of a compile."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from pld_dspy.records.decision import Decision
from pld_dspy.records.rules import Candidate, Clustering, Edit, LabelWord, Rule, Trace
from pld_dspy.records.scores import Evaluation, Interval, Split, Usage


@dataclass(frozen=True, slots=True, kw_only=True)
class TriedList:
    """One trial of the search: a rule list and its validation score."""

    number: int
    """Number of the trial, from 0, failed trials not counted."""
    candidate_id: str
    rule_ids: tuple[str, ...]
    """In list order."""
    proposed_by: str
    """`start`, `sampler`, `forecast` or `drawn forecast`."""
    score: float
    """Metric over the examples that were evaluated."""
    asked: int
    """Number of validation examples that were evaluated."""
    stopped: bool
    """Whether the list was stopped before the last example."""
    prompt_tokens: float
    """Mean input tokens per call; 0.0 where the endpoint reports none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchRecord:
    """Trials and statistics of the search over size and order."""

    study: str
    """Name of the Optuna study."""
    trials: tuple[TriedList, ...]
    gains: Mapping[str, Interval]
    """By rule id: change of the mean score when the rule is in the list."""
    calls: int
    """Number of student answers in the trials."""
    full_calls: int
    """Number of student answers that the same trials would take without racing."""
    forecasts: Mapping[str, float] = field(default_factory=dict)
    """By candidate id: expected balanced accuracy on validation, in [0, 1]. It uses the gold
    probabilities of all lists, so it is less noisy than one list's score; empty where the endpoint
    returns no log-probabilities."""
    list_gains: Mapping[str, Mapping[str, Interval]] = field(default_factory=dict)
    """By candidate id, then rule id: mean score of the list minus that of the same list without the
    rule, over the examples evaluated with both; only where both lists were tried."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PredictorResult:
    """Result for one predictor."""

    predictor: str
    """Path of the predictor in the program, as in `named_predictors()`."""
    traces: tuple[Trace, ...]
    clustering: Clustering
    rules: tuple[Rule, ...]
    """All rules, in order of creation."""
    edits: tuple[Edit, ...]
    candidates: tuple[Candidate, ...]
    evaluations: tuple[Evaluation, ...]
    chosen_id: str
    """Id of the selected candidate."""
    select_delta: Interval | None
    """Selected candidate minus the student as given, on the selection examples; None if the student
    as given was selected."""
    reason: str
    """One sentence: why this candidate was selected."""
    search: SearchRecord | None = None
    """None if there was nothing to search."""
    decisions: Mapping[str, Decision] = field(default_factory=dict)
    """By candidate id, for the student as given, words and demos alone, and the selected candidate: how labels are
    chosen, fitted to validation and selection, and to training where nothing was made of it; a candidate whose
    answers are taken as read has none."""
    words: tuple[LabelWord, ...] = ()
    """Words for the labels that were compared, by label, the ones that tell it best first."""
    left_out: Mapping[str, Interval] = field(default_factory=dict)
    """By rule id: score of the selected list minus that of the list without the rule, in metric units,
    on validation and selection examples together; empty if it was not measured."""
    warnings: tuple[str, ...] = ()
    """What is to be known about the rules: false ones that were kept, labels without a rule."""

    @property
    def decision(self) -> Decision | None:
        """The decision of the selected candidate; None if its answers are taken as read."""
        return self.decisions.get(self.chosen_id)

    def score(self, candidate_id: str, split: Split) -> float | None:
        """Return a candidate's score on a split; None if it was not scored on all of it."""
        scores = (
            e.score for e in self.evaluations if e.candidate_id == candidate_id and e.split == split
        )
        return next(scores, None)

    @property
    def chosen(self) -> Candidate:
        """The selected candidate."""
        return next(c for c in self.candidates if c.id == self.chosen_id)


@dataclass(frozen=True, slots=True, kw_only=True)
class PLDResult:
    """Result of a compile, attached to the program as `pld_result`."""

    predictors: tuple[PredictorResult, ...]
    usage: Mapping[str, Usage]
    """Usage by role: `teacher`, `student`, `embedder`."""
    dropped: Mapping[str, int]
    """Counts of dropped items by reason, for instance `unreadable teacher answers`."""
    split_sizes: Mapping[str, int]
    seed: int
    wall_s: float
    """Wall time in seconds, summed over all processes that worked on the run folder."""
    versions: Mapping[str, str] = field(default_factory=dict)

    @property
    def rules(self) -> tuple[Rule, ...]:
        """The rules of the final prompts, in order, over all predictors."""
        return tuple(rule for p in self.predictors for rule in p.chosen.rules)
