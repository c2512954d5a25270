"""Ordered rule lists, and edits that change only what they name."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pld_dspy.records import Edit
from pld_dspy.stages.common.rule_text import make_rule, make_trace
from pld_dspy.stages.common.topics import scoped
from pld_dspy.stages.refine.edits import apply_edit, parse_edits
from pld_dspy.stages.search.space import ORDERS, ordered

LABELS = ("red", "green", "blue")


def trace(n, label):
    return make_trace(f"example {n}", label, "why", f"If it is {n}, answer {label}.")


TRACES = [trace(n, LABELS[n % 3]) for n in range(12)]


def rule(text, traces=TRACES[:1], **settings):
    return make_rule(text, traces, **{"origin": "synthesis", **settings})


RULES = [rule(f"If {name}, answer {LABELS[n % 3]}.", [TRACES[n]]) for n, name in enumerate("abcd")]


def parse(text, *, rules=RULES, evidence=TRACES[4:6], **settings):
    return parse_edits(text, rules, evidence=evidence, labels=LABELS, **settings)


@pytest.mark.parametrize(
    ("line", "action", "targets", "texts"),
    [
        ("ADD: If x, answer red", "add", [], ["If x, answer red."]),
        ("ADD If x, answer red.", "add", [], ["If x, answer red."]),
        ("  - add: If x, answer red.", "add", [], ["If x, answer red."]),
        ("1. **ADD:** If x, answer red.", "add", [], ["If x, answer red."]),
        ("ADD: 3 dogs, answer red", "add", [], ["3 dogs, answer red."]),
        ("ADD: If x, answer red || If y, answer blue", "add", [], ["If x, answer red.", "If y, answer blue."]),
        ("MODIFY R2: If x, answer green", "modify", [2], ["If x, answer green."]),
        ("modify r2 If x, answer green", "modify", [2], ["If x, answer green."]),
        ("MODIFY 2: If 4 or more, answer red", "modify", [2], ["If 4 or more, answer red."]),
        ("SPLIT R2: If x, answer red || If y, answer blue", "split", [2], ["If x, answer red.", "If y, answer blue."]),
        ("SPLIT R2: If x || If y || If z", "split", [2], ["If x.", "If y.", "If z."]),
        ("MERGE R1 R3: If x, answer red", "merge", [1, 3], ["If x, answer red."]),
        ("MERGE R3, R1 and R4: If x, answer red", "merge", [3, 1, 4], ["If x, answer red."]),
        ("DELETE R4", "delete", [4], []),
        ("DELETE R1, R2 and R3", "delete", [1, 2, 3], []),
        ("* DELETE R4:", "delete", [4], []),
        ("DELETE R4.", "delete", [4], []),
        ("DELETE R4: it is redundant.", "delete", [4], []),
        ("DELETE R4 because it is wrong", "delete", [4], []),
        ("**ADD**: If x, answer red", "add", [], ["If x, answer red."]),
        ("ADD: If x, answer red || If x, answer red", "add", [], ["If x, answer red."]),
    ],
)  # fmt: skip
def test_edits_are_read(line, action, targets, texts):
    (edit,), unreadable = parse(line, reason="the cause")

    assert (edit.action, unreadable) == (action, 0)
    assert edit.targets == tuple(RULES[n - 1].id for n in targets)
    assert [added.text for added in edit.added] == texts
    assert (edit.reason, edit.accepted, edit.delta) == ("the cause", None, None)
    for added in edit.added:
        assert added.origin == "refine"
        assert added.parents == edit.targets
        assert added.support == sum(added.labels.values()) > 0


@pytest.mark.parametrize(
    "line",
    [
        "ADD:",
        "ADD: ||",
        "ADD: -",
        "SPLIT R2: If x, answer red || If x, answer red",  # into one part, said twice
        "ADD R2: If x, answer red",  # an addition names no rule
        "MODIFY: If x, answer red",
        "MODIFY R2",
        "MODIFY R1 R2: If x",
        "MODIFY R5: If x",  # there are four rules
        "MODIFY R0: If x",
        "MODIFY Rule 2: If x",
        "SPLIT R2: If x, answer red",  # into one part
        "SPLIT R1 R2: If x || If y",
        "MERGE R1: If x",
        "MERGE R1 R1: If x",
        "MERGE R1 R9: If x",
        "MERGE R1 R2",
        "DELETE",
        "DELETE R4 and R5",
        "REPLACE R2: If x",
        "If x, answer red.",
        "none",
        "R2: If x, answer red.",
        "ADD: If x, answer strawberry",  # which is no label
        "SPLIT R2: If x, answer red || If y, answer strawberry",
    ],
)
def test_other_lines_are_counted_as_unreadable(line):
    assert parse(line) == ((), 1)


def test_empty_answers_hold_no_edit():
    assert parse("") == parse("\n \n") == ((), 0)


def test_lines_are_read_one_by_one_and_edits_beyond_the_limit_are_left_out():
    text = "I would say:\n\nDELETE R1\nMODIFY R9: If x\nADD: If y, answer red\nDELETE R2\nDELETE R3"
    edits, unreadable = parse(text, limit=3)

    assert [e.action for e in edits] == ["delete", "add", "delete"]
    assert edits[2].targets == (RULES[1].id,)
    assert unreadable == 2


def test_a_new_rule_rests_on_the_failures_and_the_rules_it_replaces_unless_it_says_another_answer():
    # TRACES[0] and [3] are red, [1] is green, [4] green, [5] blue.
    (merged,), _ = parse("MERGE R1 R2: If x, answer red", evidence=[TRACES[3], TRACES[5]])
    assert merged.added[0].trace_ids == (TRACES[0].id, TRACES[3].id)
    assert merged.added[0].labels == {"red": 2}
    (added,), _ = parse("ADD: If x, answer green")
    assert added.added[0].trace_ids == (TRACES[4].id,)
    (vague,), _ = parse("MODIFY R2: If x, think twice")
    assert vague.added[0].trace_ids == (TRACES[1].id, TRACES[4].id, TRACES[5].id)
    # Nothing supports it: it still tells where it came from.
    (unfounded,), _ = parse("ADD: If x, answer red")
    assert unfounded.added[0].trace_ids == (TRACES[4].id, TRACES[5].id)


def edit(action, targets, texts):
    added = tuple(rule(text, origin="refine") for text in texts)
    return Edit(action=action, targets=tuple(r.id for r in targets), added=added)


def texts_after(rules, change):
    changed = apply_edit(rules, change)
    return None if changed is None else [r.text for r in changed]


def test_what_comes_in_takes_the_place_of_the_first_that_goes():
    a, b, c, d = RULES
    texts = [r.text for r in RULES]

    assert texts_after(RULES, edit("add", [], ["x"])) == [*texts, "x"]
    assert texts_after(RULES, edit("modify", [b], ["x"])) == [texts[0], "x", *texts[2:]]
    assert texts_after(RULES, edit("split", [b], ["x", "y"])) == [texts[0], "x", "y", *texts[2:]]
    assert texts_after(RULES, edit("merge", [d, b], ["x"])) == [texts[0], "x", texts[2]]
    assert texts_after(RULES, edit("delete", [a, c], [])) == [texts[1], texts[3]]


def test_an_edit_that_names_a_missing_rule_or_changes_nothing_is_none():
    gone = rule("If it is gone, answer red.")

    assert apply_edit(RULES, edit("modify", [gone], ["x"])) is None
    assert apply_edit(RULES, edit("merge", [RULES[0], gone], ["x"])) is None
    assert apply_edit(RULES, edit("add", [], [RULES[2].text])) is None
    assert apply_edit(RULES, edit("modify", [RULES[1]], [RULES[1].text])) is None


NAMES = st.text(alphabet="abcdefgh", min_size=1, max_size=2)
LISTS = st.lists(NAMES, min_size=1, max_size=8, unique=True).map(lambda ns: [rule(n) for n in ns])


@st.composite
def lists_and_edits(draw):
    rules = draw(LISTS)
    strangers = [rule(name) for name in draw(st.lists(NAMES, max_size=2))]
    named = st.sampled_from([*rules, *strangers])
    targets = draw(st.lists(named, max_size=3, unique_by=lambda r: r.id))
    action = draw(st.sampled_from(["add", "modify", "split", "merge", "delete"]))
    return rules, edit(action, targets, draw(st.lists(NAMES, max_size=3, unique=True)))


@given(lists_and_edits())
def test_rules_that_an_edit_does_not_name_keep_their_text_and_their_order(case):
    rules, change = case
    before = list(rules)
    changed = apply_edit(rules, change)

    assert rules == before
    if changed is None:
        return
    ids = [r.id for r in rules]
    assert set(change.targets) <= set(ids)
    assert [r.text for r in changed] != [r.text for r in rules]
    kept = [r for r in rules if r.id not in change.targets]
    assert [r for r in changed if r in kept] == kept
    assert all(r in kept or r in change.added for r in changed)
    assert len({r.text for r in changed}) == len(changed)
    places = [i for i, r in enumerate(changed) if r not in kept]
    # What comes in stands together.
    assert places == list(range(len(places) and places[0], len(places) and places[-1] + 1))


@given(st.text(max_size=80), LISTS)
def test_no_text_makes_an_edit_of_rules_that_are_not_there(text, rules):
    for change in parse(text, rules=rules).edits:
        assert set(change.targets) <= {r.id for r in rules}
        apply_edit(rules, change)


@given(
    st.lists(
        st.sampled_from(["ADD", "MODIFY", "SPLIT", "MERGE", "DELETE", "R1", "R2", "R9", ":", "||"]),
        max_size=7,
    ).map(" ".join),
    LISTS,
)
def test_no_mixture_of_the_edit_words_breaks_the_reading(text, rules):
    for change in parse(text, rules=rules).edits:
        assert set(change.targets) <= {r.id for r in rules}
        changed = apply_edit(rules, change)
        assert changed is None or isinstance(changed, tuple)


def pool():
    """Rules of three kinds: of a label, of a cluster, and an exception."""
    return [
        rule("If general, answer red.", TRACES[0::3]),
        rule("If a cluster of green, answer green.", TRACES[1::3][:3], cluster_id="k1"),
        rule("If a cluster of blue, answer blue.", TRACES[2::3][:2], cluster_id="k2"),
        rule("If odd, answer red.", TRACES[0:1], cluster_id="k1", origin="micro"),
        rule("If so, answer blue.", TRACES[5:6]),
    ]


def test_each_order_puts_first_what_it_promises():
    rules = pool()
    by = {order: [r.text.split(",")[0] for r in ordered(rules, order)] for order in ORDERS}

    assert by["support"][:3] == ["If general", "If a cluster of green", "If a cluster of blue"]
    assert by["reverse"] == by["support"][::-1]
    lengths = [len(r.text) for r in ordered(rules, "short first")]
    assert lengths == sorted(lengths)
    assert by["general first"][:2] == ["If general", "If so"]
    assert by["general first"][-1] == "If odd"
    labels = [r.main_label for r in ordered(rules, "label")]
    assert labels == ["blue", "green", "red", "blue", "red"]


@given(st.integers(0, 1000), st.sampled_from(ORDERS))
def test_an_order_depends_on_the_rules_alone(seed, order):
    rules = pool()
    mixed = random.Random(seed).sample(rules, len(rules))

    assert ordered(mixed, order) == ordered(rules, order)
    assert sorted(r.id for r in ordered(mixed, order)) == sorted(r.id for r in rules)


@pytest.mark.parametrize(
    ("line", "scope"),
    [
        ("MODIFY R1: If x, answer red", "old"),
        ("MODIFY R1: If x, answer red (only for: old).", "old"),
        ("MERGE R1 R2: If x, answer red", "old"),
        ("MERGE R1 R3: If x, answer red", None),  # two topics
        ("MODIFY R4: If x, answer red", None),
        ("ADD: If x, answer red", None),
    ],
)
def test_an_edit_stays_in_the_topic_of_the_rules_that_it_replaces(line, scope):
    topics = ("old", "old", "new", None)
    rules = [scoped(one, topic) for one, topic in zip(RULES, topics, strict=True)]
    [edit] = parse(line, rules=rules).edits

    assert [(r.text, r.scope) for r in edit.added] == [("If x, answer red.", scope)]


def test_rules_that_were_given_can_be_edited_without_evidence():
    bare = [make_rule(one.text, (), origin="initial") for one in RULES]
    [edit] = parse("MERGE R1 R2: If x, answer red", rules=bare, evidence=()).edits

    assert edit.added[0].trace_ids == ()
    assert edit.added[0].main_label == ""
