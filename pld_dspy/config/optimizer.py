"""Settings of the optimizer and of its stages."""

from typing import Annotated, Literal, Self

from pydantic import Field, PositiveInt, model_validator

from pld_dspy.config.base import Settings
from pld_dspy.errors import ConfigError


class ClusterConfig(Settings):
    """How rules are grouped. The default finds its scale from the data and keeps every trace."""

    method: Literal["dbscan", "hdbscan", "agglomerative", "kmeans"] = "dbscan"
    """PLD §3.2 uses DBSCAN. Average linkage for `agglomerative`; k-means on unit rows."""
    eps: Annotated[float, Field(gt=0, le=2)] | Literal["auto"] = "auto"
    """DBSCAN radius, a cosine distance; "auto" is `choose_eps`."""
    min_samples: Annotated[int, Field(ge=1)] | Literal["auto"] = "auto"
    """Fewest points of a dense spot, itself included (HDBSCAN: fewest members of a cluster, from
    2); "auto" is `auto_min_samples`."""
    n_clusters: Annotated[int, Field(ge=1)] | Literal["auto"] = "auto"
    """For agglomerative and k-means; "auto" is `choose_count`. Label-aware: shared out to the
    labels in proportion to their traces, at least 1 each."""
    label_aware: bool = False
    """Group the traces of each gold label apart, so that no label can be outvoted in a cluster.

    Off, because recorded teacher rules group by topic, and the contrast of the labels within a
    topic is the rule: on 193 ContractNLI rules (TF-IDF) the joint clusters, 21, match the 17
    hypotheses with V-measure 0.92, and label-aware ones, 45, with 0.80; and where a label is an
    option letter (LogiQA) it cuts topics by a letter that means nothing. Turn it on where labels
    are topics themselves (StereoSet), or where a warning says that a label is outvoted everywhere.
    """
    noise: Literal["singletons", "drop", "nearest"] = "nearest"
    """What happens to noise: a cluster each, no cluster, or the cluster (of the same label if
    label-aware) with the smallest mean distance, which keeps every trace and adds no rule."""

    @model_validator(mode="after")
    def _refuse_what_would_be_ignored(self) -> Self:
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
    """How a cluster becomes a rule."""

    method: Literal["merge", "medoid"] = "merge"
    """`merge` asks the teacher; `medoid` takes the most central micro-rule, without a call."""
    per_label: bool = True
    """Also merge all the micro-rules of each label into one general rule, as further candidates."""
    contrast: int = Field(default=0, ge=0, le=10)
    """Further candidates of one rule a label, each from one request that shows micro-rules of all
    labels side by side; for closed sets of 2 to 12 labels."""
    examples: int = Field(default=4, ge=0)
    """Input values shown with each general rule, in further candidates; only of short fields."""
    draws: int = Field(default=1, ge=1, le=10)
    """Merges of each cluster; weak teachers differ much from one draw to the next."""
    max_notes: int = Field(default=12, ge=2)
    """Most micro-rules in one request; larger clusters are merged in two steps (map-reduce)."""
    duplicate_cosine: float = Field(default=0.9, gt=0, le=1)
    """Rules with the same main label at least this similar (TF-IDF) are kept once."""


class DemoConfig(Settings):
    """How many worked examples are tried in the student's prompt, besides none."""

    per_label: tuple[PositiveInt, ...] = ()
    """Numbers of training examples of each label that are tried; empty tries none. Very small
    students answer by examples better than by rules alone, and have to read them with each call."""
    draws: int = Field(default=2, ge=1)
    """Different choices of examples for each number."""
    max_p_worse: float = Field(default=0.05, gt=0, le=0.5)
    """Examples are shown only if on validation their paired probability of being worse than none is
    at most this. They make each call longer, and the rules are made for the student that has them."""


class RefineConfig(Settings):
    """How long the loop goes on, and what the teacher sees."""

    rounds: int = Field(default=2, ge=0)
    """Most rounds; 0 leaves the rules as they were synthesised."""
    patience: int = Field(default=1, ge=1)
    """Rounds without an accepted edit after which the loop has converged."""
    feedback: int = Field(default=48, ge=1)
    """Most training examples that the student answers a round."""
    failures: int = Field(default=6, ge=1)
    """Wrong answers shown, taken in turn from each pair of gold label and answer."""
    successes: int = Field(default=4, ge=0)
    """Right answers shown, one label after the other."""
    edits: int = Field(default=3, ge=1)
    """Most edits tried a round."""
    max_p_worse: float = Field(default=0.5, gt=0, le=1)
    """An edit is kept only if validation does not fall and its probability of being worse, in [0, 1],
    does not pass this."""


class RaceConfig(Settings):
    """How soon a candidate stops."""

    enabled: bool = True
    block: int = Field(default=8, ge=1)
    """Examples between two looks."""
    min_chance: float = Field(default=0.08, gt=0, lt=0.5)
    """A candidate stops when its chance to end ahead of the incumbent falls below this."""


class SearchConfig(Settings):
    """How many lists are tried, and which."""

    trials: int = Field(default=30, ge=0)
    """Different lists asked on validation, besides those that are scored anyway."""
    sampler: Literal["tpe", "random", "gp", "cmaes"] = "tpe"
    """`gp` needs torch, and `cmaes` the package of that name."""
    guided: bool = True
    """Whether measured gains propose lists too; without, all but the starts are the sampler's."""
    max_rules: int | None = Field(default=None, ge=1)
    """Longest list; None is as long as the longest pool."""
    max_prompt_tokens: int | None = Field(default=None, ge=1)
    """Most input tokens of a call, rules and example together, in the mean; None is no limit."""
    race: RaceConfig = RaceConfig()
    probabilities: bool = True
    """Whether the student's endpoint is asked for log-probabilities, which tell more than right or
    wrong; one that gives none is asked without."""
    storage: str | None = None
    """Database URL or `journal:<path>`; None is a journal in the run folder."""
    study: str | None = None
    """Name of the study; None makes one from everything that trials depend on."""
    grace_s: float = Field(default=60.0, gt=0)
    """Seconds without a sign of life after which a worker's trial goes to another."""


Prefer = Literal["best", "shortest-within-noise"]


class PLDConfig(Settings):
    """How rules are made, refined, searched and chosen."""

    draws: int = Field(default=1, ge=1, le=10)
    """Teacher explanations of each training example."""
    explain: int | None = Field(default=None, ge=1)
    """Most training examples that the teacher explains, taken from each label in turn; None is all."""
    clusters: ClusterConfig = ClusterConfig()
    rules: RuleConfig = RuleConfig()
    demos: DemoConfig = DemoConfig()
    refine: RefineConfig = RefineConfig()
    search: SearchConfig = SearchConfig()
    finalists: int = Field(default=3, ge=1)
    """Candidates scored again on the selection examples, besides the student as given."""
    max_p_worse: float = Field(default=0.25, gt=0, le=0.5)
    """A list is kept only if it is worse than the student as given with at most this probability."""
    prefer: Prefer = "best"
    """`shortest-within-noise` takes the finalist with the fewest tokens that the selection examples
    cannot tell from the best."""
    threads: int = Field(default=1, ge=1)
    """Student calls at a time. One is best for a local server: its prompt stays in the cache."""
    teacher_threads: int = Field(default=1, ge=1)
    """Teacher calls at a time."""
    val_share: float = Field(default=0.4, gt=0, lt=1)
    """Share of `trainset` set aside if no `valset` is given: half to validate, half to select."""
