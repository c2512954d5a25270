"""Conformance suite for a `Clusterer`."""

from collections.abc import Sequence

import numpy as np

from pld_dspy.records import Trace, Vectors
from pld_dspy.stages.cluster.methods import Clusterer
from pld_dspy.stages.common.rule_text import make_trace


class ClustererSuite:
    """Tests of a clusterer; a subclass has a fixture `clusterer`.

    >>> class ByLabel:
    ...     def __call__(
    ...         self, traces: Sequence[Trace], vectors: Vectors, *, seed: int
    ...     ) -> list[int]:
    ...         labels = sorted({trace.label for trace in traces})
    ...         return [labels.index(trace.label) for trace in traces]
    >>> ClustererSuite().test_each_trace_gets_one_number(ByLabel())
    """

    def test_each_trace_gets_one_number(self, clusterer: Clusterer) -> None:
        """The result has as many numbers as there are traces, in their order."""
        for n in (2, 5, 12):
            found = np.asarray(clusterer(*_traces(n), seed=0))
            assert found.shape == (n,), f"shape {found.shape} for {n} traces, should be ({n},)"

    def test_the_numbers_are_whole_and_noise_is_minus_1(self, clusterer: Clusterer) -> None:
        """Clusters have whole numbers from 0; -1 is noise, and no other number is negative."""
        found = np.asarray(clusterer(*_traces(12), seed=0))
        kind = found.dtype
        assert np.issubdtype(kind, np.integer), f"numbers of type {kind}, should be whole"
        assert found.min() >= -1, f"the number {found.min()}, should be from 0, or -1 for noise"

    def test_one_trace_is_enough(self, clusterer: Clusterer) -> None:
        """With `label_aware` it is called with the traces of one label, which may be a single one."""
        found = np.asarray(clusterer(*_traces(1), seed=0))
        assert found.shape == (1,), f"shape {found.shape} for 1 trace, should be (1,)"

    def test_equal_vectors_and_zeros_are_accepted(self, clusterer: Clusterer) -> None:
        """Two rules may have the same text, and a rule without a known word has a vector of zeros."""
        traces, vectors = _traces(6)
        for rows in (np.repeat(vectors[:1], 6, axis=0), np.zeros_like(vectors)):
            found = np.asarray(clusterer(traces, rows, seed=0))
            assert found.shape == (6,), f"shape {found.shape} for 6 traces, should be (6,)"

    def test_the_same_arguments_give_the_same_clusters(self, clusterer: Clusterer) -> None:
        """A second compile with the same seed must give the same program."""
        first, second = (np.asarray(clusterer(*_traces(12), seed=7)).tolist() for _ in range(2))
        assert first == second, f"{first} in the first call and {second} in the second"

    def test_the_traces_and_vectors_are_not_changed(self, clusterer: Clusterer) -> None:
        """The arguments are used again after the clustering."""
        traces, vectors = _traces(12)
        clusterer(traces, vectors, seed=0)
        before = _traces(12)
        assert traces == before[0], "the list of traces was changed"
        assert np.array_equal(vectors, before[1]), "the vectors were changed"


def _traces(n: int) -> tuple[Sequence[Trace], Vectors]:
    """Return `n` traces about two topics, and vectors near one axis per topic."""
    topics = [("red", "blood"), ("blue", "the sky")]
    traces = []
    for i in range(n):
        label, topic = topics[i % 2]
        rule = f"If the text is about {topic} in case {i}, answer {label}."
        traces.append(make_trace(f"e{i}", label, f"It is about {topic}.", rule))
    rng = np.random.default_rng(0)
    vectors = np.eye(4)[np.arange(n) % 2] + 0.05 * rng.normal(size=(n, 4))
    return traces, vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
