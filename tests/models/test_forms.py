"""The forms of asking: the student's messages word for word, and what a loaded student keeps."""

import math
from typing import Literal

import dspy
import orjson
import pytest

from fakes import Script, fake_lm
from goldens import golden
from pld_dspy.errors import ConfigError
from pld_dspy.ledger.store import StageStore
from pld_dspy.models.adapter import DirectAdapter
from pld_dspy.models.forms import shown_labels, shown_text
from pld_dspy.models.logprobs import gold_probability
from pld_dspy.models.student import DirectStudent
from pld_dspy.records import Form
from pld_dspy.scoring.evaluator import Evaluator
from pld_dspy.scoring.fingerprint import identity
from pld_dspy.scoring.metrics import accuracy
from pld_dspy.stages.common.prompt import with_prompt

YES_NO = {"Entailment": "Yes", "Contradiction": "No", "NotMentioned": "Unclear"}


class Follows(dspy.Signature):
    """Say whether the hypothesis follows.

    Rules:
    1. If the passage says it, answer Entailment.
    2. If Contradiction is tempting, answer NotMentioned, not Contradiction.
    """

    hypothesis: str = dspy.InputField()
    premise: str = dspy.InputField()
    relation: Literal["Entailment", "Contradiction", "NotMentioned"] = dspy.OutputField()


INPUTS = {"hypothesis": "It may be shared.", "premise": "Sharing is allowed."}
DEMO = {**INPUTS, "relation": "Contradiction"}
FORMS = {
    "student_field.txt": Form(wording="field"),
    "student_question.txt": Form(wording="question"),
    "student_letters.txt": Form(labels_as="letters"),
    "student_field_letters.txt": Form(wording="field", labels_as="letters"),
    "student_words.txt": Form(wording="question", labels_as=YES_NO, inputs_first=("premise",)),
}


def student(form, signature=Follows):
    return DirectStudent(
        signature, wording=form.wording, labels_as=form.labels_as, inputs_first=form.inputs_first
    )


def ask(program, said):
    lm = fake_lm(Script(said))
    with dspy.context(lm=lm):
        prediction = program(**INPUTS)
    return prediction, lm.engine.prompts[0]


@pytest.mark.parametrize("name", FORMS)
def test_the_messages_of_each_form(name):
    form = FORMS[name]
    adapter = DirectAdapter(form.wording, labels_as=form.labels_as, inputs_first=form.inputs_first)
    messages = adapter.format(Follows, [DEMO], INPUTS)
    text = "".join(f"=== {m['role']}\n{m['content']}\n" for m in messages)
    assert text == golden(name, text)


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
def test_the_student_answers_in_the_shown_word_and_gives_the_label(form):
    program = student(form)
    word = shown_labels(program, tuple(YES_NO))["NotMentioned"][0]
    prediction, prompt = ask(program, f"{word}.")
    assert prediction.relation == "NotMentioned"
    assert prompt.system == shown_text(program, tuple(YES_NO), Follows.instructions)


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
def test_a_repeated_request_is_not_the_answer(form):
    adapter = DirectAdapter(form.wording, labels_as=form.labels_as)
    request = adapter.format_user_message_content(Follows, INPUTS).splitlines()[-1]
    word = shown_labels(student(form), tuple(YES_NO))["Contradiction"][0]
    assert adapter.parse(Follows, f"{request} {word}") == {"relation": "Contradiction"}


def test_a_question_is_made_of_the_title_of_the_output():
    class Spam(dspy.Signature):
        """Is it spam?"""

        text: str = dspy.InputField()
        is_spam: bool = dspy.OutputField()

    adapter = DirectAdapter("question", labels_as={"True": "yes", "False": "no"})
    content = adapter.format_user_message_content(Spam, {"text": "Win!"})
    assert content == "Text: Win!\n\nIs spam? Answer with one of: yes, no."
    assert adapter.parse(Spam, "Yes") == {"is_spam": True}


@pytest.mark.parametrize("form", [Form(), *FORMS.values()], ids=["student_sentence", *FORMS])
def test_a_saved_student_asks_the_same_when_it_is_loaded(form, tmp_path):
    student(form).save(tmp_path / "student.json")
    loaded = DirectStudent(Follows, wording="field")
    loaded.load(tmp_path / "student.json")
    assert loaded.form == form
    lm = fake_lm(Script())
    assert identity(loaded, lm) == identity(student(form), lm)
    assert loaded.deepcopy().form == loaded.reset_copy().form == form


def test_a_form_inside_a_larger_program_is_saved_with_it(tmp_path):
    class Outer(dspy.Module):
        def __init__(self, **asked):
            super().__init__()
            self.inner = DirectStudent(Follows, **asked)

        def forward(self, **inputs):
            return self.inner(**inputs)

    Outer(labels_as=YES_NO).save(tmp_path / "outer.json")
    loaded = Outer()
    loaded.load(tmp_path / "outer.json")
    assert ask(loaded, "Yes")[0].relation == "Entailment"


def test_a_state_of_an_earlier_version_leaves_the_form_as_it_was_made(tmp_path):
    path = tmp_path / "student.json"
    DirectStudent(Follows).save(path)
    state = orjson.loads(path.read_bytes())
    del state["predict"]["form"]
    path.write_bytes(orjson.dumps(state))
    loaded = DirectStudent(Follows, wording="field")
    loaded.load(path)
    assert loaded.form == Form(wording="field")


def test_rules_are_put_into_a_copy_that_asks_in_the_same_form():
    program = with_prompt(
        student(FORMS["student_words.txt"]), "predict", "If so, answer Entailment."
    )
    _, prompt = ask(program, "No")
    assert prompt.system == "If so, answer Yes."
    assert program.form == FORMS["student_words.txt"]


def test_the_probability_of_a_label_is_that_of_its_word():
    top = [("Yes", 0.6), ("No", 0.3), ("Un", 0.1)]
    content = [
        {
            "token": "Yes",
            "logprob": math.log(0.6),
            "top_logprobs": [{"token": t, "logprob": math.log(p)} for t, p in top],
        }
    ]
    said = dspy.Prediction(relation="Entailment", logprobs={"content": content})
    shown = shown_labels(student(Form(labels_as=YES_NO)), tuple(YES_NO))
    found = {
        gold: gold_probability(said, tuple(YES_NO), "Entailment", gold, shown=shown)
        for gold in YES_NO
    }
    assert found == {"Entailment": 0.6, "Contradiction": 0.3, "NotMentioned": 0.1}
    assert gold_probability(said, tuple(YES_NO), "Entailment", "Contradiction") is None


def test_shown_labels_are_the_labels_where_no_form_says_otherwise():
    labels = ("red", "grey")
    plain = {label: (label,) for label in labels}
    assert shown_labels(dspy.Predict(Follows), labels) == plain
    # The program makes its answer from another label set than the one that it asks about.
    assert shown_labels(student(Form(labels_as=YES_NO)), labels) == plain


def test_stored_answers_are_kept_apart_by_form_and_found_again_by_their_old_keys():
    lm = fake_lm(Script())
    found = {name: identity(student(form), lm) for name, form in FORMS.items()}
    found["student_sentence.txt"] = identity(student(Form()), lm)
    assert len({str(key) for key in found.values()}) == len(found)
    # As earlier versions wrote them: the class for `field`, the wording behind it for `sentence`.
    for name, kind in (("field", "DirectStudent"), ("sentence", "DirectStudent/sentence")):
        key = found[f"student_{name}.txt"]
        assert key[0] == kind
        assert set(key[1]["predict"]) == {"signature", "demos"}


def test_two_forms_of_the_adapter_in_use_do_not_share_answers():
    lm = fake_lm(Script("Entailment", "A"))
    evaluator = Evaluator(
        lm=lm, metric=accuracy, label_key="relation", labels=tuple(YES_NO), store=StageStore()
    )
    examples = [dspy.Example(**INPUTS, relation="Entailment").with_inputs(*INPUTS)]
    for adapter in (DirectAdapter(), DirectAdapter(labels_as="letters"), DirectAdapter()):
        with dspy.context(adapter=adapter):
            got = evaluator.run(dspy.Predict(Follows), examples, candidate_id="c", split="val")
        assert got.score == 1.0
    assert lm.engine.calls == 2


@pytest.mark.parametrize(
    ("signature", "asked", "message"),
    [
        (Follows, {"labels_as": {"Entailment": "Yes"}}, "no word for the label 'Contradiction'"),
        (Follows, {"inputs_first": ["premiss"]}, "'premiss', which is no input; did you mean"),
        (Follows, {"inputs_first": ["premise", "premise"]}, "name each input once"),
        ("text -> label", {"labels_as": "letters"}, "one output with a closed label set"),
    ],
)
def test_a_form_that_does_not_fit_the_task_is_refused_at_once(signature, asked, message):
    with pytest.raises(ConfigError, match=message):
        DirectStudent(signature, **asked)
