from collections import Counter

import dspy
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pld_dspy import DirectStudent
from pld_dspy.config.optimizer import TopicsConfig
from pld_dspy.models.topics import from_state, to_state, topic_of
from pld_dspy.records import Rule
from pld_dspy.stages.common.prompt import make_candidate
from pld_dspy.stages.common.topics import by_topic, find_topics, scoped

Task = dspy.Signature("kind, text -> label: Literal['a', 'b']", "Choose.")
STUDENT = DirectStudent(Task)


def rows(kinds):
    return [
        dspy.Example(kind=kind, text=f"text {n}", label="ab"[n % 2]).with_inputs("kind", "text")
        for n, kind in enumerate(kinds)
    ]


def rule(number, scope=None):
    made = Rule(
        id=f"r{number}",
        text=f"If {number}, answer a.",
        trace_ids=("t",),
        labels={"a": 1},
        origin="synthesis",
    )
    return scoped(made, scope)


def topics_of(kinds, **settings):
    return find_topics(TopicsConfig(**{"by": "kind", **settings}), STUDENT, Task, rows(kinds))


def made(rules, topics, show="topic"):
    return by_topic(make_candidate("Choose.", rules, origin="search"), "Choose.", topics, show=show)


@given(st.lists(st.sampled_from("vwxyz"), min_size=1, max_size=40), st.integers(1, 4))
def test_topics_with_enough_examples_have_rules_of_their_own(kinds, least):
    counts = Counter(kinds)
    if max(counts.values()) < least:
        with pytest.raises(ValueError, match="none of its"):
            topics_of(kinds, min_examples=least)
        return
    topics = topics_of(kinds, min_examples=least)

    assert set(topics.own) == {kind for kind, count in counts.items() if count >= least}
    assert set(topics.few) == counts.keys() - set(topics.own)


@pytest.mark.parametrize(
    ("kinds", "found"),
    [
        ("vw" * 4, True),
        ("v" * 8, False),  # one value says nothing
        ("vwxy" * 3, False),  # three of each
        ("vwxy" * 4, True),
        ("v" * 20 + "wx", False),  # two of three values occur once
        ([str(n // 4) for n in range(200)], True),
        ([str(n // 4) for n in range(204)], False),  # 51 values
    ],
)
def test_auto_takes_a_field_with_few_values_and_enough_examples_of_each(kinds, found):
    topics = topics_of(kinds, by="auto")

    assert (topics is not None) == found
    assert not found or topics.field == "kind"


def test_topics_of_validation_that_training_lacks_are_counted_and_known():
    topics = find_topics(TopicsConfig(by="kind"), STUDENT, Task, rows("vvww"), rows("vxxy"))

    assert topics.unseen == 3
    assert topics.known == set("vwxy")
    assert topics.own == ("v", "w")


@given(
    st.lists(st.tuples(st.integers(0, 9), st.sampled_from([None, "v", "w"])), max_size=12),
    st.sampled_from(["topic", "all"]),
)
def test_each_topic_is_shown_the_general_rules_and_its_own_in_list_order(numbers, show):
    rules = [rule(*pair) for pair in dict.fromkeys(numbers)]
    topics = topics_of("vvwwx")
    candidate = made(rules, topics, show)

    assert Counter(r.id for r in candidate.rules) == Counter(r.id for r in rules)
    for number, one in enumerate(candidate.rules, 1):
        assert f"\n{number}. {one.text}" in candidate.prompt
    if show == "all" or all(r.scope is None for r in rules):
        assert candidate.topics is None
        return
    for topic in "vwx":
        expected = [r for r in candidate.rules if r.scope in {None, topic}]
        shown = candidate.topics.prompts[topic]
        assert candidate.topics.rules[topic] == tuple(r.id for r in expected)
        assert shown.count("\n") == (len(expected) + 2 if expected else 0)
        assert [shown.index(f"\n{n}. {r.text}") for n, r in enumerate(expected, 1)] == sorted(
            shown.index(f"\n{n}. {r.text}") for n, r in enumerate(expected, 1)
        )
    assert candidate.topics.general_rules == tuple(r.id for r in candidate.rules if r.scope is None)


def test_the_same_rules_shown_otherwise_are_another_candidate():
    topics, rules = topics_of("vvww"), [rule(1), rule(2, "v")]
    ids = [made(rules, topics).id, made(rules, topics, "all").id, made(rules[:1], topics).id]

    assert len(set(ids)) == 3
    assert made(rules[:1], topics) == make_candidate("Choose.", rules[:1], origin="search")


def test_the_document_of_a_small_list():
    topics = topics_of("vvww")
    first = made([rule(1), rule(2, "v"), rule(3, "w"), rule(4, "v")], topics)
    last = made([rule(2, "v"), rule(1)], topics)

    assert first.prompt.splitlines() == [
        "Choose.",
        "",
        "Rules:",
        "1. If 1, answer a.",
        "",
        "Only if Kind is: v",
        "2. If 2, answer a.",
        "3. If 4, answer a.",
        "",
        "Only if Kind is: w",
        "4. If 3, answer a.",
    ]
    assert last.prompt.splitlines()[2:] == [
        "Rules:",
        "Only if Kind is: v",
        "1. If 2, answer a.",
        "",
        "Always:",
        "2. If 1, answer a.",
    ]


def test_the_same_text_in_two_topics_is_two_rules():
    assert rule(1).id == "r1"
    assert len({rule(1).id, rule(1, "v").id, rule(1, "w").id}) == 3


def test_the_topic_is_the_text_of_the_value():
    assert topic_of("kind", {"kind": "a  long\nvalue "}) == "a long value"
    assert topic_of("kind", {"kind": 3}) == "3"
    assert topic_of("kind", {"text": "x"}) == ""


def test_prompts_by_topic_survive_json():
    import json

    topics = made([rule(1), rule(2, "v")], topics_of("vvww")).topics

    assert from_state(json.loads(json.dumps(to_state(topics)))) == topics
