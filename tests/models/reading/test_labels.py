"""The one reader of labels: whatever signs, scripts and forms a label set has, each label is read."""

# ruff: noqa: RUF001 - labels of many scripts
import unicodedata

import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from label_sets import LABELS
from pld_dspy.models.reading.labels import clause, occurring, read_label
from pld_dspy.stages.common.rule_text import answers_of, contradicts, names_no_label, tidy_rule

SIGNS = ("-1", "0", "1")
DECIMALS = ("1", "1.5", "2")
C = ("C", "C#")
MOODS = ("积极", "消极", "中性")


@pytest.mark.parametrize(
    ("text", "labels", "label"),
    [
        ("**-1**", SIGNS, "-1"),
        ("-1.", SIGNS, "-1"),
        ("Answer: -1", SIGNS, "-1"),
        ("The answer is −1.", SIGNS, "-1"),
        ("- 1", ("0", "1"), "1"),
        ("**Answer:** -1", SIGNS, "-1"),
        ("-1", ("0", "1"), None),
        ("1.5", ("1", "2"), None),
        ("The answer is 1.5.", DECIMALS, "1.5"),
        ("1.", DECIMALS, "1"),
        ("4/5", ("4", "5"), "4"),
        ("`C#`", C, "C#"),
        ("`C`", C, "C"),
        ("I would use C++ here, answer C++.", ("C", "C++", "Java"), "C++"),
        ("C++", ("C", "Java"), None),
        ("**A**", ("A", "A*"), "A"),
        ("**A***", ("A", "A*"), "A*"),
        ("The answer is A-.", ("A", "A-", "A+"), "A-"),
        ("Paris, France.", ("Paris", "Paris, France"), "Paris, France"),
        ("I would say Paris, France here", ("Paris", "Paris, France"), "Paris, France"),
        ("The answer is US.", ("us", "US"), "US"),
        ("It is for us", ("us", "US"), None),
        ("I'd say Sci Tech", ("Sci/Tech", "World"), None),
        ("sci tech", ("Sci/Tech", "World"), "Sci/Tech"),
        ("答案：积极", MOODS, "积极"),
        ("积极", MOODS, "积极"),
        ("**积极**。", MOODS, "积极"),
        ("这句话的情感是积极的。", MOODS, "积极"),
        ("不积极", MOODS, None),
        ("不是积极，而是中性", MOODS, "中性"),
        ("答案是否", ("是", "否"), "否"),
        ("这是一个问题", ("是", "否"), None),
        ("答えは中性です", MOODS, "中性"),
        ("정답은 긍정입니다", ("긍정", "부정"), "긍정"),
        ("الإجابة: إيجابي.", ("إيجابي", "سلبي"), "إيجابي"),
        ("الإجابة هي سلبي", ("إيجابي", "سلبي"), "سلبي"),
        ("Antwort: ja", ("ja", "nein"), "ja"),
        ("La respuesta es sí.", ("sí", "no"), "sí"),
        ("👍🏽", ("👍", "👎"), None),
        ("I choose 👍 here", ("👍", "👎"), "👍"),
        ("👍🏽!", ("👍", "👍🏽"), "👍🏽"),
        ("❤", ("❤️", "💔"), "❤️"),
        ("not very positive", ("positive", "very positive"), None),
        ("non-positive", ("positive", "negative"), None),
        ("race+gender", ("race", "gender"), None),
        ('{"label": "race"}', ("race", "gender"), "race"),
        ("```\nrace\n```", ("race", "gender"), "race"),
        ("```json\nrace\n```", ("race", "gender"), "race"),
        ("---", ("-", "+"), None),
        ("Answer: -", ("-", "+"), "-"),
    ],
)
def test_signs_and_scripts(text, labels, label):
    assert read_label(text, labels) == label


@pytest.mark.parametrize("form", ["NFC", "NFD", "NFKC", "NFKD"])
@pytest.mark.parametrize("label", ["été", "naïve café", "ﬁne", "한국어", "①st"])
def test_every_normal_form_of_a_label_is_the_label(label, form):
    labels = (label, "other")
    text = unicodedata.normalize(form, label)
    assert read_label(text, labels) == label
    assert read_label(f"Answer: {text}.", labels) == label
    assert read_label(f"I would say {text} here", labels) == label


def test_labels_that_only_a_normal_form_tells_apart_stay_apart():
    labels = ("①", "1", "x²", "x2")
    for label in labels:
        assert read_label(f"Answer: {label}.", labels) == label
    pair = tuple(unicodedata.normalize(form, "é") for form in ("NFC", "NFD"))
    assert [read_label(label, pair) for label in pair] == list(pair)


@pytest.mark.parametrize(
    ("text", "label"),
    [
        ("<think> it could be negative, or rather", None),
        ("<think>it is negative</think>positive", "positive"),
        ("<think>it is negative</think>\n\nAnswer: positive", "positive"),
        ("<thinking>negative", None),
        ("negative? no.</think>positive", "positive"),
        ("<think>a<think>negative</think>negative</think>positive", "positive"),
        ("[THINK]negative[/THINK]positive", "positive"),
        ("◁think▷negative◁/think▷positive", "positive"),
        ("<|channel|>analysis<|message|>negative", None),
        (
            "<|channel|>analysis<|message|>negative<|end|><|start|>assistant<|channel|>final<|message|>positive",
            "positive",
        ),
        ("<think></think>", None),
    ],
)
def test_a_thought_is_not_an_answer(text, label):
    assert read_label(text, ("positive", "negative")) == label


FORMS = (
    "{}", '"{}"', "'{}'", "“{}”", "**{}**", "`{}`", "{}.", "**{}**.", "`{}`.", '"{}."',
    "Answer: {}", "answer: {}.", "**Answer:** {}", "Answer: **{}**", "答案：{}", "Réponse : {}.",
    "The answer is {}.", "The correct answer is: **{}**", "{}\n\nThat is what the text says.", "Let me see.\n\n{}",
    "<think>It may be {}, or not.</think>{}", "```\n{}\n```",
)  # fmt: skip


def same_but_for_form(text, other):
    """Whether the two could be each other's forms: then a text may be either label."""

    def bare(value):
        return unicodedata.normalize("NFKC", value).strip("*_`\"'“”. ")

    return bare(text) == bare(other)


@settings(deadline=None, max_examples=120)
@given(LABELS)
@example(("-1", "0", "1"))
@example(("C", "C#"))
@example(("A", "A*"))
@example(("U.S.", "U.S"))
@example(("1", "3:1"))
def test_every_label_of_a_set_is_read_in_every_form(labels):
    # In a set with labels that only their Unicode form tells apart, answers are read sign by sign, and
    # typographic quotes and colons stay what they are.
    assume(len({unicodedata.normalize("NFKC", label) for label in labels}) == len(labels))
    for label in labels:
        for form in FORMS:
            text = form.format(label, label)
            others = [other for other in labels if other != label]
            if any(
                same_but_for_form(other, text) or same_but_for_form(other, label)
                for other in others
            ):
                continue  # `U.S` with a full stop is `U.S.`
            assert read_label(text, labels) == label, (text, labels)
        assert read_label(label, labels) == label


@settings(deadline=None, max_examples=120)
@given(
    LABELS,
    st.sampled_from(
        ("If so, answer {}.", "If it is cold, the answer is {}.", "**If** so, answer {}")
    ),
)
def test_a_rule_that_says_its_label_does_not_contradict_it(labels, form):
    for label in labels:
        if any(same_but_for_form(other, label) for other in labels if other != label):
            continue
        rule = tidy_rule(form.format(label))
        assert answers_of(rule, labels) == {label}, rule
        assert not contradicts(rule, label, labels)
        assert not names_no_label(rule, labels)


@given(LABELS, st.text(max_size=40))
def test_what_is_read_is_a_label(labels, text):
    assert read_label(text, labels) in {None, *labels}


@given(
    st.lists(
        st.text(min_size=1, max_size=8).map(str.strip).filter(bool),
        min_size=2,
        max_size=5,
        unique=True,
    )
)
def test_a_bare_label_is_always_itself(labels):
    for label in labels:
        assert read_label(label, labels) == label


def test_labels_that_differ_in_a_space_leave_the_others_readable():
    labels = ("red", "red ", "Red", "blue")
    assert [read_label(label, labels) for label in labels] == ["red", "red", "Red", "blue"]
    assert read_label("Answer: **blue**.", labels) == "blue"


def test_a_clause_ends_where_no_label_goes_on():
    assert clause("1.5, but not 2.", DECIMALS) == "1.5"
    assert clause("e.g. or U.S.; no", ("e.g.", "U.S.")) == "e.g. or U.S."
    assert clause("red. Then green.", ("red", "green")) == "red"
    assert clause("no stop at all", ("red",)) == "no stop at all"


def test_labels_that_occur_are_in_the_order_of_the_text():
    assert occurring("2 or 1.5 but not 1", DECIMALS) == ("2", "1.5", "1")
    assert occurring("-1", ("1", "-1")) == ("-1",)
    assert occurring("nothing", DECIMALS) == ()


def test_the_issues_rule_is_kept():
    assert answers_of("If so, answer 1.5.", DECIMALS) == {"1.5"}
    assert not contradicts("If so, answer 1.5.", "1.5", DECIMALS)
    assert contradicts("If so, answer 1.5.", "1", DECIMALS)
