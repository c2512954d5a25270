"""The student's messages word for word, and the reading of what real models answer."""

import string
from typing import Literal

import dspy
import pytest
from dspy.utils.exceptions import AdapterParseError
from hypothesis import example, given
from hypothesis import strategies as st

from fakes import Script, fake_lm
from goldens import golden
from pld_dspy.models.adapter import DirectAdapter, allowed_labels, field_title
from pld_dspy.models.reading.labels import read_label

DOMAINS = ("gender", "profession", "race", "religion")
NLI = ("Entailment", "Contradiction", "NotMentioned")
LETTERS = ("a", "b", "c", "d")
MOODS = ("positive", "very positive", "negative", "very negative")


class Bias(dspy.Signature):
    """Name the bias domain.

    Rules:
    1. If it names a job, answer profession.
       Mind the indentation.
    """

    context: str = dspy.InputField()
    target_word: str = dspy.InputField()
    label: Literal["gender", "profession", "race", "religion"] = dspy.OutputField()


class Capital(dspy.Signature):
    """Name the capital."""

    country: str = dspy.InputField()
    city: str = dspy.OutputField(desc="one name")


INPUTS = {"context": "She is a nurse.\nShe works.", "target_word": "nurse"}
CONTEXT = {"context": "He prays.", "target_word": "he"}


def shown(signature, inputs, demos=()):
    messages = DirectAdapter().format(signature, list(demos), inputs)
    return "".join(f"=== {m['role']}\n{m['content']}\n" for m in messages)


def chain(signature=Bias):
    return dspy.ChainOfThought(signature).predict.signature


@pytest.mark.parametrize(
    ("name", "signature", "inputs", "demos"),
    [
        ("student_closed.txt", Bias, INPUTS, ()),
        ("student_open.txt", Capital, {"country": "Peru"}, ()),
        ("student_chain.txt", chain(), INPUTS, ()),
        ("student_demos.txt", Bias, INPUTS, ({**CONTEXT, "label": "religion"},)),
        (
            "student_chain_demos.txt",
            chain(),
            INPUTS,
            (
                {**CONTEXT, "reasoning": "He prays.", "label": "religion"},
                {**CONTEXT, "label": "gender"},
            ),
        ),
    ],
)
def test_messages_are_pinned(name, signature, inputs, demos):
    text = shown(signature, inputs, demos)
    assert text == golden(name, text)


def test_the_model_gets_those_messages_and_nothing_else():
    lm = fake_lm(Script("gender"))
    with dspy.context(lm=lm, adapter=DirectAdapter()):
        assert dspy.Predict(Bias)(**INPUTS).label == "gender"
    (prompt,) = lm.engine.prompts
    assert prompt.system == Bias.instructions
    assert f"=== user\n{prompt.user}\n" in shown(Bias, INPUTS)
    assert str(prompt) == f"{prompt.system}\n{prompt.user}"


def test_a_demonstration_is_written_the_way_an_answer_is_read():
    adapter = DirectAdapter()
    for signature, answer in (
        (Bias, {"label": "religion"}),
        (chain(), {"reasoning": "He prays,\nso: faith.", "label": "religion"}),
        (Capital, {"city": "Lima"}),
    ):
        text = adapter.format_assistant_message_content(signature, answer)
        assert adapter.parse(signature, text) == answer


@pytest.mark.parametrize(
    ("text", "labels", "label"),
    [
        ("Gender: Male", DOMAINS, "gender"),
        ("**profession**", DOMAINS, "profession"),
        ("The answer is race.", DOMAINS, "race"),
        ("The correct answer is: `religion`", DOMAINS, "religion"),
        ("Final Answer: Religion\n\nBecause it says so.", DOMAINS, "religion"),
        ("“race”", DOMAINS, "race"),
        ("It is about her job.\n\nprofession", DOMAINS, "profession"),
        ("This sentence is about race.", DOMAINS, "race"),
        ("gender or race", DOMAINS, None),
        ("race\ngender", DOMAINS, "race"),
        ("not gender but race", DOMAINS, "race"),
        ("race, not gender", DOMAINS, "race"),
        ("This is not about gender.", DOMAINS, None),
        ("The answer is not race.", DOMAINS, None),
        ("None of them", DOMAINS, None),
        ("racecar", DOMAINS, None),
        ("racial", DOMAINS, None),
        ("", DOMAINS, None),
        (" \n\n ", DOMAINS, None),
        ("**", DOMAINS, None),
        ("Not mentioned", NLI, "NotMentioned"),
        ("NOT_MENTIONED", NLI, "NotMentioned"),
        ("not-mentioned.", NLI, "NotMentioned"),
        ("The hypothesis is not mentioned in the premise.", NLI, "NotMentioned"),
        ("mentioned", NLI, None),
        ("a.", LETTERS, "a"),
        ("A", LETTERS, "a"),
        ("Option b", LETTERS, "b"),
        ("(c)", LETTERS, "c"),
        ("B) The man walks", LETTERS, "b"),
        ("C The man walks", LETTERS, "c"),
        ("a. man walks", LETTERS, "a"),
        ("A because it rains", LETTERS, "a"),
        ("b because a man walks", LETTERS, "b"),
        ("a man walks", LETTERS, None),
        ("A man walks", LETTERS, None),
        ("The answer is a man", LETTERS, None),
        ("A man walks, so the answer is (d).", LETTERS, "d"),
        ("Option a is wrong, so the answer is b", LETTERS, None),
        ("Answered", ("ed", "no"), None),
        ("positive", MOODS, "positive"),
        ("Very Positive", MOODS, "very positive"),
        ("Very positive, because it shines", MOODS, "very positive"),
        ("I think this is very positive", MOODS, "very positive"),
        ("I think this is positive", MOODS, "positive"),
        ("positive, even very positive", MOODS, None),
        ("not negative", MOODS, None),
        ("C++", ("C", "C++"), "C++"),
        ("c", ("C", "C++"), "C"),
        ("ja", ("Ja", "Nein"), "Ja"),
        ("Да.", ("да", "нет"), "да"),
        ("+", ("+", "-"), "+"),
        ("2", ("1", "2"), "2"),
    ],
)
def test_what_models_say(text, labels, label):
    assert read_label(text, labels) == label


WRAPS = ("{}", '"{}"', "'{}'", "**{}**", "`{}`", "{}.", "({})", " {} \n", "Answer: {}", "# {}!")
LABEL_SETS = st.sampled_from([DOMAINS, NLI, LETTERS, MOODS, ("Yes", "No"), ("1", "2", "10")])


@given(LABEL_SETS.flatmap(lambda s: st.tuples(st.just(s), st.sampled_from(s))), st.data())
def test_the_bare_label_is_always_read(chosen, data):
    labels, label = chosen
    case = data.draw(st.sampled_from([str, str.upper, str.lower, str.title, str.swapcase]))
    text = data.draw(st.sampled_from(WRAPS)).format(case(label))
    assert read_label(text, labels) == label


@given(st.text(max_size=60), LABEL_SETS)
@example("answer answer answer is", LETTERS)
def test_nothing_outside_the_label_set_is_ever_read(text, labels):
    assert read_label(text, labels) in {None, *labels}


@given(
    st.lists(
        st.text(string.ascii_lowercase[:13], min_size=1, max_size=6),
        min_size=2,
        max_size=5,
        unique=True,
    ),
    st.text(string.ascii_letters[13:26] + string.ascii_letters[39:] + " .,\n*:", max_size=60),
)
def test_a_text_without_a_label_reads_as_none(labels, text):
    assert read_label(text, labels) is None


@given(st.permutations(MOODS), st.sampled_from(MOODS))
def test_the_order_of_the_labels_does_not_matter(labels, label):
    assert read_label(f"I would say {label} here", labels) == label


@pytest.mark.parametrize("answer", ["gender or race", "I cannot say", "{}"])
def test_a_miss_is_one_call_and_one_error_that_holds_the_answer(answer):
    script = Script(answer)
    lm = fake_lm(script)
    with (
        dspy.context(lm=lm, adapter=DirectAdapter()),
        pytest.raises(AdapterParseError, match="no 'label' in the answer") as miss,
    ):
        dspy.Predict(Bias)(**INPUTS)
    assert miss.value.lm_response == answer
    assert lm.engine.calls == 1
    script.assert_used_up()


@pytest.mark.parametrize(
    "answer",
    [
        "Reasoning: A nurse\nis a job.\nLabel: profession",
        "**Reasoning:** A nurse\nis a job.\n\n**Label:** Profession.",
        "A nurse\nis a job.\nLabel: profession",
        "reasoning: A nurse\nis a job.\nlabel: **profession**",
    ],
)
def test_chain_of_thought_works(answer):
    lm = fake_lm(Script(answer))
    with dspy.context(lm=lm, adapter=DirectAdapter()):
        said = dspy.ChainOfThought(Bias)(**INPUTS)
    assert (said.reasoning, said.label) == ("A nurse\nis a job.", "profession")


@pytest.mark.parametrize("answer", ["profession", "Reasoning: it is a job", "Label: profession"])
def test_a_missing_section_is_a_miss(answer):
    lm = fake_lm(Script(answer))
    with dspy.context(lm=lm, adapter=DirectAdapter()), pytest.raises(AdapterParseError, match="no"):
        dspy.ChainOfThought(Bias)(**INPUTS)
    assert lm.engine.calls == 1


@pytest.mark.parametrize("answer", ["race", "**Race**", "no idea, really: race"])
def test_a_repeated_request_is_not_the_answer(answer):
    request = DirectAdapter().format_user_message_content(Bias, INPUTS).strip().split("\n")[-1]
    assert DirectAdapter().parse(Bias, f"{request} {answer}") == {"label": "race"}


@pytest.mark.parametrize("answer", ["Lima", "City: Lima", "  Lima\n"])
def test_an_open_answer_is_the_text_without_its_heading(answer):
    assert DirectAdapter().parse(Capital, answer) == {"city": "Lima"}


def test_titles_and_labels_of_fields():
    fields = Bias.fields
    titles = [field_title(name, field) for name, field in fields.items()]
    assert titles == ["Context", "Target word", "Label"]
    assert allowed_labels(fields["label"]) == DOMAINS
    assert allowed_labels(fields["context"]) == ()


def test_a_prefix_of_the_author_is_the_title():
    with pytest.deprecated_call():
        chosen, derived = dspy.InputField(prefix="Premise:"), dspy.InputField(prefix="Text A:")
    assert (field_title("text_b", chosen), field_title("text_a", derived)) == ("Premise", "Text a")
