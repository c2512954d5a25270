"""Searches size and order of the rule list with Optuna, on the validation examples."""

import logging
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
import optuna
from optuna.trial import FrozenTrial, TrialState

from pld_dspy.records import Answer, Interval
from pld_dspy.scoring.evaluator import Metric
from pld_dspy.scoring.metrics import CorpusMetric
from pld_dspy.stages.search.contest import (
    Contest,
    Tried,
    best_of,
    check_budget,
    check_examples,
    forecast_of,
    listing_of,
    note,
    note_answers,
    observations,
    tried_of,
    within_limit,
)
from pld_dspy.stages.search.gains import marginal_gains
from pld_dspy.stages.search.propose import SCHEDULE, Proposal, climb, starts
from pld_dspy.stages.search.race import chance_to_win, race, stratified_blocks
from pld_dspy.stages.search.sampler import _sampler, check_sampler
from pld_dspy.stages.search.shared.storage import FINISHED
from pld_dspy.stages.search.shared.workers import REPEAT, Outcome, Worker, others, run_alone
from pld_dspy.stages.search.space import Hints, RuleList, Space, weakness

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Searched:
    """What the search found."""

    tried: tuple[Tried, ...]
    """Lists of the study's trials, in order, those that were stopped early among them."""
    gains: Mapping[int, Interval]
    """By place in the pool: how much a rule changes the mean score, its labels weighted the same."""
    calls: int
    """Student answers that the trials took."""
    full_calls: int
    """Student answers that the same lists would have taken without racing."""
    metric: Metric
    forecasts: Mapping[RuleList, float] = field(default_factory=dict)
    """Share of right answers expected of each list, its labels weighted the same, in [0, 1]; empty
    where answers came without gold probabilities."""


def search(contest: Contest, study: optuna.Study, *, shared: bool = True) -> Searched:
    """Return every list that the study tried; it has `config.trials` of them, or all there are.

    The paper leaves size and order open. Fixed starts come first, then Optuna's sampler and a climb by
    the forecast take turns. Each list is raced against the incumbent: it stops once it can hardly
    win. No list is asked twice. A study that was stopped resumes.

    Args:
        contest: The space, the examples, and the student.
        study: Made by `open_study` or loaded by a worker.
        shared: Whether other processes may work on the study, too.

    Raises:
        ConfigError: The sampler is not installed, or the token limit is below every list.
        DataError: No class has two validation examples.
        ModelError: An endpoint cannot be reached; the trial is queued again.
    """
    space, config = contest.space, contest.config
    if config.trials and space.rules:
        check_sampler(config.sampler)
        check_examples(contest.gold)
        check_budget(contest)
        _run_trials(contest, study, shared=shared)
    tried = _tried(contest, study)
    everything = (*contest.known, *tried)
    gains = marginal_gains(
        observations(everything),
        len(space.rules),
        weights=contest.weights,
        seed=contest.seed,
    )
    return Searched(
        tried=tried,
        gains=dict(enumerate(gains)),
        calls=sum(len(t.answers) for t in tried),
        full_calls=len(tried) * len(contest.gold),
        metric=contest.metric,
        forecasts=_forecasts(contest, everything),
    )


def _run_trials(contest: Contest, study: optuna.Study, *, shared: bool) -> None:
    prepare = partial(_prepare, contest)
    run = partial(_run, contest, study)
    requeue = partial(_params_of, contest.space)
    if not shared:
        run_alone(
            study,
            contest.config.trials,
            prepare=prepare,
            run=run,
            requeue=requeue,
            done=contest.done,
        )
        return
    Worker(
        study=study,
        trials=contest.config.trials,
        prepare=prepare,
        run=run,
        requeue=requeue,
        doubled=partial(_doubled, study),
        grace_s=contest.config.grace_s,
        done=contest.done,
    ).work()


def _forecasts(contest: Contest, tried: Sequence[Tried]) -> dict[RuleList, float]:
    """Return the expected score of each list, where the metric counts right answers."""
    soft = any(a.p_gold is not None for t in tried for a in t.answers.values())
    forecast = forecast_of(contest, tried) if soft else None
    if forecast is None or not isinstance(contest.metric, CorpusMetric):
        return {}  # what another metric counts as good is not in the gold probability
    expected = forecast.expected([t.listing.rules for t in tried])
    return {t.listing: float(share) for t, share in zip(tried, expected, strict=True)}


def _prepare(contest: Contest, study: optuna.Study, count: int) -> None:
    trials = study.get_trials(deepcopy=False)
    # Seeded anew for every trial, so that a study that was interrupted resumes as it would have.
    repeats = sum(t.user_attrs.get(REPEAT, False) for t in trials)
    study.sampler = _sampler(contest.config, contest.seed * 10_007 + count + repeats)
    if not any(t.state == TrialState.WAITING for t in trials):
        _propose(contest, study, count)


def _propose(contest: Contest, study: optuna.Study, count: int) -> None:
    """Enqueue the list to try next, or nothing if it is the sampler's turn."""
    first = starts(contest.space)[: contest.config.trials]
    begun = {part for kind, part in _parts(study) if kind == "start"}
    for part, start in enumerate(first):
        if part not in begun:  # a start that was lost with its worker keeps its part
            _enqueue(study, start, part)
            return
    turn = SCHEDULE[(count - len(first)) % len(SCHEDULE)]
    if not contest.config.guided or turn == "sampler":
        return
    tried = (*contest.known, *_tried(contest, study))
    forecast = forecast_of(contest, tried)
    if forecast is not None and turn == "drawn forecast":
        forecast = forecast.drawn(np.random.default_rng((contest.seed, len(tried))))
    proposal = None if forecast is None else climb(contest.space, tried, forecast, turn)
    if proposal is not None:
        _enqueue(study, proposal, count)


def _enqueue(study: optuna.Study, proposal: Proposal, part: int) -> None:
    study.enqueue_trial(proposal.params, user_attrs={"kind": proposal.proposer, "part": part})


def _parts(study: optuna.Study) -> list[tuple[str, int]]:
    trials = study.get_trials(deepcopy=False)
    return [(t.user_attrs["kind"], t.user_attrs["part"]) for t in trials if "part" in t.user_attrs]


def _run(contest: Contest, study: optuna.Study, trial: optuna.Trial) -> Outcome:
    """Return the value of the trial's list, or why it has none."""
    tried = (*contest.known, *_tried(contest, study))
    hints = _hints(contest, tried, best_of(contest, tried))
    listing = within_limit(contest, contest.space.decode(contest.space.suggest(trial), hints))
    note(trial, listing)
    if listing in {t.listing for t in contest.known} or _doubled(study, trial):
        return "repeated"
    found, stopped = _raced(contest, trial, listing, tried)
    trial.set_user_attr("tokens", found.tokens)
    trial.set_user_attr("score", found.score(contest.metric))
    if contest.config.max_prompt_tokens is not None:
        trial.set_constraint("tokens", found.tokens - contest.config.max_prompt_tokens)
    value = found.value(contest.metric)
    if stopped:
        trial.report(value, step=len(found.answers))
        return "stopped"
    return value


def _raced(
    contest: Contest, trial: optuna.Trial, listing: RuleList, tried: Sequence[Tried]
) -> tuple[Tried, bool]:
    """Return the answers of the list, and whether it was stopped before the last example."""
    incumbent = best_of(contest, tried)
    answers: dict[int, Answer] = {}

    def ask(places: tuple[int, ...]) -> Sequence[Answer]:
        got = contest.ask(listing, places)
        answers.update(zip(places, got, strict=True))
        trial.set_user_attr("answers", note_answers(answers))
        return got

    best = [incumbent.answers[at].score for at in range(len(contest.gold))]
    forecast = forecast_of(contest, tried)
    expected = best if forecast is None else forecast.by_example([listing.rules])[0].tolist()

    def chance(got: Sequence[Answer], seen: Sequence[int]) -> float:
        scores = [answer.score for answer in got]
        return chance_to_win(best, scores, seen, expected=expected, weights=contest.weights)

    config = contest.config.race
    blocks = stratified_blocks(contest.gold, config.block, seed=contest.seed)
    raced = race(ask, chance, blocks=blocks, config=config)
    kind = str(trial.user_attrs.get("kind", "sampler"))
    found = Tried(listing=listing, answers=answers, number=trial.number, kind=kind)
    return found, raced.stopped


def _doubled(study: optuna.Study, trial: optuna.Trial) -> bool:
    """Return whether another trial has the list: a finished one, or a running one of a lower number."""
    mine = listing_of(study.get_trials(deepcopy=False)[trial.number])
    return mine in {listing_of(other) for other in others(study, trial.number)}


def _hints(contest: Contest, tried: Sequence[Tried], leader: Tried) -> Hints:
    # The student as given shows what it misses without rules; orders are about lists with rules.
    limit = contest.config.max_prompt_tokens or math.inf
    full = [t for t in tried if not t.stopped and t.listing.rules and t.tokens <= limit]
    shown = best_of(contest, full) if full else leader
    gains = marginal_gains(
        observations(tried),
        len(contest.space.rules),
        weights=contest.weights,
        seed=contest.seed,
        n=1,
    )
    return Hints(
        weak=weakness([shown.answers[at] for at in sorted(shown.answers)]),
        gains={place: gain.estimate for place, gain in enumerate(gains)},
    )


def _tried(contest: Contest, study: optuna.Study) -> tuple[Tried, ...]:
    trials = study.get_trials(deepcopy=False, states=FINISHED)
    found = (
        # Counted without the failed ones, so that an interrupted study tells the same in the end.
        tried_of(trial, contest.ids, contest.gold, number=place)
        for place, trial in enumerate(trials)
    )
    return tuple(tried for tried in found if tried is not None)


def _params_of(space: Space, trial: FrozenTrial) -> dict[str, Any]:
    """Return parameters that stand for the very list of the trial, or for what was planned of it."""
    listing = listing_of(trial)
    if listing is not None:
        return space.encode(listing)
    return {**trial.system_attrs.get("fixed_params", {}), **trial.params}
