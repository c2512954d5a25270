"""Compares two programs by how probable they find the gold labels."""

from collections.abc import Sequence

from pld_dspy.records import Evaluation
from pld_dspy.scoring.evaluator import Evaluator
from pld_dspy.scoring.metrics import CorpusMetric
from pld_dspy.scoring.statistics import PairedResult, paired_bootstrap_scores


def likelier(
    evaluator: Evaluator, first: Evaluation, second: Evaluation, *, n: int = 2000
) -> PairedResult | None:
    """Return the calibrated log-likelihood of `second` minus that of `first`, in nats an example.

    Right and wrong answers to some 40 examples seldom tell two programs apart; how sure each answer is
    does, as a proper scoring rule (Gneiting and Raftery, JASA 2007). Both are calibrated first, out of
    fold, so that bias does not count, which the decision removes. With a weight for each class where the
    metric has one. None where labels are not chosen by a fitted decision, or half of the answers or
    more have no label probabilities.
    """
    corpus = isinstance(evaluator.metric, CorpusMetric)
    if evaluator.decide != "calibrated" or not evaluator.labels or not corpus:
        return None
    one, two = (evaluator.calibrator.likelihoods(e.answers) for e in (first, second))
    both = [key for key in one if key in two]
    if 2 * len(both) <= len(second.answers):
        return None
    pairs = [one[key] for key in both], [two[key] for key in both]
    return paired_bootstrap_scores(*pairs, n=n, seed=evaluator.seed)


def compared_with(
    evaluator: Evaluator, first: Evaluation, others: Sequence[Evaluation]
) -> list[PairedResult]:
    """Return each of the others minus `first`, by likelihood if it is known for all, else by the metric."""
    likely = [likelier(evaluator, first, other) for other in others]
    known = [change for change in likely if change is not None]
    if len(known) == len(likely):
        return known
    return [evaluator.compare(first, other) for other in others]
