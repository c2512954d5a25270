"""What the lists of a search are measured on: its examples, its student, its limits, and the best so far."""

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from optuna.trial import FrozenTrial, Trial, TrialState

from pld_dspy.config.optimizer import SearchConfig
from pld_dspy.errors import ConfigError, DataError
from pld_dspy.records import Answer
from pld_dspy.scoring.evaluator import Metric, score_answers
from pld_dspy.stages.common.prompt import HEADER
from pld_dspy.stages.search.forecast import Forecast, fit_forecast
from pld_dspy.stages.search.gains import Seen
from pld_dspy.stages.search.space import RuleList, Space

_LIST = "list"


_TIE = 1e-3
"""What a gold probability of 1 adds to the value of a trial: less than one answer in a thousand."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tried:
    """One list and what the student answered under it."""

    listing: RuleList
    answers: Mapping[int, Answer]
    """By place in the validation examples; not all of them if the list was stopped early."""
    number: int | None = None
    """Place among the trials that count; None for a list that was scored before the search."""
    kind: str = "known"
    """`start`, `sampler`, `forecast`, `drawn forecast` or `known`: who proposed it."""
    stopped: bool = False
    """Whether it was stopped before the last example."""

    def score(self, metric: Metric) -> float:
        """Return the metric over the examples that were asked; a crash is wrong."""
        return score_answers(metric, [self.answers[at] for at in sorted(self.answers)])

    def value(self, metric: Metric) -> float:
        """Return the score, plus so little of the mean gold probability that it only breaks ties."""
        known = [a.p_gold for a in self.answers.values() if a.p_gold is not None]
        return self.score(metric) + (_TIE * sum(known) / len(known) if known else 0.0)

    @property
    def tokens(self) -> float:
        """Mean input tokens of a call; 0.0 where the endpoint reports none."""
        counted = [a.input_tokens for a in self.answers.values() if a.input_tokens]
        return sum(counted) / len(counted) if counted else 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Contest:
    """What every list is measured on, and by whom."""

    space: Space
    metric: Metric
    ids: tuple[str, ...]
    """Of the validation examples."""
    gold: tuple[str, ...]
    ask: Callable[[RuleList, Sequence[int]], Sequence[Answer]]
    """Has the student answer the examples in these places under a list."""
    known: tuple[Tried, ...]
    """Lists that were scored in full before, the student as given first."""
    config: SearchConfig
    seed: int
    done: Callable[[int, int], None] = lambda count, total: None

    @property
    def weights(self) -> tuple[float, ...]:
        """Weight of each example: the labels count the same, as in macro-F1."""
        counts = Counter(self.gold)
        return tuple(len(self.gold) / (len(counts) * counts[label]) for label in self.gold)


def best_of(contest: Contest, tried: Sequence[Tried]) -> Tried:
    """Return the best list that was asked about every example and keeps the token limit.

    Ties go to the fewer tokens. The student as given always keeps the limit.
    """
    limit = contest.config.max_prompt_tokens or math.inf
    full = [t for t in tried if not t.stopped and (t.tokens <= limit or not t.listing.rules)]
    return max(full, key=lambda t: (t.value(contest.metric), -t.tokens, -len(t.listing.rules)))


def forecast_of(contest: Contest, tried: Sequence[Tried]) -> Forecast | None:
    """Return the regression of all gold probabilities; None before the first answer.

    Where an answer came without one, right counts as 0.9 and wrong as 0.1 in every answer: that
    found lists as good as a regression of list scores did.
    """
    answers = [a for t in tried for a in t.answers.values() if a.error is None]
    soft = all(a.p_gold is not None for a in answers if a.answer is not None)
    kept = [list(t.answers.items()) for t in tried]
    if not any(kept):
        return None
    return fit_forecast(
        [t.listing.rules for t in tried],
        [{at: (a.p_gold or 0.0) if soft else 0.1 + 0.8 * a.score for at, a in row} for row in kept],
        [{at: a.score for at, a in row} for row in kept],
        contest.gold,
        len(contest.space.rules),
        weights=contest.weights,
    )


def check_examples(gold: Sequence[str]) -> None:
    """Refuse validation examples that tell no list from another."""
    if max(Counter(gold).values(), default=0) < 2:
        msg = f"validation has {len(gold)} examples, one a class at most; give each class at least two, or set search.trials = 0"
        raise DataError(msg)


def check_budget(contest: Contest) -> None:
    """Refuse a token limit that no list with a rule can keep."""
    limit = contest.config.max_prompt_tokens
    cost = rule_tokens(contest)
    if limit is None or cost is None:
        return
    bare, per_rule = cost
    least = math.ceil(bare + min(per_rule.values()))
    if least > limit:
        msg = (
            f"search.max_prompt_tokens is {limit}, and the shortest prompt with a rule takes about "
            f"{least} tokens a call ({bare:.0f} without rules); raise it"
        )
        raise ConfigError(msg)


def within_limit(contest: Contest, listing: RuleList) -> RuleList:
    """Return the list without the last rules that would exceed the token limit."""
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
    """Return the tokens of a call without rules, and about those of each rule, from counted calls.

    None where the endpoint reports no tokens, or no list with rules was asked yet.
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
    """Return what each list scored by example: the gold probability if all have it, else right or wrong.

    A probability tells more than one right answer does, but means of the two are not comparable.
    """
    answers = [a for t in tried for a in t.answers.values() if a.error is None]
    soft = all(a.p_gold is not None for a in answers if a.answer is not None)
    return [
        Seen(
            rules=t.listing.rules,
            scores={at: (a.p_gold or 0.0) if soft else a.score for at, a in t.answers.items()},
        )
        for t in tried
    ]


def note(trial: Trial, listing: RuleList) -> None:
    """Write the list of a trial into it, before anything is asked; other workers see it at once."""
    trial.set_user_attr(_LIST, {"rules": list(listing.rules), "header": listing.header})


def note_answers(answers: Mapping[int, Answer]) -> dict[str, list[Any]]:
    """Return the answers in the short form that a trial holds: `place: [answer, score, ...]`."""
    return {
        str(at): [a.answer, a.score, a.p_gold, a.input_tokens, a.output_tokens, a.calls, a.error]
        for at, a in answers.items()
    }


def listing_of(trial: FrozenTrial) -> RuleList | None:
    """Return the list that the trial noted, or None if it died before."""
    noted = trial.user_attrs.get(_LIST)
    return None if noted is None else RuleList(tuple(noted["rules"]), noted["header"])


def tried_of(
    trial: FrozenTrial, ids: Sequence[str], gold: Sequence[str], *, number: int
) -> Tried | None:
    """Return what a trial found, or None if it noted no list or no answer."""
    listing = listing_of(trial)
    noted = trial.user_attrs.get("answers")
    if listing is None or not noted:
        return None
    answers = {
        int(at): Answer(
            example_id=ids[int(at)],
            gold=gold[int(at)],
            answer=answer,
            raw=answer or "",
            score=score,
            p_gold=p_gold,
            input_tokens=read,
            output_tokens=written,
            calls=calls,
            error=error,
        )
        for at, (answer, score, p_gold, read, written, calls, error) in noted.items()
    }
    return Tried(
        listing=listing,
        answers=answers,
        number=number,
        kind=str(trial.user_attrs.get("kind", "sampler")),
        stopped=trial.state is not TrialState.COMPLETE,
    )
