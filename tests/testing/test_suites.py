"""The conformance suites pass on what the package has."""

import os

import numpy as np
import pytest

from pld_dspy import accuracy, load_task, macro_f1, mcc
from pld_dspy.config.optimizer import ClusterConfig, RefineConfig
from pld_dspy.config.table import TableConfig
from pld_dspy.data.tasks import task_from_table
from pld_dspy.ledger.mlflow.tracker import MlflowTracker
from pld_dspy.ledger.tracker import NullTracker
from pld_dspy.models.embedder import TfidfEmbedder
from pld_dspy.stages.cluster.stage import cluster_traces
from pld_dspy.stages.refine.stage import EditRules
from pld_dspy.stages.select.never_worse import NeverWorse
from pld_dspy.testing import (
    ClustererSuite,
    EmbedderSuite,
    MetricSuite,
    RefinerSuite,
    SelectorSuite,
    TaskSuite,
    TrackerSuite,
)

needs_data = pytest.mark.skipif("PLD_DATA_DIR" not in os.environ, reason="PLD_DATA_DIR is not set")


class BuiltIn:
    """A method of the package in the form of a clusterer."""

    def __init__(self, method):
        self.config = ClusterConfig(method=method)

    def __call__(self, traces, vectors, *, seed):
        found = cluster_traces(traces, vectors, self.config, seed=seed)
        numbers = {i: n for n, c in enumerate(found.clusters) for i in c.trace_ids}
        return [numbers.get(trace.id, -1) for trace in traces]


class TestClusterers(ClustererSuite):
    @pytest.fixture(params=["dbscan", "hdbscan", "agglomerative", "kmeans"])
    def clusterer(self, request):
        return BuiltIn(request.param)


def lengths(texts):
    return np.array([[len(text.split()), len(text)] for text in texts], dtype=float)


class TestEmbedders(EmbedderSuite):
    @pytest.fixture(params=[TfidfEmbedder(dim=3), TfidfEmbedder(), lengths])
    def embedder(self, request):
        return request.param


class TestRefiners(RefinerSuite):
    @pytest.fixture(params=[RefineConfig(), RefineConfig(rounds=0)], ids=["edits", "none"])
    def refiner(self, request):
        return EditRules(request.param)


class TestSelectors(SelectorSuite):
    @pytest.fixture(params=["best", "shortest-within-noise", "rules-within-noise"])
    def selector(self, request):
        return NeverWorse(prefer=request.param)


class TestNullTracker(TrackerSuite):
    @pytest.fixture
    def tracker(self):
        return NullTracker()


@pytest.fixture(scope="module")
def uri(tmp_path_factory):
    # One database for all tests: making one takes seconds.
    return f"sqlite:///{tmp_path_factory.mktemp('mlflow')}/mlflow.db"


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::sqlalchemy.exc.SADeprecationWarning")
class TestMlflowTracker(TrackerSuite):
    @pytest.fixture
    def tracker(self, uri):
        made = MlflowTracker("pld tests", tracking_uri=uri)
        yield made
        made.finish()


def exact(example, prediction, trace=None):
    return example.label == prediction.label


class TestMetrics(MetricSuite):
    @pytest.fixture(params=[macro_f1, accuracy, mcc, exact])
    def metric(self, request):
        return request.param


class TestTableTask(TaskSuite):
    @pytest.fixture(scope="class")
    @classmethod
    def task(cls, tmp_path_factory):
        path = tmp_path_factory.mktemp("table") / "rows.csv"
        rows = [f"message {n},{('red', 'blue')[n % 2]}" for n in range(24)]
        path.write_text("\n".join(["text,team", *rows]), encoding="utf-8")
        return task_from_table(TableConfig(path=path, inputs=("text",), label="team"))


@needs_data
@pytest.mark.slow
class TestBuiltInTasks(TaskSuite):
    @pytest.fixture(
        scope="class", params=["stereoset", "stereoset-queues", "contract_nli", "logiqa"]
    )
    @classmethod
    def task(cls, request):
        return load_task(request.param)
