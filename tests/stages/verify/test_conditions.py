"""What a rule's condition and answer are read from."""

import pytest

from pld_dspy.stages.common.rule_text import make_rule, make_trace
from pld_dspy.stages.verify.conditions import stated

LABELS = ("red", "green", "blue")
TRACE = make_trace("e1", "blue", "w", "x")


@pytest.mark.parametrize(
    ("text", "condition", "answer"),
    [
        ("If it is warm, answer red.", "it is warm", "red"),
        ("If it is warm then answer red.", "it is warm", "red"),
        ("When it is warm or hot, choose red.", "it is warm or hot", "blue"),
        ("If the text asks for an answer, answer red.", "the text asks for an answer", "red"),
        ("If it is warm (for example: Text a, b), answer red.",
         "it is warm (for example: Text a, b)", "red"),
        ("If it is warm, answer red (for example: Text a, b).", "it is warm", "red"),
        ("If it is warm, answer red. If it is hot, answer red.", "it is warm; or it is hot", "red"),
        ("Answer red if it is warm.", "it is warm", "red"),
        ("Otherwise answer green.", "", "green"),
        ("In all other cases, answer green.", "", "green"),
        ("Always answer green.", "", "green"),
    ],
)  # fmt: skip
def test_condition_and_answer_are_read(text, condition, answer):
    assert stated(make_rule(text, [TRACE], origin="synthesis"), LABELS) == (condition, answer)


@pytest.mark.parametrize(
    "text",
    [
        "If it is warm, answer red; otherwise answer green.",
        "If it is warm, answer red. If it is cold, answer blue.",
        "Answer red unless it is cold.",
        "Warm things are red.",
    ],
)
def test_a_rule_of_another_form_is_not_judged(text):
    assert stated(make_rule(text, [TRACE], origin="synthesis"), LABELS) is None


@pytest.mark.parametrize("whole", ["the sentence", "This example", "the given input", "the text"])
def test_rules_that_differ_in_the_name_of_the_whole_input_have_one_condition(whole):
    rule = make_rule(f"If {whole} is about rain, answer red.", [TRACE], origin="synthesis")

    assert stated(rule, LABELS).condition == "the text is about rain"


def test_a_sentence_of_the_input_is_not_the_whole_input():
    rule = make_rule("If the sentences rhyme, answer red.", [TRACE], origin="synthesis")

    assert stated(rule, LABELS).condition == "the sentences rhyme"
