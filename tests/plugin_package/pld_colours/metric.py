"""Two metrics: one of all answers at once, and one of a single answer as in DSPy."""

from pld_dspy.scoring.metrics import CorpusMetric, weights


def _mean_recall(gold, predicted):
    share = weights(gold)
    return sum(share[g] for g, p in zip(gold, predicted, strict=True) if g == p) / len(gold)


balanced_accuracy = CorpusMetric("balanced_accuracy", _mean_recall)


def same_label(example, prediction, trace=None):
    """Return whether the labels are equal."""
    return example.label == prediction.label
