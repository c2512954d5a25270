"""A task with a known best rule list, and a fake student that follows keyword rules."""

import random
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import dspy

from pld_dspy.testing.fakes import FakeEngine, Fields, Prompt

KEYWORD_RULE = re.compile(r"If the text mentions '([^']+)', answer ([^.\n]+)\.")

WORDS = {"alpha": "red", "beta": "green", "gamma": "blue", "delta": "green"}
FILLERS = ("quiet", "river", "stone", "window", "paper", "morning", "garden", "letter")


def keyword_rule(word: str, label: str) -> str:
    """Return the text of a rule in the form that a `RuleFollower` follows.

    >>> keyword_rule("alpha", "red")
    "If the text mentions 'alpha', answer red."
    """
    return f"If the text mentions '{word}', answer {label}."


def mentions(text: str, word: str) -> bool:
    """Return whether the word is in the text; case does not matter."""
    return re.search(rf"\b{re.escape(word)}\b", text, re.IGNORECASE) is not None


def follow(rules: str, text: str, default: str) -> str:
    """Return the answer by the first keyword rule that matches, else `default`.

    >>> follow(keyword_rule("alpha", "red"), "an alpha", "grey")
    'red'
    """
    flat = " ".join(rules.split())  # a prompt may wrap or indent a rule
    fitting = (label for word, label in KEYWORD_RULE.findall(flat) if mentions(text, word))
    return next(fitting, default)


@dataclass(frozen=True, slots=True, kw_only=True)
class KeywordTask:
    """A closed-set task whose best rule list is known: `rules`, in this order, scores 1.0."""

    words: Mapping[str, str]
    """Label by word. If a text has two of the words, the earlier one in the mapping decides."""
    default: str
    """The label of a text with none of the words."""
    rows: tuple[tuple[str, str], ...]
    """Text and gold label."""

    @property
    def labels(self) -> tuple[str, ...]:
        """The labels; that of texts without a keyword is the last."""
        return tuple(dict.fromkeys([*self.words.values(), self.default]))

    @property
    def rules(self) -> tuple[str, ...]:
        """One keyword rule per word, in order of precedence."""
        return tuple(keyword_rule(word, label) for word, label in self.words.items())

    @property
    def examples(self) -> list[dspy.Example]:
        """One example per row, with the input `text` and the output `label`."""
        return [dspy.Example(text=text, label=gold).with_inputs("text") for text, gold in self.rows]

    def accuracy(self, rules: Sequence[str]) -> float:
        """Return the share of rows that a `RuleFollower` gets right with `rules`, in this order."""
        prompt = "\n".join(rules)
        right = [follow(prompt, text, self.default) == gold for text, gold in self.rows]
        return sum(right) / len(self.rows)


def keyword_task(n: int, *, seed: int = 0, words: Mapping[str, str] = WORDS) -> KeywordTask:
    """Return `n` different texts; a third hold two of the words, so that the order of rules matters.

    >>> keyword_task(60).accuracy(keyword_task(60).rules)
    1.0
    """
    rng = random.Random(seed)
    task = KeywordTask(words=words, default="grey", rows=())
    true_rules = "\n".join(task.rules)
    rows = []
    for i in range(n):
        keywords = rng.sample(list(words), k=(1, 2, 1, 0, 2, 1)[i % 6])
        tokens = [*keywords, *rng.sample(FILLERS, k=4), f"no{i}"]
        rng.shuffle(tokens)
        text = " ".join(tokens)
        rows.append((text, follow(true_rules, text, task.default)))
    return KeywordTask(words=words, default=task.default, rows=tuple(rows))


class RuleFollower(FakeEngine):
    """A fake student that follows the keyword rules in its system message, and nothing else.

    It answers with the bare label, or fills `field` for `dspy.ChatAdapter`.
    """

    def __init__(self, default: str, *, field: str | None = None) -> None:
        """Answer `default` where no rule matches."""

        def answer(prompt: Prompt) -> "str | Fields":
            label = follow(prompt.system, prompt.user, default)
            return label if field is None else {field: label}

        super().__init__(answer)
