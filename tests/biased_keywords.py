"""A student that knows the keyword task, and whose answers lean to one label."""

import math
from dataclasses import replace

from dspy.lm15 import TokenLogprob, TopLogprob

from fakes import FakeEngine
from keyword_runs import TASK, right_answer

LABELS = ("red", "green", "blue", "grey")


class BiasedStudent(FakeEngine):
    """Says the most probable label, and tells the log-probabilities of all if asked to.

    The right label has `knows` more log-odds than the others, and `grey` has `bias` more, whatever the
    text. Both may depend on the prompt.
    """

    def __init__(self, knows=lambda prompt: 2.0, bias=lambda prompt: 4.0, tells=True):
        self.knows, self.bias, self.tells = knows, bias, tells
        super().__init__(self._say)

    def _say(self, prompt):
        label = max(self.chances(prompt), key=self.chances(prompt).get)
        return f"Reasoning: so\nLabel: {label}" if "Reasoning: <" in prompt.user else label

    def chances(self, prompt):
        text = prompt.user.rpartition("Text: ")[2].partition("\n")[0]
        odds = {
            label: self.knows(prompt) * (label == right_answer(text))
            + self.bias(prompt) * (label == TASK.default)
            for label in LABELS
        }
        total = math.fsum(math.exp(o) for o in odds.values())
        return {label: math.exp(o) / total for label, o in odds.items()}

    def complete(self, request):
        response = super().complete(request)
        if request.config.logprobs is None or not self.tells:
            return response
        said = response.message.parts[0].text.rpartition("Label: ")[2]
        top = [TopLogprob(n, math.log(p)) for n, p in self.chances(self.prompts[-1]).items()]
        own = next(one.logprob for one in top if one.token == said)
        return replace(response, logprobs=(TokenLogprob(said, own, top=tuple(top)),))
