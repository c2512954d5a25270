"""Phase 2: clusters of the traces and their rule pools, over all examples and topic by topic."""

import logging
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from pld_dspy.config.optimizer import ClusterConfig, RuleConfig
from pld_dspy.ledger.store import StageStore
from pld_dspy.models.embedder import embed
from pld_dspy.models.teacher import Teacher
from pld_dspy.records import Clustering, Embedder, Progress, Trace
from pld_dspy.stages.cluster.methods import Clusterer
from pld_dspy.stages.cluster.stage import cluster_traces
from pld_dspy.stages.common.pools import Pool
from pld_dspy.stages.common.problem import Problem
from pld_dspy.stages.merge.stage import make_pools
from pld_dspy.stages.merge.topics import with_topics

logger = logging.getLogger(__name__)


class Made(NamedTuple):
    """The clustering of all traces, and all rule pools."""

    clustering: Clustering
    pools: tuple[Pool, ...]
    dropped: Counter[str]
    """Number of teacher answers and traces without a rule, by reason."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolMaker:
    """Settings and models of clustering and merging."""

    embedder: Embedder
    clusters: ClusterConfig
    clusterer: Clusterer | None
    """Used instead of the method in `clusters`."""
    rules: RuleConfig
    teacher: Teacher
    store: StageStore
    progress: Progress
    seed: int

    def make(self, traces: Sequence[Trace], problem: Problem) -> Made:
        """Return the clustering of the traces, whose warnings are logged, and the rule pools.

        With topics the traces of each are clustered and merged apart as well, label by label, because
        within a topic the contrast of the labels is what its rules are about. Lists side by side and
        with instances are made of the general rules only.

        Raises:
            ModelError: The teacher or the embedding model cannot be reached.
        """
        texts = [trace.rule for trace in traces]
        vectors = embed(texts, self.embedder, self.store, progress=self.progress)
        method, seed = self.clusterer, self.seed
        clustering = cluster_traces(traces, vectors, self.clusters, seed=seed, clusterer=method)
        for warning in clustering.diagnosis.warnings:
            logger.warning("clusters: %s", warning)
        made = make_pools(clustering, traces, self.teacher, problem, self.rules)
        if problem.topics is None:
            return Made(clustering, made.pools, made.dropped)
        dropped = Counter(made.dropped)
        by_label = self.clusters.model_copy(update={"label_aware": True})
        plain = self.rules.model_copy(update={"contrast": 0, "examples": 0})
        row = {trace.id: number for number, trace in enumerate(traces)}

        def of_topic(own: Sequence[Trace]) -> Sequence[Pool]:
            rows = vectors[[row[trace.id] for trace in own]]
            found = cluster_traces(own, rows, by_label, seed=seed, clusterer=method)
            pools = make_pools(found, own, self.teacher, problem, plain)
            dropped.update(pools.dropped)
            return pools.pools

        pools = with_topics(made.pools, problem.topics, traces, problem.train, of_topic)
        return Made(clustering, pools, dropped)
