"""Stops a run early when no answer of the student can be read."""

import threading
from collections import Counter
from typing import Any

import dspy

from pld_dspy.errors import PLDError
from pld_dspy.records import Answer

ENOUGH = 20
"""Number of unreadable answers at the start of a run after which it is stopped."""


class Outage:
    """The unreadable answers at the start of a run, until one can be read."""

    def __init__(self, *, probable: bool = False) -> None:
        """Set up; with `probable`, an answer with label probabilities counts as readable."""
        self._probable = probable
        self._lock = threading.Lock()
        self._missed: list[Answer] = []
        self._given_up: str | None = None
        self.over = False

    def check(self) -> None:
        """Raise PLDError if the run was stopped, so that no further call is made."""
        if self._given_up is not None:
            raise PLDError(self._given_up)

    def note(self, answer: Answer, lm: dspy.BaseLM) -> None:
        """Record an answer.

        Raises:
            PLDError: None of the first `ENOUGH` answers could be read.
        """
        with self._lock:
            known = answer.answer or (self._probable and answer.probabilities)
            self.over = self.over or bool(answer.error is None and known)
            if self.over:
                return
            self._missed.append(answer)
            missed = list(self._missed)
        if len(missed) >= ENOUGH:
            self._given_up = explanation(missed, lm)
            self.check()


def explanation(missed: list[Answer], lm: dspy.BaseLM) -> str:
    """Return the error message: no answer could be read, why, and what to do."""
    if all(answer.error is not None for answer in missed):
        return f"the program failed on each of the first {len(missed)} examples; first error: {missed[0].error}"
    reasons = _finish_reasons(lm, len(missed))
    limit = lm.kwargs.get("max_tokens") or lm.kwargs.get("max_completion_tokens")
    why = ", ".join(f"finish_reason {reason!r} {count} times" for reason, count in reasons.items())
    remedy = (
        "raise max_tokens, or turn the model's thinking off"
        if reasons.get("length") or not any(answer.raw for answer in missed)
        else "ask in the instructions for the label alone, or use another model"
    )
    text = next((answer.raw for answer in missed if answer.raw), "")
    return (
        f"none of the first {len(missed)} answers of {lm.model} names a label "
        f"({why or 'finish_reason unknown'}; max_tokens {limit}; the first text was {text[:80]!r}); "
        f"{remedy}"
    )


def _finish_reasons(lm: dspy.BaseLM, last: int) -> Counter[str]:
    reasons: Counter[str] = Counter()
    for entry in lm.history[-last:]:
        response = entry.get("response")
        for choice in _get(response, "choices") or [response]:
            reasons[str(_get(choice, "finish_reason") or "unknown")] += 1
    return reasons


def _get(item: Any, name: str) -> Any:
    return item.get(name) if isinstance(item, dict) else getattr(item, name, None)
