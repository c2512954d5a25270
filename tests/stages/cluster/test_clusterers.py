"""A clusterer by name, by settings or as an object, and the check of what it returns."""

import numpy as np
import pytest

from pld_dspy.config.optimizer import ClusterConfig
from pld_dspy.errors import ConfigError, DataError
from pld_dspy.stages.cluster.methods import (
    METHODS,
    clusterer_name,
    resolve_clusterer,
    run_clusterer,
)
from pld_dspy.stages.cluster.stage import cluster_traces
from pld_dspy.stages.common.rule_text import make_trace

CONFIG = ClusterConfig(method="dbscan", eps=0.3, label_aware=True, noise="drop")
TRACES = [make_trace(f"e{n}", "red", "w", f"If {n}, answer red.") for n in range(4)]
VECTORS = np.eye(4)


def parity(traces, vectors, *, seed):
    return [n % 2 for n in range(len(traces))]


def test_nothing_given_is_the_config():
    assert resolve_clusterer(None, CONFIG) == (CONFIG, None)


def test_settings_take_the_place_of_the_config():
    other = ClusterConfig(method="kmeans", n_clusters=3)

    assert resolve_clusterer(other, CONFIG) == (other, None)


@pytest.mark.parametrize("name", METHODS)
def test_a_name_keeps_what_the_config_says_of_noise_and_labels(name):
    settings, clusterer = resolve_clusterer(name, CONFIG)

    assert clusterer is None
    assert (settings.method, settings.label_aware, settings.noise) == (name, True, "drop")
    assert settings.eps == "auto"  # it belongs to the method of the config


def test_an_object_goes_with_the_config():
    assert resolve_clusterer(parity, CONFIG) == (CONFIG, parity)


class Method:
    def __call__(self, traces, vectors, *, seed):
        return parity(traces, vectors, seed=seed)


@pytest.mark.parametrize(
    ("given", "match"),
    [
        ("dbscam", "no clusterer is called 'dbscam'; did you mean 'dbscan'"),
        (3, "clusterer is 3 of type int; give one of dbscan"),
        (Method, r"clusterer is the class Method; give an instance, Method\(\.\.\.\)"),
        (
            lambda traces, vectors: [],
            r"takes \(traces, vectors\) and is called with \(traces, vectors, seed=\.\.\.\)",
        ),
        (lambda traces, *, seed: [], "too many positional arguments"),
    ],
)
def test_what_is_no_clusterer_is_refused_in_one_line(given, match):
    with pytest.raises(ConfigError, match=match) as caught:
        resolve_clusterer(given, CONFIG)
    assert "\n" not in str(caught.value)


def returned(value):
    return run_clusterer(lambda *args, **given: value, TRACES, VECTORS, seed=0)


def test_clusters_are_numbered_from_0_in_order_and_noise_stays():
    assert returned([7, -1, 3, 7]).tolist() == [1, -1, 0, 1]
    assert returned(np.array([5, 5, 5, 5], dtype=np.uint8)).tolist() == [0, 0, 0, 0]


@pytest.mark.parametrize(
    ("value", "match"),
    [
        ([0, 1], r"returned shape \(2,\) for 4 traces"),
        ([[0], [1], [2], [3]], r"returned shape \(4, 1\) for 4 traces"),
        (None, r"returned shape \(\) for 4 traces"),
        ([0.0, 1.0, 0.5, 2.0], r"returned \[0.0, 1.0, 0.5\]\.\.\.; return whole numbers"),
        (["a", "b", "a", "b"], r"returned \['a', 'b', 'a'\]\.\.\.; return whole numbers"),
        ([0, 1, -2, 0], r"returned \[0, 1, -2\]\.\.\.; return whole numbers"),
    ],
)
def test_other_results_are_refused_with_the_clusterers_name(value, match):
    with pytest.raises(DataError, match=f"clusterer <lambda> {match}") as caught:
        returned(value)
    assert "\n" not in str(caught.value)


def test_the_name_is_that_of_the_function_or_of_the_class():
    assert (clusterer_name(parity), clusterer_name(Method())) == ("parity", "Method")


def test_it_gets_traces_vectors_and_seed_and_decides_the_clusters():
    asked = []

    def noting(traces, vectors, *, seed):
        asked.append(([t.id for t in traces], vectors.shape, seed))
        return parity(traces, vectors, seed=seed)

    found = cluster_traces(TRACES, VECTORS, ClusterConfig(), seed=5, clusterer=noting)

    assert asked == [([t.id for t in TRACES], (4, 4), 5)]
    assert {frozenset(c.trace_ids) for c in found.clusters} == {
        frozenset(t.id for t in TRACES[::2]),
        frozenset(t.id for t in TRACES[1::2]),
    }
    assert "noting" in found.diagnosis.method


def test_it_is_asked_once_per_label_if_labels_are_kept_apart():
    asked = []

    def noting(traces, vectors, *, seed):
        asked.append({t.label for t in traces})
        return [0] * len(traces)

    traces = [*TRACES[:2], *(make_trace(f"f{n}", "blue", "w", "r") for n in range(2))]
    config = ClusterConfig(label_aware=True)
    found = cluster_traces(traces, VECTORS, config, seed=0, clusterer=noting)

    assert sorted(map(sorted, asked)) == [["blue"], ["red"]]
    assert len(found.clusters) == 2
