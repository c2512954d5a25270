from functools import partial

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pld_dspy.config.optimizer import RaceConfig
from pld_dspy.errors import ConfigError, DataError
from pld_dspy.scoring.metrics import CorpusMetric, accuracy, macro_f1, mcc
from pld_dspy.stages.search.race import chance_to_win, chance_to_win_scores, race, stratified_blocks

LABELS = np.array(["a", "b", "c"])
METRICS = pytest.mark.parametrize("metric", [macro_f1, accuracy, mcc], ids=lambda m: m.name)
label = st.sampled_from(["a", "b", "c"])
said = st.sampled_from(["a", "b", "c", "zebra", None])
triples = st.lists(st.tuples(label, said, said), min_size=1, max_size=25)


def columns(rows):
    return [list(column) for column in zip(*rows, strict=True)]


def slow(metric):
    """The same metric, unknown to the vectorised path."""
    return CorpusMetric("slow", metric.score)


def lists(seed, *, count=40, size=100, low=0.5, high=0.9):
    """Gold labels and the answers of candidates that share most of what makes an example hard."""
    rng = np.random.default_rng(seed)
    gold = rng.choice(3, size=size, p=[0.5, 0.3, 0.2])
    hard = rng.normal(0.0, 1.5, (size, 3))
    rows, answers = np.arange(size), []
    for right in rng.uniform(low, high, count):
        logits = hard + rng.normal(0.0, 1.0, (size, 3)) + rng.normal(0.0, 0.5, 3)
        own = logits[rows, gold]
        logits[rows, gold] = -np.inf
        lacking = logits.max(axis=1) - own
        logits[rows, gold] = own + np.quantile(lacking, right)
        answers.append(LABELS[logits.argmax(axis=1)].tolist())
    return LABELS[gold].tolist(), answers


def ask(answers, block):
    return [answers[i] for i in block]


def run_race(gold, incumbent, candidate, *, blocks, config):
    chance = partial(chance_to_win, gold, incumbent, metric=macro_f1, seed=0, draws=100)
    return race(partial(ask, candidate), chance, blocks=blocks, config=config)


# ---------------------------------------------------------------------------------------------
# What a race costs, and what it loses, against a student whose answers are all known
# ---------------------------------------------------------------------------------------------


def test_races_choose_as_full_scoring_does_at_two_fifths_of_its_calls():
    config = RaceConfig()
    calls, losses = [], []
    for seed in range(20):
        gold, answers = lists(seed)
        scores = [macro_f1(gold, said) for said in answers]
        blocks = stratified_blocks(gold, config.block, seed=seed)
        best, asked = 0, len(gold)
        for at in range(1, len(answers)):
            raced = run_race(gold, answers[best], answers[at], blocks=blocks, config=config)
            asked += len(raced.seen)
            if not raced.stopped and scores[at] > scores[best]:
                best = at
        calls.append(asked / (len(gold) * len(answers)))
        losses.append(max(scores) - scores[best])

    # Measured: 0.34 of the calls, 0.0008 lost, the very same score in 17 of the 20.
    assert np.mean(calls) < 0.4
    assert np.mean(losses) < 0.005
    assert sum(loss < 1e-12 for loss in losses) >= 15


def test_a_better_list_is_seldom_stopped():
    config = RaceConfig(min_chance=0.05)
    stops, better = 0, 0
    for seed in range(100, 125):
        gold, answers = lists(seed, count=12, low=0.65, high=0.85)
        blocks = stratified_blocks(gold, config.block, seed=seed)
        for incumbent, candidate in zip(answers[::2], answers[1::2], strict=True):
            pair = sorted([incumbent, candidate], key=lambda said: macro_f1(gold, said))
            better += 1
            stops += run_race(gold, *pair, blocks=blocks, config=config).stopped
    assert stops / better < 0.1


def test_chances_come_true():
    chances, won = [], []
    for seed in range(200, 240):
        gold, answers = lists(seed, count=20, low=0.6, high=0.9)
        seen = [i for block in stratified_blocks(gold, 12, seed=seed)[:2] for i in block]
        for first, second in zip(answers[::2], answers[1::2], strict=True):
            said = ask(second, seen)
            chance = chance_to_win(gold, first, said, seen, metric=macro_f1, seed=seed, draws=100)
            ahead = macro_f1(gold, second) - macro_f1(gold, first)
            chances.append(chance)
            won.append(0.5 + 0.5 * np.sign(round(ahead, 12)))
    chances, won = np.array(chances), np.array(won)

    bands = np.digitize(chances, [0.25, 0.75])
    assert np.mean(chances) == pytest.approx(0.5, abs=0.04)
    assert all(
        won[bands == band].mean() == pytest.approx(chances[bands == band].mean(), abs=0.1)
        for band in range(3)
    )
    # Saying nothing, 0.5 for all, has a Brier score of 0.25.
    assert np.mean((chances - won) ** 2) < 0.17


@pytest.mark.parametrize("seen", [0, 12, 60])
def test_equally_good_lists_have_even_chances(seen):
    chances = []
    for seed in range(60):
        gold, (first, second) = lists(seed, count=2, low=0.75, high=0.75)
        at = [i for block in stratified_blocks(gold, 12, seed=seed) for i in block][:seen]
        chances.append(
            chance_to_win(gold, first, ask(second, at), at, metric=macro_f1, seed=seed, draws=200)
        )
    assert np.mean(chances) == pytest.approx(0.5, abs=0.1)


def test_macro_f1_sees_a_rare_label_that_accuracy_overlooks():
    gold = ["a"] * 90 + ["b"] * 10
    incumbent = ["a"] * 85 + ["b"] * 5 + ["a"] * 8 + ["b"] * 2
    candidate = ["a"] * 83 + ["b"] * 7 + ["b"] * 9 + ["a"]
    seen = [i for block in stratified_blocks(gold, 12, seed=0)[:4] for i in block]
    chance = partial(chance_to_win, gold, incumbent, ask(candidate, seen), seen, seed=0)
    assert chance(metric=macro_f1) > chance(metric=accuracy)


# ---------------------------------------------------------------------------------------------
# The chance
# ---------------------------------------------------------------------------------------------


@METRICS
@settings(max_examples=15, deadline=None)
@given(rows=triples, data=st.data())
def test_chance_is_decided_by_the_seed_and_not_by_the_names(metric, rows, data):
    gold, incumbent, candidate = columns(rows)
    order = data.draw(st.permutations(range(len(gold))))
    seen = order[: data.draw(st.integers(0, len(gold)))]
    names = dict(zip(["a", "b", "c"], data.draw(st.permutations(["c", "x", "a"])), strict=True))

    def chance(*lists, seen, used=metric):
        gold, incumbent, candidate = lists
        told = ask(candidate, seen)
        return chance_to_win(gold, incumbent, told, seen, metric=used, seed=4, draws=10)

    renamed = [
        [names.get(name, name) for name in column] for column in (gold, incumbent, candidate)
    ]
    result = chance(gold, incumbent, candidate, seen=seen)
    assert 0.0 <= result <= 1.0
    assert chance(gold, incumbent, candidate, seen=seen) == result
    assert chance(gold, incumbent, candidate, seen=seen[::-1]) == result
    assert chance(*renamed, seen=seen) == result
    assert chance(gold, incumbent, candidate, seen=seen, used=slow(metric)) == result


@METRICS
@settings(max_examples=20, deadline=None)
@given(rows=triples)
def test_with_all_seen_the_chance_is_the_result(metric, rows):
    gold, incumbent, candidate = columns(rows)
    ahead = metric(gold, candidate) - metric(gold, incumbent)
    expected = 0.5 if abs(ahead) < 1e-12 else float(ahead > 0)
    for used in (metric, slow(metric)):
        everything = range(len(gold))
        chance = chance_to_win(gold, incumbent, candidate, everything, metric=used, seed=0, draws=5)
        assert chance == expected


@METRICS
def test_few_examples_give_no_certainty(metric):
    gold = ["a", "b"] * 30
    incumbent = ["a"] * 30 + ["a", "b"] * 15
    chance = partial(chance_to_win, gold, incumbent, seen=[0, 1], metric=metric, seed=0)
    lost, same, won = chance([None, None]), chance(["a", "a"]), chance(["a", "b"])
    assert 0.02 < lost < same < won < 0.98


def test_the_standard_error_is_that_of_the_draws():
    gold, (first, second) = lists(3, count=2, low=0.7, high=0.7)
    seen = list(range(30))
    chance = partial(chance_to_win, gold, first, ask(second, seen), seen, metric=macro_f1)
    some = [chance(seed=seed, draws=100) for seed in range(40)]
    assert 0.0 < np.std(some) < 0.07
    assert np.mean(some) == pytest.approx(chance(seed=0, draws=4000), abs=0.04)


@METRICS
@pytest.mark.parametrize(
    ("incumbent", "candidate", "seen", "draws", "message"),
    [
        (["a"], [], [], 5, "2 gold labels but 1 answers"),
        (["a", "b"], ["a"], [], 5, "1 answers to 0 seen of 2 examples"),
        (["a", "b"], ["a", "a"], [1, 1], 5, "seen index 1 is outside 0 to 1 or stands twice"),
        (["a", "b"], ["a"], [-1], 5, "seen index -1"),
        (["a", "b"], ["a"], [2], 5, "seen index 2"),
        (["a", "b"], ["a"], [0], 0, "0 draws; give at least 1"),
    ],
)
def test_bad_input_is_told(metric, incumbent, candidate, seen, draws, message):
    with pytest.raises((DataError, ConfigError), match=message):
        chance_to_win(["a", "b"], incumbent, candidate, seen, metric=metric, seed=0, draws=draws)


# ---------------------------------------------------------------------------------------------
# Scores of one example each
# ---------------------------------------------------------------------------------------------


@settings(max_examples=30, deadline=None)
@given(
    pairs=st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1)), min_size=1, max_size=15),
    data=st.data(),
)
def test_chance_by_scores_is_a_chance(pairs, data):
    incumbent, candidate = columns(pairs)
    seen = data.draw(st.permutations(range(len(pairs))))
    some = seen[: data.draw(st.integers(0, len(pairs)))]
    chance = partial(chance_to_win_scores, incumbent, seed=2, draws=20)

    result = chance(ask(candidate, some), some)
    assert 0.0 <= result <= 1.0
    assert chance(ask(candidate, some), some) == result
    ahead = (sum(candidate) - sum(incumbent)) / len(pairs)
    if abs(ahead) > 1e-9:
        assert chance(ask(candidate, seen), seen) == float(ahead > 0)
    assert chance(ask(incumbent, seen), seen) == 0.5


def test_right_and_wrong_as_scores_give_about_the_chance_of_accuracy():
    gaps = []
    for seed in range(12):
        gold, (first, second) = lists(seed, count=2, low=0.6, high=0.9)
        seen = list(range(0, 100, 2))
        rights = [[g == s for g, s in zip(gold, x, strict=True)] for x in (first, second)]
        old, new = ([float(right) for right in x] for x in rights)
        by_score = chance_to_win_scores(old, ask(new, seen), seen, seed=0)
        # A single gold label, since scores tell nothing of labels.
        old, new = (["b" if right else "a" for right in x] for x in rights)
        one = ["b"] * len(gold)
        by_label = chance_to_win(one, old, ask(new, seen), seen, metric=accuracy, seed=0)
        gaps.append(abs(by_label - by_score))
    assert max(gaps) < 0.1


def test_graded_scores_come_true():
    chances, won = [], []
    for seed in range(80):
        rng = np.random.default_rng(seed)
        hard = rng.uniform(0.0, 1.0, 60)
        first, second = (
            np.clip(hard + rng.normal(0.0, 0.2, 60) + rng.normal(0.0, 0.04), 0.0, 1.0)
            for _ in range(2)
        )
        seen = list(range(20))
        chances.append(
            chance_to_win_scores(first.tolist(), second[:20].tolist(), seen, seed=0, draws=100)
        )
        won.append(float(second.mean() > first.mean()))
    chances, won = np.array(chances), np.array(won)
    assert np.mean(chances) == pytest.approx(np.mean(won), abs=0.1)
    assert np.mean((chances - won) ** 2) < 0.17


@pytest.mark.parametrize(
    ("incumbent", "candidate", "seen", "message"),
    [
        ([], [], [], "0 answers to 0 seen of 0 examples"),
        ([0.5, 1.5], [0.5], [0], r"score 1.5 is outside \[0, 1\]"),
        ([0.5, 0.5], [float("nan")], [0], "score nan is outside"),
        ([0.5, 0.5], [0.5], [0, 1], "1 answers to 2 seen"),
    ],
)
def test_bad_scores_are_told(incumbent, candidate, seen, message):
    with pytest.raises(DataError, match=message):
        chance_to_win_scores(incumbent, candidate, seen, seed=0)


# ---------------------------------------------------------------------------------------------
# Blocks, and the loop
# ---------------------------------------------------------------------------------------------


@settings(max_examples=60, deadline=None)
@given(st.lists(label, max_size=60), st.integers(1, 20), st.integers(0, 5))
def test_blocks_partition_the_examples(gold, size, seed):
    blocks = stratified_blocks(gold, size, seed=seed)

    assert sorted(i for block in blocks for i in block) == list(range(len(gold)))
    assert all(len(block) == size for block in blocks[:-1])
    assert all(blocks)
    assert stratified_blocks(gold, size, seed=seed) == blocks
    if blocks and size >= len(set(gold)):
        assert {gold[i] for i in blocks[0]} == set(gold)


def test_blocks_hold_the_labels_in_proportion():
    gold = ["a"] * 50 + ["b"] * 30 + ["c"] * 17 + ["d"] * 3
    for seed in range(5):
        for block in stratified_blocks(gold, 12, seed=seed)[:-1]:
            for name in "abcd":
                share = gold.count(name) / 100 * len(block)
                assert abs(sum(gold[i] == name for i in block) - share) < 1.5
    assert stratified_blocks(gold, 12, seed=0) != stratified_blocks(gold, 12, seed=1)


def test_an_empty_block_is_refused():
    with pytest.raises(ConfigError, match="0 examples a block; give at least 1"):
        stratified_blocks(["a"], 0, seed=0)


def test_a_race_asks_by_block_until_the_chance_is_gone():
    asked = []

    def answer(block):
        asked.append(block)
        return [i * 10 for i in block]

    chances = {2: 0.3, 4: 0.049, 6: 0.9}
    raced = race(
        answer,
        lambda answers, seen: chances[len(seen)],
        blocks=[(0, 3), (1, 5), (2, 4)],
        config=RaceConfig(min_chance=0.05),
    )
    assert asked == [(0, 3), (1, 5)]
    assert raced.seen == (0, 3, 1, 5)
    assert raced.answers == (0, 30, 10, 50)
    assert raced.stopped
    assert raced.chance == 0.049


@pytest.mark.parametrize(("enabled", "calls"), [(True, 3), (False, 1)])
def test_a_race_that_is_lost_at_the_end_was_not_stopped(enabled, calls):
    asked = []

    def answer(block):
        asked.append(block)
        return list(block)

    raced = race(
        answer,
        lambda answers, seen: 0.0 if len(seen) == 6 else 0.5,
        blocks=[(0, 3), (1, 5), (2, 4)],
        config=RaceConfig(enabled=enabled),
    )
    assert len(asked) == calls
    assert raced.seen == raced.answers == (0, 3, 1, 5, 2, 4)
    assert not raced.stopped
    assert raced.chance == 0.0


def test_a_threshold_above_even_chances_is_refused():
    with pytest.raises(ConfigError, match="min_chance"):
        RaceConfig(min_chance=0.5)
