"""Words that stand for labels: what the student is shown, and the label that is read back."""

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from label_sets import LABELS
from pld_dspy.errors import ConfigError, PLDError
from pld_dspy.models.reading.label_set import variants
from pld_dspy.models.reading.label_words import BETWEEN, LabelWords
from pld_dspy.models.reading.labels import read_label

DOMAINS = ("gender", "profession", "race", "religion")
NLI = ("Entailment", "Contradiction", "NotMentioned")
YES_NO = {"Entailment": "Yes", "Contradiction": "No", "NotMentioned": "Unclear"}


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("1. If it speaks of gender, answer gender.", "1. If it speaks of gender, answer A."),
        ("2. If race decides, answer profession, not race.", "2. If race decides, answer B, not C."),
        ("The answer is **race**.", "The answer is **C**."),
        ("If it is a job, label it as profession; otherwise, gender.",
         "If it is a job, label it as B; otherwise, A."),
        ("Answer with one of: gender, profession, race or religion.",
         "Answer with one of: A, B, C or D."),
        ("Gender: the sentence is about gender or race.", "A: the sentence is about gender or race."),
        ("3. A job goes to profession", "3. A job goes to B"),
        ("Do not answer gender if a job is named.", "Do not answer A if a job is named."),
        ("a job -> profession", "a job -> B"),
        ("Say what gender the text is about.", "Say what gender the text is about."),
        ("An engender, a racehorse.", "An engender, a racehorse."),
    ],
)  # fmt: skip
def test_labels_that_stand_as_answers_are_shown_as_their_words(text, shown):
    assert LabelWords.of(DOMAINS, "letters").shown(text) == shown


def test_words_that_are_labels_themselves_are_exchanged_at_once():
    swapped = LabelWords.of(("yes", "no"), {"yes": "no", "no": "yes"})
    assert swapped.shown("If so, answer yes, else no.") == "If so, answer no, else yes."
    assert swapped.read("Yes.") == "no"


def test_names_change_nothing():
    text = "1. If so, answer  gender.\n\n   “Quoted” text"
    assert LabelWords.of(DOMAINS, "names").shown(text) == text
    assert LabelWords.of(DOMAINS, "letters").shown("a “quoted” race") == "a “quoted” race"


@pytest.mark.parametrize(
    ("said", "label"),
    [
        ("Yes", "Entailment"),
        ("**No**.", "Contradiction"),
        ("The answer is: unclear", "NotMentioned"),
        ("Entailment", None),
        ("Yes or Unclear", None),
    ],
)
def test_an_answer_is_read_in_the_words_alone(said, label):
    assert LabelWords.of(NLI, YES_NO).read(said) == label


@pytest.mark.parametrize(
    ("said", "label"), [("B", "profession"), ("b (profession)", "profession"), ("Race", "race")]
)
def test_beside_letters_the_names_are_read_too(said, label):
    assert LabelWords.of(DOMAINS, "letters").read(said) == label


def words_for(labels, words, *, like):
    """The words of another label set for these labels, or letters, if they are valid."""
    if like == "letters":
        return LabelWords.of(labels, "letters")
    assume(len(words) >= len(labels))
    chosen = dict(zip(labels, words, strict=False))
    assume(not any(BETWEEN in word for word in chosen.values()))
    assume(not variants(chosen.values()))
    try:
        return LabelWords.of(labels, chosen)
    except PLDError as error:
        # Some words cannot be told apart; that is said, and nothing else.
        assert "read back" in str(error)  # noqa: PT017
        assume(False)


@given(LABELS, LABELS, st.sampled_from(["letters", "words"]), st.data())
def test_each_word_is_read_as_its_label_and_each_rule_shows_it(labels, others, like, data):
    words = words_for(labels, others, like=like)
    label = data.draw(st.sampled_from(labels))
    word = words.by_label[label]

    assert words.read(word) == label
    rule = f"1. If it fits, answer {label}"
    # Where a label is read as itself in the rule, the rule has its word.
    if read_label(f"answer {label}", labels) == label:
        assert words.shown(rule) == f"1. If it fits, answer {word}"


@pytest.mark.parametrize(
    ("labels", "labels_as", "message"),
    [
        (NLI, {**YES_NO, "Entails": "Sure"}, "word for 'Entails', which is no label; did you mean"),
        (NLI, {"Entailment": "Yes", "Contradiction": "No"}, "no word for the label 'NotMentioned'"),
        (NLI, {**YES_NO, "NotMentioned": " yes"}, "'NotMentioned' as ' yes'"),
        (NLI, {**YES_NO, "NotMentioned": "YES"}, "'Entailment' and 'NotMentioned' alike, as 'Yes'"),
        (NLI, {**YES_NO, "NotMentioned": ""}, "'NotMentioned' as ''"),
        (NLI, {**YES_NO, "NotMentioned": "Un\nclear"}, "without outer spaces and line breaks"),
        (NLI, {**YES_NO, "NotMentioned": "Unclear / yes"}, "'Entailment' and 'NotMentioned' alike"),
        (NLI, {**YES_NO, "NotMentioned": "Unclear /  / Open"}, "'NotMentioned' as ''"),
        (NLI, {**YES_NO, "NotMentioned": "Open / open"}, "has 'Open' twice for 'NotMentioned'"),
        (tuple(f"label{n}" for n in range(27)), "letters", "27 labels for 26 letters"),
        (NLI, "numbers", "labels_as is 'numbers'; give 'names', 'letters'"),
    ],
)
def test_words_that_cannot_work_are_named_in_one_line(labels, labels_as, message):
    with pytest.raises(ConfigError) as caught:
        LabelWords.of(labels, labels_as)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


SEVERAL = LabelWords.of(
    ("q1", "q2", "q3"), {"q1": "job / career", "q2": "family member", "q3": "country / nationality"}
)


@pytest.mark.parametrize(
    ("said", "label"),
    [
        ("job", "q1"),
        ("Career.", "q1"),
        ("a nationality", "q3"),
        ("job / career", "q1"),
        ("a job or career", "q1"),
        ("job or country", None),
        ("q1", None),
        ("weather", None),
    ],
)
def test_each_of_several_words_is_read_as_the_label(said, label):
    assert SEVERAL.read(said) == label


def test_a_request_lists_all_words_and_rules_have_the_first_one():
    assert SEVERAL.choices == "job, career, family member, country, nationality"
    assert SEVERAL.shown("1. If it fits, answer q3.") == "1. If it fits, answer country."
    assert SEVERAL.by_label["q1"] == "job"


def test_a_label_given_its_own_name_has_one_word_whatever_is_in_it():
    words = LabelWords.of(("N / A", "yes"), {"N / A": "N / A", "yes": "right / true"})
    assert words.words == (("N / A",), ("right", "true"))
    assert (words.read("N / A"), words.read("true")) == ("N / A", "yes")
