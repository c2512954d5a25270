"""What a model thinks, and what it fences, is no part of its answer."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pld_dspy.models.reading.thoughts import answer_part
from pld_dspy.stages.common.rule_text import tidy_rule

PLAIN = st.text(st.characters(exclude_characters="<>[]◁▷|`~", exclude_categories=("Cs",)))
TAGS = st.sampled_from(
    [
        ("<think>", "</think>"),
        ("<Thinking>", "</Thinking>"),
        ("[THINK]", "[/THINK]"),
        ("◁think▷", "◁/think▷"),
    ]
)


@given(PLAIN, PLAIN, TAGS)
def test_a_thought_is_cut_out_wherever_it_begins_and_ends(thought, answer, tags):
    opening, closing = tags
    said = answer.strip()
    assert answer_part(f"{opening}{thought}{closing}{answer}") == said
    assert answer_part(f"{thought}{closing}{answer}") == said
    assert answer_part(f"{answer}\n{opening}{thought}") == said
    assert answer_part(f"{opening}{thought}") == ""
    assert answer_part(f"{opening}{thought}{opening}{thought}{closing}{closing}{answer}") == said


@given(PLAIN)
def test_what_has_no_thought_stays(text):
    assert answer_part(text) == text.strip()


@pytest.mark.parametrize("fence", ["```", "~~~", "```text", "``` json "])
def test_the_lines_of_a_fence_go(fence):
    assert answer_part(f"{fence}\nIf so, answer red.\n{fence[:3]}") == "If so, answer red."


def test_a_fence_inside_a_line_stays():
    assert answer_part("use ```x``` here") == "use ```x``` here"


def test_a_channel_of_thought_is_cut_out():
    text = "<|channel|>analysis<|message|>hm<|end|><|start|>assistant<|channel|>final<|message|>red<|return|>"
    assert answer_part(text) == "red"


def test_a_recorded_rule_has_no_thought():
    assert (
        tidy_rule("<think>If it is a draft</think>```\nIf so, answer red\n```")
        == "If so, answer red."
    )
    assert tidy_rule("<think>If it is a draft, answer red.") == ""
