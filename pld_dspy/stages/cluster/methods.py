"""Clustering methods."""

from collections.abc import Sequence
from typing import Any, Protocol, get_args

import numpy as np
import numpy.typing as npt
from sklearn.cluster import DBSCAN, HDBSCAN, AgglomerativeClustering, KMeans
from sklearn.metrics import silhouette_samples

from pld_dspy.config.callables import check_call
from pld_dspy.config.optimizer import ClusterConfig
from pld_dspy.config.plugins import CLUSTERERS, find
from pld_dspy.errors import DataError
from pld_dspy.records import Trace, Vectors

Members = npt.NDArray[np.int64]
"""Cluster number of each point; -1 is noise."""


class Clusterer(Protocol):
    """Groups traces with similar rules.

    It is called once per predictor, or once per gold label with `label_aware = true`. It must be
    deterministic. Noise is then handled as set in `ClusterConfig.noise`.

    >>> class ByLength:
    ...     def __call__(
    ...         self, traces: Sequence[Trace], vectors: Vectors, *, seed: int
    ...     ) -> list[int]:
    ...         return [int(len(trace.rule) > 60) for trace in traces]
    >>> clusterer: Clusterer = ByLength()  # PLD(clusterer=ByLength(), ...)
    """

    def __call__(self, traces: Sequence[Trace], vectors: Vectors, *, seed: int) -> Sequence[int]:
        """Return the cluster number of each trace; -1 is noise.

        Args:
            traces: At least one, with distinct ids.
            vectors: Embedded rules, shape `(len(traces), dim)`, rows of length 1 or 0.
            seed: Seed of the optimizer.
        """


METHODS = get_args(ClusterConfig.model_fields["method"].annotation)


def resolve_clusterer(
    given: str | ClusterConfig | Clusterer | None, config: ClusterConfig
) -> tuple[ClusterConfig, Clusterer | None]:
    """Return the settings, and the custom clusterer, if any.

    Args:
        given: Name of a method, settings, a clusterer, or None for `config`.
        config: Settings for noise and labels if `given` is a name or a clusterer.

    Raises:
        ConfigError: No method and no clusterer of an installed package has this name, or `given`
            cannot be called as a clusterer.
    """
    if given is None:
        return config, None
    if isinstance(given, ClusterConfig):
        return given, None
    if isinstance(given, str):
        found = find(CLUSTERERS, given, dict.fromkeys(METHODS), expected="a Clusterer")
        if found is not None:  # added by a package
            return resolve_clusterer(found, config)
        kept: dict[str, Any] = {"label_aware": config.label_aware, "noise": config.noise}
        return ClusterConfig(method=given, **kept), None  # type: ignore[arg-type]  # checked above
    check_call(
        "clusterer",
        given,
        ("traces", "vectors"),
        ("seed",),
        expected=f"one of {', '.join(METHODS)}, a ClusterConfig, or a Clusterer (traces, vectors, *, seed)",
    )
    return config, given


def clusterer_name(clusterer: Clusterer) -> str:
    """Return the name of the function or of the class, for reports and messages."""
    return str(getattr(clusterer, "__name__", type(clusterer).__name__))


def run_clusterer(
    clusterer: Clusterer, traces: Sequence[Trace], vectors: Vectors, *, seed: int
) -> Members:
    """Return the validated clusters of a clusterer, numbered from 0; -1 is noise.

    Raises:
        DataError: It did not return one integer per trace, or one is below -1.
    """
    name = clusterer_name(clusterer)
    found = np.asarray(clusterer(traces, vectors, seed=seed))
    if found.shape != (len(traces),):
        msg = f"clusterer {name} returned shape {found.shape} for {len(traces)} traces; return one cluster number per trace"
        raise DataError(msg)
    if not np.issubdtype(found.dtype, np.integer) or found.min() < -1:
        msg = f"clusterer {name} returned {found[:3].tolist()}...; return whole numbers from 0, and -1 for noise"
        raise DataError(msg)
    numbers = {old: new for new, old in enumerate(n for n in np.unique(found) if n >= 0)}
    return np.array([numbers.get(n, -1) for n in found], dtype=np.int64)


COLLAPSED = 0.8
"""Share of the points above which the largest cluster means that the clustering collapsed."""

_TINY = 1e-9
"""Distances below this are rounding errors."""

_GRID = 24
"""Maximum number of values tried for an automatic setting."""


def unit_rows(vectors: Vectors) -> Vectors:
    """Return the rows scaled to length 1; rows of zeros are unchanged."""
    length = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.asarray(vectors / np.where(length > 0, length, 1.0))


def cosine_distances(units: Vectors) -> Vectors:
    """Return the cosine distances of unit rows, shape `(n, n)`, in [0, 2].

    A row of zeros has distance 1 to other rows, and 0 to other rows of zeros.
    """
    distances = 1.0 - np.clip(units @ units.T, -1.0, 1.0)
    empty = ~units.any(axis=1)
    distances[np.ix_(empty, empty)] = 0.0
    distances[distances < _TINY] = 0.0
    np.fill_diagonal(distances, 0.0)
    return np.asarray((distances + distances.T) / 2)


def auto_min_samples(points: int) -> int:
    """Return `ln(points) - 2`, rounded and clipped to [2, 6].

    It is the paper's 6 for the paper's 7,190 rules, 3 for about 150, and 2 below 90.
    """
    return int(np.clip(round(np.log(points) - 2), 2, 6))


def quality(distances: Vectors, members: Members) -> float:
    """Return the mean cosine silhouette over all points, in [-1, 1]; that of noise is 0.

    It is 0.0 if there are fewer than two clusters, or if one of them has over 0.8 of the points, so
    that a chain of all points is never the best choice.
    """
    kept = np.flatnonzero(members >= 0)
    sizes = np.bincount(members[kept])
    if len(sizes) < 2 or len(sizes) >= len(kept) or sizes.max() > COLLAPSED * len(members):
        return 0.0
    samples = silhouette_samples(distances[np.ix_(kept, kept)], members[kept], metric="precomputed")
    return float(samples.sum() / len(members))


def partition(
    units: Vectors, distances: Vectors, config: ClusterConfig, *, n_clusters: int | None, seed: int
) -> tuple[Members, str]:
    """Return the cluster of each point, -1 for noise, and the settings as text.

    Args:
        units: Shape `(n, dim)`, rows of length 1 or 0, at least one.
        distances: Their cosine distances, shape `(n, n)`.
        config: Method and its settings.
        n_clusters: For agglomerative and k-means, at most `n` is used; None chooses by `quality`.
        seed: For k-means; the other methods are deterministic.
    """
    points = len(units)
    if config.method in {"agglomerative", "kmeans"}:
        return _by_count(units, distances, config.method, n_clusters, seed)
    auto = config.min_samples == "auto"
    least = auto_min_samples(points) if auto else int(config.min_samples)
    if config.method == "hdbscan":
        least = max(2, least)  # the minimum of HDBSCAN
        return _hdbscan(distances, least), f"min_samples={least}"
    eps = choose_eps(distances, least) if config.eps == "auto" else float(config.eps)
    return _dbscan(distances, eps, least), f"eps={eps:.3g}, min_samples={least}"


def choose_eps(distances: Vectors, min_samples: int) -> float:
    """Return the DBSCAN radius with the best clusters.

    The radii tried are 24 evenly spaced quantiles of the k-distance, the distance of each point to
    its `min_samples - 1`-th neighbour, so that they fit the scale of the embedder. The score of a
    radius is the lower of two values of `quality`: of its clusters with noise, and of its clusters
    after noise joined the nearest one. The first is low if there is much noise, the second if the
    noise does not belong to the clusters. Ties go to the smaller radius. If no score is above 0, the
    largest radius is returned, which leaves no noise.
    """
    rank = min(min_samples, len(distances)) - 1
    nearest = np.partition(distances, rank, axis=1)[:, rank]
    radii = np.unique(np.quantile(nearest, np.linspace(0.0, 1.0, _GRID)).round(6)) + 1e-6
    scores = []
    for eps in radii:
        found = _dbscan(distances, eps, min_samples)
        whole = noise_to_nearest(distances, found)
        scores.append(min(quality(distances, found), quality(distances, whole)))
    best = int(np.argmax(scores))
    return float(radii[best] if scores[best] > 0 else radii[-1])


def noise_to_nearest(distances: Vectors, members: Members) -> Members:
    """Return the clusters with each noise point moved to the one with the smallest mean distance.

    Distances are to the original members of the clusters. If there is no cluster, noise stays noise.
    """
    lost = np.flatnonzero(members < 0)
    count = int(members.max(initial=-1)) + 1
    settled = members.copy()
    if lost.size and count:
        means = [distances[np.ix_(lost, members == k)].mean(axis=1) for k in range(count)]
        settled[lost] = np.stack(means, axis=1).round(9).argmin(axis=1)
    return settled


def choose_count(points: int) -> tuple[int, ...]:
    """Return the numbers of clusters to try: at most 24, spaced geometrically from 2 to `2 sqrt(n)`.

    The caller uses the one with the best `quality`, ties to the smaller, or 1 if none is above 0.
    """
    top = min(points - 1, int(np.ceil(2 * np.sqrt(points))))
    if top < 2:
        return ()
    counts = np.arange(2, top + 1) if top <= _GRID else np.geomspace(2, top, _GRID).round()
    return tuple(int(count) for count in np.unique(counts))


def _by_count(
    units: Vectors, distances: Vectors, method: str, n_clusters: int | None, seed: int
) -> tuple[Members, str]:
    # There cannot be more clusters than distinct points.
    distinct = len(np.unique(units.round(6), axis=0))

    def cut(count: int) -> Members:
        if count <= 1:
            return np.zeros(len(units), dtype=np.int64)
        model: Any = (
            AgglomerativeClustering(count, metric="precomputed", linkage="average")
            if method == "agglomerative"
            else KMeans(count, n_init=10, random_state=seed)
        )
        found = model.fit_predict(distances if method == "agglomerative" else units)
        return np.asarray(found, dtype=np.int64)

    if n_clusters is not None:
        count = min(n_clusters, distinct)
        return cut(count), f"n_clusters={count}"
    best, best_score = cut(1), 0.0
    for count in choose_count(len(units)):
        if count <= distinct and (score := quality(distances, found := cut(count))) > best_score:
            best, best_score = found, score
    return best, f"n_clusters={int(best.max()) + 1}"


def _dbscan(distances: Vectors, eps: float, min_samples: int) -> Members:
    found = DBSCAN(eps=eps, min_samples=min_samples, metric="precomputed").fit_predict(distances)
    return np.asarray(found, dtype=np.int64)


def _hdbscan(distances: Vectors, least: int) -> Members:
    if len(distances) < least:
        return np.full(len(distances), -1, dtype=np.int64)
    model = HDBSCAN(min_cluster_size=least, metric="precomputed", copy=True)
    found = np.asarray(model.fit_predict(distances), dtype=np.int64)
    # HDBSCAN never returns a single cluster; it labels points that are all equal as noise.
    alike = not distances.any() and (found < 0).all()
    return np.zeros(len(found), dtype=np.int64) if alike else found
