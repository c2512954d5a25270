"""Picks the finalists by their validation answers, and ranks them with those to selection examples."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple, Self

from pld_dspy.config.optimizer import Prefer
from pld_dspy.records import Candidate, Evaluation
from pld_dspy.scoring.decisions.likelihood import likelier
from pld_dspy.scoring.front import Point, pareto
from pld_dspy.stages.select.selector import SelectContext


class Worth(NamedTuple):
    """What validation says of each candidate, by id."""

    nats: Mapping[str, float]
    """By how much the gold labels are likelier than with the student as given, in hundredths, which are
    close enough for the shorter one. Empty if it is not known for all."""
    score: Mapping[str, float]
    """The score, which what the search forecasts for it draws to the mean."""

    @classmethod
    def of(
        cls, context: SelectContext, as_given: Candidate, candidates: Sequence[Candidate]
    ) -> Self:
        """Return what validation says of the candidates."""
        val = context.val
        likely = {
            c.id: likelier(context.evaluator, val[as_given.id], val[c.id]) for c in candidates
        }
        nats = {
            i: round(change.delta.estimate, 2) for i, change in likely.items() if change is not None
        }
        scores = {c.id: val[c.id].score for c in candidates}
        return cls(
            nats=nats if len(nats) == len(likely) else {},
            score={i: (score + context.forecasts.get(i, score)) / 2 for i, score in scores.items()},
        )

    @property
    def best_known(self) -> Mapping[str, float]:
        """By likelihood if it is known, else by score."""
        return self.nats or self.score


def pick_finalists(
    candidates: Sequence[Candidate],
    val: Mapping[str, Evaluation],
    worth: Worth,
    count: int,
    prefer: Prefer,
) -> list[Candidate]:
    """Return the best `count` candidates on validation, and those with their words and demos alone.

    These show whether rules in addition are worth their tokens.
    """
    known = worth.best_known
    ranked = sorted(candidates, key=lambda c: (-known[c.id], len(c.prompt), c.id))
    finalists = ranked[:count]
    best = ranked[: max(1, count - count // 2)]
    if prefer == "rules-within-noise":
        telling = sorted(ranked, key=lambda c: -len(answered(c)))
        finalists = list({c.id: c for c in (*best, *telling)}.values())[:count]
    if prefer == "shortest-within-noise":
        by_id = {c.id: c for c in ranked}
        points = [Point(c.id, known[c.id], val[c.id].prompt_tokens) for c in ranked]
        # From the best of the front down: short lists far below the best are not useful.
        front = [by_id[point.candidate_id] for point in reversed(pareto(points))]
        finalists = list({c.id: c for c in (*best, *front, *ranked)}.values())[:count]
    return finalists + [c for c in _bare(candidates, finalists) if c not in finalists]


def answered(candidate: Candidate) -> frozenset[str]:
    """Return the labels that a rule of the candidate answers."""
    return frozenset(rule.main_label for rule in candidate.rules)


def in_order(
    context: SelectContext,
    finalists: Sequence[Candidate],
    evaluations: Sequence[Evaluation],
    worth: Worth,
) -> list[int]:
    """Return the places of the finalists, the best first; of equals, the shortest.

    Selection is unbiased but noisy, so validation counts half as much in addition.

    Args:
        context: What the selector was given.
        finalists: The candidates that were scored on the selection examples.
        evaluations: Scores on the selection examples, first that of the student as given.
        worth: What validation says of them.
    """
    baseline, *results = evaluations
    select = [likelier(context.evaluator, baseline, result) for result in results]
    weight = [
        round(change.delta.estimate + 0.5 * worth.nats[candidate.id], 2)
        for candidate, change in zip(finalists, select, strict=True)
        if change is not None and worth.nats
    ]
    if len(weight) < len(finalists):
        pairs = zip(finalists, results, strict=True)
        weight = [result.score + 0.5 * worth.score[candidate.id] for candidate, result in pairs]
    return sorted(
        range(len(finalists)), key=lambda i: (-weight[i], _length(finalists[i]), finalists[i].id)
    )


def _length(candidate: Candidate) -> int:
    """Return the characters of the instructions and of the words for the labels."""
    return len(candidate.prompt) + sum(map(len, candidate.words.values()))


def _bare(fitting: Sequence[Candidate], ranked: Sequence[Candidate]) -> list[Candidate]:
    """Return the candidates with the words and demos of the first finalist and no rules."""
    first = next(iter(ranked), None)
    if first is None:
        return []
    alone = [c for c in fitting if not c.rules and c.words == first.words]
    return [c for c in alone if c.demos in ((), first.demos)]
