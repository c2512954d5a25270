"""Makes figures of answers."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import dspy

from pld_dspy.records import Answer, Decision, Evaluation, Interval
from pld_dspy.runs.diagnose.advice import clearly
from pld_dspy.runs.diagnose.checkup import Asked, Rung, Step
from pld_dspy.scoring.decisions.calibration import decided
from pld_dspy.scoring.evaluator import Evaluator
from pld_dspy.scoring.metrics import CorpusMetric
from pld_dspy.scoring.separability import separability
from pld_dspy.scoring.statistics import bootstrap_interval


@dataclass(frozen=True, slots=True, kw_only=True)
class Tried:
    """One way of asking: its figures, and its answers for comparisons."""

    asked: Asked
    read: Evaluation
    """Labels as read from the text."""
    calibrated: Evaluation | None = None
    """None without log-probabilities."""

    @property
    def best(self) -> Evaluation:
        """The better one of the two; of equals, as read."""
        other = self.calibrated
        return other if other is not None and other.score > self.read.score else self.read


def tried(
    name: str, answers: Sequence[Answer], examples: Sequence[dspy.Example], evaluator: Evaluator
) -> Tried:
    """Return the figures of the answers, which are in the order of the examples."""
    read = _evaluation(name, [decided(answer, None) for answer in answers], evaluator)
    answered = [a for a in answers if a.error is None]
    known = sum(bool(a.probabilities) for a in answers) >= max(1, len(answers) / 2)
    probable, calibrated = None, None
    if known:
        most = [decided(answer, Decision(kind="probable")) for answer in answers]
        probable = evaluator.score(most)
        fitted = evaluator.decided(answers, examples)
        calibrated = _evaluation(f"{name}, calibrated", fitted, evaluator)
    shares = _shares([a.read for a in answered if a.read is not None])
    asked = Asked(
        name=name,
        score=_interval(read, evaluator),
        probable=probable,
        calibrated=None if calibrated is None else _interval(calibrated, evaluator),
        unreadable=read.unparsed_rate,
        failures=read.failures,
        shares=shares,
        bias=_distance(shares, _shares([a.gold for a in answered])) if shares else None,
        separability=separability(answers, evaluator.labels),
        prompt_tokens=read.prompt_tokens,
    )
    return Tried(asked=asked, read=read, calibrated=calibrated)


def rungs(
    wordings: Sequence[Tried], shown: Sequence[tuple[Step, Tried]], evaluator: Evaluator
) -> tuple[tuple[Rung, ...], Evaluation]:
    """Return the steps from cheap to dear, and the answers after the last one that is ahead.

    Args:
        wordings: The student in each wording, as given first.
        shown: The student with something more in its prompt, cheaper steps first; of several of one
            step the best counts.
        evaluator: Compares them; its metric is a `CorpusMetric`.
    """
    given, *others = wordings
    steps: list[tuple[Step, Evaluation]] = []
    if others:
        steps.append(("wording", max((t.read for t in others), key=_score)))
    fitted = [t.calibrated for t in wordings if t.calibrated is not None]
    if fitted:
        steps.append(("calibration", max(fitted, key=_score)))
    best: dict[Step, Evaluation] = {}
    for step, more in shown:
        best[step] = max(best.get(step, more.best), more.best, key=_score)
    steps += best.items()
    leader, made = given.read, []
    for step, evaluation in steps:
        rung = Rung(
            step=step,
            name=evaluation.candidate_id,
            score=evaluation.score,
            change=evaluator.compare(given.read, evaluation),
            ahead=evaluator.compare(leader, evaluation),
        )
        made.append(rung)
        if clearly(rung.ahead):
            leader = evaluation
    return tuple(made), leader


def label_shares(answers: Sequence[Answer]) -> dict[str, float]:
    """Return the share of each gold label."""
    return _shares([answer.gold for answer in answers])


def _evaluation(name: str, answers: Sequence[Answer], evaluator: Evaluator) -> Evaluation:
    return Evaluation(
        candidate_id=name,
        split="val",
        metric=evaluator.metric_name,
        score=evaluator.score(answers),
        answers=tuple(answers),
    )


def _interval(evaluation: Evaluation, evaluator: Evaluator) -> Interval:
    assert isinstance(evaluator.metric, CorpusMetric)
    gold = [answer.gold for answer in evaluation.answers]
    counted = [answer.counted for answer in evaluation.answers]
    return bootstrap_interval(evaluator.metric, gold, counted, seed=evaluator.seed)


def _score(evaluation: Evaluation) -> float:
    return evaluation.score


def _shares(labels: Sequence[str]) -> dict[str, float]:
    return {label: count / len(labels) for label, count in sorted(Counter(labels).items())}


def _distance(one: Mapping[str, float], other: Mapping[str, float]) -> float:
    """Return the total variation distance of two distributions."""
    return sum(abs(one.get(k, 0.0) - other.get(k, 0.0)) for k in {*one, *other}) / 2
