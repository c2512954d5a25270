"""What is given to PLD in place of a built-in is used; what is wrong is refused in one line."""

from dataclasses import replace

import numpy as np
import pytest

from fakes import FakeEngine
from keyword_runs import Student, compiled, engines, pld, teach
from pld_dspy import (
    MlflowTracker,
    PLDConfig,
    Prompts,
    Refinement,
    Verdict,
    accuracy,
)
from pld_dspy.config.optimizer import RefineConfig, SearchConfig
from pld_dspy.errors import ConfigError, DataError
from pld_dspy.ledger.tracker import NullTracker
from pld_dspy.stages.refine.stage import EditRules
from pld_dspy.stages.select.never_worse import NeverWorse

SMALL = PLDConfig(search=SearchConfig(trials=2), refine=RefineConfig(rounds=1), finalists=1)


def found(**settings):
    """The result for the one predictor."""
    program = compiled(*engines(), config=SMALL, **settings)
    return program.pld_result.predictors[0]


def by_label(traces, vectors, *, seed):
    labels = sorted({trace.label for trace in traces})
    return [labels.index(trace.label) for trace in traces]


def test_a_clusterer_decides_the_clusters():
    clustering = found(clusterer=by_label).clustering

    assert all(len(cluster.labels) == 1 for cluster in clustering.clusters)
    assert len(clustering.clusters) == 4
    assert "by_label" in clustering.diagnosis.method


def test_a_method_by_name_decides_the_clusters():
    assert found(clusterer="kmeans").clustering.diagnosis.method.startswith("kmeans")


def test_an_embedder_gives_the_vectors_to_the_clusterer():
    seen = []

    def noting(traces, vectors, *, seed):
        seen.append(vectors)
        return [0] * len(traces)

    found(embedder=lambda texts: np.full((len(texts), 3), 2.0), clusterer=noting)

    assert [vectors.shape for vectors in seen] == [(24, 3)]


class Reversed:
    """Turns the list around, scores that, and keeps what is better."""

    def __init__(self):
        self.contexts = []

    def __call__(self, context):
        self.contexts.append(context)
        problem = context.problem
        made = problem.candidate(context.start.rules[::-1], origin="refine", note="turned")
        score = context.evaluator.run(
            problem.build(made), problem.val, candidate_id=made.id, split="val"
        )
        best = made if score.score > context.score.score else context.start
        return Refinement(best=best, candidates=(made,), evaluations=(score,), unreadable=3)


def test_a_refiner_gets_the_best_list_and_what_it_scored_is_in_the_result():
    refiner = Reversed()
    program = compiled(*engines(), config=SMALL, refiner=refiner)
    result = program.pld_result.predictors[0]
    (context,) = refiner.contexts
    turned = next(c for c in result.candidates if c.note == "turned")

    assert context.start.rules
    assert context.score.candidate_id == context.start.id
    assert [rule.id for rule in turned.rules] == [r.id for r in context.start.rules[::-1]]
    assert result.score(turned.id, "val") is not None
    assert result.edits == ()
    assert program.pld_result.dropped["edit lines that could not be read"] == 3


@pytest.mark.parametrize(
    ("refiner", "asked"),
    [(None, True), ("edits", True), ("none", False), (RefineConfig(rounds=0), False)],
)
def test_the_edits_by_name_and_by_settings(refiner, asked):
    student, teacher = engines()
    compiled(student, teacher, config=SMALL, refiner=refiner)

    assert any("\nEdits: <" in prompt.user for prompt in teacher.prompts) is asked


def test_a_selector_has_the_last_word():
    class AsGiven:
        def __call__(self, context):
            self.context = context
            given = context.candidates[0]
            return Verdict(chosen=given, evaluations=(context.run(given),), reason="out of spite")

    selector = AsGiven()
    result = found(selector=selector)

    assert result.chosen_id == selector.context.candidates[0].id
    assert result.chosen.rules == ()
    assert (result.reason, result.select_delta) == ("out of spite", None)
    assert set(selector.context.val) >= {c.id for c in selector.context.candidates[:2]}
    assert [e.candidate_id for e in result.evaluations if e.split == "select"] == [result.chosen_id]


def test_prompts_are_what_the_teacher_reads():
    student = Student()
    teacher = FakeEngine(teach)
    compiled(student, teacher, config=SMALL, prompts={"explain": "Why is it so?"})
    explained = [prompt for prompt in teacher.prompts if "\nRationale: <" in prompt.user]

    assert len(explained) == 24
    assert all("Why is it so?" in prompt for prompt in explained)


def test_names_become_what_they_stand_for():
    config = PLDConfig(finalists=2, max_p_worse=0.1, refine=RefineConfig(edits=1, rounds=5))
    made = pld(
        FakeEngine(teach), config=config, refiner="none", selector="shortest-within-noise", tracker="mlflow"
    )  # fmt: skip

    assert made.refiner == EditRules(RefineConfig(edits=1, rounds=0))
    assert made.selector == NeverWorse(finalists=2, max_p_worse=0.1, prefer="shortest-within-noise")
    assert isinstance(made.tracker, MlflowTracker)
    default = pld(FakeEngine(teach), config=config, tracker="none")
    assert default.refiner == EditRules(config.refine)
    assert default.selector == NeverWorse(finalists=2, max_p_worse=0.1, prefer="best")
    assert isinstance(default.tracker, NullTracker)
    assert default.prompts == Prompts()


@pytest.mark.parametrize(
    ("settings", "match"),
    [
        ({"metric": "macro_f1"}, "metric is 'macro_f1' of type str; give a CorpusMetric"),
        ({"metric": lambda gold: 1.0}, r"metric <lambda> takes \(gold\) and is called with"),
        ({"embedder": 3}, "embedder is 3 of type int; give a name or an Embedder"),
        ({"embedder": lambda: None}, r"embedder <lambda> takes \(\) and is called with \(texts\)"),
        ({"clusterer": "kmean"}, "no clusterer is called 'kmean'; did you mean 'kmeans'"),
        ({"clusterer": lambda traces: []}, "clusterer <lambda> takes"),
        ({"refiner": "edit"}, "no refiner is called 'edit'; did you mean 'edits'"),
        ({"refiner": 3}, "refiner is 3 of type int; give 'edits', 'none'"),
        ({"refiner": Reversed}, r"refiner is the class Reversed; give an instance"),
        ({"selector": "bst"}, "no selector is called 'bst'; did you mean 'best'"),
        ({"selector": ["best"]}, r"selector is \['best'\] of type list; give 'best' or"),
        ({"selector": lambda: None}, r"selector <lambda> takes \(\) and is called with \(context"),
        ({"prompts": {"expain": "x"}}, "no prompt is called 'expain'; did you mean 'explain'"),
        ({"tracker": "mlflo"}, "no tracker is called 'mlflo'; did you mean 'mlflow'"),
        ({"tracker": accuracy}, "without the methods start, "),
    ],
)
def test_what_is_wrong_is_refused_at_once_in_one_line(settings, match):
    teacher = FakeEngine(teach)
    with pytest.raises(ConfigError, match=match) as caught:
        pld(teacher, **settings)
    assert teacher.calls == 0
    assert "\n" not in str(caught.value)


def refined_to(make):
    """A refiner whose result is made from the context and an honest refinement."""

    def refine(context):
        return make(context, Reversed()(context))

    return refine


def other(context):
    return replace(context.start, id="c0000000")


@pytest.mark.parametrize(
    ("make", "match"),
    [
        (lambda context, good: None, "refiner refine returned None of type NoneType; return a Ref"),
        (lambda context, good: context.start, "of type Candidate; return a Refinement"),
        (lambda context, good: good._replace(evaluations=()), "1 candidates with 0 evaluations"),
        (lambda context, good: good._replace(edits=(1, 2)), "1 candidates with 2 edits"),
        (
            lambda context, good: good._replace(best=other(context)),
            "returned the list c0000000 as best, which it did not score",
        ),
        (
            lambda context, good: good._replace(candidates=(other(context),)),
            "returned the list c0000000 with an evaluation of c",
        ),
        (
            lambda context, good: good._replace(
                evaluations=(replace(good.evaluations[0], answers=good.evaluations[0].answers[:5]),)
            ),
            "on 5 val examples; score it on all 24",
        ),
        (
            lambda context, good: good._replace(
                evaluations=(replace(good.evaluations[0], split="train"),)
            ),
            "on 24 train examples; score it on all 24",
        ),
    ],
)
def test_a_refiner_that_returns_something_else_is_named(make, match):
    with pytest.raises(DataError, match=match) as caught:
        found(refiner=refined_to(make))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("choose", "match"),
    [
        (lambda context: None, "None of type NoneType; return a Verdict"),
        (lambda context: context.candidates[0], "of type Candidate; return a Verdict"),
        (
            lambda context: Verdict(
                chosen=replace(context.candidates[0], id="c0000000"), evaluations=(), reason="so"
            ),
            r"c0000000, which is not among the \d+ candidates",
        ),
        (
            lambda context: Verdict(chosen="the best", evaluations=(), reason="so"),
            "'the best' of type str, which is not among",
        ),
    ],
)
def test_a_selector_that_returns_something_else_is_named(choose, match):
    with pytest.raises(DataError, match=f"selector <lambda> .*{match}") as caught:
        found(selector=choose)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("numbers", "match"),
    [([0, 1], r"shape \(2,\) for 24 traces"), ([0.5] * 24, r"returned \[0.5, 0.5, 0.5\]")],
)
def test_a_clusterer_that_returns_something_else_is_named(numbers, match):
    with pytest.raises(DataError, match=f"clusterer <lambda> .*{match}"):
        found(clusterer=lambda traces, vectors, *, seed: numbers)


def test_a_refiner_that_raises_ends_the_compile_and_closes_the_run():
    class Ends(NullTracker):
        def finish(self, status="FINISHED"):
            self.status = status

    def broken(context):
        raise ZeroDivisionError("in the refiner")

    tracker = Ends()
    with pytest.raises(ZeroDivisionError, match="in the refiner"):
        found(refiner=broken, tracker=tracker)
    assert tracker.status == "FAILED"
