"""Runs the search over size and order of the rule list with Optuna."""

import logging
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import numpy as np
import optuna
from optuna.trial import FrozenTrial, TrialState
from threadpoolctl import threadpool_limits

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

_FIRST_BLOCKS = 2
"""Blocks before the first check of a race whose labels are decided."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Searched:
    """Result of the search."""

    tried: tuple[Tried, ...]
    """Lists of the trials, in order, including those that were stopped early."""
    gains: Mapping[int, Interval]
    """By rule number: change of the balanced accuracy with the rule in the list."""
    calls: int
    """Number of student answers in the trials."""
    full_calls: int
    """Number of student answers that the same trials would take without racing."""
    metric: Metric
    forecasts: Mapping[RuleList, float] = field(default_factory=dict)
    """Expected balanced accuracy of each list, in [0, 1]; empty without gold probabilities."""


def search(contest: Contest, study: optuna.Study, *, shared: bool = True) -> Searched:
    """Run the search up to `config.trials` trials, or until all lists were tried, and return all trials.

    The paper leaves size and order open. Fixed starts come first, then Optuna's sampler and climbs by
    the forecast take turns. Each list is raced against the incumbent, and stopped once it is unlikely
    to win. No list is evaluated twice. An interrupted study resumes.

    Args:
        contest: Space, examples and student.
        study: Made by `open_study` or loaded by a worker.
        shared: Whether other processes may work on the study too.

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
        # The regressions are small: with more threads they wait for each other most of the time.
        with threadpool_limits(limits=1, user_api="blas"):
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
    """Return the expected score of each list; empty for a metric of single examples."""
    soft = any(a.p_gold is not None for t in tried for a in t.answers.values())
    forecast = forecast_of(contest, tried) if soft else None
    if forecast is None or not isinstance(contest.metric, CorpusMetric):
        return {}  # gold probabilities predict right answers only
    expected = forecast.expected([t.listing.rules for t in tried])
    return {t.listing: float(share) for t, share in zip(tried, expected, strict=True)}


def _prepare(contest: Contest, study: optuna.Study, count: int) -> None:
    trials = study.get_trials(deepcopy=False)
    # Seeded for each trial, so that an interrupted study resumes with the same proposals.
    repeats = sum(t.user_attrs.get(REPEAT, False) for t in trials)
    study.sampler = _sampler(contest.config, contest.seed * 10_007 + count + repeats)
    if not any(t.state == TrialState.WAITING for t in trials):
        _propose(contest, study, count)


def _propose(contest: Contest, study: optuna.Study, count: int) -> None:
    """Enqueue the next list, or nothing if it is the sampler's turn."""
    first = starts(contest.space)[: contest.config.trials]
    begun = {part for kind, part in _parts(study) if kind == "start"}
    for part, start in enumerate(first):
        if part not in begun:  # a start that is queued again keeps its number
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
    """Evaluate the list of the trial; return its value, or why there is none."""
    tried = (*contest.known, *_tried(contest, study))
    hints = _hints(contest, tried, best_of(contest, tried))
    listing = within_limit(contest, contest.space.decode(contest.space.suggest(trial), hints))
    note(trial, listing)
    if listing in {t.listing for t in contest.known} or _doubled(study, trial):
        return "repeated"
    evaluated, stopped = _raced(contest, trial, listing, tried)
    trial.set_user_attr("tokens", evaluated.tokens)
    trial.set_user_attr("score", evaluated.score(contest.metric))
    if contest.config.max_prompt_tokens is not None:
        trial.set_constraint("tokens", evaluated.tokens - contest.config.max_prompt_tokens)
    value = evaluated.value(contest.metric)
    if stopped:
        trial.report(value, step=len(evaluated.answers))
        return "stopped"
    return value


def _raced(
    contest: Contest, trial: optuna.Trial, listing: RuleList, tried: Sequence[Tried]
) -> tuple[Tried, bool]:
    """Race the list; return its answers, and whether it was stopped before the last example."""
    incumbent = best_of(contest, tried)
    answers: dict[int, Answer] = {}  # as read

    def ask(places: tuple[int, ...]) -> Sequence[Answer]:
        got = contest.ask(listing, places)
        answers.update(zip(places, got, strict=True))
        trial.set_user_attr("answers", note_answers(answers))
        return got

    best = [incumbent.answers[place].score for place in range(len(contest.gold))]
    forecast = forecast_of(contest, tried)
    expected = best if forecast is None else forecast.by_example([listing.rules])[0].tolist()

    def chance(got: Sequence[Answer], seen: Sequence[int]) -> float:
        labelled = contest.decide(dict(zip(seen, got, strict=True)))
        scores = [labelled[place].score for place in seen]
        return chance_to_win(best, scores, seen, expected=expected, weights=contest.weights)

    config = contest.config.race
    blocks = stratified_blocks(contest.gold, config.block, seed=contest.seed)
    if contest.decides:  # a decision cannot be fitted to one block
        blocks = (sum(blocks[:_FIRST_BLOCKS], ()), *blocks[_FIRST_BLOCKS:])
    raced = race(ask, chance, blocks=blocks, config=config)
    kind = str(trial.user_attrs.get("kind", "sampler"))
    labelled = contest.decide(answers)
    evaluated = Tried(listing=listing, answers=labelled, number=trial.number, kind=kind)
    return evaluated, raced.stopped


def _doubled(study: optuna.Study, trial: optuna.Trial) -> bool:
    """Return whether a finished trial, or a running one with a lower number, has the same list."""
    mine = listing_of(study.get_trials(deepcopy=False)[trial.number])
    return mine in {listing_of(other) for other in others(study, trial.number)}


def _hints(contest: Contest, tried: Sequence[Tried], leader: Tried) -> Hints:
    # Orders are about lists with rules, so the best of those comes before the student as given.
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
        weak=weakness([shown.answers[place] for place in sorted(shown.answers)]),
        gains={place: gain.estimate for place, gain in enumerate(gains)},
    )


def _tried(contest: Contest, study: optuna.Study) -> tuple[Tried, ...]:
    trials = study.get_trials(deepcopy=False, states=FINISHED)
    stored = (
        # Numbered without failed trials, so that an interrupted study has the same numbers.
        tried_of(trial, contest.ids, contest.gold, number=place)
        for place, trial in enumerate(trials)
    )
    return tuple(
        replace(tried, answers=contest.decide(tried.answers))
        for tried in stored
        if tried is not None
    )


def _params_of(space: Space, trial: FrozenTrial) -> dict[str, Any]:
    """Return parameters that encode the list of the trial, or else its planned parameters."""
    listing = listing_of(trial)
    if listing is not None:
        return space.encode(listing)
    return {**trial.system_attrs.get("fixed_params", {}), **trial.params}
