"""The search: no list twice, bounded, racing saves calls, limits hold, the same for the same seed."""

from dataclasses import replace
from importlib.util import find_spec

import numpy as np
import optuna
import pytest

from experiments.simulation.students import SimulatedStudent
from pld_dspy.errors import ConfigError, DataError
from pld_dspy.records import Answer
from pld_dspy.scoring.metrics import accuracy, macro_f1
from pld_dspy.stages.common.prompt import HEADER
from pld_dspy.stages.search.contest import Tried, best_of
from pld_dspy.stages.search.loop import _params_of, search
from pld_dspy.stages.search.shared.storage import quiet
from pld_dspy.stages.search.space import Hints, RuleList


def begin(seed=1, n=60, **config):
    """A contest with the student as given and all rules known, its calls, and a study."""
    student = SimulatedStudent(seed, rules=8)
    contest, calls = student.contest(n, seed=seed, **config)
    known = known_of(contest, (), tuple(range(8)))
    calls.clear()
    with quiet():
        study = optuna.create_study(direction="maximize")
    return student, replace(contest, known=known), calls, study


def known_of(contest, *lists):
    from pld_dspy.stages.search.contest import Tried

    places = range(len(contest.gold))
    return tuple(
        Tried(
            listing=RuleList(rules),
            answers=dict(enumerate(contest.ask(RuleList(rules), places))),
        )
        for rules in lists
    )


def lists(found):
    return [tried.listing for tried in found.tried]


def needs(sampler, package):
    """A sampler of a package that is not among the requirements: tried where the package is."""
    missing = find_spec(package) is None
    reason = f"{package} is not installed; `pip install {package}` to try this sampler"
    return pytest.param(sampler, marks=pytest.mark.skipif(missing, reason=reason))


SAMPLERS = ["tpe", "random", needs("gp", "torch"), needs("cmaes", "cmaes")]


@pytest.mark.parametrize("sampler", SAMPLERS)
@pytest.mark.parametrize("trials", [1, 6, 20])
def test_as_many_different_lists_are_tried_as_allowed(sampler, trials):
    _, contest, calls, study = begin(trials=trials, sampler=sampler)
    found = search(contest, study)

    assert len(lists(found)) == len(set(lists(found))) == trials
    assert not set(lists(found)) & {tried.listing for tried in contest.known}
    assert found.calls == sum(calls) <= found.full_calls == trials * 60


def test_no_trials_and_no_rules_are_no_search():
    _, contest, calls, study = begin(trials=0)
    assert search(contest, study).tried == ()
    empty = replace(contest, space=replace(contest.space, rules=(), groups={}), known=())
    assert search(empty, study).tried == ()
    assert not calls


def test_a_small_space_is_searched_until_nothing_new_is_left():
    student = SimulatedStudent(3, rules=2)
    contest, _ = student.contest(24, trials=50)
    contest = replace(
        contest,
        space=replace(contest.space, headers=(HEADER,)),
        known=known_of(contest, (), (0, 1)),
    )
    with quiet():
        found = search(contest, optuna.create_study(direction="maximize"))
    assert {listing.rules for listing in lists(found)} == {(0,), (1,), (1, 0)}


def test_the_same_seed_tries_the_same_lists_and_another_seed_others():
    first, again = (search(c, s) for _, c, _, s in (begin(trials=18), begin(trials=18)))
    assert lists(first) == lists(again)
    _, contest, _, study = begin(trials=18)
    assert lists(search(replace(contest, seed=2), study)) != lists(first)


def test_racing_stops_lists_that_cannot_win_and_loses_nothing():
    _, contest, calls, study = begin(trials=24, n=100)
    raced = search(contest, study)
    _, slow, all_calls, other = begin(trials=24, n=100, race={"enabled": False})
    full = search(slow, other)

    assert sum(all_calls) == full.full_calls == full.calls
    assert sum(calls) < 0.75 * full.calls
    stopped = [t for t in raced.tried if t.stopped]
    assert stopped
    assert all(len(t.answers) < 100 for t in stopped)
    assert all(len(t.answers) == 100 for t in raced.tried if not t.stopped)
    best = best_of(contest, (*contest.known, *raced.tried))
    assert not best.stopped


def test_the_search_beats_all_rules_on_what_it_saw():
    _, contest, _, study = begin(trials=30)
    found = search(contest, study)
    best = best_of(contest, (*contest.known, *found.tried))
    assert best.score(macro_f1) > max(tried.score(macro_f1) for tried in contest.known)


def test_gains_follow_what_the_rules_do():
    found = []
    for seed in range(4):
        student, contest, _, study = begin(seed, trials=36, n=200)
        gains = search(contest, study).gains
        assert all(g.low <= g.estimate <= g.high for g in gains.values())
        effects = student.effect.mean(axis=1)
        found.append(np.corrcoef([gains[rule].estimate for rule in range(8)], effects)[0, 1])
    assert np.mean(found) > 0.4


def test_right_and_wrong_are_enough_where_no_probabilities_are_told():
    _, contest, _, study = begin(trials=20, odds=False)
    assert len(search(contest, study).tried) == 20


def test_the_token_limit_holds_for_every_list():
    _, contest, _, study = begin(trials=20, max_prompt_tokens=40 + 3 * 12)
    found = search(contest, study)
    assert found.tried
    assert all(tried.tokens <= 40 + 3 * 12 for tried in found.tried)
    best = best_of(contest, (*contest.known, *found.tried))
    assert best.tokens <= 40 + 3 * 12


def test_a_token_limit_below_every_list_is_refused_before_any_call():
    _, contest, calls, study = begin(trials=20, max_prompt_tokens=45)
    with pytest.raises(ConfigError, match=r"max_prompt_tokens is 45, .* about 5\d tokens per call"):
        search(contest, study)
    assert not calls
    assert not study.trials


def test_one_validation_example_a_class_is_refused_before_any_call():
    _, contest, calls, study = begin(trials=4, n=4)
    with pytest.raises(DataError, match="validation has 4 examples, at most one per class"):
        search(contest, study)
    assert not calls


@pytest.mark.parametrize(("sampler", "package"), [("gp", "torch"), ("cmaes", "cmaes")])
def test_a_sampler_that_is_not_installed_is_named(sampler, package, monkeypatch):
    monkeypatch.setattr("pld_dspy.stages.search.sampler.find_spec", lambda name: None)
    _, contest, calls, study = begin(trials=12, sampler=sampler)
    with pytest.raises(ConfigError, match=f"needs the package {package}; install it, or use"):
        search(contest, study)
    assert not calls


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_each_sampler_finds_the_same_again_and_goes_on_where_it_stopped(sampler):
    settings = {"sampler": sampler, "guided": False}  # all but the starts are the sampler's
    _, contest, _, study = begin(trials=14, **settings)
    whole = search(contest, study)
    _, begun, _, study = begin(trials=9, **settings)
    first = search(begun, study)
    _, again, calls, _ = begin(trials=14, **settings)

    assert lists(search(again, study)) == lists(whole)
    assert sum(calls) == whole.calls - first.calls


def test_a_study_that_was_begun_goes_on_as_if_it_had_not_stopped():
    _, contest, calls, study = begin(trials=20)
    whole = search(contest, study)
    spent = sum(calls)

    class Killed(BaseException):
        pass

    _, contest, calls, study = begin(trials=20)
    ask = contest.ask

    def dies(listing, places):
        if sum(calls) > spent // 2:
            raise Killed
        return ask(listing, places)

    with pytest.raises(Killed):
        search(replace(contest, ask=dies), study)
    half = sum(calls)
    resumed = search(contest, study)
    assert lists(resumed) == lists(whole)
    # The list that was under way is asked anew; a run folder would have its answers.
    assert sum(calls) - half <= spent - half + 60


def test_a_finished_study_asks_nothing():
    _, contest, calls, study = begin(trials=12)
    first = search(contest, study)
    calls.clear()
    assert lists(search(contest, study)) == lists(first)
    assert not calls


def test_more_trials_extend_a_finished_study():
    _, contest, calls, study = begin(trials=12)
    first = search(contest, study)
    calls.clear()
    more = replace(contest, config=contest.config.model_copy(update={"trials": 15}))
    assert lists(search(more, study))[:12] == lists(first)
    assert len(calls) >= 3


def test_every_list_has_a_forecast_where_gold_probabilities_are_told():
    _, contest, _, study = begin(trials=10)
    found = search(contest, study)
    assert set(found.forecasts) == {t.listing for t in (*contest.known, *found.tried)}
    assert all(0 <= share <= 1 for share in found.forecasts.values())
    _, contest, _, study = begin(trials=10, odds=False)
    assert search(contest, study).forecasts == {}


def test_no_forecast_under_a_metric_that_right_answers_say_little_about():
    _, contest, _, study = begin(trials=6)
    strange = replace(contest, metric=lambda example, prediction, trace=None: 0.5)
    assert search(strange, study).forecasts == {}


def test_a_climb_proposes_lists_that_do_better_than_their_start():
    student, contest, _, study = begin(trials=24, n=200)
    found = search(contest, study)
    climbed = [t for t in found.tried if t.kind.endswith("forecast")]
    start = student.true_score(contest.known[1].listing.rules)
    assert climbed
    assert max(student.true_score(t.listing.rules) for t in climbed) > start + 0.1


def test_after_the_starts_sampler_and_forecast_take_turns():
    _, contest, _, study = begin(trials=10)
    kinds = [tried.kind for tried in search(contest, study).tried]
    assert set(kinds[:3]) == {"start"}
    assert kinds.count("start") <= 4
    assert {"sampler", "forecast", "drawn forecast"} <= set(kinds)


def test_without_guidance_all_but_the_starts_are_the_samplers():
    _, contest, _, study = begin(trials=10, guided=False)
    kinds = {tried.kind for tried in search(contest, study).tried}
    assert kinds == {"start", "sampler"}


@pytest.mark.parametrize("trials", [1, 9])
def test_alone_and_shared_try_the_same_lists(trials):
    _, contest, _, study = begin(trials=trials)
    _, again, _, other = begin(trials=trials)
    assert lists(search(contest, study, shared=False)) == lists(search(again, other))


def test_alone_a_trial_that_a_killed_process_left_is_tried_again():
    _, contest, _, study = begin(trials=5)
    whole = lists(search(contest, study, shared=False))
    _, contest, _, study = begin(trials=5)
    ask, asked = contest.ask, []

    class Killed(BaseException):
        pass

    def dies(listing, places):
        asked.append(listing)
        if len(set(asked)) == 3:
            raise Killed
        return ask(listing, places)

    with pytest.raises(Killed):
        search(replace(contest, ask=dies), study, shared=False)
    assert lists(search(contest, study, shared=False)) == whole


def test_a_trial_that_died_before_its_list_was_noted_is_tried_as_planned():
    _, contest, _, study = begin(trials=4)
    planned = contest.space.encode(RuleList((3, 1), HEADER))
    study.enqueue_trial(planned)
    study.ask()
    (trial,) = study.get_trials(deepcopy=False)
    assert contest.space.decode(_params_of(contest.space, trial), Hints()).rules == (3, 1)


def test_examples_weigh_what_they_count_in_the_metric():
    _, contest, _, _ = begin()
    uneven = replace(contest, gold=("red",) * 45 + ("blue",) * 15, ids=contest.ids)
    assert uneven.weights == pytest.approx((2 / 3,) * 45 + (2.0,) * 15)
    assert replace(uneven, metric=accuracy).weights == (1.0,) * 60
    graded = replace(uneven, metric=lambda example, prediction, trace=None: 0.5)
    assert graded.weights == (1.0,) * 60


def test_under_accuracy_a_list_that_gains_on_the_common_label_is_not_stopped():
    """It loses half of the rare label: by macro-F1 it is hopeless, by accuracy it wins."""
    _, contest, _, study = begin(trials=1, n=60)
    gold = ("red",) * 48 + ("blue",) * 12
    good = [*range(48), *range(48, 51)]

    def answered(places, right):
        return [
            Answer(example_id=f"v{i}", gold=gold[i], answer=gold[i] if i in right else "grey",
                   score=float(i in right))
            for i in places
        ]  # fmt: skip

    known = Tried(
        listing=RuleList(()),
        answers=dict(enumerate(answered(range(60), {*range(30), *range(48, 60)}))),
    )
    uneven = replace(
        contest, gold=gold, known=(known,), ask=lambda listing, places: answered(places, good)
    )
    (kept,) = search(replace(uneven, metric=accuracy), study).tried
    assert not kept.stopped
    assert kept.score(accuracy) > known.score(accuracy)
