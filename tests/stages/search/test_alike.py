"""No proposer of the search makes a list of two rules that are alike."""

from dataclasses import replace
from itertools import combinations

import numpy as np
import optuna
from hypothesis import given, settings
from hypothesis import strategies as st

from pld_dspy.records import Answer
from pld_dspy.stages.common.prompt import HEADER
from pld_dspy.stages.common.rule_text import make_rule, make_trace
from pld_dspy.stages.search.contest import Tried
from pld_dspy.stages.search.forecast import fit_forecast
from pld_dspy.stages.search.propose import climb, starts
from pld_dspy.stages.search.shared.storage import quiet
from pld_dspy.stages.search.space import HEADERS, ORDERS, Hints, RuleList, make_space
from pld_dspy.stages.verify.truth import truth_of

LABELS = ("red", "green")
COUNT = 6
RULES = [
    make_rule(
        f"If rule {n}, answer {LABELS[n % 2]}.",
        [make_trace(f"e{k}", LABELS[n % 2], "w", "x") for k in range(n + 1)],
        origin="synthesis",
    )
    for n in range(COUNT)
]
PAIRS = list(combinations(range(COUNT), 2))


def space_of(pairs):
    groups = {"first": RULES[:4], "last": RULES[2:]}
    return make_space(groups, alike=[{RULES[one].text, RULES[two].text} for one, two in pairs])


def clashes(space, pairs, places):
    texts = [space.rules[place].text for place in places]
    return [(i, j) for i, j in pairs if RULES[i].text in texts and RULES[j].text in texts]


pair_sets = st.lists(st.sampled_from(PAIRS), unique=True, max_size=8)


@settings(max_examples=60, deadline=None)
@given(pair_sets, st.data())
def test_no_parameters_encode_alike_rules(pairs, data):
    space = space_of(pairs)
    listing = space.decode(
        {
            "group": data.draw(st.sampled_from(sorted(space.groups))),
            "order": data.draw(st.sampled_from(ORDERS)),
            "size": data.draw(st.integers(1, space.most)),
            "amplitude": data.draw(st.sampled_from([0.0, 0.25, 0.5, 1.0])),
            "header": HEADER,
            **{f"key{n}": data.draw(st.floats(0, 1)) for n in range(COUNT)},
        },
        Hints(),
    )

    assert listing.rules
    assert clashes(space, pairs, listing.rules) == []


@settings(max_examples=30, deadline=None)
@given(pair_sets, st.integers(0, 99))
def test_no_start_sample_or_climb_has_alike_rules(pairs, seed):
    space = space_of(pairs)
    rng = np.random.default_rng(seed)
    lists = [space.decode(start.params, Hints()) for start in starts(space)]
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=seed))
    with quiet():
        lists += [space.decode(space.suggest(study.ask()), Hints()) for _ in range(3)]
    # A list that was scored before the search may have alike rules, and a climb may start there.
    lists.append(RuleList(tuple(range(COUNT)), HEADER))
    gold = ("red", "green") * 3
    tried = [
        Tried(
            listing=listing,
            answers={
                i: Answer(example_id=str(i), gold=g, answer=g, p_gold=float(rng.uniform()))
                for i, g in enumerate(gold)
            },
        )
        for listing in dict.fromkeys(lists)
    ]
    odds = [{i: a.p_gold for i, a in t.answers.items()} for t in tried]
    right = [{i: float(p > 0.5) for i, p in row.items()} for row in odds]
    forecast = fit_forecast(
        [t.listing.rules for t in tried], odds, right, gold, COUNT, weights=(1.0,) * len(gold)
    )
    proposal = climb(space, tried, forecast)
    if proposal is not None:
        lists.append(space.decode(proposal.params, Hints()))
        assert lists[-1] not in {t.listing for t in tried}

    for listing in lists:
        assert listing.rules == tuple(range(COUNT)) or not clashes(space, pairs, listing.rules)


@settings(max_examples=60, deadline=None)
@given(pair_sets, st.permutations(range(COUNT)), st.data())
def test_every_list_without_alike_rules_can_be_encoded(pairs, order, data):
    space = space_of(pairs)
    kept = space.without_alike(order)
    listing = RuleList(kept[: data.draw(st.integers(1, len(kept)))], HEADERS[1])

    assert space.decode(space.encode(listing), Hints()) == listing


def test_a_known_order_has_the_better_of_two_alike_rules():
    gold = {f"e{n}": LABELS[n % 2] for n in range(8)}
    bearing = {0: ["e0", "e2", "e4"], 4: ["e0", "e2", "e4", "e6"]}
    rules = list(RULES)
    for n, ids in bearing.items():
        truth = truth_of("red", {key: key in ids for key in gold}, gold)
        rules[n] = replace(rules[n], truth=truth)
    space = make_space({"all": rules}, alike=[{rules[0].text, rules[4].text}])

    for order in ORDERS:
        params = {"group": "all", "order": order, "size": space.most, "amplitude": 0.0}
        places = space.decode({**params, "header": HEADER}, Hints()).rules
        assert set(places) == {1, 2, 3, 4, 5}
