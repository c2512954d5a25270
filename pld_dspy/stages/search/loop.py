"""Size, order and choice of the rules, searched with Optuna on the validation examples."""

import logging
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from importlib.util import find_spec
from typing import Any

import numpy as np
import optuna
from optuna.trial import FrozenTrial, TrialState

from pld_dspy.config.optimizer import SearchConfig
from pld_dspy.errors import ConfigError
from pld_dspy.records import Answer, Interval
from pld_dspy.scoring.evaluator import Metric
from pld_dspy.scoring.metrics import CorpusMetric
from pld_dspy.stages.search.contest import (
    Contest,
    best_of,
    check_budget,
    check_examples,
    margins_of,
    within_limit,
)
from pld_dspy.stages.search.forecast import Margins
from pld_dspy.stages.search.gains import marginal_gains
from pld_dspy.stages.search.orders import weakness
from pld_dspy.stages.search.propose import Proposal, anchors, climbed, guided, probes
from pld_dspy.stages.search.race import (
    chance_to_win,
    chance_to_win_scores,
    race,
    stratified_blocks,
)
from pld_dspy.stages.search.space import Hints, RuleList, Space
from pld_dspy.stages.search.study import REPEAT, Repeat, Worker, others
from pld_dspy.stages.search.trials import (
    Tried,
    listing_of,
    note,
    note_answers,
    observations,
    tried_of,
)

logger = logging.getLogger(__name__)


_EXPLORED = 0.85
"""Share of the trials after which none is spent on what is merely little known."""


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


def search(contest: Contest, study: optuna.Study) -> Searched:
    """Return every list that the study tried; it has `config.trials` of them, or all there are.

    The paper leaves size and order open. Lists come from fixed starts, from designed subsets that
    measure each rule's gain, from a regression of the scores so far, and from the sampler. Each is
    raced against the best one known: it stops once it can hardly win. No list is asked twice. A
    study that was begun goes on, and several processes may work on one.

    Args:
        contest: The space, the examples, and the student.
        study: Made by `open_study` or loaded by a worker.

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
        Worker(
            study=study,
            trials=config.trials,
            prepare=partial(_prepare, contest),
            run=partial(_run, contest, study),
            requeue=partial(_params_of, space),
            doubled=partial(_doubled, study),
            grace_s=config.grace_s,
            done=contest.done,
        ).work()
    tried = _tried(contest, study)
    calls = sum(len(t.answers) for t in tried)
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
        calls=calls,
        full_calls=len(tried) * len(contest.gold),
        metric=contest.metric,
        forecasts=_forecasts(contest, everything),
    )


def _forecasts(contest: Contest, tried: Sequence[Tried]) -> dict[RuleList, float]:
    margins = margins_of(contest, tried)
    if margins is None or not isinstance(contest.metric, CorpusMetric):
        return {}  # what another metric counts as good is not in the gold probability
    expected = margins.forecast([t.listing.rules for t in tried])
    return {t.listing: float(share) for t, share in zip(tried, expected, strict=True)}


def _prepare(contest: Contest, study: optuna.Study, count: int) -> None:
    trials = study.get_trials(deepcopy=False)
    # Seeded anew for every trial, so that a study that was interrupted goes on as it would have.
    repeats = sum(t.user_attrs.get(REPEAT, False) for t in trials)
    study.sampler = _sampler(contest.config, contest.seed * 10_007 + count + repeats)
    if not any(t.state == TrialState.WAITING for t in trials):
        _propose(contest, study, count)


def _propose(contest: Contest, study: optuna.Study, count: int) -> None:
    """Enqueue the list to try next, or nothing if it is the sampler's turn."""
    config, space = contest.config, contest.space
    starts = anchors(space, config.trials)
    subsets = probes(space, config.trials, seed=contest.seed) if config.guided else []
    for planned in (starts, subsets):
        # A list that was lost with its worker is queued again, under the same part.
        begun = {part for kind, part in _parts(study) if planned and kind == planned[0].kind}
        part = next((n for n in range(len(planned)) if n not in begun), None)
        if part is not None:
            _enqueue(study, planned[part], part)
            return
    if not config.guided:
        return
    tried = (*contest.known, *_tried(contest, study))
    margins = margins_of(contest, tried)
    if margins is None:
        if count % 3 == 2:
            return
        leader = best_of(contest, tried)
        proposal = guided(space, tried, leader, contest.weights, bold=count % 3 == 1)
    elif count % 6 == 2:  # drawn effects explore better than the sampler does
        return
    else:
        # What little is known of is worth a try only while there are trials left to use it.
        explore = count % 2 == 1 and count < _EXPLORED * config.trials
        bold = np.random.default_rng((contest.seed, count)) if explore else None
        proposal = climbed(space, tried, margins, bold=bold)
    if proposal is not None:
        _enqueue(study, proposal, count)


def _enqueue(study: optuna.Study, proposal: Proposal, part: int) -> None:
    study.enqueue_trial(proposal.params, user_attrs={"kind": proposal.kind, "part": part})


def _parts(study: optuna.Study) -> list[tuple[str, int]]:
    trials = study.get_trials(deepcopy=False)
    return [(t.user_attrs["kind"], t.user_attrs["part"]) for t in trials if "part" in t.user_attrs]


def _run(contest: Contest, study: optuna.Study, trial: optuna.Trial) -> float | None:
    """Return the value of the trial's list, or None if it was stopped before the last example."""
    space, config, metric = contest.space, contest.config, contest.metric
    tried = (*contest.known, *_tried(contest, study))
    leader = best_of(contest, tried)
    listing = within_limit(
        contest, space.decode(space.suggest(trial), _hints(contest, tried, leader))
    )
    kind = str(trial.user_attrs.get("kind", "sampler"))
    note(trial, listing)
    if listing in {t.listing for t in contest.known} or _doubled(study, trial):
        raise Repeat
    margins = margins_of(contest, tried)
    blocks = stratified_blocks(contest.gold, config.race.block, seed=contest.seed)
    if kind == "probe" and config.race.enabled:
        # A part of the examples, other ones for each subset: gains need many lists more than many
        # answers to each, and a subset that is not asked in full never wins by chance.
        part = int(trial.user_attrs["part"])
        every = 2 if margins is None else 3
        blocks = tuple(b for i, b in enumerate(blocks) if (i + part) % every == 0)
    answers: dict[int, Answer] = {}

    def ask(places: tuple[int, ...]) -> Sequence[Answer]:
        got = contest.ask(listing, places)
        answers.update(zip(places, got, strict=True))
        trial.set_user_attr("answers", note_answers(answers))
        return got

    chance = _even if kind == "probe" else partial(_chance, contest, leader, listing, margins)
    raced = race(ask, chance, blocks=blocks, config=config.race)
    found = Tried(listing=listing, answers=answers, number=trial.number, kind=kind)
    trial.set_user_attr("tokens", found.tokens)
    trial.set_user_attr("score", found.score(metric))
    if config.max_prompt_tokens is not None:
        trial.set_constraint("tokens", found.tokens - config.max_prompt_tokens)
    value = found.value(metric)
    if raced.stopped or len(answers) < len(contest.gold):
        trial.report(value, step=len(answers))
        return None
    return value


def _doubled(study: optuna.Study, trial: optuna.Trial) -> bool:
    """Return whether another trial has the list: a finished one, or a running one of a lower number."""
    mine = listing_of(study.get_trials(deepcopy=False)[trial.number])
    return mine in {listing_of(other) for other in others(study, trial.number)}


def _even(said: Sequence[Answer], seen: Sequence[int]) -> float:
    """Stop nobody."""
    return 0.5


def _chance(
    contest: Contest,
    leader: Tried,
    listing: RuleList,
    margins: Margins | None,
    said: Sequence[Answer],
    seen: Sequence[int],
) -> float:
    metric, size = contest.metric, len(contest.gold)
    if isinstance(metric, CorpusMetric):
        forecast = None
        if margins is not None:
            odds = {at: a.p_gold or 0.0 for at, a in zip(seen, said, strict=True)}
            fit, rules = margins, listing.rules
            forecast = lambda draws, rng: fit.rights(rules, odds, draws=draws, rng=rng)  # noqa: E731
        return chance_to_win(
            contest.gold,
            [leader.answers[at].answer for at in range(size)],
            [answer.answer for answer in said],
            seen,
            metric=metric,
            seed=contest.seed,
            forecast=forecast,
        )
    return chance_to_win_scores(
        [leader.answers[at].score for at in range(size)],
        [answer.score for answer in said],
        seen,
        seed=contest.seed,
    )


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
    states = (TrialState.COMPLETE, TrialState.PRUNED)
    trials = study.get_trials(deepcopy=False, states=states)
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


def _sampler(config: SearchConfig, seed: int) -> optuna.samplers.BaseSampler:
    seed %= 2**32
    if config.sampler == "random":
        return optuna.samplers.RandomSampler(seed=seed)
    if config.sampler == "gp":
        return optuna.samplers.GPSampler(seed=seed)
    if config.sampler == "cmaes":
        return optuna.samplers.CmaEsSampler(seed=seed, warn_independent_sampling=False)
    return optuna.samplers.TPESampler(seed=seed, n_startup_trials=6)


def check_sampler(name: str) -> None:
    """Raise `ConfigError` if the sampler needs a package that is not installed."""
    package = {"gp": "torch", "cmaes": "cmaes"}.get(name)
    if package is not None and find_spec(package) is None:
        msg = f"search.sampler {name!r} needs the package {package}; install it, or take 'tpe' or 'random'"
        raise ConfigError(msg)
