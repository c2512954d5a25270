"""What a rule is worth in one list: against the same list without it, where both were tried."""

import pytest

from pld_dspy.records import Answer
from pld_dspy.stages.search.contest import Tried
from pld_dspy.stages.search.list_gains import list_gains
from pld_dspy.stages.search.space import RuleList

OTHER = "Another header"


def tried(rules, right, *, header=None, stopped=False):
    """A list whose answers are right where `right` has an `x`, and not asked where it has a blank."""
    listing = RuleList(rules) if header is None else RuleList(rules, header)
    answers = {
        at: Answer(
            example_id=str(at), gold="a", answer="a" if said == "x" else "b", score=said == "x"
        )
        for at, said in enumerate(right)
        if said != " "
    }
    return Tried(listing=listing, answers=answers, stopped=stopped)


def gains(*lists, weights=(1.0,) * 8):
    found = list_gains(lists, weights=weights, seed=0)
    return {
        listing: {rule: round(gain.estimate, 6) for rule, gain in of.items()}
        for listing, of in found.items()
    }


def test_the_gain_is_the_difference_to_the_same_list_without_the_rule():
    whole = tried((2, 0, 1), "xxxxxx..")
    found = gains(
        whole,
        tried((0, 1), "xxx....."),  # without 2
        tried((2, 1), "xxxxxxx."),  # without 0
        tried((0, 2), "xxxxxxxx"),  # without 1, but in another order
        tried((1,), "xxxx...."),
    )

    assert found[whole.listing] == {2: 3 / 8, 0: -1 / 8}
    assert found[RuleList((0, 1))] == {0: -1 / 8}
    assert found[RuleList((2, 1))] == {2: 3 / 8}
    assert set(found) == {whole.listing, RuleList((0, 1)), RuleList((2, 1))}


def test_examples_count_by_their_weight():
    lists = tried((0,), "xxxx...."), tried((), "..xx....")

    assert gains(*lists)[RuleList((0,))] == {0: 0.25}
    assert gains(*lists, weights=(2.0, 2.0, 1, 1, 1, 1, 0.5, 0.5))[RuleList((0,))] == {
        0: pytest.approx(4 / 9, abs=1e-6)
    }


def test_a_list_that_was_stopped_is_compared_on_what_it_was_asked_and_has_no_gains_of_its_own():
    lists = (
        tried((0, 1), "xxxxxx.."),
        tried((0,), "x... ".ljust(8), stopped=True),
        tried((), "x" * 8),
    )

    assert gains(*lists) == {RuleList((0, 1)): {1: 0.75}}


def test_lists_under_different_headers_are_not_compared():
    whole, under_other = tried((0, 1), "xxxxxxxx"), tried((0,), "........", header=OTHER)

    assert gains(whole, under_other) == {}
    # Without rules no header is written.
    found = gains(under_other, tried((), "x......."))
    assert found == {RuleList((0,), OTHER): {0: -1 / 8}}


def test_nothing_to_compare_is_no_gain():
    assert gains() == {}
    assert gains(tried((), "x" * 8), tried((0, 1), "x" * 8)) == {}
