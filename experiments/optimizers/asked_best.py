"""The student asked as well as it can be, without rules and without examples in its prompt."""

from typing import get_args

from experiments.optimizers.table import Found, Job, Optimizer
from pld_dspy.config.base import Wording
from pld_dspy.errors import ModelError, PLDError
from pld_dspy.models.student import DirectStudent
from pld_dspy.records import Decision
from pld_dspy.scoring.evaluator import with_decision


def wordings(job: Job) -> tuple[Wording, ...]:
    """Return all wordings, the student's own first, which wins where scores are equal."""
    others = [wording for wording in get_args(Wording) if wording != job.wording]
    return (job.wording, *others)


def asked_best(job: Job) -> Found:
    """Return the student in its best wording, with a decision fitted to its validation answers.

    Wordings compete by the score of their answers on the validation examples, each answer decided
    by a fit to others of them. A wording in which no answer can be read is out.

    Raises:
        PLDError: No answer can be read in any wording.
    """
    best: tuple[float, DirectStudent, Decision | None] | None = None
    told, unread = [], None
    for wording in wordings(job):
        evaluator = job.layer.evaluator(job.student_lm, decide="calibrated")
        program = job.student(wording=wording)
        try:
            score = evaluator.run(program, job.valset, candidate_id=wording, split="val").score
        except ModelError:
            raise
        except PLDError as error:
            unread = error
            told.append(f"{wording} unreadable")
            continue
        told.append(f"{wording} {score:.3f}")
        if best is None or score > best[0]:
            best = (score, program, evaluator.fit(program, job.valset))
    if best is None:
        raise unread or PLDError("there is no wording")
    _, program, decision = best
    kind = "greedy" if decision is None else decision.kind
    note = f"asked as {program.wording!r} ({', '.join(told)} on validation), decision: {kind}"
    return Found(with_decision(program, decision), note, labelled=len(job.valset))


ENTRIES = (Optimizer(name="asked-best", run=asked_best, matched=False, extra=True),)
