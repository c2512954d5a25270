"""Random search over bootstrapped demonstrations."""

import dspy

from experiments.optimizers.table import MAX_ERRORS, Found, Job, Optimizer, rounds

BOOTSTRAPPED = 4
LABELED = 16
"""Both are DSPy's own; PLD's worked examples are as many where there are four labels."""


def random_search(job: Job) -> Found:
    """Return the best of as many random sets of demonstrations as the budget holds."""
    each = len(job.valset) + BOOTSTRAPPED
    # Without a candidate DSPy still scores no, labelled and unshuffled demonstrations.
    candidates = rounds(job.calls, first=3 * each, each=each)
    optimizer = dspy.BootstrapFewShotWithRandomSearch(
        metric=job.exact,
        teacher_settings={"lm": job.teacher_lm},
        max_bootstrapped_demos=BOOTSTRAPPED,
        max_labeled_demos=LABELED,
        num_candidate_programs=candidates,
        num_threads=1,
        max_errors=MAX_ERRORS,
    )
    return Found(optimizer.compile(job.student(), trainset=job.shuffled, valset=job.valset))


ENTRIES = (Optimizer(name="random-search", run=random_search),)
