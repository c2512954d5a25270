"""A decision as `logit_bias`: greedy decoding with it says what the decision decides."""

import math

import dspy
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fakes import fake_lm
from pld_dspy import DirectStudent
from pld_dspy.errors import ConfigError
from pld_dspy.records import Decision
from pld_dspy.records.decision import LIFT

LABELS = ("red", "green", "blue")
WORDS = {label: (label,) for label in LABELS}
OFFSETS = st.fixed_dictionaries({label: st.floats(-5, 5) for label in LABELS})


def letters(text):
    """A tokenizer with a token for each character; a space joins the letter after it."""
    joined = text[:2] if text.startswith(" ") else text[:1]
    return [
        sum(ord(c) * 256**place for place, c in enumerate(joined)),
        *map(ord, text[len(joined) :]),
    ]


@given(
    OFFSETS,
    st.floats(0.05, 3),
    st.fixed_dictionaries({label: st.floats(1e-5, 1) for label in LABELS}),
)
def test_the_most_probable_token_is_the_label_that_the_decision_chooses(offsets, temperature, mass):
    decision = Decision(kind="offsets", offsets=offsets, temperature=temperature)
    bias = decision.logit_bias(WORDS, letters)
    total = sum(mass.values())
    shares = {label: part / total for label, part in mass.items()}
    scores = {label: math.log(shares[label]) + bias[letters(label)[0]] for label in LABELS}
    chosen = decision.choose(shares)
    # Biases are rounded, so equals may change places.
    assert scores[chosen] >= max(scores.values()) - 0.01


def test_every_spelling_of_a_label_has_its_bias_and_others_have_none():
    decision = Decision(kind="offsets", offsets={"red": 1.0}, temperature=0.5)
    bias = decision.logit_bias(WORDS, letters)
    reds = {letters(text)[0] for text in ("red", " red", "Red", " Red")}

    assert {token for token, value in bias.items() if value == LIFT + 0.5} == reds
    assert len(bias) == 4 * len(LABELS)


def test_each_topic_has_its_own_bias():
    decision = Decision(
        kind="offsets by topic", topic_field="kind", topic_offsets={"tax": {"red": 2.0}}
    )
    red = letters("red")[0]

    assert decision.logit_bias(WORDS, letters, topic="tax")[red] == LIFT + 2
    assert decision.logit_bias(WORDS, letters, topic="new")[red] == LIFT


def test_labels_that_begin_alike_are_refused():
    decision = Decision(kind="offsets", offsets={"red": 1.0})

    with pytest.raises(ConfigError, match="'red' and 'rose' begin with the same token"):
        decision.logit_bias({"red": ("red",), "rose": ("rose",)}, letters)


def test_a_label_with_several_words_is_refused():
    decision = Decision(kind="offsets", offsets={"red": 1.0})

    with pytest.raises(ConfigError, match=r"'red' has several words \(rose, ruby\)"):
        decision.logit_bias({"red": ("rose", "ruby"), "blue": ("sky",)}, letters)


def test_a_bias_beyond_what_endpoints_take_is_refused():
    decision = Decision(kind="offsets", offsets={"red": 90.0})

    with pytest.raises(ConfigError, match=r"the bias of 'red' is 120, .* at most 100"):
        decision.logit_bias(WORDS, letters)


def test_a_student_gives_the_bias_of_the_words_that_it_is_shown():
    task = dspy.Signature("text -> colour: Literal['red', 'blue']", "Name the colour.")
    decision = Decision(kind="mean", offsets={"red": -0.5, "blue": 0.5})
    student = DirectStudent(task, labels_as={"red": "warm", "blue": "cold"}, decision=decision)
    bias = student.logit_bias(letters)

    assert (bias[letters("warm")[0]], bias[letters("cold")[0]]) == (LIFT - 0.5, LIFT + 0.5)
    assert student.deciding(None).logit_bias(letters) == {}


def test_the_tokens_of_a_hosted_model_have_to_be_given():
    task = dspy.Signature("text -> colour: Literal['red', 'blue']", "Name the colour.")
    student = DirectStudent(task, decision=Decision(kind="mean", offsets={"red": 1.0}))
    student.set_lm(fake_lm(lambda prompt: "red"))

    with pytest.raises(ConfigError, match=r"the tokens of fake/lm are not known here; give"):
        student.logit_bias()
