"""Forms of asking compete on validation: the one that the student answers well in wins."""

from typing import Literal

import dspy
import pytest

from fakes import FakeTeacher, fake_lm
from pld_dspy import DirectStudent, best_wording, macro_f1
from pld_dspy.errors import ConfigError, DataError, ModelError, PLDError
from pld_dspy.models.reading.label_words import LabelWords
from pld_dspy.records import Form

WORDS = {"red": "warm", "blue": "cold"}


class Colour(dspy.Signature):
    """Name the colour."""

    text: str = dspy.InputField()
    main_colour: Literal["red", "blue"] = dspy.OutputField()


EXAMPLES = [
    dspy.Example(text=f"{thing} {n}", main_colour=colour).with_inputs("text")
    for n in range(12)
    for thing, colour in (("fire", "red"), ("water", "blue"))
]
REQUESTS = {
    "sentence, names": "Answer with one of: red, blue.",
    "field, names": "Main colour (answer with one of: red, blue):",
    "question, names": "Which main colour fits? Answer with one of: red, blue.",
    "sentence, letters": "Answer with one letter: A (red), B (blue).",
    "question, letters": "Which main colour fits? Answer with one letter: A (red), B (blue).",
    "sentence, labels as warm, cold": "Answer with one of: warm, cold.",
}


def good_in(*names, otherwise="red"):
    """A student that knows the answer only if it is asked in one of these forms."""

    def answer(prompt):
        label = "red" if "fire" in prompt.user else "blue"
        request = prompt.user.splitlines()[-1]
        if request not in [REQUESTS[name] for name in names]:
            label = otherwise
        way = "letters" if "letter" in request else WORDS if "warm" in request else "names"
        return LabelWords.of(("red", "blue"), way).by_label.get(label, label)

    return fake_lm(answer)


def choose(lm, *, words=WORDS, **kwargs):
    student = DirectStudent(Colour)
    student.set_lm(lm)
    return best_wording(student, EXAMPLES, metric=macro_f1, words=words, **kwargs)


@pytest.mark.parametrize(
    ("good", "best"),
    [
        (["field, names"], "field, names"),
        (["question, names"], "question, names"),
        (["sentence, letters"], "sentence, letters"),
        (["sentence, labels as warm, cold"], "sentence, labels as warm, cold"),
        (["question, names", "sentence, letters"], "question, names"),
        (["sentence, names", "question, names", "sentence, letters"], "sentence, names"),
        ([], "sentence, names"),
    ],
)
def test_the_form_that_the_student_answers_well_in_is_chosen(good, best):
    choice = choose(good_in(*good))
    assert choice.best.name == best
    assert choice.plain == Form()
    scores = {one.form.name: one.evaluation.score for one in choice.tried}
    assert [name for name, score in scores.items() if score == 1.0] == [
        name for name in scores if name in good
    ]
    assert len(choice.tried) == 5


def test_labels_are_shown_otherwise_in_the_best_wording_alone():
    choice = choose(good_in("question, names"))
    assert [one.form.name for one in choice.tried] == [
        "sentence, names",
        "field, names",
        "question, names",
        "question, letters",
        "question, labels as warm, cold",
    ]


def test_the_chosen_student_asks_in_the_form_and_the_given_one_is_as_it_was():
    student = DirectStudent(Colour)
    student.set_lm(good_in("sentence, letters"))
    choice = best_wording(student, EXAMPLES, metric=macro_f1)
    assert student.form == Form()
    chosen = student.asked(choice.best)
    assert [chosen(**e.inputs()).main_colour for e in EXAMPLES] == [e.main_colour for e in EXAMPLES]


def test_stored_answers_are_not_asked_for_again_and_the_choice_is_the_same(tmp_path):
    lm = good_in("question, names")
    first = choose(lm, run_dir=tmp_path)
    calls = lm.engine.calls
    assert calls == 5 * len(EXAMPLES)
    assert choose(lm, run_dir=tmp_path) == first
    assert lm.engine.calls == calls
    assert choose(good_in("question, names"), threads=4) == first


def test_a_form_without_a_readable_answer_is_given_up_and_the_others_go_on():
    lm = good_in("sentence, letters", otherwise="no idea")
    choice = choose(lm)
    assert choice.best.name == "sentence, letters"
    assert [one.evaluation is None for one in choice.tried] == [True, True, True, False, True]
    assert lm.engine.calls < 5 * len(EXAMPLES)


def test_no_readable_answer_in_any_form_is_an_error():
    with pytest.raises(PLDError, match="names a label"):
        choose(good_in(otherwise="no idea"))


def test_an_endpoint_that_fails_ends_the_comparison():
    lm = fake_lm(FakeTeacher(lambda prompt: "red", fail_on=lambda call: call > 30))
    with pytest.raises(ModelError):
        choose(lm)


def test_letters_that_are_the_labels_and_more_labels_than_letters_are_left_out():
    for labels in (("A", "B"), tuple(f"label{n}" for n in range(27))):
        student = DirectStudent(
            dspy.Signature("text -> label").with_updated_fields("label", type_=Literal[labels])
        )
        student.set_lm(fake_lm(lambda prompt, first=labels[0]: first))
        examples = [
            dspy.Example(text=f"{n}", label=labels[n % 2]).with_inputs("text") for n in range(4)
        ]
        choice = best_wording(student, examples, metric=macro_f1)
        assert {one.form.labels_as for one in choice.tried} == {"names"}


@pytest.mark.parametrize(
    ("student", "examples", "error", "message"),
    [
        (dspy.Predict(Colour), EXAMPLES, ConfigError, "compared for a DirectStudent"),
        (DirectStudent("text -> label"), EXAMPLES, ConfigError, "no closed label set"),
        (DirectStudent(Colour), EXAMPLES, ConfigError, "has no LM"),
        (DirectStudent(Colour), [], DataError, "the val split is empty"),
    ],
)
def test_bad_input_is_named_before_a_call(student, examples, error, message):
    lm = fake_lm(lambda prompt: pytest.fail("a call"))
    if "no LM" not in message:
        student.set_lm(lm)
    with pytest.raises(error, match=message):
        best_wording(student, examples, metric=macro_f1)


def test_words_that_do_not_fit_are_named_before_a_call():
    with pytest.raises(ConfigError, match="no word for the label 'blue'"):
        choose(fake_lm(lambda prompt: pytest.fail("a call")), words={"red": "warm"})
