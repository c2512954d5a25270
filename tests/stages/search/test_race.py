"""A race stops lists that can hardly win, loses little by it, and says how sure it is."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pld_dspy.config.optimizer import RaceConfig
from pld_dspy.errors import ConfigError, DataError
from pld_dspy.records import Answer
from pld_dspy.stages.search.race import chance_to_win, race, stratified_blocks

SIZE = 100


def lists(seed, *, count=40, low=0.5, high=0.9):
    """Right and wrong answers of lists that share most of what makes an example hard."""
    rng = np.random.default_rng(seed)
    gold = rng.choice(["a", "b", "c"], size=SIZE, p=[0.5, 0.3, 0.2]).tolist()
    hard = rng.normal(0.0, 1.0, SIZE)
    found = []
    for share in rng.uniform(low, high, count):
        ease = hard + rng.normal(0.0, 0.7, SIZE)
        found.append((ease > np.quantile(ease, 1 - share)).astype(float).tolist())
    return gold, found


def answers(scores, block):
    return [Answer(example_id=str(i), gold="x", answer="x", score=scores[i]) for i in block]


def expected_of(found):
    """What a forecast knows: how often lists get an example right."""
    return np.mean(found, axis=0).clip(0.05, 0.95).tolist()


def run_race(incumbent, scores, expected, *, blocks, config):
    def chance(got, seen):
        said = [a.score for a in got]
        return chance_to_win(incumbent, said, seen, expected=expected, weights=[1.0] * SIZE)

    return race(lambda block: answers(scores, block), chance, blocks=blocks, config=config)


def test_races_choose_nearly_as_full_scoring_does_at_half_of_its_calls():
    config = RaceConfig()
    calls, losses = [], []
    for seed in range(20):
        gold, found = lists(seed)
        means = [np.mean(scores) for scores in found]
        blocks = stratified_blocks(gold, config.block, seed=seed)
        best, asked = 0, SIZE
        for at in range(1, len(found)):
            raced = run_race(
                found[best], found[at], expected_of(found), blocks=blocks, config=config
            )
            asked += len(raced.seen)
            if not raced.stopped and means[at] > means[best]:
                best = at
        calls.append(asked / (SIZE * len(found)))
        losses.append(max(means) - means[best])
    assert np.mean(calls) < 0.5
    assert np.mean(losses) < 0.005


def test_a_better_list_is_seldom_stopped():
    config = RaceConfig(min_chance=0.05)
    stops, better = 0, 0
    for seed in range(100, 125):
        gold, found = lists(seed, count=12, low=0.65, high=0.85)
        blocks = stratified_blocks(gold, config.block, seed=seed)
        for pair in zip(found[::2], found[1::2], strict=True):
            worse, good = sorted(pair, key=np.mean)
            better += 1
            stops += run_race(worse, good, expected_of(found), blocks=blocks, config=config).stopped
    assert stops / better < 0.1


def test_chances_come_true():
    chances, won = [], []
    for seed in range(200, 260):
        gold, found = lists(seed, count=20, low=0.6, high=0.9)
        seen = [i for block in stratified_blocks(gold, 12, seed=seed)[:2] for i in block]
        for first, second in zip(found[::2], found[1::2], strict=True):
            said = [second[i] for i in seen]
            chances.append(
                chance_to_win(first, said, seen, expected=expected_of(found), weights=[1.0] * SIZE)
            )
            won.append(0.5 + 0.5 * np.sign(round(np.mean(second) - np.mean(first), 12)))
    chances, won = np.array(chances), np.array(won)
    bands = np.digitize(chances, [0.25, 0.75])
    assert np.mean(chances) == pytest.approx(0.5, abs=0.04)
    for band in range(3):
        inside = bands == band
        assert won[inside].mean() == pytest.approx(chances[inside].mean(), abs=0.12)
    # A constant 0.5 has a Brier score of 0.25.
    assert np.mean((chances - won) ** 2) < 0.18


probability = st.floats(0, 1)


@given(st.lists(st.tuples(*[probability] * 3), min_size=2, max_size=30), st.data())
def test_a_chance_is_a_probability_and_rises_with_the_answers(rows, data):
    incumbent, low, expected = map(list, zip(*rows, strict=True))
    high = [min(1.0, score + 0.2) for score in low]
    seen = list(range(data.draw(st.integers(1, len(rows)))))
    settings = {"expected": expected, "weights": [1.0 + (i % 3) for i in range(len(rows))]}
    less = chance_to_win(incumbent, [low[i] for i in seen], seen, **settings)
    more = chance_to_win(incumbent, [high[i] for i in seen], seen, **settings)
    assert 0.0 <= less <= more <= 1.0


def test_after_the_last_example_the_chance_is_certain():
    settings = {"expected": [0.5, 0.5], "weights": [1.0, 1.0]}
    assert chance_to_win([0.0, 1.0], [1.0, 1.0], [0, 1], **settings) == 1.0
    assert chance_to_win([1.0, 1.0], [0.0, 1.0], [0, 1], **settings) == 0.0
    assert chance_to_win([1.0, 0.0], [0.0, 1.0], [0, 1], **settings) == 0.5


def test_a_rare_label_weighs_as_much_as_its_weight_says():
    incumbent, scores = [1.0] * 9 + [0.0, 0.5], [1.0] * 8 + [0.0, 1.0]
    seen, expected = list(range(10)), [0.5] * 11
    even = chance_to_win(incumbent, scores, seen, expected=expected, weights=[1.0] * 11)
    rare = [1.0] * 9 + [9.0, 1.0]
    assert chance_to_win(incumbent, scores, seen, expected=expected, weights=rare) > even + 0.1


def test_what_is_expected_of_unseen_examples_decides_where_the_seen_ones_do_not():
    incumbent, seen, weights = [0.5] * 20, [0, 1], [1.0] * 20
    good, bad = (
        chance_to_win(incumbent, [share, share], seen, expected=[share] * 20, weights=weights)
        for share in (0.9, 0.1)
    )
    assert good > 0.9
    assert bad < 0.1


@pytest.mark.parametrize(
    ("incumbent", "scores", "seen", "weights"),
    [
        ([1.0], [], [], [1.0]),
        ([1.0], [1.0], [0], [1.0, 1.0]),
        ([1.0, 0.0], [1.0], [0, 1], [1.0, 1.0]),
    ],
)
def test_lengths_that_differ_are_refused(incumbent, scores, seen, weights):
    with pytest.raises(DataError, match="give one each, and at least one answer"):
        chance_to_win(incumbent, scores, seen, expected=incumbent, weights=weights)


def test_a_race_that_is_not_enabled_asks_all_the_blocks_at_once():
    gold, found = lists(0, count=2)
    blocks = stratified_blocks(gold, 8, seed=0)
    asked = []

    def ask(block):
        asked.append(block)
        return answers(found[1], block)

    config = RaceConfig(enabled=False)
    raced = race(ask, lambda got, seen: 0.0, blocks=blocks, config=config)
    assert asked == [sum(blocks, ())]
    assert not raced.stopped
    assert sorted(raced.seen) == list(range(SIZE))


def test_the_last_block_stops_nobody():
    raced = race(
        lambda block: answers([0.0] * 4, block),
        lambda got, seen: 0.0,
        blocks=((0, 1), (2, 3)),
        config=RaceConfig(block=2),
    )
    assert raced.seen == (0, 1)
    assert raced.stopped
    whole = race(
        lambda block: answers([0.0] * 4, block),
        lambda got, seen: 0.0 if len(seen) == 4 else 1.0,
        blocks=((0, 1), (2, 3)),
        config=RaceConfig(block=2),
    )
    assert not whole.stopped


@given(
    st.lists(st.sampled_from("abc"), min_size=1, max_size=60), st.integers(1, 20), st.integers(0, 9)
)
def test_blocks_hold_each_example_once_with_the_label_shares_of_all(gold, size, seed):
    blocks = stratified_blocks(gold, size, seed=seed)
    assert sorted(i for block in blocks for i in block) == list(range(len(gold)))
    assert all(len(block) == size for block in blocks[:-1])
    for label in set(gold):
        share = gold.count(label) / len(gold)
        for block in blocks[:-1]:
            assert abs(sum(gold[i] == label for i in block) - share * size) <= 2
    assert stratified_blocks(gold, size, seed=seed) == blocks


def test_a_block_of_no_example_is_refused():
    with pytest.raises(ConfigError, match="0 examples per block"):
        stratified_blocks(["a"], 0, seed=0)
