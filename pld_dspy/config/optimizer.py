"""Settings of the optimizer and of its stages."""

from typing import Annotated, Literal, Self

from pydantic import Field, PositiveInt, model_validator

from pld_dspy.config.base import Settings
from pld_dspy.errors import ConfigError
from pld_dspy.records.decision import Decide


class ClusterConfig(Settings):
    """Clustering of the traces; by default DBSCAN with eps chosen from the data, keeping every trace.

    >>> ClusterConfig(method="kmeans", n_clusters=8).n_clusters
    8
    >>> ClusterConfig.paper().eps
    0.4
    """

    method: Literal["dbscan", "hdbscan", "agglomerative", "kmeans"] = "dbscan"
    """PLD §3.2 uses DBSCAN. Average linkage for `agglomerative`; k-means on unit rows."""
    eps: Annotated[float, Field(gt=0, le=2)] | Literal["auto"] = "auto"
    """DBSCAN radius, a cosine distance; "auto" is `choose_eps`."""
    min_samples: Annotated[int, Field(ge=1)] | Literal["auto"] = "auto"
    """Minimum points of a core point's neighbourhood, itself included (HDBSCAN: minimum cluster
    size, from 2); "auto" is `auto_min_samples`."""
    n_clusters: Annotated[int, Field(ge=1)] | Literal["auto"] = "auto"
    """Number of clusters, for agglomerative and k-means; "auto" is `choose_count`. With
    `label_aware` it is divided among the labels in proportion to their traces, at least 1 each."""
    label_aware: bool = False
    """Cluster the traces of each gold label separately, so that no label is outvoted in a cluster.

    Off, because recorded teacher rules group by topic, and the contrast of the labels within a
    topic is the rule: on 193 ContractNLI rules (TF-IDF) the joint clusters, 21, match the 17
    hypotheses with V-measure 0.92, and label-aware ones, 45, with 0.80; and where a label is an
    option letter (LogiQA) it splits topics by a letter without meaning. Turn it on where labels are
    topics themselves (StereoSet), or where a warning says that a label is outvoted in every cluster.
    """
    noise: Literal["singletons", "drop", "nearest"] = "nearest"
    """Noise points become clusters of one, are dropped, or join the cluster (of the same label if
    label-aware) with the smallest mean distance, which keeps every trace and adds no rule."""

    @model_validator(mode="after")
    def _refuse_ignored_settings(self) -> Self:
        counts = self.method in {"agglomerative", "kmeans"}
        ignored = {"eps": self.method != "dbscan", "min_samples": counts, "n_clusters": not counts}
        for key, unused in ignored.items():
            if unused and getattr(self, key) != "auto":
                msg = f"{key} has no effect with method {self.method!r}; leave it out"
                raise ConfigError(msg)
        return self

    @classmethod
    def paper(cls) -> Self:
        """Return the setting of PLD §3.2: DBSCAN, eps 0.4, min_samples 6, noise dropped."""
        return cls(method="dbscan", eps=0.4, min_samples=6, label_aware=False, noise="drop")


class RuleConfig(Settings):
    """Merging of a cluster's micro-rules into one rule.

    >>> RuleConfig(method="medoid", examples=0).method
    'medoid'
    """

    method: Literal["merge", "medoid"] = "merge"
    """`merge` asks the teacher; `medoid` takes the most central micro-rule and makes no call."""
    per_label: bool = True
    """Add candidates with one general rule per label, merged from all its micro-rules."""
    contrast: int = Field(default=0, ge=0, le=10)
    """Additional candidates with one rule per label, each from one request that shows micro-rules of
    all labels side by side; for closed sets of 2 to 12 labels."""
    examples: int = Field(default=4, ge=0)
    """Input values shown with each general rule in additional candidates; short fields only."""
    draws: int = Field(default=1, ge=1, le=10)
    """Teacher samples per cluster; the answers of weak teachers vary from sample to sample."""
    max_notes: int = Field(default=12, ge=2)
    """Maximum micro-rules per request; larger clusters are merged in two steps (map-reduce)."""
    duplicate_cosine: float = Field(default=0.9, gt=0, le=1)
    """Rules of the same main label with at least this cosine similarity (TF-IDF) are duplicates."""


class VerifyConfig(Settings):
    """Check of the rules on training examples, before the student is called.

    >>> VerifyConfig(max_examples=60).min_precision
    0.6
    """

    enabled: bool = True
    """Whether the teacher judges for which training examples the condition of each rule holds. Rules
    that are false there are left out."""
    how: Literal["auto", "list", "each"] = "auto"
    """`list`: one request per example, with all conditions numbered; for strong teachers. `each`: one
    request per example and condition, answered yes or no; for small ones. "auto": `each` for a local
    teacher, `list` for others. Small models that are shown a list name most of its numbers,
    whatever the example."""
    max_examples: int = Field(default=40, ge=1)
    """Maximum training examples that are judged, balanced by label."""
    max_conditions: int = Field(default=24, ge=1)
    """Maximum different conditions that are judged, those of the best supported rules first; the other
    rules are not judged and stay."""
    max_drafts: int = Field(default=18, ge=0)
    """Maximum rules that are judged besides: those of single traces, and one for each kind of thing
    that traces name, each label in turn. The true ones that cover the examples best, together with
    the rules of the other stages, are one more candidate."""
    min_precision: float = Field(default=0.6, ge=0, le=1)
    """A rule is false if a smaller share of the examples for which its condition holds has its label."""
    max_p_chance: float = Field(default=0.2, gt=0, le=1)
    """A rule is false if a condition that has nothing to do with the label would be as precise with at
    least this probability (one-sided binomial test against the label's share of the examples)."""
    same: float = Field(default=0.8, gt=0, le=1)
    """Two rules with the same answer are alike, and are not in one list, if the examples that bear both
    are at least this share of those that bear either (Jaccard index)."""
    leave_out: bool = True
    """Whether the gain of each rule of the final list is measured by leaving it out, on validation and
    selection examples: at most one more student call per rule and example."""


class TopicsConfig(Settings):
    """Rules by topic: the student is shown the general rules and those of the question's topic.

    >>> TopicsConfig(by="hypothesis").min_examples
    2
    """

    by: str | None = None
    """Input field whose value is the topic; "auto" takes an input with 2 to 50 values and at least
    four training examples of each on average; None or "none" makes no rules by topic."""
    min_examples: int = Field(default=2, ge=1)
    """Training examples that a topic needs for rules of its own; others get the general rules."""
    max_rules: int = Field(default=4, ge=1)
    """Maximum rules of one topic, besides the general ones."""


class WordsConfig(Settings):
    """Words that the student sees in place of labels whose names say little.

    >>> WordsConfig(drafts=2).per_label
    8
    """

    drafts: int = Field(default=4, ge=0, le=20)
    """Times that the teacher names each label, each time from other examples; 0 shows labels by their
    names. Other words are tried for a `DirectStudent` that shows 2 to 8 labels by their names, where
    the endpoint gives log-probabilities."""
    per_label: int = Field(default=8, ge=1, le=20)
    """Maximum words of a label that one round compares besides its name."""
    rounds: int = Field(default=2, ge=1, le=5)
    """Maximum rounds of comparison: a further one is for labels that no word tells from the others by
    an area under the curve of 0.7, and compares their next words."""
    max_length: int = Field(default=2, ge=1, le=4)
    """Maximum length, in words as they are written."""
    sets: int = Field(default=2, ge=1)
    """Sets of words that are scored on validation."""
    most: int = Field(default=3, ge=1, le=8)
    """Maximum words of a label in one more set, whose probabilities are added up; 1 tries no such set."""
    rest: str = "something else"
    """What one more set shows for the label that no word fits well; empty tries no such set."""
    max_p_worse: float = Field(default=0.05, gt=0, le=0.5)
    """Words are used only if their paired probability of being worse than the names, on validation, is
    at most this."""


class DemoConfig(Settings):
    """Worked examples (demos) in the student's prompt.

    >>> DemoConfig(per_label=(1, 2)).draws
    2
    """

    per_label: tuple[PositiveInt, ...] = ()
    """Numbers of demos per label to try; empty tries none. Very small students follow demos better
    than rules alone, at the cost of a longer prompt."""
    draws: int = Field(default=2, ge=1)
    """Random draws of demos for each number."""
    max_p_worse: float = Field(default=0.05, gt=0, le=0.5)
    """Demos are used only if their paired probability of being worse than none, on validation, is at
    most this."""


class RefineConfig(Settings):
    """Refinement: the teacher edits rules from the student's errors.

    >>> RefineConfig(rounds=3, max_p_worse=0.25).rounds
    3
    """

    rounds: int = Field(default=2, ge=0)
    """Maximum rounds; 0 turns refinement off."""
    patience: int = Field(default=1, ge=1)
    """Stop after this many rounds without an accepted edit."""
    feedback: int = Field(default=48, ge=1)
    """Maximum training examples that the student answers per round."""
    failures: int = Field(default=6, ge=1)
    """Wrong answers shown to the teacher, balanced over pairs of gold label and answer."""
    successes: int = Field(default=4, ge=0)
    """Right answers shown to the teacher, balanced by label."""
    edits: int = Field(default=3, ge=1)
    """Maximum edits tried per round."""
    max_p_worse: float = Field(default=0.5, gt=0, le=1)
    """An edit is kept only if the validation score does not fall and the edit's probability of being
    worse is at most this."""


class RaceConfig(Settings):
    """When a rule list is stopped before it was evaluated on every validation example.

    >>> RaceConfig(block=16).min_chance
    0.08
    """

    enabled: bool = True
    block: int = Field(default=8, ge=1)
    """Examples between two checks."""
    min_chance: float = Field(default=0.08, gt=0, lt=0.5)
    """A list is stopped when its probability of beating the incumbent falls below this."""


class SearchConfig(Settings):
    """The search over size and order of the rule list.

    >>> SearchConfig(trials=12, race={"block": 16}).race.block
    16
    """

    trials: int = Field(default=30, ge=0)
    """Number of different lists to evaluate on validation, besides those of the earlier stages."""
    sampler: Literal["tpe", "random", "gp", "cmaes"] = "tpe"
    """`gp` needs torch, and `cmaes` the package of that name."""
    guided: bool = True
    """Whether a forecast from earlier trials proposes lists too; if not, the sampler proposes all but
    the fixed starts."""
    max_rules: int | None = Field(default=None, ge=1)
    """Maximum number of rules in a list; None means the size of the largest pool."""
    max_prompt_tokens: int | None = Field(default=None, ge=1)
    """Maximum mean input tokens per call, rules and example together; None means no limit."""
    race: RaceConfig = RaceConfig()
    probabilities: bool = True
    """Whether to request log-probabilities from the student's endpoint, which say more than right or
    wrong; an endpoint that returns none is called without."""
    storage: str | None = None
    """Database URL or `journal:<path>`; None means a journal in the run folder."""
    study: str | None = None
    """Name of the study; None derives it from everything that trials depend on."""
    grace_s: float = Field(default=60.0, gt=0)
    """Seconds without a heartbeat after which a worker's trial is queued again."""


Prefer = Literal["best", "shortest-within-noise", "rules-within-noise"]


class PLDConfig(Settings):
    """Settings of the optimizer.

    >>> PLDConfig(search={"trials": 12}).search.trials
    12
    """

    draws: int = Field(default=1, ge=1, le=10)
    """Teacher explanations per training example."""
    explain: int | None = Field(default=None, ge=1)
    """Maximum examples to explain, balanced by label; None means all."""
    clusterer: str | None = None
    """Name of a clusterer that an installed package adds, or of a built-in method; None takes
    `clusters.method`. `clusters.noise` and `clusters.label_aware` hold for either."""
    clusters: ClusterConfig = ClusterConfig()
    rules: RuleConfig = RuleConfig()
    verify: VerifyConfig = VerifyConfig()
    topics: TopicsConfig = TopicsConfig()
    words: WordsConfig = WordsConfig()
    demos: DemoConfig = DemoConfig()
    refine: RefineConfig = RefineConfig()
    search: SearchConfig = SearchConfig()
    decide: Decide = "calibrated"
    """How labels are chosen, for a `DirectStudent` with a closed label set and a corpus metric whose
    endpoint returns log-probabilities: `greedy` reads the answer, `probable` takes the most probable
    label, `calibrated` corrects the probabilities first, by a fit to labelled answers. No token more a
    call; but the student as given, and with words for the labels, answers training examples too, each
    at most as many as there are validation and selection examples. Other programs are always greedy."""
    finalists: int = Field(default=3, ge=1)
    """Candidates scored on the selection split, besides the unmodified student."""
    max_p_worse: float = Field(default=0.25, gt=0, le=0.5)
    """A rule list is used only if its probability of being worse than the unmodified student is at
    most this."""
    prefer: Prefer = "best"
    """The `best` finalist; or, of those not significantly worse on the selection split, the one with the
    fewest tokens (`shortest-within-noise`) or with rules for the most labels (`rules-within-noise`)."""
    threads: int = Field(default=1, ge=1)
    """Concurrent student calls. One is best for a local server, whose prompt cache it keeps warm."""
    teacher_threads: int = Field(default=1, ge=1)
    """Concurrent teacher calls."""
    val_share: float = Field(default=0.4, gt=0, lt=1)
    """Share of `trainset` used as validation and selection split, half each, if no `valset` is given;
    about this share, in whole groups, if every example has a group."""
