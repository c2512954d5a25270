"""What needs no search: the student as given, chains of thought, 5 examples, hand guidelines."""

from typing import Any

import dspy

from experiments.optimizers.table import Found, Job, Optimizer
from pld_dspy.config.base import Wording
from pld_dspy.models.adapter import DirectAdapter

SHOTS = 5
"""As in the paper."""
MORE_SHOTS = 16
"""DSPy's own number, and as many as PLD shows at most where there are four labels."""
REASONING_TOKENS = 256
"""Longest chain of thought with its answer."""


class ReasoningStudent(dspy.Module):
    """Reasons before it answers, in the plain sections of the same adapter.

    Small models lose the answer in the scaffold of DSPy's own.
    """

    def __init__(self, signature: type[dspy.Signature], *, wording: Wording) -> None:
        """Ask for reasoning, then for the label."""
        super().__init__()
        self.think = dspy.ChainOfThought(signature)
        self.wording = wording

    def forward(self, **inputs: Any) -> dspy.Prediction:
        """Return a prediction with the reasoning and the label."""
        with dspy.context(adapter=DirectAdapter(self.wording)):
            return self.think(**inputs)


def _reasoning(job: Job) -> ReasoningStudent:
    return ReasoningStudent(job.student().predict.signature, wording=job.wording)


def zero_shot(job: Job) -> Found:
    """Return the student as given."""
    return Found(job.student(), labelled=0)


def student_cot(job: Job) -> Found:
    """Return the student that reasons first."""
    return Found(_reasoning(job), max_tokens=REASONING_TOKENS, labelled=0)


def teacher_cot(job: Job) -> Found:
    """Return the teacher that reasons first: the ceiling that distillation aims at."""
    return Found(_reasoning(job), answers="teacher", max_tokens=REASONING_TOKENS, labelled=0)


def labeled_few_shot(job: Job) -> Found:
    """Return the student with labelled training examples in its prompt."""
    return _few_shot(job, SHOTS)


def labeled_more_shots(job: Job) -> Found:
    """Return the student with more of them."""
    return _few_shot(job, MORE_SHOTS)


def _few_shot(job: Job, shots: int) -> Found:
    optimizer = dspy.LabeledFewShot(k=shots)
    program = optimizer.compile(job.student(), trainset=job.shuffled)
    return Found(program, labelled=min(shots, len(job.train)))


def hand_guidelines(job: Job) -> Found:
    """Return the student with the label guidelines that a person wrote for the task."""
    if not job.guidelines.strip():
        return Found(job.student(), "the task has no guidelines", labelled=0)
    text = f"{job.task.signature.instructions}\n\n{job.guidelines.strip()}"
    return Found(job.student(text), labelled=0)


ENTRIES = (
    Optimizer(name="zero-shot", run=zero_shot, matched=False),
    Optimizer(name="student-cot", run=student_cot, matched=False),
    Optimizer(name="teacher-cot", run=teacher_cot, matched=False),
    Optimizer(name="labeled-few-shot", run=labeled_few_shot, matched=False),
    Optimizer(name="labeled-more-shots", run=labeled_more_shots, matched=False),
    Optimizer(name="hand-guidelines", run=hand_guidelines, matched=False),
)
