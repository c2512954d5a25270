"""Stand-ins for language models. They fail loudly when a test did not foresee a call."""

from collections import Counter
from collections.abc import Callable

from dspy.lm15 import TransportError

from pld_dspy.testing.fakes import (
    Answer,
    FakeEngine,
    Fields,
    Prompt,
    Script,
    asked_fields,
    fake_lm,
    render_fields,
)
from pld_dspy.testing.keywords import (
    FILLERS,
    KEYWORD_RULE,
    WORDS,
    KeywordTask,
    RuleFollower,
    follow,
    keyword_rule,
    keyword_task,
    mentions,
)

__all__ = [
    "FILLERS",
    "KEYWORD_RULE",
    "WORDS",
    "Answer",
    "FakeEngine",
    "FakeTeacher",
    "Fields",
    "KeywordTask",
    "Prompt",
    "RuleFollower",
    "Script",
    "asked_fields",
    "every",
    "explain_keywords",
    "fake_lm",
    "follow",
    "keyword_rule",
    "keyword_task",
    "mentions",
    "render_fields",
]


def every(n: int) -> Callable[[int], bool]:
    """Choose each n-th call: n, 2n, 3n, ..."""
    return lambda call: call % n == 0


class FakeTeacher(FakeEngine):
    """A teacher that answers by a plain function, with the faults that real endpoints have."""

    def __init__(
        self,
        answer: Answer,
        *,
        garbage_on: Callable[[int], bool] = lambda call: False,
        fail_on: Callable[[int], bool] = lambda call: False,
    ) -> None:
        """Answer with `answer`, but for the calls, counted from 1, that these choose.

        Args:
            answer: The answer to a prompt.
            garbage_on: Calls answered by text that no parser can read; `every(3)` for each third.
            fail_on: Calls that raise a connection error, which dspy may send again.
        """
        super().__init__(answer)
        self._garbage_on = garbage_on
        self._fail_on = fail_on

    def answer(self, prompt: Prompt, call: int) -> "str | Fields":
        if self._fail_on(call):
            raise TransportError("connection reset by the fake teacher")
        if self._garbage_on(call):
            return "}{ I would rather talk about the weather"
        return super().answer(prompt, call)


def explain_keywords(task: KeywordTask) -> Answer:
    """Answer extraction, synthesis and resolution requests about `task` with its own rules.

    A prompt that shows rules gets the rule shown most often; one that shows a text gets the rule of
    the first word that decides it. Every asked field holds the rule, except `label`, which holds
    the rule's label, and `rationale` and `reasoning`, which hold one sentence.
    """

    def rule_for(prompt: Prompt) -> tuple[str, str]:
        shown = Counter(KEYWORD_RULE.findall(prompt.user)).most_common(1)
        if shown:
            word, label = shown[0][0]
            return word, label
        found = ((w, label) for w, label in task.words.items() if mentions(prompt.user, w))
        return next(found, ("nothing", task.default))

    def answer(prompt: Prompt) -> "str | Fields":
        word, label = rule_for(prompt)
        rule, why = keyword_rule(word, label), f"The text mentions '{word}'."
        known = {"label": label, "rationale": why, "reasoning": why}
        asked = asked_fields(prompt)
        return {name: known.get(name, rule) for name in asked} if asked else rule

    return answer
