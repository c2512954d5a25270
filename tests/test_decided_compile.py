"""A compile whose student is biased: the decision finds what the rules say."""

import dspy
import pytest

from biased import BiasedFollower
from fakes import FakeTeacher, fake_lm, keyword_task
from pld_dspy import PLD, PLDConfig, macro_f1
from pld_dspy.models.student import DirectStudent
from pld_dspy.scoring.metrics import accuracy
from small_runs import explain_in_sections

TASK = keyword_task(150)
SIGNATURE = dspy.Signature("text -> label: Literal['red', 'green', 'blue', 'grey']", "Name it.")
BIAS = {"grey": 5.0, "red": -2.0}


class Wrapped(dspy.Module):
    """A program that is not a `DirectStudent`."""

    def __init__(self):
        super().__init__()
        self.student = DirectStudent(SIGNATURE)

    def forward(self, text):
        return self.student(text=text)


TRAIN, VAL, SELECT, TEST = (TASK.examples[a:b] for a, b in ((0, 30), (30, 60), (60, 90), (90, 150)))


def compiled(engine, *, metric=macro_f1, student=None, progress=None, **config):
    settings = {"search": {"trials": 4}, "refine": {"rounds": 1}, **config}
    optimizer = PLD(
        metric=metric,
        teacher_lm=fake_lm(FakeTeacher(explain_in_sections), name="fake/teacher"),
        config=PLDConfig(**settings),
        progress=progress,
    )
    with dspy.context(lm=fake_lm(engine)):
        return optimizer.compile(
            student or DirectStudent(SIGNATURE), trainset=TRAIN, valset=VAL, selectset=SELECT
        )


def score(program, engine):
    with dspy.context(lm=fake_lm(engine)):
        said = [program(**example.inputs()).label for example in TEST]
    return macro_f1([example.label for example in TEST], said)


def test_the_decision_and_the_rules_together_find_the_labels():
    engine = BiasedFollower(TASK, BIAS)
    program = compiled(engine)
    greedy = compiled(BiasedFollower(TASK, BIAS), decide="greedy")
    assert program.decision is not None
    assert program.pld_result.predictors[0].decision == program.decision
    assert greedy.decision is None
    assert score(program, engine) > 0.95
    assert score(greedy, engine) < 0.7


def test_a_saved_and_loaded_program_decides_the_same(tmp_path):
    engine = BiasedFollower(TASK, BIAS)
    program = compiled(engine)
    program.save(tmp_path / "program.json")
    loaded = DirectStudent(SIGNATURE)
    loaded.load(tmp_path / "program.json")
    with dspy.context(lm=fake_lm(engine)):
        for example in TEST:
            assert loaded(**example.inputs()).label == program(**example.inputs()).label


def test_the_compile_is_deterministic_and_asks_the_student_no_more_than_greedy():
    first, second = (compiled(BiasedFollower(TASK, BIAS)) for _ in range(2))
    assert first.decision == second.decision
    assert first.pld_result.predictors == second.pld_result.predictors


def test_a_resumed_compile_asks_nothing_again(tmp_path):
    results = []
    for calls in (None, 0):
        engine = BiasedFollower(TASK, BIAS)
        optimizer = PLD(
            metric=macro_f1,
            teacher_lm=fake_lm(FakeTeacher(explain_in_sections), name="fake/teacher"),
            config=PLDConfig(search={"trials": 6}),
            run_dir=tmp_path,
        )
        with dspy.context(lm=fake_lm(engine)):
            made = optimizer.compile(
                DirectStudent(SIGNATURE), trainset=TRAIN, valset=VAL, selectset=SELECT
            )
        results.append((made.decision, made.predict.signature.instructions))
        assert calls is None or engine.calls == calls
    assert results[0] == results[1]


def test_rules_are_left_out_before_training_answers_are_asked_for():
    """So the time left counts no rules to be left out once the decision is made."""
    heard = []
    compiled(BiasedFollower(TASK, BIAS), progress=heard.append)
    stages = [event.stage for event in heard]
    assert {"left out", "decision"} < set(stages)
    assert stages.index("decision") > len(stages) - 1 - stages[::-1].index("left out")


def test_a_stopped_trial_and_a_full_one_are_decided_alike(tmp_path):
    """Trials that are read back from the study have the labels that they had."""
    engine = BiasedFollower(TASK, BIAS)
    result = compiled(engine, search={"trials": 8, "race": {"block": 4}}).pld_result
    part = result.predictors[0]
    scored = {e.candidate_id: e.score for e in part.evaluations if e.split == "val"}
    full = [trial for trial in part.search.trials if not trial.stopped]
    assert full
    assert all(trial.score == pytest.approx(scored[trial.candidate_id]) for trial in full)


@pytest.mark.parametrize("decide", ["greedy", "probable", "calibrated"])
def test_an_unbiased_student_is_as_good_in_any_way(decide):
    engine = BiasedFollower(TASK, {}, noise=0.0)
    program = compiled(engine, decide=decide)
    assert score(program, engine) == 1.0


def test_without_log_probabilities_all_is_as_with_greedy():
    silent = [BiasedFollower(TASK, BIAS, tells=False) for _ in range(2)]
    calibrated = compiled(silent[0])
    greedy = compiled(silent[1], decide="greedy")
    assert calibrated.decision is None
    assert silent[0].calls == silent[1].calls
    assert calibrated.predict.signature.instructions == greedy.predict.signature.instructions


def test_an_unreadable_student_is_readable_by_its_probabilities():
    engine = BiasedFollower(TASK, {}, says="To determine the label, we")
    program = compiled(engine)
    assert score(program, engine) > 0.95


@pytest.mark.parametrize(
    "settings",
    [
        {"student": Wrapped()},
        {"metric": lambda example, prediction, trace=None: example.label == prediction.label},
    ],
)
def test_other_programs_and_metrics_are_greedy(settings):
    program = compiled(BiasedFollower(TASK, {"grey": 1.0}), **settings)
    assert getattr(program, "decision", None) is None
    assert program.pld_result.predictors[0].decisions == {}


def test_accuracy_is_a_metric_too():
    engine = BiasedFollower(TASK, BIAS)
    assert score(compiled(engine, metric=accuracy), engine) > 0.95


def test_words_that_change_no_answer_are_not_used():
    """This student says the labels' names whatever words it is shown; the names are kept."""
    program = compiled(BiasedFollower(TASK, BIAS))
    assert program.form.labels_as == "names"
