"""Answers without a language model: what the labelled examples alone are worth."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import dspy
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline, make_pipeline, make_union

from pld_dspy.models.reading.values import label_text


def texts(rows: Iterable[Mapping[str, Any]], keys: Sequence[str]) -> list[str]:
    """Return the inputs of each row as one text."""
    return [" \n ".join(str(row.get(key, "")) for key in keys) for row in rows]


def bag_of_words(examples: Sequence[dspy.Example], keys: Sequence[str], label_key: str) -> Pipeline:
    """Return logistic regression on TF-IDF of words and character n-grams, fitted to the examples."""
    model = make_pipeline(
        make_union(
            TfidfVectorizer(sublinear_tf=True),
            TfidfVectorizer(analyzer="char_wb", ngram_range=(2, 4), sublinear_tf=True),
        ),
        LogisticRegression(C=10.0, max_iter=2000),
    )
    return model.fit(texts(examples, keys), [label_text(e[label_key]) for e in examples])


def majority(examples: Sequence[dspy.Example], label_key: str, labels: Sequence[str]) -> str:
    """Return the most frequent label; of equals, the first one in `labels`."""
    counts = Counter(label_text(example[label_key]) for example in examples)
    return max(labels, key=lambda label: counts[label])


def reference_answers(
    labelled: Sequence[dspy.Example],
    test: Sequence[dspy.Example],
    *,
    keys: Sequence[str],
    label_key: str,
    labels: Sequence[str],
) -> dict[str, list[str]]:
    """Return the test answers of each reference by name: `bag of words` and `majority`.

    Args:
        labelled: Examples to learn from, of at least two labels.
        test: Examples to answer.
        keys: Input fields.
        label_key: Field that holds the label.
        labels: The closed label set.
    """
    model = bag_of_words(labelled, keys, label_key)
    most = majority(labelled, label_key, labels)
    return {
        "bag of words": [str(label) for label in model.predict(texts(test, keys))],
        "majority": [most] * len(test),
    }
