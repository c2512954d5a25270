"""Simpler searches than the package's, to see which of its parts pay.

Each is one loop around an Optuna study: fixed starts, then proposers in turn; each list is asked
block by block until the arm's rule stops it. No arm asks a list twice.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Literal
from warnings import catch_warnings

import numpy as np
import numpy.typing as npt
import optuna
from optuna.exceptions import ExperimentalWarning
from optuna.trial import TrialState
from scipy.special import ndtr

from pld_dspy import search as package
from pld_dspy.contest import Contest, best_of, margins_of
from pld_dspy.margins import Margins
from pld_dspy.proposals import anchors, climbed
from pld_dspy.racing import race, stratified_blocks
from pld_dspy.space import Hints, RuleList
from pld_dspy.trials import Tried
from pld_dspy.types import Answer

Floats = npt.NDArray[np.float64]
Proposer = Literal["sampler", "neighbour", "forecast", "draw"]
"""Optuna's sampler; a random list one change away from the best one; a climb by the forecast, with
its mean effects or with drawn ones."""
Stop = Literal[
    "race",
    "race by forecast",
    "wilcoxon",
    "wilcoxon by probability",
    "differences",
    "differences and forecast",
    "expected answers",
    "never",
]

_IMAGINED = 8.0
"""Examples imagined beside the seen ones."""
_SPREAD = 0.3
"""Variance of these."""
_TIMES = 40
"""Lists drawn for one trial until one is new."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Arm:
    """What proposes lists, and what stops them."""

    starts: int = 0
    """Fixed lists that are tried first."""
    turns: tuple[Proposer, ...] = ("sampler",)
    """Who proposes the lists after those, in turn; empty ends the search."""
    sampler: Literal["tpe", "random"] = "tpe"
    stop: Stop = "race"
    halves: bool = False
    """Whether the starts after the first are half as long as the pool."""
    odds: bool = True
    """Whether answers come with log-probabilities; without, right is 0.9 and wrong 0.1."""
    p_threshold: float = 0.1
    """Of Wilcoxon's test; 0.1 is Optuna's default."""


def tried_by(arm: Arm, contest: Contest, trials: int) -> list[Tried]:
    """Return the lists that the arm tried, in order; the first of them are those of a shorter run."""
    study = optuna.create_study(
        direction="maximize", sampler=_sampler(arm, contest.seed), pruner=optuna.pruners.NopPruner()
    )
    order = sum(stratified_blocks(contest.gold, contest.config.race.block, seed=contest.seed), ())
    for known in contest.known:
        if known.listing.rules:
            _tell_known(arm, study, contest, known, order)
    tried: list[Tried] = []
    starts = _starts(arm, contest)
    for number in range(trials):
        found = _next(arm, contest, study, tried, starts)
        if found is None:
            break
        trial, listing, kind = found
        answers, stopped = _asked(arm, contest, listing, (*contest.known, *tried), trial, order)
        one = Tried(listing=listing, answers=answers, number=number, kind=kind, stopped=stopped)
        tried.append(one)
        _tell(arm, contest, study, trial, one)
    return tried


def _starts(arm: Arm, contest: Contest) -> list[dict[str, Any]]:
    starts = [start.params for start in anchors(contest.space, 60)]
    if arm.halves:
        half = {"size": max(1, contest.space.most // 2)}
        orders = ("weak first", "label", "support")
        starts = [starts[0], *({**starts[0], **half, "order": order} for order in orders)]
    return starts[: arm.starts]


def _sampler(arm: Arm, seed: int) -> optuna.samplers.BaseSampler:
    if arm.sampler == "random":
        return optuna.samplers.RandomSampler(seed=seed)
    return optuna.samplers.TPESampler(seed=seed, n_startup_trials=6)


def _tell_known(
    arm: Arm, study: optuna.Study, contest: Contest, known: Tried, order: Sequence[int]
) -> None:
    study.enqueue_trial(contest.space.encode(known.listing))
    asked = study.ask()
    contest.space.suggest(asked)
    for step, place in enumerate(order):
        asked.report(_told(arm, known.answers[place]), step)
    study.tell(asked, known.value(contest.metric))


def _next(
    arm: Arm,
    contest: Contest,
    study: optuna.Study,
    tried: Sequence[Tried],
    starts: list[dict[str, Any]],
) -> tuple[optuna.Trial, RuleList, str] | None:
    """Return a trial with a new list, or None if the arm has none."""
    space, everything = contest.space, (*contest.known, *tried)
    known = {t.listing for t in everything}
    for _ in range(_TIMES):
        kind = "anchor"
        if starts:
            study.enqueue_trial(starts.pop(0))
        elif not arm.turns:
            return None
        else:
            later = sum(t.kind != "anchor" for t in tried)
            kind = arm.turns[later % len(arm.turns)]
            params = _proposed(kind, contest, everything)
            if params is not None:
                study.enqueue_trial(params)
        trial = study.ask()
        hints = Hints()
        if kind in {"anchor", "sampler"}:
            hints = package._hints(contest, everything, best_of(contest, everything))
        listing = space.decode(space.suggest(trial), hints)
        if listing not in known:
            return trial, listing, kind
        study.tell(trial, state=TrialState.FAIL)
    return None


def _proposed(kind: str, contest: Contest, tried: Sequence[Tried]) -> dict[str, Any] | None:
    """Return the parameters of the proposer's list, or None if it is the sampler's turn."""
    rng = np.random.default_rng((contest.seed, len(tried)))
    if kind == "neighbour":
        listing = _neighbour(contest, tried, rng)
        return None if listing is None else contest.space.encode(listing)
    if kind in {"forecast", "draw"}:
        margins = margins_of(contest, [_soft(one) for one in tried])
        bold = rng if kind == "draw" else None
        found = margins and climbed(contest.space, tried, margins, bold=bold)
        return found.params if found else None
    return None


def _soft(tried: Tried) -> Tried:
    """Return the list with a probability for each answer that has none."""
    answers = {
        at: a if a.p_gold is not None else replace(a, p_gold=0.1 + 0.8 * a.score)
        for at, a in tried.answers.items()
    }
    return replace(tried, answers=answers)


def _neighbour(
    contest: Contest, tried: Sequence[Tried], rng: np.random.Generator
) -> RuleList | None:
    """Return an untried list one change away from the best one, each kind of change as likely."""
    rules, header = best_of(contest, tried).listing
    known = {t.listing.rules for t in tried}
    groups = [
        [one for one in dict.fromkeys(group) if one and one not in known]
        for group in _changes(rules, len(contest.space.rules), contest.space.most)
    ]
    filled = [group for group in groups if group]
    if not filled:
        return None
    group = filled[rng.integers(len(filled))]
    return RuleList(group[rng.integers(len(group))], header)


def _changes(rules: tuple[int, ...], pool: int, most: int) -> Iterator[list[tuple[int, ...]]]:
    """Yield the lists with a rule less, with one moved, with one more, and with one exchanged."""
    places = range(len(rules))
    less = [rules[:i] + rules[i + 1 :] for i in places]
    yield less
    yield [(*rest[:j], rules[i], *rest[j:]) for i, rest in enumerate(less) for j in places]
    new = [rule for rule in range(pool) if rule not in rules]
    if len(rules) < most:
        yield [(*rules[:j], rule, *rules[j:]) for rule in new for j in range(len(rules) + 1)]
    yield [(*rules[:j], rule, *rules[j + 1 :]) for rule in new for j in places]


def _asked(
    arm: Arm,
    contest: Contest,
    listing: RuleList,
    tried: Sequence[Tried],
    trial: optuna.Trial,
    order: Sequence[int],
) -> tuple[dict[int, Answer], bool]:
    """Return the answers by place, and whether the list was stopped early."""
    answers: dict[int, Answer] = {}

    def ask(places: tuple[int, ...]) -> Sequence[Answer]:
        got = contest.ask(listing, places)
        answers.update(zip(places, got, strict=True))
        return got

    size = contest.config.race.block
    blocks = stratified_blocks(contest.gold, size, seed=contest.seed)
    if arm.stop.startswith("wilcoxon"):
        # Not as the study's own pruner: the sampler would ask it for every trial again, which
        # changes nothing and takes most of the time.
        with catch_warnings(action="ignore", category=ExperimentalWarning):
            pruner = optuna.pruners.WilcoxonPruner(p_threshold=arm.p_threshold)
        for block in blocks:
            for place, answer in zip(block, ask(block), strict=True):
                trial.report(_told(arm, answer), order.index(place))
            frozen = trial.study.get_trials(deepcopy=False)[trial.number]
            if len(answers) < len(order) and pruner.prune(trial.study, frozen):
                return answers, True
        return answers, False
    config = contest.config.race.model_copy(update={"enabled": arm.stop != "never"})
    margins: Margins | None = margins_of(contest, tried) if arm.stop == "race by forecast" else None
    leader = best_of(contest, tried)
    if arm.stop.startswith("differences"):
        hoped = _hoped(contest, tried, leader, listing) if "forecast" in arm.stop else 0.0
        chance = partial(_chance, contest, leader, hoped)
    elif arm.stop == "expected answers":
        chance = partial(_chance_expected, contest, leader, _expected(contest, tried, listing))
    else:
        chance = partial(package._chance, contest, leader, listing, margins)
    return answers, race(ask, chance, blocks=blocks, config=config).stopped


def _chance(
    contest: Contest, leader: Tried, hoped: float, answers: Sequence[Answer], seen: Sequence[int]
) -> float:
    """Return the chance that the mean score of all examples is above the leader's.

    Differences of single examples are taken for normal; imagined ones with the difference that was
    `hoped` for keep the mean from certainty. Examples are weighted so that labels count the same.
    """
    weights = np.asarray(contest.weights)
    at = np.asarray(seen)
    change = np.array([a.score - leader.answers[i].score for a, i in zip(answers, at, strict=True)])
    own, left = weights[at], float(weights.sum() - weights[at].sum())
    mass = float(own.sum()) + _IMAGINED
    middle = (float(own @ change) + _IMAGINED * hoped) / mass
    spread = (float(own @ (change - middle) ** 2) + _IMAGINED * _SPREAD) / mass
    expected = float(own @ change) + left * middle
    sd = np.sqrt(spread * left * (1 + left / mass))
    return float(ndtr(expected / max(sd, 1e-9)))


def _expected(contest: Contest, tried: Sequence[Tried], listing: RuleList) -> Floats:
    """Return by example the chance of a right answer that is forecast, in [0, 1]."""
    margins = margins_of(contest, [_soft(one) for one in tried])
    assert margins is not None
    shifts = margins._shifts([listing.rules], margins.mean[None])[0][0]
    sure = margins.levels + shifts[margins.labels] - margins.bar
    return np.asarray(ndtr(sure / np.hypot(margins.noise, margins.unsure)))


def _chance_expected(
    contest: Contest,
    leader: Tried,
    expected: Floats,
    answers: Sequence[Answer],
    seen: Sequence[int],
) -> float:
    """Return the chance that the mean score of all examples is above the leader's.

    Unseen answers are as expected, moved by what the seen ones are off in the mean.
    """
    weights, at = np.asarray(contest.weights), np.asarray(seen)
    best = np.array([leader.answers[i].score for i in range(len(weights))])
    scores = np.array([a.score for a in answers])
    own, left = weights[at], np.delete(np.arange(len(weights)), at)
    mass = float(own.sum()) + _IMAGINED
    off = float(own @ (scores - expected[at])) / mass
    ahead = own @ (scores - best[at]) + weights[left] @ (expected[left] + off - best[left])
    spread = expected * (1 - expected)
    shared = float(weights[left].sum()) ** 2 * float(weights @ spread / weights.sum()) / mass
    sd = np.sqrt(float(weights[left] ** 2 @ spread[left]) + shared)
    return float(ndtr(ahead / max(sd, 1e-9)))


def _hoped(contest: Contest, tried: Sequence[Tried], leader: Tried, listing: RuleList) -> float:
    """Return how much more right answers are forecast of the list than of the leader."""
    margins = margins_of(contest, tried)
    if margins is None:
        return 0.0
    new, old = margins.forecast([listing.rules, leader.listing.rules])
    return float(new - old)


def _told(arm: Arm, answer: Answer) -> float:
    by_probability = arm.stop == "wilcoxon by probability"
    return (answer.p_gold or 0.0) if by_probability else answer.score


def _tell(arm: Arm, contest: Contest, study: optuna.Study, trial: optuna.Trial, one: Tried) -> None:
    if one.stopped and not arm.stop.startswith("wilcoxon"):
        trial.report(one.value(contest.metric), step=len(one.answers))
        study.tell(trial, state=TrialState.PRUNED)
    else:
        # As Optuna advises with this pruner, what was seen so far stands for a stopped trial.
        study.tell(trial, one.value(contest.metric))
