"""The last word: the best candidates and the student as given, on examples no step has used."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType
from typing import NamedTuple

from pld_dspy.config.optimizer import Prefer
from pld_dspy.records import Candidate, Evaluation, Interval
from pld_dspy.scoring.evaluator import Evaluator
from pld_dspy.scoring.front import Point, pareto

_STRICTER = 5.0
"""How much smaller a probability must be that rests on validation examples too."""


class Selection(NamedTuple):
    """The candidate that is kept, and why."""

    chosen: Candidate
    evaluations: tuple[Evaluation, ...]
    """On the selection examples: the student as given first, then the finalists."""
    delta: Interval | None
    """Chosen minus as given; None if the student stays as given."""
    reason: str


def select(  # noqa: PLR0913 - every setting of the choice
    candidates: Sequence[Candidate],
    val: Mapping[str, Evaluation],
    *,
    run: Callable[[Candidate], Evaluation],
    evaluator: Evaluator,
    finalists: int,
    max_p_worse: float,
    prefer: Prefer = "best",
    max_prompt_tokens: int | None = None,
    forecasts: Mapping[str, float] = MappingProxyType({}),
) -> Selection:
    """Return the best finalist, if it beats the student as given on the selection examples.

    The best validation score of many is too good by several points, so it admits to the final and
    then counts half as much as the selection score; it does not count against the student as given.
    The best finalist is kept if its paired probability of being worse than the student as given is at most
    `max_p_worse`. Few selection examples seldom tell as much of a list that is better by some points; so it is
    kept, too, if it is not behind there and the same probability over validation and selection examples
    together is at most a fifth of `max_p_worse`, since validation flatters it. The paper keeps the last state.

    Args:
        candidates: The student as given first, then all the others.
        val: Validation evaluation by candidate id; candidates without one take no part.
        run: Scores a candidate on the selection examples.
        evaluator: Compares two evaluations.
        finalists: How many candidates besides the student as given are scored again; where these
            show worked examples, so is the student with the examples and no rule.
        max_p_worse: In [0, 1]; 0.5 keeps whatever is not behind.
        prefer: `shortest-within-noise` takes the finalist with the fewest tokens whose paired 95%
            interval against the best one holds zero, and that beats the student as given by the
            same rule as the best; half of the finalists then come from the front of score and
            tokens.
        max_prompt_tokens: Candidates whose calls took more input tokens in the mean take no part.
        forecasts: Expected validation score by candidate id, from `SearchRecord.forecasts`; the mean
            of it and the validation score takes the place of the latter.
    """
    worth = {key: (e.score + forecasts.get(key, e.score)) / 2 for key, e in val.items()}
    as_given, *others = {candidate.id: candidate for candidate in candidates}.values()
    fitting = [
        c
        for c in others
        if c.changes
        and c.id in val
        and (max_prompt_tokens is None or val[c.id].prompt_tokens <= max_prompt_tokens)
    ]
    ranked = _finalists(fitting, val, worth, finalists, prefer)
    # The worked examples alone tell whether the rules beside them are worth their tokens.
    ranked += [c for c in _bare(fitting, ranked) if c not in ranked]
    baseline = run(as_given)
    results = [run(candidate) for candidate in ranked]
    evaluations = (baseline, *results)
    if not ranked:
        reason = (
            "no rule list was made"
            if max_prompt_tokens is None or not others
            else (
                f"the student stays as given: no rule list takes {max_prompt_tokens} tokens a call or fewer"
            )
        )
        return Selection(as_given, evaluations, None, reason)
    order = sorted(
        range(len(ranked)),
        # Both sets count: the selection score alone is as noisy as it is unbiased.
        key=lambda i: (
            -(results[i].score + 0.5 * worth[ranked[i].id]),
            len(ranked[i].prompt),
            ranked[i].id,
        ),
    )
    best = order[0]
    paired = evaluator.compare(baseline, results[best])
    gain = f"{paired.delta.estimate:+.3f} [{paired.delta.low:+.3f}, {paired.delta.high:+.3f}]"
    n = len(baseline.answers)
    together = evaluator.compare(
        _joined(val[as_given.id], baseline), _joined(val[ranked[best].id], results[best])
    )
    alone = paired.delta.estimate > 0 and paired.p_worse <= max_p_worse
    both = paired.delta.estimate >= 0 and together.p_worse <= max_p_worse / _STRICTER
    if not alone and not both:
        doubt = ", which may be noise" if paired.delta.estimate > 0 else ""
        reason = (
            f"the student stays as given: on {n} selection examples the best of {len(ranked)} "
            f"rule lists changes {evaluator.metric_name} by {gain}{doubt}"
        )
        return Selection(as_given, evaluations, None, reason)
    if prefer == "shortest-within-noise":
        short = _shortest(best, results, baseline, evaluator, max_p_worse)
        if short != best:
            return _short_one(ranked, results, evaluations, evaluator, best, short)
    reason = (
        f"best of {len(ranked)} finalists on {n} selection examples: {evaluator.metric_name} {gain} "
        "against the student as given"
    )
    if not alone:
        delta = together.delta
        reason += (
            f", and {delta.estimate:+.3f} [{delta.low:+.3f}, {delta.high:+.3f}] together with the "
            f"{len(val[as_given.id].answers)} validation examples"
        )
    return Selection(ranked[best], evaluations, paired.delta, reason)


def _bare(fitting: Sequence[Candidate], ranked: Sequence[Candidate]) -> list[Candidate]:
    """Return the candidate with the worked examples of the first finalist and no rule, if any."""
    demos = ranked[0].demos if ranked else ()
    return [c for c in fitting if demos and c.demos == demos and not c.rules]


def _joined(first: Evaluation, second: Evaluation) -> Evaluation:
    return replace(second, answers=(*first.answers, *second.answers))


def _finalists(
    fitting: Sequence[Candidate],
    val: Mapping[str, Evaluation],
    worth: Mapping[str, float],
    count: int,
    prefer: Prefer,
) -> list[Candidate]:
    by_score = sorted(fitting, key=lambda c: (-worth[c.id], len(c.prompt), c.id))
    if prefer == "best":
        return by_score[:count]
    by_id = {c.id: c for c in by_score}
    points = [Point(c.id, worth[c.id], val[c.id].prompt_tokens) for c in by_score]
    # The best ones of the front first: a list far below the best is short for a reason.
    front = [by_id[point.candidate_id] for point in reversed(pareto(points))]
    best = by_score[: max(1, count - count // 2)]
    return list({c.id: c for c in (*best, *front, *by_score)}.values())[:count]


def _shortest(
    best: int,
    results: Sequence[Evaluation],
    baseline: Evaluation,
    evaluator: Evaluator,
    max_p_worse: float,
) -> int:
    """Return the finalist with the fewest tokens that the data cannot tell from the best."""
    for i in sorted(range(len(results)), key=lambda i: results[i].prompt_tokens):
        if i == best:
            break
        against_best = evaluator.compare(results[best], results[i]).delta
        against_given = evaluator.compare(baseline, results[i])
        if against_best.high < 0:
            continue
        if against_given.delta.estimate > 0 and against_given.p_worse <= max_p_worse:
            return i
    return best


def _short_one(
    ranked: Sequence[Candidate],
    results: Sequence[Evaluation],
    evaluations: tuple[Evaluation, ...],
    evaluator: Evaluator,
    best: int,
    short: int,
) -> Selection:
    delta = evaluator.compare(evaluations[0], results[short]).delta
    lost = evaluator.compare(results[best], results[short]).delta
    reason = (
        f"shortest of {len(ranked)} finalists within noise of the best on "
        f"{len(evaluations[0].answers)} selection examples: {evaluator.metric_name} "
        f"{lost.estimate:+.3f} [{lost.low:+.3f}, {lost.high:+.3f}] against the best, at "
        f"{results[short].prompt_tokens:.0f} instead of {results[best].prompt_tokens:.0f} tokens a call"
    )
    return Selection(ranked[short], evaluations, delta, reason)
