"""A fake student with a planted bias: it follows keyword rules, but adds a bias to each label."""

import math
import random
from dataclasses import replace

from dspy.lm15 import TokenLogprob, TopLogprob

from fakes import KeywordTask, RuleFollower, follow


class BiasedFollower(RuleFollower):
    """Tells log-probabilities: `signal` for the label by the rules, a bias, and noise of the text.

    The text names the most probable label, so that a strong bias hides what the rules say.
    """

    def __init__(self, task: KeywordTask, bias, *, signal=3.0, noise=0.3, tells=True, says=None):
        super().__init__(task.default)
        self.labels, self.default = task.labels, task.default
        self.bias, self.signal, self.noise = bias, signal, noise
        self.tells, self.says = tells, says

    def log_p(self, prompt):
        """Return the log-probability of each label for a prompt."""
        rng = random.Random(prompt.user)
        named = follow(prompt.system, prompt.user, self.default)
        logits = {
            label: self.signal * (label == named)
            + self.bias.get(label, 0.0)
            + rng.gauss(0, self.noise)
            for label in self.labels
        }
        total = math.log(sum(math.exp(logit) for logit in logits.values()))
        return {label: logit - total for label, logit in logits.items()}

    def answer(self, prompt, call):
        del call
        known = self.log_p(prompt)
        return self.says or max(known, key=known.get)

    def complete(self, request):
        response = super().complete(request)
        if request.config.logprobs is None or not self.tells:
            return response
        said = response.message.parts[0].text
        known = self.log_p(self.prompts[-1])
        first = said.split()[0]
        top = tuple(TopLogprob(label, logprob) for label, logprob in known.items())
        if first not in known:
            top = (TopLogprob(first, -0.1), *top)
        tokens = [TokenLogprob(first, dict.get(known, first, -0.1), top=top)]
        tokens += [TokenLogprob(f" {word}", -0.1, top=()) for word in said.split()[1:]]
        return replace(response, logprobs=tuple(tokens))
