"""Each requirement of a conformance suite refuses an object that does not meet it."""

import inspect
import itertools
import os
import random
import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path

import dspy
import numpy as np
import pytest

from pld_dspy import accuracy, testing
from pld_dspy.data.splits import Splits
from pld_dspy.data.tasks import Task, classification_signature
from pld_dspy.errors import ConfigError, DataError, LeakageError
from pld_dspy.ledger.tracker import NullTracker
from pld_dspy.scoring.metrics import CorpusMetric
from pld_dspy.stages.refine.protocol import Refinement
from pld_dspy.stages.refine.stage import EditRules
from pld_dspy.stages.select.selector import Verdict
from pld_dspy.testing.refiner import BAD, GOOD
from pld_dspy.testing.selector import AS_GIVEN, LONG, SHORT, UNSCORED

ROOT = Path(__file__).parents[2]
SUITES = [getattr(testing, name) for name in testing.__all__ if name.endswith("Suite")]


def parity(traces, vectors, *, seed):
    return [n % 2 for n in range(len(traces))]


def shifting():
    """A clusterer that gives other numbers at each call."""
    count = itertools.count()
    return lambda traces, vectors, *, seed: [next(count)] * len(traces)


def normalising(traces, vectors, *, seed):
    vectors *= 2
    return parity(traces, vectors, seed=seed)


CLUSTERERS = {
    "test_each_trace_gets_one_number": (
        lambda traces, vectors, *, seed: [0],
        r"shape \(1,\) for 2 traces",
    ),
    "test_the_numbers_are_whole_and_noise_is_minus_1": (
        lambda traces, vectors, *, seed: [-2] * len(traces),
        "the number -2",
    ),
    "test_one_trace_is_enough": (
        lambda traces, vectors, *, seed: parity(traces, vectors, seed=seed)[1:],
        r"shape \(0,\) for 1 trace",
    ),
    "test_equal_vectors_and_zeros_are_accepted": (
        lambda traces, vectors, *, seed: np.unique(vectors, axis=0)[:, 0].astype(int),
        r"shape \(1,\) for 6 traces",
    ),
    "test_the_same_arguments_give_the_same_clusters": (shifting(), "in the second"),
    "test_the_traces_and_vectors_are_not_changed": (normalising, "the vectors were changed"),
}


def lengths(texts):
    return np.array([[len(text), 1.0] for text in texts])


class Named:
    name = ""

    def __call__(self, texts):
        return lengths(texts)


def numbered(texts):
    return np.arange(len(texts), dtype=float)[:, None]


def random_rows():
    rng = random.Random(0)
    return lambda texts: np.array([[rng.random()] for _ in texts])


EMBEDDERS = {
    "test_each_text_gets_one_row_of_the_same_length": (
        lambda texts: lengths(texts)[1:],
        r"shape \(3, 2\) for 4 texts",
    ),
    "test_one_text_is_enough": (lambda texts: np.squeeze(lengths(texts)), r"shape \(2,\) for 1"),
    "test_all_numbers_are_finite": (
        lambda texts: np.array([[np.nan if t == "?!" else 1.0] for t in texts]),
        "NaN or infinite",
    ),
    "test_equal_texts_get_equal_rows": (numbered, "different rows"),
    "test_different_texts_are_told_apart": (lambda texts: np.ones((len(texts), 2)), "equal rows"),
    "test_the_same_texts_give_the_same_rows": (random_rows(), "other rows"),
    "test_the_texts_are_not_changed": (lambda texts: lengths(texts[:]) * len(texts.pop()), "list"),
    "test_a_name_is_a_text": (Named(), "name is empty"),
}


def without_rules(context):
    """Drop all the rules, score that, and take it."""
    return scored(context, context.problem.candidate((), origin="refine"))


def scored(context, made):
    score = context.evaluator.run(
        context.problem.build(made), context.problem.val, candidate_id=made.id, split="val"
    )
    return Refinement(best=made, candidates=(made,), evaluations=(score,))


def obedient(context):
    """Put in whatever the teacher says."""
    found = EditRules()(context)
    return found._replace(best=found.candidates[0]) if found.candidates else found


def forgetful(context):
    return EditRules()(context)._replace(candidates=(), evaluations=(), edits=())


def silent_about_tries(context):
    EditRules()(context)
    return Refinement(best=context.start)


def peeking(context):
    context.evaluator.run(
        context.problem.build(context.start),
        context.problem.select,
        candidate_id=context.start.id,
        split="select",
    )
    return Refinement(best=context.start)


def without_evidence(context):
    rules = [replace(rule, trace_ids=()) for rule in context.start.rules]
    return scored(context, context.problem.candidate(rules, origin="refine"))


def changing():
    """A refiner that takes another rule away at each call."""
    count = itertools.count()
    return lambda context: scored(
        context,
        context.problem.candidate(context.start.rules[: next(count) % 2 + 1], origin="refine"),
    )


def trusting(context):
    """Read the answer of the teacher without a thought."""
    if not EditRules()(context).candidates:
        raise ValueError("no edit")
    return EditRules()(context)


REFINERS = {
    "test_it_returns_a_refinement_of_lists_with_their_scores": (forgetful, "did not score"),
    "test_the_best_list_is_no_worse_than_the_start": (without_rules, "validation fell from"),
    "test_every_list_scored_on_validation_is_in_the_result": (silent_about_tries, "not in the"),
    "test_the_selection_examples_are_not_asked_about": (peeking, "24 prompts hold a selection"),
    "test_every_rule_leads_back_to_traces": (without_evidence, "names no trace"),
    "test_the_same_answers_give_the_same_refinement": (changing(), "another best list"),
    "test_unreadable_answers_of_the_teacher_are_survived": (trusting, "no edit"),
}


def choosing(candidate, **changes):
    """A selector that takes this candidate whatever the context."""

    def select(context):
        scores = (context.run(AS_GIVEN), context.run(candidate))
        return Verdict(**{"chosen": candidate, "evaluations": scores, "reason": "so"} | changes)

    return select


def alternating():
    count = itertools.count()
    return lambda context: choosing((SHORT, LONG)[next(count) % 2])(context)


SELECTORS = {
    "test_it_returns_a_verdict_with_one_of_the_candidates": (
        choosing(replace(SHORT, id="c0000")),
        "c0000",
    ),
    "test_the_evaluations_are_those_that_decided": (
        lambda context: Verdict(
            chosen=SHORT, evaluations=(context.val[AS_GIVEN.id], context.val[SHORT.id]), reason="so"
        ),
        r"evaluations on \['val'\]",
    ),
    "test_a_candidate_without_a_validation_score_takes_no_part": (choosing(UNSCORED), "has no val"),
    "test_the_limit_of_prompt_tokens_is_kept": (choosing(SHORT), "with 9 tokens"),
    "test_the_student_alone_stays_as_given": (choosing(SHORT), "which is not a candidate"),
    "test_the_reason_is_one_line": (choosing(SHORT, reason="so\nand so"), "more than one line"),
    "test_the_same_context_gives_the_same_choice": (alternating(), "in the second"),
}


class Partial:
    """A tracker without one of the methods."""

    def start(self, **given):
        pass


class Tracks(NullTracker):
    """A tracker with one of the methods replaced."""

    def __init__(self, **methods):
        for name, method in methods.items():
            setattr(self, name, method)


class Strict(NullTracker):
    """A tracker that refuses what it does not expect."""

    def __init__(self):
        self.open, self.seen, self.runs = False, set(), 0

    def start(self, *, name, params, tags, run_dir, digests=()):
        self.open, self.runs = True, self.runs + 1
        if self.runs > 1:
            raise RuntimeError("started twice")

    def candidate(self, candidate, evaluation, *, extra=()):
        if candidate.id in self.seen:
            raise KeyError("seen before")
        self.seen.add(candidate.id)

    def finish(self, status="FINISHED"):
        if not self.open:
            raise RuntimeError("no run is open")
        self.open = False


def refuse(message):
    def method(*args, **given):
        raise RuntimeError(message)

    return method


def need_folder(*, run_dir, **given):
    assert run_dir.is_dir()


def empty(*, params, **given):
    params.clear()


def main_thread_only(*args, **given):
    if threading.current_thread() is not threading.main_thread():
        raise RuntimeError("not in this thread")


TRACKERS = {
    "test_it_has_every_method": (Partial, "missing: .*metrics"),
    "test_it_takes_a_whole_run": (lambda: Tracks(figure=refuse("no pictures")), "no pictures"),
    "test_each_status_ends_a_run_and_another_can_start": (Strict, "started twice"),
    "test_a_run_without_a_folder_is_accepted": (
        lambda: Tracks(start=need_folder),
        "no attribute 'is_dir'",
    ),
    "test_finish_without_an_open_run_does_nothing": (Strict, "no run is open"),
    "test_a_candidate_may_come_twice": (Strict, "seen before"),
    "test_threads_may_call_it": (lambda: Tracks(metrics=main_thread_only), "not in this thread"),
    "test_a_failure_after_the_start_is_not_raised": (
        lambda: Tracks(file=lambda path, folder="": path.read_text()),
        "gone.txt",
    ),
    "test_the_arguments_are_not_changed": (lambda: Tracks(start=empty), "params were changed"),
}


def corpus(score):
    return CorpusMetric("mine", score)


def reading_labels(gold, said):
    return accuracy(gold, said) + 0 * len(min(said))


def first_counts(gold, said):
    return float(gold[0] == said[0])


def lucky():
    rng = random.Random(0)
    return lambda example, prediction, trace=None: rng.random()


class Nameless:
    def __call__(self, example, prediction, trace=None):
        return example.label == prediction.label


METRICS = {
    "test_a_score_is_one_finite_number": (
        lambda example, prediction, trace=None: 100.0,
        "the score 100.0",
    ),
    "test_right_answers_score_more_than_wrong_ones": (
        corpus(lambda gold, said: 1.0),
        "right answers score 1.0, and wrong ones 1.0",
    ),
    "test_no_answers_score_more_than_the_right_ones": (
        corpus(lambda gold, said: said.count("red") / len(said)),
        "scores 1.0",
    ),
    "test_an_answer_outside_the_labels_is_wrong": (
        lambda example, prediction, trace=None: prediction.label != "red" or 0.5,
        "an answer that is no label",
    ),
    "test_one_example_is_enough": (
        corpus(lambda gold, said: float(np.std([len(g) for g in gold])) / (len(gold) - 1)),
        "division by zero",
    ),
    "test_the_order_of_the_examples_does_not_matter": (corpus(first_counts), "in one order"),
    "test_the_same_answers_get_the_same_score": (lucky(), "in the second"),
    "test_it_has_a_name": (Nameless(), "the name is None"),
}


def task(labels=("red", "blue"), **changes):
    examples = tuple(
        dspy.Example(text=f"text {n}", label=labels[n % 2]).with_inputs("text") for n in range(24)
    )
    made = Task(
        name="mine",
        signature=classification_signature(
            "Mine", "Name it.", {"text": ""}, ("label", ""), ("red", "blue")
        ),
        label_key="label",
        labels=("red", "blue"),
        input_keys=("text",),
        metric="accuracy",
        examples=examples,
    )
    return replace(made, **changes)


class Leaking(Task):
    __slots__ = ()

    def split(self, sizes, *, seed, **options):
        return Splits(train=self.examples[:8], val=self.examples[:8])


class Drifting(Task):
    __slots__ = ()
    draws = itertools.count()

    def split(self, sizes, *, seed, **options):
        first = next(self.draws)
        return Splits(train=self.examples[first : first + 8], val=self.examples[-8:])


def as_kind(kind):
    plain = task()
    return kind(**{name: getattr(plain, name) for name in Task.__dataclass_fields__})


TASKS = {
    "test_it_has_a_name_and_two_labels_or_more": (task(labels=("red", "blue"), name=" "), "name"),
    "test_the_signature_has_the_inputs_and_the_label": (
        task(input_keys=("text", "title")),
        r"has the inputs \('text',\)",
    ),
    "test_each_example_has_its_inputs_and_a_known_label": (
        task(labels=("red", "rot")),
        "the label 'rot'",
    ),
    "test_each_label_occurs": (task(labels=("red", "red")), r"without an example: \['blue'\]"),
    "test_the_metric_is_known": (task(metric="acuracy"), "acuracy"),
    "test_it_splits_without_leaks": (as_kind(Leaking), "is in train and in val"),
    "test_the_same_seed_gives_the_same_splits": (as_kind(Drifting), "other examples"),
}

BROKEN = {
    "ClustererSuite": CLUSTERERS,
    "EmbedderSuite": EMBEDDERS,
    "RefinerSuite": REFINERS,
    "SelectorSuite": SELECTORS,
    "TrackerSuite": TRACKERS,
    "MetricSuite": METRICS,
    "TaskSuite": TASKS,
}
CASES = [
    pytest.param(getattr(testing, suite), name, broken, match, id=f"{suite}-{name}")
    for suite, rows in BROKEN.items()
    for name, (broken, match) in rows.items()
]


@pytest.mark.parametrize(("suite", "name", "broken", "match"), CASES)
def test_a_requirement_that_is_not_met_fails(suite, name, broken, match, tmp_path):
    test = getattr(suite(), name)
    if suite is testing.TrackerSuite:
        broken = broken()
    folder = [tmp_path] if "tmp_path" in inspect.signature(test).parameters else []
    refused = (AssertionError, ConfigError, DataError, LeakageError, RuntimeError, AttributeError)
    with pytest.raises((*refused, ValueError, KeyError, OSError, ZeroDivisionError), match=match):
        test(broken, *folder)


@pytest.mark.parametrize("suite", SUITES)
def test_each_requirement_says_what_it_is_and_has_an_object_that_fails_it(suite):
    tests = {name: test for name, test in vars(suite).items() if name.startswith("test_")}

    assert set(BROKEN[suite.__name__]) == set(tests)
    assert all(inspect.getdoc(test) for test in tests.values())


@pytest.mark.parametrize("rule", [GOOD, BAD])
def test_a_refiner_that_obeys_the_teacher_is_caught_by_bad_advice_alone(rule):
    trial = testing.RefinerSuite()._trial(rule)
    found = obedient(trial.context)

    assert (trial.val_score(found) < trial.context.score.score) == (rule == BAD)


MINE = """
import pytest
from pld_dspy.testing import ClustererSuite


def halved(traces, vectors, *, seed):
    return [0] * (len(traces) // 2)


class TestMine(ClustererSuite):
    @pytest.fixture
    def clusterer(self):
        return halved
"""


@pytest.mark.slow
def test_a_suite_runs_outside_this_repository(tmp_path):
    (tmp_path / "test_mine.py").write_text(MINE, encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "test_mine.py"],
        cwd=tmp_path, capture_output=True, text=True, check=False, timeout=120,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    )  # fmt: skip

    assert done.returncode == 1, done.stdout + done.stderr
    assert "shape (1,) for 2 traces, should be (2,)" in done.stdout
    assert "3 failed, 3 passed" in done.stdout


@pytest.mark.slow
def test_the_suites_and_fakes_import_no_pytest():
    code = "import sys, pld_dspy.testing; print('pytest' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT, capture_output=True, text=True, check=True, timeout=120,
    )  # fmt: skip

    assert done.stdout.strip() == "False"
