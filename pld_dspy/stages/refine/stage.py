"""Phase 3: the student's mistakes go back to the teacher, which edits the rules one by one."""

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

import dspy
import numpy as np

from pld_dspy.config.optimizer import RefineConfig
from pld_dspy.data.examples import example_id
from pld_dspy.models.teacher import Request, Resolve, Teacher
from pld_dspy.records import Answer, Candidate, Edit, Evaluation, Trace
from pld_dspy.scoring.evaluator import Evaluator
from pld_dspy.stages.common.problem import Problem
from pld_dspy.stages.common.prompt import render_example
from pld_dspy.stages.refine.edits import apply_edit, parse_edits

logger = logging.getLogger(__name__)

STAGE = "refine"
_ROUNDING = 1e-9


class Refinement(NamedTuple):
    """What the loop made."""

    best: Candidate
    candidates: tuple[Candidate, ...]
    evaluations: tuple[Evaluation, ...]
    edits: tuple[Edit, ...]
    unreadable: int
    """Edit lines that could not be read."""


def refine(
    start: Candidate,
    score: Evaluation,
    problem: Problem,
    *,
    evaluator: Evaluator,
    teacher: Teacher,
    traces: Sequence[Trace],
    config: RefineConfig,
) -> Refinement:
    """Return the list after conflict resolution (PLD phase 3), never worse on validation than `start`.

    The paper rewrites the whole prompt and keeps the last state; here each edit names the rules that
    it changes and is kept only if a paired comparison on validation does not get worse. One that
    leaves the score as it was must be good for something else: it makes the prompt shorter, or
    raises the mean probability of the gold labels, where the student's endpoint tells it.

    Args:
        start: The list to improve.
        score: Its evaluation on the validation examples.
        problem: The predictor under work.
        evaluator: Scores candidates.
        teacher: Proposes the edits; sees training examples only.
        traces: Evidence for new rules, by training example.
        config: Limits of the loop.

    Raises:
        ModelError: An endpoint cannot be reached.
    """
    best, best_score = start, score
    candidates: list[Candidate] = []
    evaluations: list[Evaluation] = []
    edits: list[Edit] = []
    unreadable, idle = 0, 0
    by_example: dict[str, list[Trace]] = {}
    for trace in traces:
        by_example.setdefault(trace.example_id, []).append(trace)
    for turn in range(config.rounds):
        # A worked example in the prompt is copied from there, and says nothing about the rules.
        unseen = [e for e in problem.train if example_id(e) not in problem.demos]
        feedback = _sample(unseen, config.feedback, seed=problem.seed + turn)
        if not feedback:
            break
        shown = evaluator.run(problem.build(best), feedback, candidate_id=best.id, split="train")
        wrong = [a for a in shown.answers if a.error is None and a.answer != a.gold]
        if not wrong:
            break
        proposed, missed = _propose(best, shown, feedback, problem, teacher, by_example, config)
        unreadable += missed
        accepted = False
        for edit in proposed:
            rules = apply_edit(best.rules, edit)
            if rules is None:
                continue
            candidate = problem.candidate(
                rules, origin="refine", note=f"round {turn + 1}, {edit.action}"
            )
            result = evaluator.run(
                problem.build(candidate), problem.val, candidate_id=candidate.id, split="val"
            )
            paired = evaluator.compare(best_score, result)
            keep = paired.p_worse <= config.max_p_worse and _better(
                paired.delta.estimate, (best, best_score), (candidate, result)
            )
            edits.append(
                replace(edit, accepted=keep, delta=paired.delta.estimate, p_worse=paired.p_worse)
            )
            candidates.append(candidate)
            evaluations.append(result)
            if keep:
                best, best_score, accepted = candidate, result, True
        idle = 0 if accepted else idle + 1
        if idle >= config.patience:
            break
    return Refinement(best, tuple(candidates), tuple(evaluations), tuple(edits), unreadable)


def _better(
    delta: float, old: tuple[Candidate, Evaluation], new: tuple[Candidate, Evaluation]
) -> bool:
    """Return whether the new list has the higher score, or the same one and something else for it."""
    if abs(delta) > _ROUNDING:
        return delta > 0
    before, after = ({a.example_id: a.p_gold for a in score.answers} for _, score in (old, new))
    changes = [
        now - then
        for i, then in before.items()
        if then is not None and (now := after.get(i)) is not None
    ]
    return len(new[0].prompt) < len(old[0].prompt) or sum(changes) > _ROUNDING * len(changes)


def _propose(
    best: Candidate,
    shown: Evaluation,
    feedback: Sequence[dspy.Example],
    problem: Problem,
    teacher: Teacher,
    by_example: Mapping[str, Sequence[Trace]],
    config: RefineConfig,
) -> tuple[tuple[Edit, ...], int]:
    answered = [answer for answer in shown.answers if answer.error is None]
    wrong = [answer for answer in answered if answer.answer != answer.gold]
    right = [answer for answer in answered if answer.answer == answer.gold]
    failures = _in_turn(wrong, lambda a: (a.gold, a.answer or ""), config.failures)
    successes = _in_turn(right, lambda a: (a.gold, ""), config.successes)
    by_id = {example_id(example): example for example in feedback}
    [output] = teacher.ask(
        STAGE,
        [
            Request(
                module=Resolve(),
                inputs={
                    "task": problem.task,
                    "possible_answers": ", ".join(problem.labels),
                    "rules": "\n".join(f"R{n}. {r.text}" for n, r in enumerate(best.rules, 1)),
                    "wrong_answers": _show(failures, by_id, problem),
                    "right_answers": _show(successes, by_id, problem),
                },
            )
        ],
    )
    if output is None:
        return (), 1
    # The evidence of a new rule is the failures that it answers; each has a trace a draw, or none.
    evidence = [trace for a in failures for trace in by_example.get(a.example_id, ())]
    return parse_edits(
        output["edits"],
        best.rules,
        evidence=evidence or next(iter(by_example.values()), [])[:1],
        labels=problem.labels,
        reason=output["cause"],
        limit=config.edits,
    )


def _show(answers: Sequence[Answer], by_id: Mapping[str, dspy.Example], problem: Problem) -> str:
    blocks = []
    for answer in answers:
        lines = [render_example(problem.signature, by_id[answer.example_id])]
        said = answer.answer or f"nothing readable ({answer.raw[:40]!r})"
        lines.append(f"Correct answer: {answer.gold}")
        if answer.answer != answer.gold:
            lines.append(f"The model answered: {said}")
        blocks.append("\n".join(lines))
    return "\n\n".join(blocks) or "none"


def _in_turn(
    answers: Sequence[Answer], kind: Callable[[Answer], tuple[str, str]], count: int
) -> list[Answer]:
    """Return up to `count` answers, taking one of each kind in turn, the commonest kind first."""
    kinds: dict[tuple[str, str], list[Answer]] = {}
    for answer in answers:
        kinds.setdefault(kind(answer), []).append(answer)
    queues = sorted(kinds.values(), key=lambda queue: -len(queue))
    picked: list[Answer] = []
    while len(picked) < count and any(queues):
        picked.extend(queue.pop(0) for queue in queues if queue)
    return picked[:count]


def _sample(examples: Sequence[dspy.Example], count: int, *, seed: int) -> list[dspy.Example]:
    if len(examples) <= count:
        return list(examples)
    chosen = np.random.default_rng(seed).choice(len(examples), size=count, replace=False)
    return [examples[i] for i in sorted(chosen)]
