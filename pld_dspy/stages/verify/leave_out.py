"""Measures the gain of each rule of the final list by leaving it out."""

from dataclasses import replace

from pld_dspy.config.optimizer import VerifyConfig
from pld_dspy.records import Candidate, Evaluation, Event, Interval
from pld_dspy.scoring.evaluator import Evaluator, with_decision
from pld_dspy.stages.common.candidates import Leaderboard
from pld_dspy.stages.common.problem import Problem
from pld_dspy.stages.common.prompt import HEADER, make_candidate

STAGE = "left out"
"""Stage of the progress events."""


def leave_out(
    chosen: Candidate,
    board: Leaderboard,
    problem: Problem,
    evaluator: Evaluator,
    config: VerifyConfig,
) -> dict[str, Interval]:
    """Return by rule id the score of the list minus that of the list without the rule.

    In metric units, over validation and selection examples together, with a paired 95% interval.
    The list was chosen on these examples, so the gains of its rules are optimistic. Empty for a list
    without rules or with rules by topic, or if `config` turns it off.

    Raises:
        ModelError: The student cannot be reached; answers so far are kept.
    """
    by_topic = any(rule.scope is not None for rule in chosen.rules)
    if not chosen.rules or by_topic or not (config.enabled and config.leave_out):
        return {}
    whole = _joined(board.run(chosen, "val"), board.run(chosen, "select"))
    header = _header(chosen, problem)
    gains = {}
    for rule in chosen.rules:
        without = make_candidate(
            problem.task,
            [other for other in chosen.rules if other.id != rule.id],
            origin="search",
            header=header,
            demos=chosen.demos,
            words=chosen.words,
        )
        gains[rule.id] = evaluator.compare(_both(without, problem, evaluator), whole).delta
    return gains


def _both(candidate: Candidate, problem: Problem, evaluator: Evaluator) -> Evaluation:
    """Return the answers on validation, then those on selection."""

    def report(event: Event) -> None:
        evaluator.progress(replace(event, stage=STAGE))

    program, named = problem.build(candidate), candidate.id
    val = evaluator.run(program, problem.val, candidate_id=named, split="val", progress=report)
    fitted = with_decision(program, evaluator.fit(program, problem.val))
    select = evaluator.run(
        fitted, problem.select, candidate_id=named, split="select", progress=report
    )
    return _joined(val, select)


def _joined(first: Evaluation, second: Evaluation) -> Evaluation:
    return replace(second, answers=(*first.answers, *second.answers))


def _header(chosen: Candidate, problem: Problem) -> str:
    """Return the line above the rules of the prompt."""
    lines = chosen.prompt.splitlines()
    header = lines[-len(chosen.rules) - 1] if len(lines) > len(chosen.rules) else HEADER
    again = make_candidate(
        problem.task, chosen.rules, origin=chosen.origin, header=header, demos=chosen.demos
    )
    return header if again.prompt == chosen.prompt else HEADER
