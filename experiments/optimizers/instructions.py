"""Optimizers that propose instructions: COPRO, MIPROv2, SIMBA and GEPA."""

from collections.abc import Sequence
from typing import Any

import dspy

from experiments.optimizers.table import MAX_ERRORS, Found, Job, Optimizer, rounds

MIPRO_SEED = 1_000
"""MIPROv2 takes a seed of 0 for none given, and uses 9."""
PROPOSALS = (6, 12, 18)
"""Instructions of MIPROv2's `light`, `medium` and `heavy` settings."""
REFLECTION = 3
"""Examples of one reflection of GEPA; its default."""


def copro(job: Job) -> Found:
    """Return COPRO's best instruction; it has no validation set and scores on all it is given."""
    evaluations = rounds(job.calls, first=4, each=len(job.pool), least=4)
    optimizer = dspy.COPRO(
        prompt_model=job.teacher_lm, metric=job.exact, breadth=max(2, evaluations // 2), depth=2
    )
    # Its errors are bounded by the setting of the context alone.
    scoring = {"num_threads": 1, "display_progress": False}
    return Found(optimizer.compile(job.student(), trainset=job.pool, eval_kwargs=scoring))


def _mipro(job: Job, *, demos: int, counts: Sequence[int]) -> Found:
    """Return MIPROv2's best program, with the most instructions of `counts` that can be scored."""
    size = len(job.valset)

    def scored(proposals: int) -> int:
        # The proposer reads the data in batches of 10, and each proposal takes up to 3 calls.
        reading = len(job.train) // 10 + 3 * proposals + (demos or 3) * proposals
        return rounds(job.calls, first=size + reading, each=size)

    # The student's own is the first of them, and is scored before the trials.
    most = max((n for n in counts if scored(n) >= n - 1), default=min(counts))
    proposals = min(most, scored(most) + 1)
    # Most trials repeat what was tried, at no call; one too many is stopped by the meter.
    trials = 3 * scored(proposals)
    optimizer = dspy.MIPROv2(
        metric=job.exact,
        prompt_model=job.teacher_lm,
        task_model=job.student_lm,
        teacher_settings={"lm": job.teacher_lm},
        max_bootstrapped_demos=demos,
        max_labeled_demos=demos,
        auto=None,
        num_candidates=proposals,
        num_threads=1,
        max_errors=MAX_ERRORS,
        seed=MIPRO_SEED + job.seed,
    )
    program = optimizer.compile(
        job.student(),
        trainset=job.shuffled,
        valset=job.valset,
        num_trials=trials,
        # A minibatch scores no program in full, and these validation sets are small.
        minibatch=False,
    )
    return Found(program)


def mipro_instructions(job: Job) -> Found:
    """Return MIPROv2's best of as many instructions as can be scored, without demonstrations."""
    return _mipro(job, demos=0, counts=range(2, PROPOSALS[-1] + 1))


def mipro_light(job: Job) -> Found:
    """Return MIPROv2's best of six instructions, without demonstrations."""
    return _mipro(job, demos=0, counts=PROPOSALS[:1])


def mipro_demos(job: Job) -> Found:
    """Return MIPROv2's best instruction with its demonstrations.

    Their pairs take all calls that are left, so more instructions would bring no more trials.
    """
    return _mipro(job, demos=4, counts=PROPOSALS)


def simba(job: Job) -> Found:
    """Return SIMBA's best program; it has no validation set and scores on all it is given."""
    batch, candidates = min(16, len(job.pool)), 2
    final = (candidates + 1) * len(job.pool)
    step = batch * (2 * candidates + 1) + candidates + 1
    optimizer = dspy.SIMBA(
        metric=job.exact,
        bsize=batch,
        num_candidates=candidates,
        max_steps=rounds(job.calls, first=final, each=step, most=8),
        prompt_model=job.teacher_lm,
        num_threads=1,
    )
    return Found(optimizer.compile(job.student(), trainset=job.pool, seed=job.seed))


def gepa_from(job: Job, program: dspy.Module) -> dspy.Module:
    """Return what GEPA makes of `program` with the calls that are left.

    Told the gold label and the answer, as its metric wants feedback in words.
    """
    key = job.task.label_key

    def told(
        example: dspy.Example,
        prediction: Any,
        trace: Any = None,
        pred_name: Any = None,
        pred_trace: Any = None,
    ) -> dspy.Prediction:
        said = getattr(prediction, key, None)
        right = job.exact(example, prediction)
        feedback = f"The answer {said!r} is {'right' if right else 'wrong'}."
        if not right:
            feedback += f" The right answer is {example[key]!r}."
        return dspy.Prediction(score=float(right), feedback=feedback)

    left = job.calls - job.meter.calls
    optimizer = dspy.GEPA(
        metric=told,
        # Its count holds what the cache answers, and no reflection; the meter has the last word.
        max_metric_calls=max(len(job.valset) + 2 * REFLECTION, left),
        reflection_minibatch_size=REFLECTION,
        # At temperature 0 the same failures would bring the same proposal each time.
        reflection_lm=job.teacher_lm.copy(temperature=1.0),
        num_threads=1,
        seed=job.seed,
    )
    made: dspy.Module = optimizer.compile(program, trainset=job.shuffled, valset=job.valset)
    return made


def gepa(job: Job) -> Found:
    """Return what GEPA makes of the student as given."""
    return Found(gepa_from(job, job.student()))


ENTRIES = (
    Optimizer(name="copro", run=copro),
    Optimizer(name="mipro-instructions", run=mipro_instructions),
    Optimizer(name="mipro-light", run=mipro_light),
    Optimizer(name="mipro-demos", run=mipro_demos),
    Optimizer(name="simba", run=simba),
    Optimizer(name="gepa", run=gepa),
)
