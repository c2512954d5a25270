"""The archive: what was scored in full, what counts as the student's answer, and leaks."""

import dspy
import pytest

from compare_runs import TASK
from experiments.bench.archive import Archive, State
from experiments.bench.meter import Meter, Tape, metered_lm
from fakes import fake_lm
from keyword_runs import TEST, VAL, Colour, Student
from pld_dspy.data.tasks import Task
from pld_dspy.models.student import DirectStudent
from pld_dspy.scoring.metrics import accuracy
from pld_dspy.stages.common.prompt import with_prompt

RULES = "Name the colour.\n\n" + "\n".join(TASK.rules)
KEYWORDS = Task(
    name="keywords",
    signature=Colour,
    label_key="label",
    labels=("red", "green", "blue", "grey"),
    input_keys=("text",),
    metric="accuracy",
    examples=(),
)


class Watched:
    """An archive with both models."""

    def __init__(self, val=tuple(VAL[:6]), curve=tuple(VAL[:3])):
        self.meter, tape = Meter(), Tape()
        inner = fake_lm(Student(), name="fake/student").copy(temperature=0.0)
        self.student = metered_lm(inner, "student", self.meter, tape, cache=False)
        self.teacher = metered_lm(inner, "teacher", self.meter, tape, cache=False)
        self.archive = Archive(
            task=KEYWORDS,
            metric=accuracy,
            val=val,
            curve=curve,
            test=TEST[:3],
            student=self.student,
            meter=self.meter,
        )

    def ask(self, program, examples, lm=None):
        with dspy.context(lm=lm or self.student, callbacks=[self.meter, self.archive]):
            for example in examples:
                program(**example.inputs())


@pytest.fixture
def watched():
    return Watched()


@pytest.fixture
def given():
    return DirectStudent(Colour)


@pytest.fixture
def ruled(given):
    return with_prompt(given, "predict", RULES)


def test_the_best_state_scored_in_full_comes_back(watched, given, ruled):
    watched.ask(given, VAL[:6])
    watched.ask(ruled, VAL[:6])
    best = watched.archive.best().put_into(given)

    assert best.predict.signature.instructions == ruled.predict.signature.instructions
    assert given.predict.signature is Colour
    assert watched.archive.score(ruled) == 1.0


def test_a_state_that_misses_an_example_is_not_scored(watched, given, ruled):
    watched.ask(given, VAL[:6])
    watched.ask(ruled, VAL[:5])

    assert watched.archive.best().key == State.of(given).key
    assert watched.archive.score(ruled) is None


def test_nothing_scored_is_no_best(watched):
    assert watched.archive.best() is None


def test_demonstrations_are_part_of_a_state(watched, given):
    shown = given.deepcopy()
    shown.predict.demos = [dspy.Example(text="brick", label="red")]
    watched.ask(given, VAL[:6])
    watched.ask(shown, VAL[:6])

    assert State.of(shown).key != State.of(given).key
    assert watched.archive.best().put_into(given).predict.demos == []  # ties go to the shorter


def test_a_state_is_a_copy_that_a_polluted_signature_does_not_reach(watched):
    class Own(Colour):
        """Name it."""

    program = DirectStudent(Own)
    state = State.of(program)
    program.predict.signature.instructions = "Something else."

    assert state.put_into(program).predict.signature.instructions == "Name it."


def test_the_curve_rises_with_the_calls_and_needs_its_own_examples_only(watched, given, ruled):
    watched.ask(given, VAL[:3])
    watched.ask(ruled, VAL[:3])
    watched.ask(given, VAL[:6])
    (first, low), (second, high) = watched.archive.curve

    assert (first, second) == (3, 6)
    assert low < high == 1.0


def test_answers_of_the_teacher_and_samples_do_not_count(watched, ruled):
    watched.ask(ruled, VAL[:6], lm=watched.teacher)
    watched.ask(ruled, VAL[:6], lm=watched.student.copy(temperature=1.0, rollout_id=1))

    assert watched.archive.best() is None
    assert watched.archive.curve == []


def test_an_unreadable_answer_is_a_wrong_one(given):
    watched = Watched()
    watched.student.engine.inner.engine.answer = lambda prompt, call: "I cannot say"
    with dspy.context(lm=watched.student, callbacks=[watched.meter, watched.archive]):
        for example in VAL[:6]:
            with pytest.raises(dspy.utils.exceptions.AdapterParseError):
                given(**example.inputs())

    assert watched.archive.score(given) == 0.0


def test_a_test_example_in_a_search_is_a_leak(watched, given):
    watched.ask(given, [VAL[0], TEST[1]])

    assert watched.archive.leaks == 1
