"""Conformance suites for extensions, and fake LMs for offline tests.

A suite is a base class of pytest tests. Subclass it and give it one fixture:

    class TestMine(ClustererSuite):
        @pytest.fixture
        def clusterer(self):
            return Mine()

The suites make no model or network calls of their own and take seconds. pytest is needed only to run
them; this package does not import it.
"""

from pld_dspy.testing.clusterer import ClustererSuite
from pld_dspy.testing.embedder import EmbedderSuite
from pld_dspy.testing.fakes import FakeEngine, Prompt, Script, fake_lm
from pld_dspy.testing.keywords import KeywordTask, RuleFollower, keyword_rule, keyword_task
from pld_dspy.testing.metric import MetricSuite
from pld_dspy.testing.refiner import RefinerSuite
from pld_dspy.testing.selector import SelectorSuite
from pld_dspy.testing.task import TaskSuite
from pld_dspy.testing.tracker import TrackerSuite

__all__ = [
    "ClustererSuite",
    "EmbedderSuite",
    "FakeEngine",
    "KeywordTask",
    "MetricSuite",
    "Prompt",
    "RefinerSuite",
    "RuleFollower",
    "Script",
    "SelectorSuite",
    "TaskSuite",
    "TrackerSuite",
    "fake_lm",
    "keyword_rule",
    "keyword_task",
]
