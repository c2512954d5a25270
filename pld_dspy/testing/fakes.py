"""Fake language models for offline tests."""

import re
import threading
from collections.abc import Callable, Mapping

import dspy
from dspy.lm15 import Message, Request, Response, TextPart, Usage

Fields = Mapping[str, object]


class Prompt(str):
    """The whole prompt as text, with system message and last turn as attributes."""

    __slots__ = ("system", "user")

    system: str
    """The system message."""
    user: str
    """The last turn; demonstrations come before it."""

    @classmethod
    def of(cls, request: Request) -> "Prompt":
        """Return the prompt of a request."""
        # DSPy puts instructions in `system`, not in the messages.
        system = request.system or ""
        if not isinstance(system, str):
            system = "\n".join(part.text for part in system)
        turns = [message.text or "" for message in request.messages]
        prompt = cls("\n".join([system, *turns]))
        prompt.system, prompt.user = system, turns[-1]
        return prompt


Answer = Callable[[Prompt], "str | Fields"]
"""Computes the answer to a prompt: a string, or fields, which are sent in the format of
`dspy.ChatAdapter`."""


class FakeEngine:
    """A `dspy` engine that answers with a function of the prompt.

    A word counts as one token in `input_tokens` and `output_tokens`. It may be called from several
    threads.
    """

    def __init__(self, answer: Answer) -> None:
        """Answer each prompt with `answer(prompt)`."""
        self._answer = answer
        self._lock = threading.Lock()
        self.prompts: list[Prompt] = []
        """All prompts, in call order."""
        self.calls = 0
        self.input_tokens = 0
        self.output_tokens = 0

    def complete(self, request: Request) -> Response:
        """Return the answer to one request, as DSPy calls it."""
        prompt = Prompt.of(request)
        with self._lock:
            self.calls += 1
            self.prompts.append(prompt)
            answer = self.answer(prompt, self.calls)
            text = answer if isinstance(answer, str) else render_fields(answer)
            read, written = len(prompt.split()), len(text.split())
            self.input_tokens += read
            self.output_tokens += written
        return Response(
            id=None,
            model=request.model,
            message=Message.assistant([TextPart(text)]),
            finish_reason="stop",
            usage=Usage(input_tokens=read, output_tokens=written, total_tokens=read + written),
        )

    def answer(self, prompt: Prompt, call: int) -> "str | Fields":
        """Answer call number `call`, counted from 1; a subclass may raise here."""
        return self._answer(prompt)

    def __deepcopy__(self, memo: dict[int, object]) -> "FakeEngine":
        return self  # copies of a program share the counters


def fake_lm(answer: "Answer | FakeEngine", *, name: str = "fake/lm", retries: int = 0) -> dspy.LM:
    """Return an LM that answers with `answer(prompt)`; read its calls from `lm.engine`.

    >>> lm = fake_lm(lambda prompt: "red" if "blood" in prompt.user else "grey")
    >>> lm("blood and stones"), lm.engine.calls
    (['red'], 1)
    """
    engine = answer if isinstance(answer, FakeEngine) else FakeEngine(answer)
    return dspy.LM(name, engine=engine, cache=False, num_retries=retries)


class Script:
    """Returns the given answers in order; a call beyond the last one fails the test.

    >>> script = Script("red", "blue")
    >>> lm = fake_lm(script)
    >>> lm("first") + lm("second")
    ['red', 'blue']
    >>> script.assert_used_up()
    """

    def __init__(self, *answers: "str | Fields") -> None:
        """Keep the answers."""
        self._pending = list(answers)

    def __call__(self, prompt: Prompt) -> "str | Fields":
        """Return the next answer."""
        if not self._pending:
            msg = f"unscripted call; prompt was:\n{prompt}"
            raise AssertionError(msg)
        return self._pending.pop(0)

    def assert_used_up(self) -> None:
        """Raise AssertionError if an answer was never requested."""
        assert not self._pending, f"{len(self._pending)} scripted answers never requested"


def render_fields(fields: Fields) -> str:
    """Write output fields the way `dspy.ChatAdapter` expects to read them."""
    body = "\n\n".join(f"[[ ## {name} ## ]]\n{value}" for name, value in fields.items())
    return f"{body}\n\n[[ ## completed ## ]]"


def asked_fields(prompt: Prompt) -> list[str]:
    """Return the output fields that a `dspy.ChatAdapter` prompt asks for; empty for other prompts."""
    section = re.search(r"Your output fields are:\n(.*?)\n[^\d\s]", prompt.system, re.DOTALL)
    return re.findall(r"^\d+\. `(\w+)`", section.group(1), re.MULTILINE) if section else []


def asked_sections(prompt: Prompt) -> list[str]:
    """Return the sections that a `DirectAdapter` prompt asks for, as `Title: <...>` lines."""
    return re.findall(r"^([A-Z][\w ]*): <", prompt.user, re.MULTILINE)
