"""Answers without a language model."""

import dspy

from pld_dspy.scoring.references import majority, reference_answers

KEYS = {"keys": ["text"], "label_key": "label", "labels": ["red", "grey"]}


def examples(*rows):
    return [dspy.Example(text=text, label=label).with_inputs("text") for text, label in rows]


LABELLED = examples(
    ("a fire burns", "red"),
    ("the stone lies", "grey"),
    ("fire and flame", "red"),
    ("a grey stone", "grey"),
    ("one more fire", "red"),
)


def test_words_that_tell_the_labels_apart_are_learned():
    said = reference_answers(LABELLED, examples(("big fire", "red"), ("big stone", "grey")), **KEYS)
    assert said == {"bag of words": ["red", "grey"], "majority": ["red", "red"]}


def test_the_first_of_equal_majorities_is_taken():
    even = LABELLED[:4]
    assert majority(even, "label", ["red", "grey"]) == "red"
    assert majority(even, "label", ["grey", "red"]) == "grey"


def test_a_missing_input_is_an_empty_text():
    bare = [dspy.Example(label="red").with_inputs()]
    assert reference_answers(LABELLED, bare, **KEYS)["majority"] == ["red"]
