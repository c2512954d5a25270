"""Groups traces with similar rules (PLD §3.2)."""

import hashlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from pld_dspy.config.optimizer import ClusterConfig
from pld_dspy.errors import DataError
from pld_dspy.records import Cluster, Clustering, Diagnosis, Trace, Vectors
from pld_dspy.stages.cluster.methods import (
    COLLAPSED,
    Clusterer,
    Members,
    clusterer_name,
    cosine_distances,
    noise_to_nearest,
    partition,
    run_clusterer,
    unit_rows,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Found:
    """Clusters as positions in the sorted traces."""

    groups: tuple[tuple[int, ...], ...]
    noise: tuple[int, ...]
    settings: tuple[str, ...]
    """Settings of each run of the method, one per label if label-aware."""
    noise_found: int
    """Number of noise points before the noise policy."""


def cluster_traces(
    traces: Sequence[Trace],
    vectors: Vectors,
    config: ClusterConfig,
    *,
    seed: int,
    clusterer: Clusterer | None = None,
) -> Clustering:
    """Return a partition of the traces into clusters, largest first, and noise.

    The order of the traces does not matter. The paper uses a fixed eps and drops noise; the default
    here chooses eps from the data and moves noise to the nearest cluster.

    Args:
        traces: Traces with distinct ids, at least one.
        vectors: Embedded rules, shape `(len(traces), dim)`, row `i` for trace `i`, all finite.
        config: Method and settings.
        seed: For k-means and custom clusterers; the other methods are deterministic.
        clusterer: Used instead of `config.method`.

    Raises:
        DataError: There is no trace, ids repeat, the vectors do not fit the traces, or the
            clusterer did not return one cluster number per trace.
    """
    _check(traces, vectors)
    order = sorted(range(len(traces)), key=lambda i: traces[i].id)
    ordered = [traces[i] for i in order]
    units = unit_rows(np.asarray(vectors, dtype=np.float64)[order])
    distances = cosine_distances(units)

    found = _find(ordered, units, distances, config, seed, clusterer)
    clusters = [_cluster(group, ordered, distances) for group in found.groups]
    clusters.sort(key=lambda c: (-len(c.trace_ids), c.id))
    noise = tuple(ordered[i].id for i in found.noise)
    empty = int((~units.any(axis=1)).sum())
    name = config.method if clusterer is None else clusterer_name(clusterer)
    diagnosis = _diagnose(ordered, clusters, noise, found, config, empty, name)
    return Clustering(clusters=tuple(clusters), noise=noise, diagnosis=diagnosis)


def _check(traces: Sequence[Trace], vectors: Vectors) -> None:
    if not traces:
        raise DataError("no traces to cluster (0 given); extract at least one")
    name, times = Counter(trace.id for trace in traces).most_common(1)[0]
    if times > 1:
        msg = f"trace id {name!r} occurs {times} times; give each trace its own id"
        raise DataError(msg)
    if np.ndim(vectors) != 2 or len(vectors) != len(traces):
        msg = (
            f"vectors of shape {np.shape(vectors)} for {len(traces)} traces; give one row per trace"
        )
        raise DataError(msg)
    if not np.isfinite(vectors).all():
        raise DataError("vectors hold NaN or infinity; check the embedder")


def _find(
    traces: Sequence[Trace],
    units: Vectors,
    distances: Vectors,
    config: ClusterConfig,
    seed: int,
    clusterer: Clusterer | None,
) -> _Found:
    """Return the clusters of all traces, or of each label's, after the noise policy."""
    labels = sorted({trace.label for trace in traces}) if config.label_aware else [None]
    groups: list[tuple[int, ...]] = []
    noise: list[int] = []
    settings: dict[str, None] = {}
    noise_found = 0
    for label in labels:
        index = np.array([i for i, t in enumerate(traces) if label is None or t.label == label])
        count = None
        if config.n_clusters != "auto":
            count = max(1, round(config.n_clusters * len(index) / len(traces)))
        # Avoids a copy of the whole matrix, 400 MB for 7,000 traces.
        near = distances if len(index) == len(traces) else distances[np.ix_(index, index)]
        if clusterer is not None:
            chosen = [traces[i] for i in index]
            members, words = run_clusterer(clusterer, chosen, units[index], seed=seed), ""
        else:
            members, words = partition(units[index], near, config, n_clusters=count, seed=seed)
        settings[words] = None
        noise_found += int((members < 0).sum())
        members = _after_noise_policy(members, near, config)
        groups.extend(
            tuple(index[members == k].tolist()) for k in range(int(members.max(initial=-1)) + 1)
        )
        noise.extend(index[members < 0].tolist())
    return _Found(
        groups=tuple(groups),
        noise=tuple(sorted(noise)),
        settings=tuple(settings),
        noise_found=noise_found,
    )


def _after_noise_policy(members: Members, distances: Vectors, config: ClusterConfig) -> Members:
    """Return the clusters after the noise policy; if there are none, "nearest" makes singletons."""
    if config.noise == "drop":
        return members
    settled = noise_to_nearest(distances, members) if config.noise == "nearest" else members.copy()
    lost = np.flatnonzero(settled < 0)
    settled[lost] = int(settled.max(initial=-1)) + 1 + np.arange(lost.size)
    return settled


def _cluster(group: Sequence[int], traces: Sequence[Trace], distances: Vectors) -> Cluster:
    ids = tuple(traces[i].id for i in group)
    near = distances[np.ix_(group, group)].sum(axis=1).round(9)
    digest = hashlib.sha256("\n".join(ids).encode()).hexdigest()
    return Cluster(
        id=f"k{digest[:8]}",
        trace_ids=ids,
        medoid_id=ids[int(near.argmin())],
        labels=dict(sorted(Counter(traces[i].label for i in group).items())),
    )


def _diagnose(
    traces: Sequence[Trace],
    clusters: Sequence[Cluster],
    noise: Sequence[str],
    found: _Found,
    config: ClusterConfig,
    empty: int,
    name: str,
) -> Diagnosis:
    labels = sorted({trace.label for trace in traces})
    covered = {label for cluster in clusters for label in cluster.labels}
    lost = tuple(label for label in labels if label not in covered)
    largest = max((len(c.trace_ids) for c in clusters), default=0) / len(traces)
    found_share = found.noise_found / len(traces)
    scope = ", label-aware" if config.label_aware else ""
    fate = f", {found_share:.0%} noise -> {config.noise}" if found.noise_found else ""
    warnings = (
        *_shape_warnings(clusters, largest, found_share, len(labels)),
        *_label_warnings(labels, clusters, lost),
        *_data_warnings(len(traces), len(clusters), empty),
    )
    return Diagnosis(
        method=f"{name}({' / '.join(found.settings)}{scope}){fate}",
        clusters=len(clusters),
        noise_share=len(noise) / len(traces),
        largest_share=largest,
        label_mix=_label_mix(clusters, len(labels)),
        labels_without_rule=lost,
        warnings=warnings,
    )


def _label_mix(clusters: Sequence[Cluster], labels: int) -> float:
    """Return the mean label entropy of the clusters, normalised to [0, 1]."""
    if labels < 2 or not clusters:
        return 0.0
    entropies = []
    for cluster in clusters:
        shares = np.array(list(cluster.labels.values())) / len(cluster.trace_ids)
        entropies.append(max(0.0, float(-(shares * np.log(shares)).sum())))
    return float(np.mean(entropies) / np.log(labels))


def _shape_warnings(
    clusters: Sequence[Cluster], largest: float, found_noise: float, labels: int
) -> list[str]:
    warnings = []
    if labels > 1 and largest > COLLAPSED:
        warnings.append(
            f"collapse: the largest of {len(clusters)} clusters holds {largest:.0%} of the traces "
            f"of {labels} labels; lower eps, or use another method"
        )
    single = sum(len(c.trace_ids) < 2 for c in clusters)
    if 2 * single > len(clusters):
        warnings.append(f"fragmentation: {single} of {len(clusters)} clusters hold one trace")
    if found_noise > 0.5:
        warnings.append(
            f"fragmentation: {found_noise:.0%} of the traces are noise; raise eps, lower "
            "min_samples, or use another method"
        )
    return warnings


def _label_warnings(
    labels: Sequence[str], clusters: Sequence[Cluster], lost: Sequence[str]
) -> list[str]:
    warnings = []
    if lost:
        warnings.append(f"labels without a rule: {', '.join(lost)}")
    leading = {y for c in clusters for y, n in c.labels.items() if n == max(c.labels.values())}
    outvoted = [label for label in labels if label not in leading and label not in lost]
    if outvoted:
        warnings.append(
            f"labels outvoted in every cluster: {', '.join(outvoted)}; keep their conditions in "
            "the merged rules, or set label_aware"
        )
    return warnings


def _data_warnings(traces: int, clusters: int, empty: int) -> list[str]:
    warnings = []
    if traces == 1:
        warnings.append("only one trace: nothing to cluster")
    if not clusters:
        warnings.append(f"no cluster: all {traces} traces are noise")
    if empty:
        warnings.append(f"{empty} of {traces} vectors are zero; their rules have no known word")
    return warnings
