"""What to do first, from a checkup.

The cheapest step that helps goes first: a wording costs nothing, calibration a few labelled answers,
worked examples tokens with each call, rules and words for labels a distillation. A dearer step is
preferred only if it is ahead of the cheaper ones by more than noise. Rules are also advised where the
quick ones of the probe show no gain, if most of the headroom is left and the student's label
probabilities say little: then bias is not what is wrong, and what the teacher knows is missing.

Whether the labels' names say something is seen by the teacher without examples. If they do, and a
student cannot tell the labels apart even with examples, its model is too small for the task.
"""

from dataclasses import dataclass

from pld_dspy.runs.diagnose.checkup import Checkup, Rung, Step
from pld_dspy.scoring.statistics import PairedResult

NOISE = 0.1
"""A difference is more than noise if its paired probability of being worse is at most this. With 40
examples a gain of about 0.1 passes; 0.05 would need about 0.13."""
LEAST = 0.02
"""Smallest difference of scores that counts, however certain it is."""
PERFECT = 0.97
"""A student with this score needs nothing: on 40 examples it misses one."""
GOOD = 0.9
"""A student with this score needs nothing if no step and no teacher is ahead of it."""
KNOWS = 0.75
"""Separability below which the student lacks knowledge, and not only a decision. By hand-made cases:
0.86 to 0.99 for labels whose names say it all, 0.3 to 0.7 for names that say nothing."""
CHANCE = 0.6
"""Separability up to which the student tells nothing apart: with 40 examples and four labels, 0.5
has a standard error of about 0.05."""


@dataclass(frozen=True, slots=True)
class Advice:
    """What to do first, and why."""

    step: Step
    line: str
    """One line with the figures."""


def clearly(result: PairedResult | None) -> bool:
    """Return whether the second is better than the first by more than noise; False for None."""
    return result is not None and result.delta.estimate >= LEAST and result.p_worse <= NOISE


def advise(checkup: Checkup) -> Advice:
    """Return what to do first.

    | step | when |
    | --- | --- |
    | nothing | the student as given scores `PERFECT`; or `GOOD`, and nothing is clearly ahead of it |
    | wording, calibration, examples, rules | the dearest one that is clearly ahead of all cheaper ones |
    | rules | the teacher is clearly ahead, by more than the step above gains, and separability is below `KNOWS` or unknown; or no step helps |
    | stronger student | as the line above, but separability is at most `CHANCE` in every way of asking, and the teacher needs no examples |
    | stronger teacher | no step helps, and the teacher is not clearly ahead of the best-asked student |
    """
    given = checkup.given.score.estimate
    leader = leading(checkup.rungs)
    if given >= PERFECT:
        return Advice("nothing", f"as given the student scores {given:.3f}")
    if leader is not None and not _knowledge_is_missing(checkup, leader):
        return Advice(leader.step, _gains(checkup, leader))
    if clearly(checkup.headroom):
        return _teachable(checkup, leader)
    if given >= GOOD:
        return Advice(
            "nothing",
            f"as given the student scores {given:.3f}, and nothing tried is clearly better",
        )
    return Advice("stronger teacher", _no_teacher(checkup))


def leading(rungs: tuple[Rung, ...]) -> Rung | None:
    """Return the dearest step that is ahead of as given and of the cheaper ones; None if none is."""
    return next((rung for rung in reversed(rungs) if clearly(rung.ahead)), None)


def _knowledge_is_missing(checkup: Checkup, leader: Rung) -> bool:
    """Return whether most of the headroom is left, and the student does not have what it takes."""
    left = checkup.remaining
    if left is None or not clearly(left) or left.delta.estimate <= leader.change.delta.estimate:
        return False
    known = checkup.best_asked.separability
    return leader.step != "rules" and (known is None or known < KNOWS)


def _teachable(checkup: Checkup, leader: Rung | None) -> Advice:
    assert checkup.headroom is not None
    found = [a.separability for a in (*checkup.asked, *checkup.shown) if a.separability is not None]
    ahead = f"the teacher is {_signed(checkup.headroom)} ahead of the best-asked student"
    if found and max(found) <= CHANCE and len(checkup.taught) == 1:
        return Advice(
            "stronger student",
            f"{ahead}, and the student tells the labels apart in no way of asking (separability "
            f"{max(found):.2f} at best, 0.5 is chance)",
        )
    first = f"{leader.name} brings {_signed(leader.change)}, but " if leader is not None else ""
    known = checkup.best_asked.separability
    why = "" if known is None else f" (separability {known:.2f}): it lacks what rules can tell it"
    return Advice("rules", f"{first}{ahead}{why}; run `pld distill`")


def _gains(checkup: Checkup, rung: Rung) -> str:
    known = checkup.best_asked.separability
    how = {
        "wording": f'set student.wording = "{rung.name}"',
        "calibration": "label probabilities know more than the text says"
        + ("" if known is None else f" (separability {known:.2f})"),
        "examples": "set pld.demos.per_label = [4]",
        "rules": "what takes minutes does so already; run `pld distill`",
    }[rung.step]
    return f"{rung.name} scores {rung.score:.3f}, {_signed(rung.change)} over as given; {how}"


def _no_teacher(checkup: Checkup) -> str:
    best, ceiling = checkup.best_asked, checkup.ceiling
    asked = f"the best-asked student scores {best.best:.3f}"
    if ceiling is None:
        return f"{asked}, no step helps, and the teacher gave no usable answers"
    same = ", being the same model" if checkup.teacher == checkup.student else ""
    return (
        f"{asked}, no step helps, and the teacher{same} is not clearly ahead "
        f"({ceiling.score.estimate:.3f}, {_signed(checkup.headroom)})"
    )


def _signed(result: PairedResult | None) -> str:
    if result is None:
        return "unknown"
    delta = result.delta
    return f"{delta.estimate:+.3f} [{delta.low:+.3f}, {delta.high:+.3f}]"
