"""The student asked as well as it can be, without rules and without examples in its prompt."""

from experiments.optimizers.table import Found, Job, Optimizer
from pld_dspy.records import LabelsAs, TriedForm
from pld_dspy.scoring.evaluator import with_decision
from pld_dspy.stages.wording import WORDINGS, compare_forms


def asked_best(job: Job) -> Found:
    """Return the student in its best form, with a decision fitted to all labelled examples.

    The wordings compete, then names and the task's words for the labels in the best of them, by the
    score and the gold probabilities of the answers on the validation examples, each answer decided by
    a fit to others of them. A form in which no answer can be read is out. Where label shares of topics
    count, which are those of the training examples, the decision is fitted to the others alone.

    Raises:
        PLDError: No answer can be read in any form.
    """
    evaluator = job.layer.evaluator(job.student_lm, decide="calibrated")
    words = job.task.label_words
    ways: tuple[LabelsAs, ...] = ("names", words) if words else ("names",)
    student = job.student()
    choice = compare_forms(student, job.valset, evaluator, wordings=WORDINGS, labels_as=ways)
    program = student.asked(choice.best)
    known = job.valset if job.layer.priors else job.pool
    decision = evaluator.fit(program, known, split="train")
    kind = "greedy" if decision is None else decision.kind
    told = ", ".join(map(_said, choice.tried))
    note = f"asked as {choice.best.name!r} ({told} on validation), decision: {kind}"
    return Found(with_decision(program, decision), note, labelled=len(known))


def _said(tried: TriedForm) -> str:
    if tried.evaluation is None:
        return f"{tried.form.name} unreadable"
    return f"{tried.form.name} {tried.evaluation.score:.3f}"


ENTRIES = (Optimizer(name="asked-best", run=asked_best, matched=False, extra=True),)
