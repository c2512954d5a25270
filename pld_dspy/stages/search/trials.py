"""What the search knows: every list that was tried, with its answers, whoever asked for them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from optuna.trial import FrozenTrial, Trial, TrialState

from pld_dspy.records import Answer
from pld_dspy.scoring.evaluator import Metric, score_answers
from pld_dspy.stages.search.gains import Seen
from pld_dspy.stages.search.space import RuleList

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
