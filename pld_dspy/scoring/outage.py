"""Stops a run whose student gives nothing that can be read, before all of it is paid for."""

import threading
from collections import Counter
from typing import Any

import dspy

from pld_dspy.errors import PLDError
from pld_dspy.records import Answer

ENOUGH = 20
"""Answers after which a student of whom none could be read is given up."""


class Outage:
    """Whether any answer of a student could be read so far, and what was said if none could."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._missed: list[Answer] = []
        self._given_up: str | None = None
        self.over = False

    def check(self) -> None:
        """Raise PLDError if the student was given up, so that no further answer is paid for."""
        if self._given_up is not None:
            raise PLDError(self._given_up)

    def note(self, answer: Answer, lm: dspy.BaseLM) -> None:
        """Take the answer into account.

        Raises:
            PLDError: The first answers could none of them be read.
        """
        with self._lock:
            self.over = self.over or bool(answer.error is None and answer.answer)
            if self.over:
                return
            self._missed.append(answer)
            missed = list(self._missed)
        if len(missed) >= ENOUGH:
            self._given_up = explanation(missed, lm)
            self.check()


def explanation(missed: list[Answer], lm: dspy.BaseLM) -> str:
    """Return one line: that no answer could be read, why, and what to do."""
    if all(answer.error is not None for answer in missed):
        return f"the program failed on each of the first {len(missed)} examples; the first said: {missed[0].error}"
    reasons = _finish_reasons(lm, len(missed))
    limit = lm.kwargs.get("max_tokens") or lm.kwargs.get("max_completion_tokens")
    why = ", ".join(f"finish_reason {reason!r} {count} times" for reason, count in reasons.items())
    remedy = (
        "raise max_tokens, or turn the model's thinking off"
        if reasons.get("length") or not any(answer.raw for answer in missed)
        else "say in the instructions that the label alone is wanted, or take another model"
    )
    said = next((answer.raw for answer in missed if answer.raw), "")
    return (
        f"none of the first {len(missed)} answers of {lm.model} names a label "
        f"({why or 'finish_reason unknown'}; max_tokens {limit}; the first text was {said[:80]!r}); "
        f"{remedy}"
    )


def _finish_reasons(lm: dspy.BaseLM, last: int) -> Counter[str]:
    found: Counter[str] = Counter()
    for entry in lm.history[-last:]:
        response = entry.get("response")
        for choice in _get(response, "choices") or [response]:
            found[str(_get(choice, "finish_reason") or "unknown")] += 1
    return found


def _get(item: Any, name: str) -> Any:
    return item.get(name) if isinstance(item, dict) else getattr(item, name, None)
