"""The regression of log-odds: it solves what it says, and forecasts untried lists."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from experiments.simulation.students import SimulatedStudent
from pld_dspy.errors import DataError
from pld_dspy.stages.search import forecast
from pld_dspy.stages.search.forecast import features, fit_forecast
from pld_dspy.stages.search.space import RuleList

LABELS = ("red", "green", "blue", "grey")
EXAMPLES = 80
RULES = 6


def random_lists(count, rng, rules=RULES):
    return [
        tuple(rng.permutation(rules)[: rng.integers(0, rules + 1)].tolist()) for _ in range(count)
    ]


class Additive:
    """A student whose log-odds are the sum of an example's level and its list's effects, and noise."""

    def __init__(self, seed, noise=0.5):
        rng = np.random.default_rng(seed)
        self.rng, self.noise = rng, noise
        self.gold = [LABELS[i % 4] for i in range(EXAMPLES)]
        self.level = rng.normal(0, 1.5, EXAMPLES)
        self.inside = rng.normal(0, 0.8, (RULES, 4))
        self.place = rng.normal(0, 0.6, RULES)

    def odds(self, rules):
        label = np.arange(EXAMPLES) % 4
        shift = self.inside[list(rules)].sum(0)[label] if rules else np.zeros(EXAMPLES)
        spots = np.arange(len(rules)) / max(len(rules) - 1, 1) - (0.5 if len(rules) > 1 else 0.0)
        return (
            self.level + shift + sum(self.place[r] * s for r, s in zip(rules, spots, strict=True))
        )

    def share(self, rules):
        sure = self.odds(rules) / self.noise
        return float((sure > 0).mean())

    def ask(self, rules, places=range(EXAMPLES)):
        told = self.odds(rules) + self.rng.normal(0, self.noise, EXAMPLES)
        p = 1 / (1 + np.exp(-told))
        return {i: float(p[i]) for i in places}, {i: float(told[i] > 0) for i in places}

    def fit(self, lists):
        asked = [self.ask(rules) for rules in lists]
        odds, right = [list(column) for column in zip(*asked, strict=True)]
        return fit_forecast(lists, odds, right, self.gold, RULES, weights=[1.0] * EXAMPLES)


def test_features_are_what_is_in_where_and_before_what():
    (row,) = features([(2, 0)], 3)
    inside, place, first, both = np.split(row, [3, 6, 9])
    assert inside.tolist() == [1, 0, 1]
    assert place.tolist() == [0.5, 0, -0.5]
    # Pairs are (0, 1), (0, 2), (1, 2); rule 2 stands before rule 0.
    assert first.tolist() == [0, -0.5, 0]
    assert both.tolist() == [0, 1, 0]


def test_the_fit_is_the_ridge_regression_that_it_says(monkeypatch):
    monkeypatch.setattr(forecast, "_ROUNDS", 0)
    student, rng = Additive(1), np.random.default_rng(2)
    lists = random_lists(12, rng)
    asked = [student.ask(rules, rng.permutation(EXAMPLES)[:30].tolist()) for rules in lists]
    odds, right = [list(column) for column in zip(*asked, strict=True)]
    fit = fit_forecast(lists, odds, right, student.gold, RULES, weights=[1.0] * EXAMPLES)

    at = [(row, example) for row, seen in enumerate(odds) for example in seen]
    p = np.array([odds[row][example] for row, example in at])
    told = np.clip(np.log(p / (1 - p)), -4.5, 4.5)
    unit, middle = told.std(), told.mean()
    of_list = features(lists, RULES)
    design = np.zeros((len(at), EXAMPLES + of_list.shape[1] + 4 * RULES))
    for k, (row, example) in enumerate(at):
        design[k, example] = 1
        design[k, EXAMPLES : EXAMPLES + of_list.shape[1]] = of_list[row]
        start = EXAMPLES + of_list.shape[1] + (example % 4) * RULES
        design[k, start : start + RULES] = of_list[row, :RULES]
    pairs = RULES * (RULES - 1) // 2
    scale = [forecast._LEVEL] * EXAMPLES
    for name, size in zip(
        ("inside", "place", "first", "both", "label"),
        (RULES, RULES, pairs, pairs, 4 * RULES),
        strict=True,
    ):
        scale += [forecast._SCALES[name]] * size
    prior_mean = np.concatenate([np.full(EXAMPLES, middle), np.zeros(design.shape[1] - EXAMPLES)])
    noise = 0.3 * unit**2
    gram = design.T @ design + noise * np.diag((np.array(scale) * unit) ** -2.0)
    naive = prior_mean + np.linalg.solve(gram, design.T @ (told - design @ prior_mean))

    order = [LABELS.index(label) for label in dict.fromkeys(student.gold)]
    assert order == [0, 1, 2, 3]
    np.testing.assert_allclose(fit.levels, naive[:EXAMPLES], atol=1e-8)
    np.testing.assert_allclose(fit.effects, naive[EXAMPLES:], atol=1e-8)


@pytest.mark.parametrize("seed", range(4))
def test_forecasts_of_untried_lists_are_near_the_truth(seed):
    student, rng = Additive(seed), np.random.default_rng(seed)
    fit = student.fit(random_lists(25, rng))
    fresh = random_lists(60, rng)
    told = fit.expected(fresh)
    true = np.array([student.share(rules) for rules in fresh])
    assert ((told >= 0) & (told <= 1)).all()
    assert np.corrcoef(told, true)[0, 1] > 0.85
    assert abs(told - true).mean() < 0.06


@pytest.mark.parametrize("seed", range(3))
def test_forecasts_rank_better_than_single_scores(seed):
    """What the search needs: of lists that were tried, the best by forecast is the better choice."""
    student = SimulatedStudent(seed)
    rng = np.random.default_rng(seed)
    lists = list(dict.fromkeys(random_lists(30, rng, rules=12)))
    contest, _ = student.contest(60, seed=seed)
    asked = [contest.ask(RuleList(rules), range(60)) for rules in lists]
    fit = fit_forecast(
        lists,
        [{i: a.p_gold for i, a in enumerate(row)} for row in asked],
        [{i: a.score for i, a in enumerate(row)} for row in asked],
        contest.gold,
        12,
        weights=contest.weights,
    )
    scores = [np.mean([a.score for a in row]) for row in asked]
    true = [student.true_score(rules) for rules in lists]
    assert np.corrcoef(fit.expected(lists), true)[0, 1] > np.corrcoef(scores, true)[0, 1]


@given(st.integers(0, 1000))
def test_the_order_of_the_tried_lists_does_not_matter(seed):
    student, rng = Additive(seed % 7), np.random.default_rng(seed)
    lists = random_lists(8, rng)
    asked = [student.ask(rules) for rules in lists]
    order = rng.permutation(len(lists))

    def fit(rows):
        return fit_forecast(
            [lists[i] for i in rows],
            [asked[i][0] for i in rows],
            [asked[i][1] for i in rows],
            student.gold,
            RULES,
            weights=[1.0] * EXAMPLES,
        )

    fresh = random_lists(5, rng)
    np.testing.assert_allclose(
        fit(range(len(lists))).expected(fresh), fit(order).expected(fresh), atol=1e-6
    )


def test_certain_and_equal_probabilities_are_no_trouble():
    for p in (0.0, 1.0, 0.5):
        fit = fit_forecast(
            [(), (0,)],
            [dict.fromkeys(range(4), p)] * 2,
            [dict.fromkeys(range(4), float(p > 0.4))] * 2,
            ["a", "b", "a", "b"],
            1,
            weights=[1.0] * 4,
        )
        told = fit.expected([(), (0,)])
        assert np.isfinite(told).all()


def test_no_probability_and_unequal_lengths_are_refused():
    with pytest.raises(DataError, match="0 probabilities; score at least one list"):
        fit_forecast([()], [{}], [{}], ["a"], 1, weights=[1.0])
    with pytest.raises(DataError, match="1 lists"):
        fit_forecast([()], [{0: 0.5}, {0: 0.5}], [{0: 1.0}], ["a"], 1, weights=[1.0])


def test_a_drawn_forecast_is_near_the_mean_one_and_the_same_for_the_same_draw():
    student, rng = Additive(4), np.random.default_rng(0)
    fit = student.fit(random_lists(15, rng))
    lists = random_lists(10, rng)
    drawn = fit.drawn(np.random.default_rng(7))
    np.testing.assert_array_equal(
        drawn.expected(lists), fit.drawn(np.random.default_rng(7)).expected(lists)
    )
    assert not np.allclose(drawn.expected(lists), fit.expected(lists))
    many = [fit.drawn(rng).expected(lists) for _ in range(300)]
    np.testing.assert_allclose(np.mean(many, axis=0), fit.expected(lists), atol=0.05)


def test_the_expected_share_is_the_weighted_mean_over_the_examples():
    student = Additive(2)
    fit = student.fit(random_lists(12, np.random.default_rng(1)))
    by_example = fit.by_example([(0, 1), ()])
    assert by_example.shape == (2, EXAMPLES)
    np.testing.assert_allclose(by_example.mean(1), fit.expected([(0, 1), ()]))
