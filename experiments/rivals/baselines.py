"""What needs no search: the student as given, chains of thought, 5 examples, hand guidelines."""

from typing import Any

import dspy

from experiments.rivals.table import Found, Job, Rival
from pld_dspy.adapter import DirectAdapter
from pld_dspy.programs import DirectStudent

SHOTS = 5
"""As in the paper."""
REASONING_TOKENS = 256
"""Longest chain of thought with its answer."""


class ReasoningStudent(dspy.Module):
    """Reasons before it answers, in the plain sections of the same adapter.

    Small models lose the answer in the scaffold of DSPy's own.
    """

    def __init__(self, signature: type[dspy.Signature]) -> None:
        """Ask for reasoning, then for the label."""
        super().__init__()
        self.think = dspy.ChainOfThought(signature)

    def forward(self, **inputs: Any) -> dspy.Prediction:
        """Return a prediction with the reasoning and the label."""
        with dspy.context(adapter=DirectAdapter()):
            return self.think(**inputs)


def zero_shot(job: Job) -> Found:
    """Return the student as given."""
    return Found(job.student())


def student_cot(job: Job) -> Found:
    """Return the student that reasons first."""
    return Found(ReasoningStudent(job.student().predict.signature), max_tokens=REASONING_TOKENS)


def teacher_cot(job: Job) -> Found:
    """Return the teacher that reasons first: the ceiling that distillation aims at."""
    program = ReasoningStudent(job.student().predict.signature)
    return Found(program, answers="teacher", max_tokens=REASONING_TOKENS)


def labeled_few_shot(job: Job) -> Found:
    """Return the student with labelled training examples in its prompt."""
    optimizer = dspy.LabeledFewShot(k=SHOTS)
    return Found(optimizer.compile(job.student(), trainset=job.shuffled))


def hand_guidelines(job: Job) -> Found:
    """Return the student with the label guidelines that a person wrote for the task."""
    signature = job.student().predict.signature
    text = f"{signature.instructions}\n\n{job.guidelines.strip()}"
    if not job.guidelines.strip():
        return Found(job.student(), "the task has no guidelines")
    return Found(DirectStudent(signature.with_instructions(text)))


ENTRIES = (
    Rival(name="zero-shot", title="Student as given", run=zero_shot, matched=False),
    Rival(name="student-cot", title="Student, chain of thought", run=student_cot, matched=False),
    Rival(name="teacher-cot", title="Teacher, chain of thought", run=teacher_cot, matched=False),
    Rival(name="labeled-few-shot", title="LabeledFewShot (5)", run=labeled_few_shot, matched=False),
    Rival(name="hand-guidelines", title="Hand guidelines", run=hand_guidelines, matched=False),
)
