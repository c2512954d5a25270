"""Phase 2: rule pools from the clusters of traces."""

from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

from pld_dspy.config.optimizer import RuleConfig
from pld_dspy.models.teacher import Teacher
from pld_dspy.records import Clustering, Trace
from pld_dspy.stages.common.dedupe import unique
from pld_dspy.stages.common.pools import Pool
from pld_dspy.stages.common.problem import Problem
from pld_dspy.stages.merge.per_cluster import synthesize
from pld_dspy.stages.merge.side_by_side import contrast
from pld_dspy.stages.merge.with_instances import with_examples


class Pools(NamedTuple):
    """The pools with at least one rule, and counts of what was dropped."""

    pools: tuple[Pool, ...]
    dropped: Counter[str]
    """Number of teacher answers and traces without a rule, by reason."""


def make_pools(
    clustering: Clustering,
    traces: Sequence[Trace],
    teacher: Teacher,
    problem: Problem,
    config: RuleConfig,
) -> Pools:
    """Return rule pools, one per method (PLD phase 2 and additions).

    `merged` has one rule per cluster, as in the paper. `general` has one rule per label, `medoids`
    the most central micro-rule of each cluster, `all labels side by side` one rule per label from
    one request, and `general with examples` the general rules with values of the training inputs.

    Raises:
        ModelError: The teacher cannot be reached.
    """
    task, labels = problem.task, problem.labels
    synthesis = synthesize(clustering, traces, teacher, task=task, labels=labels, config=config)
    contrasts = contrast(traces, teacher, task=task, labels=labels, draws=config.contrast)
    both = (*synthesis.general, *synthesis.merged) if synthesis.general else ()
    pools = (
        Pool("general", synthesis.general),
        Pool("merged", synthesis.merged),
        Pool("medoids", synthesis.medoids, origin="medoid"),
        Pool("general and merged", unique(both, config.duplicate_cosine), is_candidate=False),
        *(
            Pool(f"all labels side by side, {number}", rules)
            for number, rules in enumerate(contrasts.lists, 1)
        ),
        Pool(
            "general with examples",
            with_examples(
                synthesis.general, traces, problem.train, problem.signature, count=config.examples
            ),
        ),
    )
    return Pools(tuple(pool for pool in pools if pool.rules), synthesis.dropped + contrasts.dropped)
