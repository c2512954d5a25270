"""Rules that say the same: one of each kind stays, and no evidence is lost or counted twice."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pld_dspy.stages.common.dedupe import unique
from pld_dspy.stages.common.rule_text import make_rule, make_trace


def trace(i, label):
    return make_trace(f"e{i}", label, "why", f"If it shows thing {i}, answer {label}.")


REDS = tuple(trace(i, "red") for i in range(4))
JOB = "If the text names a job that people are paid for, answer red."
JOB_TOO = "If the text names a job (that people are paid for): answer red."
AGE = "If the text tells how old somebody is, answer red."


def rule(text, traces, origin="synthesis"):
    return make_rule(text, traces, origin=origin)


def test_near_duplicates_of_a_label_are_one_rule_with_all_the_evidence():
    found = unique([rule(JOB, REDS[:3]), rule(AGE, REDS[3:]), rule(JOB_TOO, REDS[2:])], 0.9)
    assert [(r.text, r.labels) for r in found] == [(JOB, {"red": 4}), (AGE, {"red": 1})]
    assert found[0].trace_ids == tuple(t.id for t in REDS)
    assert found[0].id == rule(JOB, REDS).id


@pytest.mark.parametrize("others", [(), ("If it is late, answer red.", "If it rains, answer red.")])
def test_different_rules_of_a_label_stay_apart_however_few_there_are(others):
    texts = (JOB, AGE, *others)
    found = unique([rule(text, [REDS[0]]) for text in texts], 0.9)
    assert [r.text for r in found] == list(texts)


def test_the_threshold_decides():
    pair = [rule(JOB, REDS[:1]), rule(AGE, REDS[1:2])]
    assert len(unique(pair, 1.0)) == 2
    assert len(unique(pair, 0.1)) == 1


def test_alike_rules_of_different_labels_stay_apart():
    blue = trace(30, "blue")
    found = unique([rule(JOB, REDS[:1]), rule(JOB_TOO.replace("red", "blue"), [blue])], 0.5)
    assert len(found) == 2


def test_the_same_words_are_one_rule_even_with_different_labels():
    blue = trace(30, "blue")
    found = unique([rule("Be brief.", REDS[:2]), rule("Be brief.", [REDS[1], blue])], 0.9)
    assert [(r.labels, r.support) for r in found] == [({"blue": 1, "red": 2}, 3)]


def test_rules_without_a_word_are_compared_by_text():
    found = unique([rule("!", REDS[:1]), rule("?", REDS[:1]), rule("!", REDS[1:2])], 0.5)
    assert [(r.text, r.support) for r in found] == [("!", 2), ("?", 1)]
    assert unique([], 0.9) == ()


@given(
    st.lists(
        st.tuples(st.sampled_from([JOB, JOB_TOO, AGE]), st.sets(st.integers(0, 9), min_size=1)),
        min_size=1,
        max_size=6,
    )
)
def test_united_evidence_is_counted_exactly(drawn):
    traces = [trace(i, "red") for i in range(10)]
    rules = [rule(text, [traces[i] for i in sorted(members)]) for text, members in drawn]
    found = unique(rules, 0.9)
    assert {i for r in found for i in r.trace_ids} == {i for r in rules for i in r.trace_ids}
    for r in found:
        assert r.labels == {"red": r.support}
        assert len(set(r.trace_ids)) == r.support
    assert unique(found, 0.9) == found
