"""Phase 3: the teacher edits rules from the student's errors."""

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import dspy
import numpy as np

from pld_dspy.config.callables import check_call
from pld_dspy.config.optimizer import RefineConfig
from pld_dspy.data.examples import example_id
from pld_dspy.errors import ConfigError, nearest
from pld_dspy.models.teacher import Request, Resolve
from pld_dspy.records import Answer, Candidate, Evaluation, Rule, Trace
from pld_dspy.stages.common.problem import Problem
from pld_dspy.stages.common.prompt import render_example
from pld_dspy.stages.common.turns import in_turns
from pld_dspy.stages.refine.edits import ParsedEdits, apply_edit, parse_edits
from pld_dspy.stages.refine.protocol import RefineContext, Refinement, Refiner

logger = logging.getLogger(__name__)

STAGE = "refine"
_ROUNDING = 1e-9


@dataclass(frozen=True, slots=True)
class EditRules:
    """The built-in refiner: the teacher proposes edits, and those that help on validation are kept."""

    config: RefineConfig = field(default_factory=RefineConfig)

    def __call__(self, context: RefineContext) -> Refinement:
        """Return the list after conflict resolution, never worse on validation than the start.

        The paper rewrites the whole prompt and keeps the last state. Here each edit changes named
        rules and is kept only if these are not false for the training examples and a paired comparison
        on validation does not get worse. An edit that does not change the score must make the prompt
        shorter or raise the mean probability of the gold labels, if the endpoint returns it.

        Raises:
            ModelError: An endpoint cannot be reached.
        """
        refined = Refinement(context.start)
        score, idle = context.score, 0
        for turn in range(self.config.rounds):
            tried = _round(replace(context, start=refined.best, score=score), self.config, turn)
            if tried is None:
                break
            kept = [
                e for edit, e in zip(tried.edits, tried.evaluations, strict=True) if edit.accepted
            ]
            refined, score = _joined(refined, tried), kept[-1] if kept else score
            idle = 0 if kept else idle + 1
            if idle >= self.config.patience:
                break
        return refined


NAMES = ("edits", "none")


def resolve_refiner(given: str | RefineConfig | Refiner | None, config: RefineConfig) -> Refiner:
    """Return the refiner for `given`.

    Args:
        given: `edits` (with `config`), `none`, settings of the edits, a refiner, or None for
            `config`.
        config: Settings of the edits if `given` has none.

    Raises:
        ConfigError: No refiner has this name, or `given` does not match the protocol.
    """
    if given is None or given == "edits":
        return EditRules(config)
    if isinstance(given, RefineConfig):
        return EditRules(given)
    if given == "none":
        return EditRules(config.model_copy(update={"rounds": 0}))
    if isinstance(given, str):
        msg = f"no refiner is called {given!r}{nearest(given, NAMES)}"
        raise ConfigError(msg)
    check_call(
        "refiner",
        given,
        ("context",),
        expected="'edits', 'none', a RefineConfig, or a Refiner (context)",
    )
    return given


def _round(context: RefineContext, config: RefineConfig, turn: int) -> Refinement | None:
    """Return the refinement of one round; None if there is nothing to learn from."""
    problem, evaluator = context.problem, context.evaluator
    best, score = context.start, context.score
    # The label of a demo can be copied from the prompt, which says nothing about the rules.
    unseen = [e for e in problem.train if example_id(e) not in problem.demos]
    feedback = _sample(unseen, config.feedback, seed=problem.seed + turn)
    if not feedback:
        return None
    shown = evaluator.run(problem.build(best), feedback, candidate_id=best.id, split="train")
    if all(a.error is not None or a.answer == a.gold for a in shown.answers):
        return None
    proposed, unreadable = _propose(context, shown, feedback, config)
    checked = context.check([rule for edit in proposed for rule in edit.added])
    candidates, evaluations, edits, left_out = [], [], [], []
    for edit in proposed:
        why = next((checked.false[r.text] for r in edit.added if r.text in checked.false), None)
        if why is not None:
            left_out.append(f"edits with {why}")
            continue
        edit = replace(edit, added=tuple(checked.rules[rule.text] for rule in edit.added))
        rules = apply_edit(best.rules, edit)
        if rules is None:
            continue
        note = f"round {turn + 1}, {edit.action}"
        candidate = problem.candidate(rules, origin="refine", note=note)
        result = evaluator.run(
            problem.build(candidate), problem.val, candidate_id=candidate.id, split="val"
        )
        paired = evaluator.compare(score, result)
        keep = paired.p_worse <= config.max_p_worse and _better(
            paired.delta.estimate, (best, score), (candidate, result)
        )
        edits.append(
            replace(edit, accepted=keep, delta=paired.delta.estimate, p_worse=paired.p_worse)
        )
        candidates.append(candidate)
        evaluations.append(result)
        if keep:
            best, score = candidate, result
    tried = (tuple(candidates), tuple(evaluations), tuple(edits))
    return Refinement(best, *tried, unreadable, tuple(left_out))


def _joined(first: Refinement, then: Refinement) -> Refinement:
    return Refinement(
        then.best,
        first.candidates + then.candidates,
        first.evaluations + then.evaluations,
        first.edits + then.edits,
        first.unreadable + then.unreadable,
        first.left_out + then.left_out,
    )


def _better(
    delta: float, old: tuple[Candidate, Evaluation], new: tuple[Candidate, Evaluation]
) -> bool:
    """Return whether the new list scores higher, or the same with a shorter prompt or surer answers."""
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
    context: RefineContext,
    shown: Evaluation,
    feedback: Sequence[dspy.Example],
    config: RefineConfig,
) -> ParsedEdits:
    """Return the edits that the teacher proposes from wrong and right answers."""
    best, problem, teacher = context.start, context.problem, context.teacher
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
                module=Resolve(teacher.prompts.resolve),
                inputs={
                    "task": problem.task,
                    "possible_answers": ", ".join(problem.labels),
                    "rules": "\n".join(_line(n, r) for n, r in enumerate(best.rules, 1)),
                    "wrong_answers": _show(failures, by_id, problem),
                    "right_answers": _show(successes, by_id, problem),
                },
            )
        ],
    )
    if output is None:
        return ParsedEdits((), 1)
    # The evidence of a new rule: traces of the failures with its label, if there are any.
    failed: dict[str, list[Trace]] = {answer.example_id: [] for answer in failures}
    for trace in context.traces:
        if trace.example_id in failed:
            failed[trace.example_id].append(trace)
    evidence = [trace for traces in failed.values() for trace in traces]
    return parse_edits(
        output["edits"],
        best.rules,
        evidence=evidence or context.traces[:1],
        labels=problem.labels,
        reason=output["cause"],
        limit=config.edits,
    )


def _line(number: int, rule: Rule) -> str:
    scope = "" if rule.scope is None else f" (only for: {rule.scope})"
    return f"R{number}. {rule.text}{scope}"


def _show(answers: Sequence[Answer], by_id: Mapping[str, dspy.Example], problem: Problem) -> str:
    blocks = []
    for answer in answers:
        lines = [render_example(problem.signature, by_id[answer.example_id])]
        shown = answer.answer or f"nothing readable ({answer.raw[:40]!r})"
        lines.append(f"Correct answer: {answer.gold}")
        if answer.answer != answer.gold:
            lines.append(f"The model answered: {shown}")
        blocks.append("\n".join(lines))
    return "\n\n".join(blocks) or "none"


def _in_turn(
    answers: Sequence[Answer], kind: Callable[[Answer], tuple[str, str]], count: int
) -> list[Answer]:
    """Return up to `count` answers, one of each kind in turn, the most frequent kind first."""
    kinds: dict[tuple[str, str], list[Answer]] = {}
    for answer in answers:
        kinds.setdefault(kind(answer), []).append(answer)
    queues = sorted(kinds.values(), key=lambda queue: -len(queue))
    return in_turns(queues)[:count]


def _sample(examples: Sequence[dspy.Example], count: int, *, seed: int) -> list[dspy.Example]:
    if len(examples) <= count:
        return list(examples)
    chosen = np.random.default_rng(seed).choice(len(examples), size=count, replace=False)
    return [examples[i] for i in sorted(chosen)]
