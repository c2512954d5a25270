"""The examples of the protocols and of docs/extending.md meet the requirements of the suites."""

import doctest
import re
from functools import cache
from pathlib import Path

import pytest

import pld_dspy
from pld_dspy.testing import (
    ClustererSuite,
    EmbedderSuite,
    MetricSuite,
    RefinerSuite,
    SelectorSuite,
    TrackerSuite,
)

PAGE = Path(__file__).parents[2] / "docs" / "extending.md"


@cache
def page():
    """The names that the page's code defines."""
    blocks = re.findall(
        r"^```python\n(.*?)^```$", PAGE.read_text("utf-8"), re.DOTALL | re.MULTILINE
    )
    names = {"__name__": "page"}
    exec("\n".join(blocks), names)
    return names


def shown(protocol):
    """The object that the docstring of a protocol makes."""
    home = vars(__import__(protocol.__module__, fromlist=["x"]))
    name = protocol.__name__
    test = doctest.DocTestParser().get_doctest(protocol.__doc__, dict(home), name, None, 0)
    results = doctest.DocTestRunner().run(test, clear_globs=False)
    assert (results.failed, results.attempted >= 2) == (0, True)
    return test.globs[name.lower()]


class TestClusterers(ClustererSuite):
    @pytest.fixture(params=["page", "docstring"])
    def clusterer(self, request):
        return page()["Leaders"](0.4) if request.param == "page" else shown(pld_dspy.Clusterer)


class TestEmbedders(EmbedderSuite):
    @pytest.fixture(params=["page", "docstring"])
    def embedder(self, request):
        return page()["Lengths"]() if request.param == "page" else shown(pld_dspy.Embedder)


class TestRefiners(RefinerSuite):
    @pytest.fixture(params=["page", "docstring"])
    def refiner(self, request):
        return page()["Prune"]() if request.param == "page" else shown(pld_dspy.Refiner)


class TestSelectors(SelectorSuite):
    @pytest.fixture(params=["page", "docstring"])
    def selector(self, request):
        return page()["always_rules"] if request.param == "page" else shown(pld_dspy.Selector)


class TestTrackers(TrackerSuite):
    @pytest.fixture(params=["page", "docstring"])
    def tracker(self, request):
        return page()["Curves"]() if request.param == "page" else shown(pld_dspy.Tracker)


class TestMetric(MetricSuite):
    labels = ("red", "blue", "green")
    label_key = "team"

    @pytest.fixture
    def metric(self):
        return page()["costly"]


def test_the_clusterer_of_the_page_has_fewer_than_30_lines():
    text = PAGE.read_text(encoding="utf-8")
    block = re.search(r"^```python\n(.*?clusterer=.*?)^```$", text, re.DOTALL | re.MULTILINE)[1]

    assert "class Leaders" in block
    assert len(block.splitlines()) < 30


def test_the_refiner_of_the_page_leaves_out_what_does_not_pay():
    trial = RefinerSuite()._trial("If so, answer red.")
    rules = trial.context.start.rules
    context = trial.context
    found = page()["Prune"]()(context)

    assert len(found.candidates) == len(rules)
    assert trial.val_score(found) >= context.score.score
    assert {r.id for r in found.best.rules} <= {r.id for r in rules}
