"""Settings of the optimizer."""

from pydantic import Field

from pld_dspy.clusters import ClusterConfig
from pld_dspy.contest import SearchConfig
from pld_dspy.demos import DemoConfig
from pld_dspy.refine import RefineConfig
from pld_dspy.rules import RuleConfig
from pld_dspy.select import Prefer
from pld_dspy.settings import Settings


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
