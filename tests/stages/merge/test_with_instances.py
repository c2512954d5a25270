"""Rules with examples: which values are shown, and when none are."""

import dspy
import pytest

from pld_dspy.data.examples import example_id, make_example
from pld_dspy.stages.common.rule_text import make_rule, make_trace
from pld_dspy.stages.merge.with_instances import with_examples


class Kinds(dspy.Signature):
    """Name the kind."""

    target: str = dspy.InputField()
    sentence: str = dspy.InputField()
    kind: str = dspy.OutputField()


def example(target: str, kind: str, sentence: str = "this sentence has more than four words"):
    return make_example(
        {"target": target, "sentence": f"{sentence} {target}"},
        kind,
        input_keys=("target", "sentence"),
        label_key="kind",
    )


TARGETS = {"tree": ["oak", "elm", "oak"], "fish": ["cod"]}
EXAMPLES = [
    example(target, kind, f"number {i} of these long sentences")
    for kind, targets in TARGETS.items()
    for i, target in enumerate(targets)
]
TRACES = [
    make_trace(example_id(e), e["kind"], "because", f"If {i}, answer {e['kind']}.")
    for i, e in enumerate(EXAMPLES)
]
RULES = [
    make_rule("If it has leaves, answer tree.", TRACES[:3], origin="synthesis", cluster_id="k1"),
    make_rule("If it has gills, answer fish.", TRACES[3:], origin="synthesis"),
]


def test_the_commonest_values_of_the_short_fields_follow_the_rule():
    made = with_examples(RULES, TRACES, EXAMPLES, Kinds, count=4)

    assert [rule.text for rule in made] == [
        "If it has leaves, answer tree (for example: Target oak, elm).",
        "If it has gills, answer fish (for example: Target cod).",
    ]


def test_a_grounded_rule_keeps_the_evidence_and_names_its_parent():
    first = with_examples(RULES, TRACES, EXAMPLES, Kinds, count=4)[0]

    assert first.trace_ids == RULES[0].trace_ids
    assert first.labels == {"tree": 3}
    assert first.parents == (RULES[0].id,)
    assert first.cluster_id == "k1"
    assert first.id != RULES[0].id


def test_only_values_of_the_rules_own_evidence_are_shown():
    made = with_examples(RULES, TRACES, EXAMPLES, Kinds, count=4)

    assert "cod" not in made[0].text
    assert "oak" not in made[1].text


@pytest.mark.parametrize(("count", "shown"), [(1, "Target oak)"), (2, "Target oak, elm)")])
def test_no_more_values_than_asked_for(count, shown):
    assert shown in with_examples(RULES, TRACES, EXAMPLES, Kinds, count=count)[0].text


def test_none_are_made_if_switched_off():
    assert with_examples(RULES, TRACES, EXAMPLES, Kinds, count=0) == ()


def test_none_are_made_if_every_field_is_long():
    long = [example("one two three four five", "tree"), example("six", "fish")]

    assert with_examples(RULES, TRACES, long, Kinds, count=4) == ()


def test_a_rule_without_evidence_in_the_examples_is_left_out():
    made = with_examples(RULES, TRACES, EXAMPLES[:3], Kinds, count=4)

    assert [rule.parents for rule in made] == [(RULES[0].id,)]
