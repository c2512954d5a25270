"""Frozen records that the stages pass to each other."""

from pld_dspy.records.progress import Event, Progress, Role, silent
from pld_dspy.records.results import PLDResult, PredictorResult, SearchRecord, TriedList
from pld_dspy.records.rules import (
    Candidate,
    Cluster,
    Clustering,
    Diagnosis,
    Edit,
    Embedder,
    Origin,
    Rule,
    TopicPrompts,
    Trace,
    Vectors,
)
from pld_dspy.records.scores import Answer, Evaluation, Interval, Split, Usage

__all__ = [
    "Answer",
    "Candidate",
    "Cluster",
    "Clustering",
    "Diagnosis",
    "Edit",
    "Embedder",
    "Evaluation",
    "Event",
    "Interval",
    "Origin",
    "PLDResult",
    "PredictorResult",
    "Progress",
    "Role",
    "Rule",
    "SearchRecord",
    "Split",
    "TopicPrompts",
    "Trace",
    "TriedList",
    "Usage",
    "Vectors",
    "silent",
]
