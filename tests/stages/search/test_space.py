"""What the search may try: every list has parameters, and the parameters stand for that list."""

import optuna
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pld_dspy.stages.common.prompt import HEADER
from pld_dspy.stages.common.rule_text import make_rule, make_trace
from pld_dspy.stages.search.shared.storage import quiet
from pld_dspy.stages.search.space import ALL, HEADERS, ORDERS, Hints, RuleList, make_space

LABELS = ("red", "green", "blue")
TRACES = [make_trace(f"e{n}", LABELS[n % 3], "w", f"If {n}.") for n in range(30)]


def rules(count, name="rule", **kind):
    """Rules with different support, labels and lengths."""
    return [
        make_rule(
            f"If {name} {n}{' really' * (n % 3)}, answer {LABELS[n % 3]}.",
            TRACES[n % 3 : 30 - 3 * n : 3] or TRACES[:1],
            **{"origin": "synthesis", **kind},
        )
        for n in range(count)
    ]


GENERAL, MERGED = rules(3, "general"), rules(5, "merged", cluster_id="k1")
SPACE = make_space({"general": GENERAL, "merged": MERGED, "none": []})


def params(**changed):
    start = {"group": "merged", "order": "support", "size": 5, "amplitude": 0.0, "header": HEADER}
    return start | changed


def test_a_space_holds_each_text_once_and_a_group_of_everything():
    again = make_rule(GENERAL[0].text, TRACES[:1], origin="refine")
    space = make_space({"general": GENERAL, "refined": [again, MERGED[0]]})

    assert [rule.text for rule in space.rules] == [r.text for r in (*GENERAL, MERGED[0])]
    assert space.groups == {"general": (0, 1, 2), "refined": (0, 3), ALL: (0, 1, 2, 3)}
    assert space.most == 3


def test_a_group_that_holds_everything_is_not_named_twice():
    assert set(make_space({"general": GENERAL}).groups) == {"general"}


def test_the_longest_list_can_be_bounded():
    assert make_space({"general": GENERAL}, max_rules=2).most == 2
    assert make_space({"general": GENERAL}, max_rules=9).most == 3


def test_without_amplitude_a_list_is_the_start_of_a_known_order():
    for order in ORDERS:
        whole = SPACE.decode(params(order=order), Hints()).rules
        assert sorted(whole) == [3, 4, 5, 6, 7]
        for size in range(1, 5):
            assert SPACE.decode(params(order=order, size=size), Hints()).rules == whole[:size]


def test_keys_disturb_the_order_as_far_as_the_amplitude_lets_them():
    by_support = SPACE.decode(params(), Hints()).rules
    keys = {f"key{place}": 1 - rank / 5 for rank, place in enumerate(by_support)}
    assert SPACE.decode(params(amplitude=1.0, **keys), Hints()).rules == by_support[::-1]
    assert SPACE.decode(params(amplitude=0.25, **keys), Hints()).rules == by_support


def test_orders_follow_what_is_known_so_far():
    gains = Hints(gains={3: -0.1, 4: 0.2, 5: 0.0, 6: 0.3, 7: 0.1})
    assert SPACE.decode(params(order="gain"), gains).rules == (6, 4, 7, 5, 3)
    weak = Hints(weak={"green": 3, "blue": 0, "red": -3})
    said = [SPACE.rules[p].main_label for p in SPACE.decode(params(order="weak first"), weak).rules]
    assert said == ["green", "green", "blue", "red", "red"]


@settings(max_examples=60)
@given(
    st.permutations(range(len(SPACE.rules))),
    st.integers(0, SPACE.most),
    st.sampled_from(HEADERS),
    st.dictionaries(st.integers(0, 7), st.floats(-1, 1)),
)
def test_parameters_stand_for_exactly_the_list_that_they_were_made_from(order, size, header, gains):
    listing = RuleList(tuple(order[:size]), header)
    assert SPACE.decode(SPACE.encode(listing), Hints(gains=gains)) == listing


@pytest.mark.parametrize("seed", range(5))
def test_whatever_a_sampler_draws_is_a_list_of_different_rules_of_one_group(seed):
    with quiet():
        study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=seed))
        for _ in range(20):
            drawn = SPACE.suggest(study.ask())
            rules, header = SPACE.decode(drawn, Hints())
            assert 1 <= len(rules) == len(set(rules)) <= SPACE.most
            assert set(rules) <= set(SPACE.groups[drawn["group"]])
            assert header in HEADERS


def test_an_enqueued_list_comes_back_as_it_was():
    listing = RuleList((7, 0, 4), HEADERS[1])
    with quiet():
        study = optuna.create_study()
        study.enqueue_trial(SPACE.encode(listing))
        assert SPACE.decode(SPACE.suggest(study.ask()), Hints()) == listing
