"""Builds the program of a candidate."""

from collections.abc import Sequence

import dspy

from pld_dspy.records import Candidate
from pld_dspy.stages.common.problem import Target
from pld_dspy.stages.common.prompt import with_demos, with_prompt, with_words
from pld_dspy.stages.demos import shown


def build_program(
    program: dspy.Module, target: Target, candidate: Candidate, train: Sequence[dspy.Example]
) -> dspy.Module:
    """Return a copy of the program with the candidate's instructions, demos, and words for the labels.

    Args:
        program: The student as given.
        target: The predictor that gets them.
        candidate: With prompts by topic or words for labels, the program is a `DirectStudent`.
        train: The training examples, for the demos.
    """
    topics = candidate.topics
    program = with_words(program, target.path, candidate.words)
    changed = with_prompt(
        program, target.path, candidate.prompt if topics is None else topics.general
    )
    if candidate.rules and hasattr(changed, "topics"):
        changed.topics = topics  # also None: the prompts that the student as given had are replaced
    if not candidate.demos:
        return changed
    demos = shown(candidate.demos, train, target.signature, target.label_key)
    return with_demos(changed, target.path, demos)
