"""InferRules, DSPy's own induction of rules: as shipped, and repaired."""

import dspy
from dspy.teleprompt.infer_rules import InferRules
from dspy.utils.exceptions import AdapterParseError

from experiments.optimizers.demos import BOOTSTRAPPED, LABELED
from experiments.optimizers.table import MAX_ERRORS, Found, Job, Optimizer, rounds
from pld_dspy.models.lm_errors import context_too_long

RULES = 10


class RepairedInferRules(InferRules):
    """InferRules that returns its best candidate.

    The shipped one writes into the Signature class, which all candidates share, so that the program
    it returns has the rules of the last one. It also breaks off, with all that was paid for, when
    rules come in a form that its adapter cannot read: here such a candidate has no rules. And its
    answer to examples that do not fit into the proposer's context, to show one less and ask again,
    does not know the error that DSPy 3.4 raises for it.
    """

    def induce_natural_language_rules(
        self, predictor: dspy.Predict, trainset: list[dspy.Example]
    ) -> str:
        """Return the rules; none where the proposer's answer cannot be read."""
        for shown in range(len(trainset), 0, -1):
            try:
                rules: str = super().induce_natural_language_rules(predictor, trainset[:shown])
            except AssertionError as refused:
                cause = refused.__context__
                if isinstance(cause, AdapterParseError):
                    return ""
                if cause is None or shown == 1 or not context_too_long(cause):
                    raise
            else:
                return rules
        return ""

    def update_program_instructions(
        self, predictor: dspy.Predict, natural_language_rules: str
    ) -> None:
        """Give this predictor, and no other, the rules."""
        if not natural_language_rules.strip():
            return
        text = (
            f"{predictor.signature.instructions}\n\nPlease adhere to the following rules when "
            f"making your prediction:\n{natural_language_rules}"
        )
        predictor.signature = predictor.signature.with_instructions(text)


def _infer(job: Job, kind: type[InferRules]) -> Found:
    # It must come to its end: what is stopped gives the best so far, which the shipped one does not.
    # The teacher may be asked about every training example, and twice for rules in a form it misses.
    each = len(job.valset) + 2
    optimizer = kind(
        metric=job.exact,
        num_candidates=rounds(job.calls, first=len(job.train), each=each),
        num_rules=RULES,
        num_threads=1,
        teacher_settings={"lm": job.teacher_lm},
        max_bootstrapped_demos=BOOTSTRAPPED,
        max_labeled_demos=LABELED,
        max_errors=MAX_ERRORS,
    )
    return Found(optimizer.compile(job.student(), trainset=job.shuffled, valset=job.valset))


def shipped(job: Job) -> Found:
    """Return the last candidate's rules, which is what DSPy 3.4 returns."""
    return _infer(job, InferRules)


def repaired(job: Job) -> Found:
    """Return the best candidate's rules."""
    return _infer(job, RepairedInferRules)


ENTRIES = (
    Optimizer(name="infer-rules-shipped", run=shipped),
    Optimizer(name="infer-rules-repaired", run=repaired),
)
