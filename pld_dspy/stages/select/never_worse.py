"""The built-in selector: the best finalist on held-out examples, never worse than the student as given."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple, get_args

from pld_dspy.config.callables import check_call
from pld_dspy.config.optimizer import PLDConfig, Prefer
from pld_dspy.errors import ConfigError, nearest
from pld_dspy.records import Candidate, Evaluation, Interval
from pld_dspy.scoring.decisions.likelihood import likelier
from pld_dspy.scoring.statistics import PairedResult
from pld_dspy.stages.select.finalists import Worth, answered, in_order, pick_finalists
from pld_dspy.stages.select.selector import SelectContext, Selector, Verdict

_STRICTER = 5.0
"""Factor by which `max_p_worse` is divided where the score on selection examples is no higher, or the test
includes validation examples."""


NAMES = get_args(Prefer)


def resolve_selector(given: str | Selector | None, config: PLDConfig) -> Selector:
    """Return the selector for `given`.

    Args:
        given: `best`, `shortest-within-noise` or `rules-within-noise`, the modes of `NeverWorse`; a
            selector; or None for the mode `config.prefer`.
        config: Settings of `NeverWorse`.

    Raises:
        ConfigError: No selector has this name, or `given` does not match the protocol.
    """
    if given is not None and not isinstance(given, str):
        known = " or ".join(map(repr, NAMES))
        check_call("selector", given, ("context",), expected=f"{known}, or a Selector (context)")
        return given
    for prefer in NAMES:
        if prefer == (given or config.prefer):
            return NeverWorse(
                finalists=config.finalists, max_p_worse=config.max_p_worse, prefer=prefer
            )
    msg = f"no selector is called {given!r}{nearest(str(given), NAMES)}"
    raise ConfigError(msg)


@dataclass(frozen=True, slots=True, kw_only=True)
class NeverWorse:
    """The built-in selector: the best finalist, if it beats the student as given."""

    finalists: int = 3
    """Number of candidates, besides the student as given, that are scored on the selection examples;
    if they have demos, the demos without rules are scored too."""
    max_p_worse: float = 0.25
    """Maximum probability of being worse than the student as given, in [0, 1]."""
    prefer: Prefer = "best"
    """Of the finalists that are not significantly worse than the best one by score or likelihood (paired
    95% intervals) and beat the student as given by the same test, `shortest-within-noise` chooses the
    one with the fewest tokens, and `rules-within-noise` the one whose rules answer the most labels.
    Half of the finalists then come from the Pareto front of score and tokens, or are those whose rules
    answer the most labels."""

    def __call__(self, context: SelectContext) -> Verdict:
        """Return the best finalist, if it beats the student as given on the selection examples.

        The best validation score of many lists is optimistic by several points. So validation picks
        the finalists, has half the weight of selection in ranking them, and does not alone compare
        them with the student as given. Both go by the likelihood of the gold labels where labels are
        chosen by a fitted decision (`likelier`), else by score. As some 40 selection examples have
        little power, the first finalist is chosen for which one of these holds, with p the paired
        probability of being worse than the student as given:

        - its score on the selection examples is higher, and p is at most `max_p_worse` by score or
          by likelihood;
        - its score is no lower there, and p is at most `max_p_worse / 5` by likelihood there, or by
          score over validation and selection examples together;
        - its score is no lower over both together, p is at most `max_p_worse / 5` by likelihood over
          both, and it is likelier on the selection examples.
        """
        as_given, *others = {c.id: c for c in context.candidates}.values()
        val = context.val
        fitting = [c for c in others if c.changes and c.id in val and _fits(context, c)]
        worth = Worth.of(context, as_given, fitting)
        ranked = pick_finalists(fitting, val, worth, self.finalists, self.prefer)
        baseline = context.run(as_given)
        results = [context.run(candidate) for candidate in ranked]
        evaluations = (baseline, *results)
        if not ranked:
            limit = context.max_prompt_tokens
            reason = (
                "no rule list was made"
                if limit is None or not others
                else f"the student stays as given: no rule list takes at most {limit} tokens per call"
            )
            return Verdict(chosen=as_given, evaluations=evaluations, reason=reason)
        order = in_order(context, ranked, evaluations, worth)
        finals = [
            _Final(context, as_given, ranked, evaluations, place, self.max_p_worse)
            for place in order
        ]
        best = next((final for final in finals if final.helps), finals[0])
        return best.verdict(self.prefer, order)


def _fits(context: SelectContext, candidate: Candidate) -> bool:
    limit = context.max_prompt_tokens
    return limit is None or context.val[candidate.id].prompt_tokens <= limit


class _Final(NamedTuple):
    """One of the finalists, with the scores of all on the selection examples."""

    context: SelectContext
    as_given: Candidate
    ranked: Sequence[Candidate]
    evaluations: tuple[Evaluation, ...]
    best: int
    """Index of the finalist in `ranked`."""
    max_p_worse: float

    @property
    def scored(self) -> Evaluation:
        """The finalist on the selection examples."""
        return self.evaluations[1 + self.best]

    @property
    def change(self) -> PairedResult:
        """Its score there minus that of the student as given."""
        return self.context.evaluator.compare(self.evaluations[0], self.scored)

    @property
    def likely(self) -> PairedResult | None:
        """By how much it is likelier there; None where likelihoods are unknown."""
        return likelier(self.context.evaluator, self.evaluations[0], self.scored)

    @property
    def pooled(self) -> tuple[Evaluation, Evaluation]:
        """The student as given and the finalist on validation and selection examples together."""
        val, chosen = self.context.val, self.ranked[self.best]
        return (
            _joined(val[self.as_given.id], self.evaluations[0]),
            _joined(val[chosen.id], self.scored),
        )

    @property
    def together(self) -> PairedResult:
        """The change of the score there."""
        return self.context.evaluator.compare(*self.pooled)

    @property
    def alone(self) -> bool:
        """Whether it is better by its score on the selection examples alone."""
        return self.change.delta.estimate > 0 and self.change.p_worse <= self.max_p_worse

    @property
    def surer(self) -> Interval | None:
        """By how much it is likelier on the selection examples, where that is sure enough.

        A score that is higher, by however little, and the likelihood speak for each other.
        """
        likely, higher = self.likely, self.change.delta.estimate > 0
        limit = self.max_p_worse if higher else self.max_p_worse / _STRICTER
        return likely.delta if likely is not None and likely.p_worse <= limit else None

    @property
    def surer_together(self) -> Interval | None:
        """By how much it is likelier on validation and selection examples together, where that is sure.

        None where its score is lower there, or it is less likely on the selection examples.
        """
        alone, both = self.likely, likelier(self.context.evaluator, *self.pooled)
        if alone is None or both is None or self.together.delta.estimate < 0:
            return None
        sure = alone.delta.estimate > 0 and both.p_worse <= self.max_p_worse / _STRICTER
        return both.delta if sure else None

    @property
    def helps(self) -> bool:
        """Whether it is better than the student as given."""
        if self.alone or self.surer_together is not None:
            return True
        sure = self.surer is not None or self.together.p_worse <= self.max_p_worse / _STRICTER
        return sure and self.change.delta.estimate >= 0

    def verdict(self, prefer: Prefer, order: Sequence[int]) -> Verdict:
        """Return the finalist, one within noise of it that is preferred, or the student as given.

        Args:
            prefer: What is preferred within noise.
            order: All finalists by their places, the best first.
        """
        evaluator = self.context.evaluator
        baseline, delta = self.evaluations[0], self.change.delta
        if not self.helps:
            doubt = ", which may be noise" if delta.estimate > 0 else ""
            reason = (
                f"the student stays as given: on {len(baseline.answers)} selection examples the "
                f"best of {len(self.ranked)} rule lists changes {evaluator.metric_name} by "
                f"{_signed(delta)}{doubt}"
            )
            return Verdict(chosen=self.as_given, evaluations=self.evaluations, reason=reason)
        if (other := self._preferred(prefer, order)) != self.best:
            return self._instead(other, prefer)
        chosen, reason = self.ranked[self.best], self._why()
        return Verdict(chosen=chosen, evaluations=self.evaluations, delta=delta, reason=reason)

    def _why(self) -> str:
        """Return what speaks for the finalist."""
        evaluator, val = self.context.evaluator, self.context.val
        baseline, delta = self.evaluations[0], self.change.delta
        reason = (
            f"best of {len(self.ranked)} finalists on {len(baseline.answers)} selection examples: "
            f"{evaluator.metric_name} {_signed(delta)} against the student as given"
        )
        nats = "nats of the likelihood of the gold labels"
        both = f"together with the {len(val[self.as_given.id].answers)} validation examples"
        if self.alone:
            return reason
        if delta.estimate >= 0 and self.surer is not None:
            return f"{reason}, and {_signed(self.surer)} {nats}"
        if self.surer_together is not None:
            return f"{reason}, and {_signed(self.surer_together)} {nats} {both}"
        return f"{reason}, and {_signed(self.together.delta)} {both}"

    def _preferred(self, prefer: Prefer, order: Sequence[int]) -> int:
        """Return the place of the finalist that is preferred within noise of this one."""
        if prefer == "best":
            return self.best
        tokens = [result.prompt_tokens for result in self.evaluations[1:]]
        labels = [len(answered(candidate)) for candidate in self.ranked]
        shortest = prefer == "shortest-within-noise"
        ways = sorted(order, key=lambda i: tokens[i] if shortest else -labels[i])
        before = ways[: ways.index(self.best)]
        return next((place for place in before if self._is_as_good(place)), self.best)

    def _is_as_good(self, place: int) -> bool:
        """Return whether another finalist is within noise of this one, and beats the student as given."""
        evaluator, other = self.context.evaluator, self.evaluations[1 + place]
        likely = likelier(evaluator, self.scored, other)
        lost = [evaluator.compare(self.scored, other), *([] if likely is None else [likely])]
        gain = evaluator.compare(self.evaluations[0], other)
        within = all(change.delta.high >= 0 for change in lost)
        return within and gain.delta.estimate > 0 and gain.p_worse <= self.max_p_worse

    def _instead(self, place: int, prefer: Prefer) -> Verdict:
        """Return the verdict for a finalist that is preferred to this one."""
        evaluator, chosen = self.context.evaluator, self.ranked[place]
        baseline, *results = self.evaluations
        delta = evaluator.compare(baseline, results[place]).delta
        lost = evaluator.compare(self.scored, results[place]).delta
        what, how = f"rules for most labels ({len(answered(chosen))})", ""
        if prefer == "shortest-within-noise":
            what = "shortest"
            how = (
                f", at {results[place].prompt_tokens:.0f} instead of "
                f"{self.scored.prompt_tokens:.0f} tokens per call"
            )
        reason = (
            f"{what} of {len(self.ranked)} finalists within noise of the best on "
            f"{len(baseline.answers)} selection examples: {evaluator.metric_name} "
            f"{_signed(lost)} against the best{how}"
        )
        return Verdict(chosen=chosen, evaluations=self.evaluations, delta=delta, reason=reason)


def _signed(change: Interval) -> str:
    return f"{change.estimate:+.3f} [{change.low:+.3f}, {change.high:+.3f}]"


def _joined(first: Evaluation, second: Evaluation) -> Evaluation:
    return replace(second, answers=(*first.answers, *second.answers))
