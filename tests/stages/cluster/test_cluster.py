import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from pld_dspy.errors import ConfigError, DataError
from pld_dspy.records import Trace
from pld_dspy.stages.cluster.methods import (
    auto_min_samples,
    choose_count,
    choose_eps,
    cosine_distances,
    noise_to_nearest,
    quality,
    unit_rows,
)
from pld_dspy.stages.cluster.stage import ClusterConfig, cluster_traces

METHODS = ("dbscan", "hdbscan", "agglomerative", "kmeans")
every_method = pytest.mark.parametrize("method", METHODS)


def traces_of(labels):
    return [
        Trace(id=f"t{i:03d}", example_id=f"e{i}", label=label, rationale="", rule=f"rule {i}")
        for i, label in enumerate(labels)
    ]


def blobs(sizes, *, spread=0.05, dim=8, seed=0):
    """Directions around the axes: `sizes[k]` points near axis `k`."""
    rng = np.random.default_rng(seed)
    centres = np.repeat(np.eye(dim)[: len(sizes)], sizes, axis=0)
    return centres + spread * rng.normal(size=centres.shape)


def ids_of(clustering):
    return {frozenset(c.trace_ids) for c in clustering.clusters}


def run(vectors, labels=None, **config):
    labels = ["a"] * len(vectors) if labels is None else labels
    return cluster_traces(traces_of(labels), vectors, ClusterConfig(**config), seed=0)


# What is found


@every_method
def test_clear_groups_are_found_without_settings(method):
    result = run(blobs([12, 9, 7]), method=method)
    assert [len(c.trace_ids) for c in result.clusters] == [12, 9, 7]
    assert result.clusters[0].trace_ids == tuple(f"t{i:03d}" for i in range(12))
    assert result.diagnosis.warnings == ()
    assert result.diagnosis.method.startswith(f"{method}(")


@pytest.mark.parametrize("spread", [0.01, 0.1, 0.2])
def test_auto_eps_follows_the_scale_where_one_fixed_eps_fails(spread):
    vectors = blobs([20, 20, 20], spread=spread, dim=16)
    assert run(vectors).diagnosis.clusters == 3


def test_paper_setting_is_dbscan_with_noise_dropped():
    assert ClusterConfig.paper() == ClusterConfig(
        method="dbscan", eps=0.4, min_samples=6, label_aware=False, noise="drop"
    )
    vectors = np.vstack([blobs([8, 8, 3]), -np.ones((1, 8))])
    traces = traces_of(["a"] * 8 + ["b"] * 8 + ["c"] * 3 + ["a"])
    result = cluster_traces(traces, vectors, ClusterConfig.paper(), seed=0)
    assert [len(c.trace_ids) for c in result.clusters] == [8, 8]
    assert result.noise == ("t016", "t017", "t018", "t019")
    assert result.diagnosis.noise_share == pytest.approx(0.2)
    assert result.diagnosis.labels_without_rule == ("c",)
    assert result.diagnosis.warnings == ("labels without a rule: c",)


def test_noise_policies_on_a_point_between_and_off():
    vectors = np.vstack([blobs([8, 8], spread=0.01), [[1, 0.6, 0, 0, 0, 0, 0, 1.0]]])
    fixed = {"eps": 0.05, "min_samples": 3}

    dropped = run(vectors, noise="drop", **fixed)
    alone = run(vectors, noise="singletons", **fixed)
    joined = run(vectors, noise="nearest", **fixed)

    assert dropped.noise == ("t016",)
    assert [len(c.trace_ids) for c in alone.clusters] == [8, 8, 1]
    assert alone.clusters[2].trace_ids == ("t016",)
    first = frozenset(f"t{i:03d}" for i in (*range(8), 16))  # closer to the first axis
    assert first in ids_of(joined)
    assert alone.noise == joined.noise == ()
    assert "6% noise -> nearest" in joined.diagnosis.method


def test_noise_does_not_pull_noise():
    distances = cosine_distances(unit_rows(np.array([[1, 0], [1, 0.0], [0, 1], [1, 1.2]])))
    assert noise_to_nearest(distances, np.array([0, 0, 1, -1])).tolist() == [0, 0, 1, 1]
    assert noise_to_nearest(distances, np.full(4, -1)).tolist() == [-1] * 4


@every_method
def test_label_aware_never_mixes_labels(method):
    vectors = blobs([12, 12])
    labels = ["a", "b"] * 12
    mixed = run(vectors, labels, method=method)
    apart = run(vectors, labels, method=method, label_aware=True)
    assert mixed.diagnosis.label_mix == pytest.approx(1.0)
    assert apart.diagnosis.label_mix == 0.0
    assert all(len(c.labels) == 1 for c in apart.clusters)
    assert "label-aware" in apart.diagnosis.method


def test_counts_are_shared_out_to_the_labels():
    vectors = blobs([6, 6, 6, 6])
    labels = ["a"] * 18 + ["b"] * 6
    result = run(vectors, labels, method="agglomerative", n_clusters=4, label_aware=True)
    assert sorted(next(iter(c.labels)) for c in result.clusters) == ["a", "a", "a", "b"]


# Records


def test_medoid_has_the_smallest_mean_distance_and_ids_come_from_the_members():
    angles = np.array([0.0, 0.1, 0.2, 0.3, 0.9])
    vectors = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    result = run(vectors, method="kmeans", n_clusters=1)
    (cluster,) = result.clusters
    means = [np.mean(1 - np.cos(angles - angle)) for angle in angles]
    assert cluster.medoid_id == f"t{int(np.argmin(means)):03d}"
    again = run(vectors, ["x"] * 5, method="agglomerative", n_clusters=1).clusters[0]
    assert again.id == cluster.id
    assert run(vectors[:4], method="kmeans", n_clusters=1).clusters[0].id != cluster.id


def test_label_mix_is_the_mean_normalised_entropy():
    vectors = blobs([4, 4], spread=0.0)
    result = run(vectors, ["a", "a", "b", "b", "c", "c", "c", "c"], method="kmeans", n_clusters=2)
    # Entropies log(2) and 0 over log(3), two clusters.
    assert result.diagnosis.label_mix == pytest.approx(np.log(2) / np.log(3) / 2, rel=1e-12)


def test_clusters_are_ordered_by_size_then_id():
    result = run(blobs([3, 5, 3, 3]), method="kmeans", n_clusters=4)
    keys = [(-len(c.trace_ids), c.id) for c in result.clusters]
    assert keys == sorted(keys)
    assert keys[0][0] == -5


# Properties

points = st.integers(1, 12).flatmap(
    lambda n: arrays(np.float64, (n, 3), elements=st.sampled_from([-1.0, 0.0, 0.3, 1.0]))
)
configs = st.sampled_from(METHODS).flatmap(
    lambda method: st.builds(
        ClusterConfig,
        method=st.just(method),
        label_aware=st.booleans(),
        noise=st.sampled_from(["singletons", "drop", "nearest"]),
    )
)


@settings(max_examples=60, deadline=None)
@given(vectors=points, config=configs, shuffler=st.randoms(use_true_random=False))
def test_every_trace_is_once_in_a_cluster_or_noise_whatever_the_order(vectors, config, shuffler):
    traces = traces_of([("a", "b", "a")[i % 3] for i in range(len(vectors))])
    result = cluster_traces(traces, vectors, config, seed=0)

    placed = [i for c in result.clusters for i in c.trace_ids] + list(result.noise)
    assert sorted(placed) == [t.id for t in traces]
    assert config.noise == "drop" or not result.noise
    label_of = {t.id: t.label for t in traces}
    for cluster in result.clusters:
        assert cluster.medoid_id in cluster.trace_ids
        members = [label_of[i] for i in cluster.trace_ids]
        assert cluster.labels == {y: members.count(y) for y in set(members)}
    shown = result.diagnosis
    assert shown.noise_share == pytest.approx(len(result.noise) / len(traces))
    assert shown.clusters == len(result.clusters)
    assert 0.0 <= shown.label_mix <= 1.0 + 1e-12

    order = list(range(len(traces)))
    shuffler.shuffle(order)
    turned = cluster_traces([traces[i] for i in order], vectors[order], config, seed=0)
    assert turned == result


@settings(max_examples=40, deadline=None)
@given(points)
def test_distances_are_cosine_distances(vectors):
    distances = cosine_distances(unit_rows(vectors))
    for i, a in enumerate(vectors):
        for j, b in enumerate(vectors):
            lengths = np.linalg.norm(a) * np.linalg.norm(b)
            alike = i == j or not (a.any() or b.any())
            expected = 0.0 if alike else 1.0 - (a @ b / lengths if lengths else 0.0)
            assert distances[i, j] == pytest.approx(expected, abs=1e-8)


@settings(max_examples=30, deadline=None)
@given(points, st.integers(1, 4))
def test_auto_eps_is_a_positive_radius_the_data_offers(vectors, least):
    distances = cosine_distances(unit_rows(vectors))
    assert 0 < choose_eps(distances, least) <= distances.max() + 1e-5


def test_quality_is_silhouette_times_share_kept_and_no_collapse_counts():
    distances = cosine_distances(unit_rows(blobs([5, 5], spread=0.01)))
    members = np.repeat([0, 1], 5)
    noisy = members.copy()
    noisy[[0, 5]] = -1
    assert quality(distances, members) == pytest.approx(1.0, abs=0.01)
    assert quality(distances, noisy) == pytest.approx(0.8, abs=0.01)
    assert quality(distances, np.zeros(10, dtype=int)) == 0.0
    assert quality(distances, np.array([0] * 9 + [1])) == 0.0
    assert quality(distances, np.full(10, -1)) == 0.0


def test_automatic_numbers():
    assert [auto_min_samples(n) for n in (1, 20, 160, 7190)] == [2, 2, 3, 6]
    assert choose_count(2) == ()
    assert choose_count(10) == (2, 3, 4, 5, 6, 7)
    many = choose_count(7190)
    assert (many[0], many[-1]) == (2, 170)
    assert len(many) <= 24


# Degenerate inputs


@every_method
def test_one_trace(method):
    result = run(np.ones((1, 3)), method=method)
    assert ids_of(result) == {frozenset({"t000"})}
    assert "only one trace: nothing to cluster" in result.diagnosis.warnings


@every_method
def test_identical_vectors_are_one_cluster(method):
    result = run(np.ones((9, 3)), ["a"] * 8 + ["b"], method=method)
    assert [len(c.trace_ids) for c in result.clusters] == [9]
    collapse, outvoted = result.diagnosis.warnings
    assert collapse.startswith("collapse: the largest of 1 clusters holds 100% of the traces of 2")
    assert outvoted.startswith("labels outvoted in every cluster: b")


@every_method
def test_rows_of_zeros_are_told_and_kept(method):
    vectors = np.vstack([blobs([6, 6]), np.zeros((2, 8))])
    result = run(vectors, method=method)
    assert sum(len(c.trace_ids) for c in result.clusters) == 14
    assert any(w.startswith("2 of 14 vectors are zero") for w in result.diagnosis.warnings)


def test_fewer_traces_than_min_samples():
    kept = run(blobs([3]), min_samples=6)
    assert [len(c.trace_ids) for c in kept.clusters] == [1, 1, 1]
    dropped = run(blobs([3]), min_samples=6, noise="drop", method="hdbscan")
    assert dropped.clusters == ()
    assert "no cluster: all 3 traces are noise" in dropped.diagnosis.warnings
    assert "labels without a rule: a" in dropped.diagnosis.warnings
    for result in (kept, dropped):
        assert any("100% of the traces are noise" in w for w in result.diagnosis.warnings)


def test_fragmentation_is_told():
    result = run(np.eye(8), method="agglomerative", n_clusters=7)
    assert result.diagnosis.warnings == ("fragmentation: 6 of 7 clusters hold one trace",)


def test_more_clusters_than_distinct_points_are_cut():
    result = run(blobs([4, 4], spread=0.0), method="kmeans", n_clusters=5)
    assert [len(c.trace_ids) for c in result.clusters] == [4, 4]
    assert "n_clusters=2" in result.diagnosis.method


# Refusals


@pytest.mark.parametrize(
    ("config", "problem"),
    [
        ({"method": "dbscam"}, "method: 'dbscam' is not allowed.*did you mean 'dbscan'"),
        ({"epsilon": 0.3}, "epsilon: unknown setting; did you mean 'eps'"),
        ({"eps": 0}, "eps: 0 is not allowed, should be greater than 0 or 'auto'"),
        ({"method": "kmeans", "eps": 0.4}, "eps has no effect with method 'kmeans'"),
        ({"n_clusters": 4}, "n_clusters has no effect with method 'dbscan'"),
        ({"method": "agglomerative", "min_samples": 4}, "min_samples has no effect"),
    ],
)
def test_bad_settings_are_refused_in_one_line(config, problem):
    with pytest.raises(ConfigError, match=problem) as caught:
        ClusterConfig(**config)
    assert "\n" not in str(caught.value)


def test_bad_data_is_refused():
    config = ClusterConfig()
    traces = traces_of("ab")
    with pytest.raises(DataError, match="no traces"):
        cluster_traces([], np.ones((0, 2)), config, seed=0)
    with pytest.raises(DataError, match=r"vectors of shape \(3, 2\) for 2 traces"):
        cluster_traces(traces, np.ones((3, 2)), config, seed=0)
    with pytest.raises(DataError, match="NaN or infinity"):
        cluster_traces(traces, np.full((2, 2), np.nan), config, seed=0)
    with pytest.raises(DataError, match="trace id 't000' occurs 2 times"):
        cluster_traces([traces[0]] * 2, np.ones((2, 2)), config, seed=0)


def test_inputs_are_not_changed_and_the_seed_is_the_only_chance():
    vectors = blobs([6, 6, 6], spread=0.3)
    before = vectors.copy()
    traces = traces_of(random.Random(0).choices("ab", k=18))
    config = ClusterConfig(method="kmeans")
    results = [cluster_traces(traces, vectors, config, seed=4) for _ in range(2)]
    assert results[0] == results[1]
    assert np.array_equal(vectors, before)
