"""Prompts of the teacher in place of the built-in ones."""

import dspy
import pytest

from pld_dspy.errors import ConfigError
from pld_dspy.models.prompts import ExplainExample, MergeRules, Prompts, resolve_prompts


class ShortMerge(dspy.Signature):
    """Merge them."""

    notes: str = dspy.InputField()
    rule: str = dspy.OutputField()
    exception: str = dspy.OutputField()


class WithoutException(dspy.Signature):
    """Merge them."""

    notes: str = dspy.InputField()
    rule: str = dspy.OutputField()


class WithTitle(ShortMerge):
    """Merge them."""

    title: str = dspy.InputField()


def test_the_built_in_prompts_are_the_default():
    assert resolve_prompts(None) == Prompts() == resolve_prompts({})
    assert Prompts().explain is ExplainExample


def test_a_text_takes_the_place_of_the_instructions_alone():
    changed = resolve_prompts({"merge": "Merge the notes."})

    assert changed.merge.instructions == "Merge the notes."
    assert changed.merge.fields.keys() == MergeRules.fields.keys()
    assert changed.explain is ExplainExample
    assert MergeRules.instructions.startswith("You write the rulebook")


def test_a_signature_may_leave_inputs_out():
    given = Prompts(merge=ShortMerge)

    assert resolve_prompts(given) is given
    assert given.merge is ShortMerge


@pytest.mark.parametrize(
    ("given", "match"),
    [
        ({"merg": "x"}, "no prompt is called 'merg'; did you mean 'merge'"),
        ({"merge": "  "}, "the prompt 'merge' is empty"),
        ({"merge": 3}, "the prompt 'merge' is 3 of type int; give a dspy.Signature or a text"),
        ({"merge": WithoutException}, r"missing: \['exception'\], unknown: \[\]"),
        ({"merge": WithTitle}, r"missing: \[\], unknown: \['title'\]"),
        ("Merge the notes.", "prompts is 'Merge the notes.' of type str; give Prompts"),
    ],
)
def test_unusable_prompts_are_refused_in_one_line(given, match):
    with pytest.raises(ConfigError, match=match) as caught:
        resolve_prompts(given)
    assert "\n" not in str(caught.value)
