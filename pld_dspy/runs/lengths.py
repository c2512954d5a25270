"""Estimates tokens from the characters of a text."""

from collections.abc import Sequence
from math import ceil

import dspy

from pld_dspy.data.tasks import Task
from pld_dspy.models.adapter import DirectAdapter
from pld_dspy.stages.common.prompt import render_example

_CHARS_PER_TOKEN = 4


def tokens(text: str) -> int:
    """Return about how many tokens a text has.

    >>> tokens("a word or two")
    4
    """
    return ceil(len(text) / _CHARS_PER_TOKEN)


def mean_tokens(examples: Sequence[dspy.Example], task: Task) -> int:
    """Return about how many tokens the student's request for an example has."""
    request = DirectAdapter().format_user_message_content(task.signature, {})
    chars = sum(len(render_example(task.signature, example)) for example in examples)
    return ceil(chars / max(1, len(examples)) / _CHARS_PER_TOKEN) + tokens(request)
