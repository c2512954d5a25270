"""Compares two evaluations of the same examples, for the report."""

from collections.abc import Mapping
from typing import Any

from pld_dspy.records import Evaluation
from pld_dspy.scoring.evaluator import as_accuracy
from pld_dspy.scoring.metrics import CorpusMetric, Metric, macro_f1
from pld_dspy.scoring.statistics import (
    interval,
    mcnemar,
    paired_bootstrap,
    paired_bootstrap_scores,
)


def scores(metric: Metric, before: Evaluation, after: Evaluation, *, seed: int) -> dict[str, Any]:
    """Return the fields of a report that compare two evaluations of the same examples."""
    first = {a.example_id: a for a in before.answers}
    second = {a.example_id: a for a in after.answers}
    both = [i for i in first if i in second]
    gold = [first[i].gold for i in both]
    said = [first[i].counted for i in both], [second[i].counted for i in both]
    if isinstance(metric, CorpusMetric):
        paired = paired_bootstrap(metric, gold, *said, seed=seed)
    else:
        values = [first[i].score for i in both], [second[i].score for i in both]
        paired = paired_bootstrap_scores(*values, seed=seed)
    ranges = {name: interval(metric, e, seed=seed) for name, e in _named(before, after).items()}
    return {
        "test_n": len(before.answers),
        "metric": before.metric,
        "baseline": before.score,
        "compiled": after.score,
        **{f"{name}_ci95": (found.low, found.high) for name, found in ranges.items()},
        "delta": paired.delta.estimate,
        "delta_ci95": (paired.delta.low, paired.delta.high),
        "p_worse": paired.p_worse,
        "mcnemar_p": mcnemar(gold, *said),
        **{f"{name}_macro_f1": _score(macro_f1, e) for name, e in _named(before, after).items()},
        **{f"{name}_accuracy": as_accuracy(e) for name, e in _named(before, after).items()},
        "unparsed_rate_baseline": before.unparsed_rate,
        "unparsed_rate_compiled": after.unparsed_rate,
        "failures": after.failures,
        "failures_baseline": before.failures,
        "prompt_tokens": after.prompt_tokens,
        "prompt_tokens_baseline": before.prompt_tokens,
    }


def _named(before: Evaluation, after: Evaluation) -> Mapping[str, Evaluation]:
    return {"baseline": before, "compiled": after}


def _answers(evaluation: Evaluation) -> tuple[list[str], list[str | None]]:
    answers = evaluation.answers
    return [answer.gold for answer in answers], [answer.counted for answer in answers]


def _score(metric: CorpusMetric, evaluation: Evaluation) -> float:
    return metric(*_answers(evaluation))
