"""Frozen records that the stages pass to each other."""

from pld_dspy.records.decision import Decide, Decision
from pld_dspy.records.forms import Form, FormChoice, LabelsAs, TriedForm, Wording
from pld_dspy.records.progress import Event, Progress, Role, silent
from pld_dspy.records.results import PLDResult, PredictorResult, SearchRecord, TriedList
from pld_dspy.records.rules import (
    Candidate,
    Cluster,
    Clustering,
    Diagnosis,
    Edit,
    Embedder,
    LabelWord,
    Origin,
    Rule,
    TopicPrompts,
    Trace,
    Truth,
    Vectors,
)
from pld_dspy.records.scores import Answer, Evaluation, Interval, Split, Usage

__all__ = [
    "Answer",
    "Candidate",
    "Cluster",
    "Clustering",
    "Decide",
    "Decision",
    "Diagnosis",
    "Edit",
    "Embedder",
    "Evaluation",
    "Event",
    "Form",
    "FormChoice",
    "Interval",
    "LabelWord",
    "LabelsAs",
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
    "TriedForm",
    "TriedList",
    "Truth",
    "Usage",
    "Vectors",
    "Wording",
    "silent",
]
