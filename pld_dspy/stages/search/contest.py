"""Evaluation of rule lists in a search: examples, student, limits, incumbent."""

import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from optuna.trial import FrozenTrial, Trial, TrialState

from pld_dspy.config.optimizer import SearchConfig
from pld_dspy.errors import ConfigError, DataError
from pld_dspy.records import Answer
from pld_dspy.scoring.evaluator import Metric, score_answers
from pld_dspy.scoring.metrics import CorpusMetric, accuracy
from pld_dspy.stages.common.prompt import HEADER
from pld_dspy.stages.search.forecast import Forecast, fit_forecast
from pld_dspy.stages.search.gains import Seen
from pld_dspy.stages.search.space import RuleList, Space

_LIST = "list"


_TIE = 1e-3
"""Weight of the mean gold probability in the value of a trial; small, to break ties only."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tried:
    """A rule list with the student's answers."""

    listing: RuleList
    answers: Mapping[int, Answer]
    """By index of the validation example; incomplete if the list was stopped early."""
    number: int | None = None
    """Number of the trial, failed ones not counted; None for a list scored before the search."""
    kind: str = "known"
    """Proposer: `start`, `sampler`, `forecast`, `drawn forecast`, or `known` (scored before)."""
    stopped: bool = False
    """Whether the list was stopped before the last example."""

    def score(self, metric: Metric) -> float:
        """Return the metric over the evaluated examples; errors are wrong."""
        return score_answers(metric, [self.answers[place] for place in sorted(self.answers)])

    def value(self, metric: Metric) -> float:
        """Return the score plus a small multiple of the mean gold probability, which breaks ties."""
        return with_tie_break(self.score(metric), self.answers.values())

    @property
    def tokens(self) -> float:
        """Mean input tokens per call; 0.0 where the endpoint reports none."""
        counted = [a.input_tokens for a in self.answers.values() if a.input_tokens]
        return sum(counted) / len(counted) if counted else 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Contest:
    """How the lists of a search are evaluated."""

    space: Space
    metric: Metric
    ids: tuple[str, ...]
    """Ids of the validation examples."""
    gold: tuple[str, ...]
    ask: Callable[[RuleList, Sequence[int]], Sequence[Answer]]
    """Returns the student's answers with a list, for the examples with these indices."""
    decide: Callable[[Mapping[int, Answer]], Mapping[int, Answer]] = lambda answers: answers
    """Chooses the labels of a list's answers, by index of the example; see `Evaluator.decided`."""
    decides: bool = False
    """Whether it may choose others than those in the text."""
    known: tuple[Tried, ...]
    """Lists scored on all examples before the search, the student as given first."""
    config: SearchConfig
    seed: int
    done: Callable[[int, int], None] = lambda count, total: None

    @property
    def weights(self) -> tuple[float, ...]:
        """Weight of each example: what it counts in the metric, about.

        Under accuracy and DSPy metrics all examples count the same; under macro-F1, MCC and other
        corpus metrics all labels do.
        """
        return example_weights(self.metric, self.gold)


def with_tie_break(score: float, answers: Iterable[Answer]) -> float:
    """Return the score plus a small multiple of the mean gold probability."""
    known = [a.p_gold for a in answers if a.p_gold is not None]
    return score + (_TIE * sum(known) / len(known) if known else 0.0)


def example_weights(metric: Metric, gold: Sequence[str]) -> tuple[float, ...]:
    """Return the weight of each example, see `Contest.weights`."""
    if metric is accuracy or not isinstance(metric, CorpusMetric):
        return (1.0,) * len(gold)
    counts = Counter(gold)
    return tuple(len(gold) / (len(counts) * counts[label]) for label in gold)


def best_of(contest: Contest, tried: Sequence[Tried]) -> Tried:
    """Return the incumbent: the best fully evaluated list within the token limit.

    Ties go to fewer tokens. The limit does not apply to the student as given.
    """
    limit = contest.config.max_prompt_tokens or math.inf
    full = [t for t in tried if not t.stopped and (t.tokens <= limit or not t.listing.rules)]
    return max(full, key=lambda t: (t.value(contest.metric), -t.tokens, -len(t.listing.rules)))


def forecast_of(contest: Contest, tried: Sequence[Tried]) -> Forecast | None:
    """Return a forecast fitted to all gold probabilities; None before the first answer.

    If any answer lacks a probability, 0.9 is used for right and 0.1 for wrong answers throughout,
    which in simulation was as good as a regression of list scores.
    """
    answers = [a for t in tried for a in t.answers.values() if a.error is None]
    soft = all(a.p_gold is not None for a in answers if a.answer is not None)
    kept = [list(t.answers.items()) for t in tried]
    if not any(kept):
        return None
    return fit_forecast(
        [t.listing.rules for t in tried],
        [{i: (a.p_gold or 0.0) if soft else 0.1 + 0.8 * a.score for i, a in row} for row in kept],
        [{i: a.score for i, a in row} for row in kept],
        contest.gold,
        len(contest.space.rules),
        weights=contest.weights,
    )


def check_examples(gold: Sequence[str]) -> None:
    """Raise DataError if the validation examples cannot rank lists."""
    if max(Counter(gold).values(), default=0) < 2:
        msg = f"validation has {len(gold)} examples, at most one per class; give each class at least two, or set search.trials = 0"
        raise DataError(msg)


def check_budget(contest: Contest) -> None:
    """Raise ConfigError if every list with a rule exceeds the token limit."""
    limit = contest.config.max_prompt_tokens
    cost = rule_tokens(contest)
    if limit is None or cost is None:
        return
    bare, per_rule = cost
    least = math.ceil(bare + min(per_rule.values()))
    if least > limit:
        msg = (
            f"search.max_prompt_tokens is {limit}, and the shortest prompt with a rule takes about "
            f"{least} tokens per call ({bare:.0f} without rules); raise it"
        )
        raise ConfigError(msg)


def within_limit(contest: Contest, listing: RuleList) -> RuleList:
    """Return the list without the rules that exceed the token limit."""
    limit = contest.config.max_prompt_tokens
    cost = rule_tokens(contest)
    if limit is None or cost is None:
        return listing
    left, per_rule = limit - cost[0], cost[1]
    kept: list[int] = []
    for place in listing.rules:
        if left >= per_rule[place]:
            kept.append(place)
            left -= per_rule[place]
    return RuleList(tuple(kept), listing.header if kept else HEADER)


def rule_tokens(contest: Contest) -> tuple[float, dict[int, float]] | None:
    """Return the mean tokens per call without rules, and estimated tokens of each rule.

    None if the endpoint reports no tokens, or no list with rules was evaluated yet.
    """
    bare = [t for t in contest.known if not t.listing.rules and t.tokens]
    ruled = [t for t in contest.known if t.listing.rules and t.tokens]
    if not bare or not ruled:
        return None
    start = bare[0].tokens
    texts = {place: len(rule.text) + 4 for place, rule in enumerate(contest.space.rules)}
    chars = sum(sum(texts[place] for place in t.listing.rules) for t in ruled)
    per_char = sum(t.tokens - start for t in ruled) / chars
    return start, {place: size * per_char for place, size in texts.items()}


def observations(tried: Sequence[Tried]) -> list[Seen]:
    """Return the scores of each list by example: gold probabilities if all answers have one, else 0 or 1.

    Probabilities are less noisy, but the two must not be mixed.
    """
    answers = [a for t in tried for a in t.answers.values() if a.error is None]
    soft = all(a.p_gold is not None for a in answers if a.answer is not None)
    return [
        Seen(
            rules=t.listing.rules,
            scores={i: (a.p_gold or 0.0) if soft else a.score for i, a in t.answers.items()},
        )
        for t in tried
    ]


def note(trial: Trial, listing: RuleList) -> None:
    """Store the list of a trial in its attributes before the evaluation, for other workers."""
    trial.set_user_attr(_LIST, {"rules": list(listing.rules), "header": listing.header})


def note_answers(answers: Mapping[int, Answer]) -> dict[str, list[Any]]:
    """Return the answers in the compact form of a trial attribute: `index: [answer, score, ...]`."""
    return {
        str(place): [
            *(a.answer, a.score, a.p_gold, a.input_tokens, a.output_tokens, a.calls, a.error),
            *([dict(a.probabilities)] if a.probabilities else []),
        ]
        for place, a in answers.items()
    }


def listing_of(trial: FrozenTrial) -> RuleList | None:
    """Return the list that is stored in the trial, or None if it was lost before that."""
    stored = trial.user_attrs.get(_LIST)
    return None if stored is None else RuleList(tuple(stored["rules"]), stored["header"])


def tried_of(
    trial: FrozenTrial, ids: Sequence[str], gold: Sequence[str], *, number: int
) -> Tried | None:
    """Return list and answers that are stored in the trial, or None if one is missing."""
    listing = listing_of(trial)
    stored = trial.user_attrs.get("answers")
    if listing is None or not stored:
        return None
    answers = {
        int(place): Answer(
            example_id=ids[int(place)],
            gold=gold[int(place)],
            answer=answer,
            raw=answer or "",
            score=score,
            p_gold=p_gold,
            input_tokens=read,
            output_tokens=written,
            calls=calls,
            error=error,
            read=answer,
            probabilities=more[0] if more else None,
        )
        for place, (answer, score, p_gold, read, written, calls, error, *more) in stored.items()
    }
    return Tried(
        listing=listing,
        answers=answers,
        number=number,
        kind=str(trial.user_attrs.get("kind", "sampler")),
        stopped=trial.state is not TrialState.COMPLETE,
    )
