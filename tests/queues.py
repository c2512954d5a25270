"""Queues whose names say nothing to a student that knows the kinds of things by their words."""

import math
import random
import re
from dataclasses import replace

import dspy
from dspy.lm15 import TokenLogprob, TopLogprob

from fakes import FakeEngine
from pld_dspy.testing import Prompt

KINDS = {
    "food": ("bread", "soup", "apple", "cake", "rice"),
    "tool": ("hammer", "saw", "drill", "file", "axe"),
    "animal": ("cat", "cow", "horse", "goose", "bee"),
}
QUEUES = dict(zip(("q1", "q2", "q3"), KINDS, strict=True))
KIND_OF = {thing: kind for kind, things in KINDS.items() for thing in things}
SIGNATURE = dspy.Signature("text -> label: Literal['q1', 'q2', 'q3']", "Name the queue.")


def example(number):
    label = list(QUEUES)[number % 3]
    thing = random.Random(number).choice(KINDS[QUEUES[label]])
    return dspy.Example(text=f"note {number} on a {thing}", label=label).with_inputs("text")


TRAIN, VAL, SELECT, TEST = (
    [example(n) for n in range(start, start + 30)] for start in (0, 30, 60, 90)
)


def things_in(text):
    return [thing for thing in KIND_OF if re.search(rf"\b{thing}\b", text)]


class Speaker(FakeEngine):
    """Knows the kind of each thing by its word, and nothing of queues: there it guesses."""

    def __init__(self, *, tells=True):
        super().__init__(lambda prompt: max(self.log_p(prompt), key=self.log_p(prompt).get))
        self.tells = tells

    @staticmethod
    def log_p(prompt):
        asked = re.search(r"one of: (.*)\.$", prompt.user)
        if asked is None:
            return {"ok": 0.0}  # to the call that checks whether the model answers
        options = asked[1].split(", ")
        kind = KIND_OF[things_in(prompt.user.partition("\n")[0])[0]]
        guess = options[int(re.search(r"note (\d+)", prompt.user)[1]) // 3 % len(options)]
        likely = kind if kind in options else guess
        return {word: math.log(0.9 if word == likely else 0.01) for word in options}

    def complete(self, request):
        response = super().complete(request)
        if request.config.logprobs is None or not self.tells:
            return response
        said, known = response.message.parts[0].text, self.log_p(Prompt.of(request))
        top = tuple(TopLogprob(word, logprob) for word, logprob in known.items())
        return replace(response, logprobs=(TokenLogprob(said, known[said], top=top),))


def asks_for_a_title(prompt):
    return "give them a title" in prompt.system


class Teacher(FakeEngine):
    """Names texts by their kind, or what `names` has for it; explains, and judges that no condition holds."""

    def __init__(self, names=None):
        super().__init__(self.said)
        self.names = names

    def said(self, prompt):
        user = prompt.user
        if asks_for_a_title(prompt):
            kind = KIND_OF[things_in(user)[0]]
            return f"The {(self.names or {}).get(kind, kind)}."
        if "\nRationale: <" in user:
            thing = things_in(user)[0]
            label = next(queue for queue, kind in QUEUES.items() if kind == KIND_OF[thing])
            return f"Rationale: so.\nKinds: a {thing}\nRule: If the text names a {thing}, answer {label}."
        if "\nRule: <" in user:
            note = re.search(r"- (.*)", user)[1]
            return f"Rule: {note}\nException: none"
        return "none"
