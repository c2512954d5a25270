"""Removes near-duplicate rules."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from sklearn.feature_extraction.text import TfidfVectorizer

from pld_dspy.records import Rule, Vectors


def unique(rules: Sequence[Rule], threshold: float) -> tuple[Rule, ...]:
    """Return the rules without near-duplicates; the first of each group keeps the evidence of all.

    Args:
        rules: In order of preference.
        threshold: Minimum cosine similarity (TF-IDF) of two rules of one label to be duplicates.
    """
    if len(rules) < 2:
        return tuple(rules)
    cosines = _cosines([rule.text for rule in rules])
    kept: list[int] = []
    evidence: dict[int, list[Rule]] = {}
    for i, rule in enumerate(rules):
        same = next(
            (
                k
                for k in kept
                if rules[k].text == rule.text
                or (rules[k].main_label == rule.main_label and cosines[k, i] >= threshold)
            ),
            None,
        )
        if same is None:
            kept.append(i)
            evidence[i] = [rule]
        else:
            evidence[same].append(rule)
    return tuple(_with_evidence(rules[k], evidence[k]) for k in kept)


def _cosines(texts: Sequence[str]) -> Vectors:
    # Not the embedder's vectors: with few dimensions, different rules may look the same.
    vectorizer = TfidfVectorizer(
        ngram_range=(1, 2), sublinear_tf=True, token_pattern=r"(?u)\b\w+\b"
    )
    if not any(vectorizer.build_analyzer()(text) for text in texts):
        return np.zeros((len(texts), len(texts)))
    terms = vectorizer.fit_transform(texts)
    cosines: Vectors = (terms @ terms.T).toarray()
    return cosines


def _with_evidence(rule: Rule, alike: Sequence[Rule]) -> Rule:
    if len(alike) == 1:
        return rule
    label_of: dict[str, str] = {}
    # All traces of a rule of one label have this label, which leaves fewer labels to assign to the
    # traces of the other rules.
    for other in sorted(alike, key=lambda each: len(each.labels)):
        known = Counter(label_of[i] for i in other.trace_ids if i in label_of)
        rest = (Counter(other.labels) - known).elements()
        for i in other.trace_ids:
            if i not in label_of:
                label_of[i] = next(rest, other.main_label)
    ids = tuple(dict.fromkeys(i for other in alike for i in other.trace_ids))
    labels = Counter(label_of[i] for i in ids)
    return replace(rule, trace_ids=ids, labels=dict(sorted(labels.items())))
