"""The list of drafts that cover the judged examples best."""

from dataclasses import replace
from itertools import combinations

from hypothesis import given
from hypothesis import strategies as st

from pld_dspy.stages.common.rule_text import make_rule, make_trace
from pld_dspy.stages.verify.covering import LEAST, PER_LABEL, covering, drafts
from pld_dspy.stages.verify.truth import truth_of

GOLD = {f"r{n}": "red" for n in range(6)} | {f"g{n}": "green" for n in range(4)}


def judged(condition, label, ids, groups=None):
    rule = make_rule(f"If {condition}, answer {label}.", [], origin="micro")
    truth = truth_of(label, {key: key in ids for key in GOLD}, GOLD, groups)
    return replace(rule, truth=truth)


def texts(rules):
    return [rule.text for rule in rules]


def test_rules_of_a_label_complement_each_other():
    first = judged("warm", "red", {"r0", "r1", "r2"})
    again = judged("hot", "red", {"r0", "r1"})
    other = judged("soft", "red", {"r3", "r4"})
    leafy = judged("leafy", "green", {"g0", "g1", "g2", "g3"})
    found = covering([again, first, other, leafy], GOLD, None)

    assert texts(found) == texts([leafy, first, other])


def test_kinds_of_many_groups_are_drafted_first():
    def trace(key, kind):
        return replace(make_trace(key, "red", "w", "a rule"), id=key, kinds=(kind,))

    traces = [trace(key, "a mother") for key in ("m1", "m2", "m3")]
    traces += [trace(key, "a family") for key in ("m4", "s1")]
    groups = {"m1": "m", "m2": "m", "m3": "m", "m4": "m", "s1": "s"}
    by_trace = [rule.text for rule in drafts(traces, 9) if "about" in rule.text]
    by_group = [rule.text for rule in drafts(traces, 9, groups) if "about" in rule.text]

    assert by_trace == [
        f"If the text is about a {kind}, answer red." for kind in ("mother", "family")
    ]
    assert by_group == by_trace[::-1]


def test_a_rule_of_more_groups_comes_first():
    groups = {"r0": "a", "r1": "a", "r2": "a", "r3": "a", "r4": "b", "r5": "c"}
    groups |= {key: key for key in GOLD if key not in groups}
    narrow = judged("mother", "red", {"r0", "r1", "r2", "r3"}, groups)
    broad = judged("family", "red", {"r3", "r4", "r5"}, groups)
    first = covering([narrow, broad], GOLD, groups)[0]

    assert first.text == broad.text


@given(
    st.lists(
        st.tuples(st.sets(st.sampled_from(sorted(GOLD))), st.sampled_from(["red", "green"])),
        max_size=8,
    )
)
def test_each_rule_adds_examples_and_the_first_is_the_best(drafts):
    rules = [judged(f"c{n}", label, ids) for n, (ids, label) in enumerate(drafts)]
    found = covering(rules, GOLD, None)

    for label in ("red", "green"):
        own = [rule for rule in found if rule.truth.answer == label]
        worths = [rule.truth.worth for rule in rules if rule.truth.answer == label]
        assert len(own) <= PER_LABEL
        assert bool(own) == (max(worths, default=0) >= LEAST)
        if own:
            assert max(rule.truth.worth for rule in own) == max(worths)
        for one, two in combinations(own, 2):
            assert set(one.truth.borne_by) != set(two.truth.borne_by)


def traced(*entries):
    return [
        make_trace(f"e{n}", label, "w", f"If {condition}, answer {label}.", kinds=kinds)
        for n, (label, condition, kinds) in enumerate(entries)
    ]


def test_micro_rules_come_in_turn_the_most_frequent_first():
    traces = traced(
        ("red", "odd", ""), ("red", "warm", ""), ("red", "warm", ""), ("green", "leafy", "")
    )
    found = drafts(traces, 3)
    wanted = ("leafy, answer green", "warm, answer red", "odd, answer red")

    assert texts(found) == [f"If {c}." for c in wanted]
    assert found[1].support == 2
    assert drafts(traces, 0) == ()


def test_kinds_that_one_label_alone_names_come_first():
    traces = traced(
        ("red", "a", "An ember, something hot, a thing"),
        ("red", "b", "a stove; something hot; a thing"),
        ("green", "c", "a leaf, a thing"),
        ("green", "d", "a frog, a thing"),
    )
    about = [rule for rule in drafts(traces, 20) if "about" in rule.text]
    red = [rule for rule in about if rule.main_label == "red"]

    assert red[0].text == "If the text is about something hot, answer red."
    assert red[0].trace_ids == (traces[0].id, traces[1].id)
    assert {rule.text for rule in about if rule.main_label == "green"} == {
        f"If the text is about {kind}, answer green." for kind in ("a leaf", "a frog", "a thing")
    }
