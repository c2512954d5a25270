"""A keyword task whose words mean different labels in different topics."""

import random
import re

import dspy

from fakes import FakeEngine, fake_lm, follow, keyword_rule
from keyword_runs import section
from pld_dspy import PLD, PLDConfig, accuracy

LABELS = ("red", "green", "blue")
DESKS = ("north desk", "south desk", "west desk")
WORDS = ("lamp", "chair", "table")
MEANING = {
    desk: {word: LABELS[(n + shift) % 3] for n, word in enumerate(WORDS)}
    for shift, desk in enumerate(DESKS)
}
"""Label by topic and word: each word means each label once."""

Task = dspy.Signature(
    "desk, text -> label: Literal['red', 'green', 'blue']", "Name the colour of the order."
)


def example(desk, word, number, label=None):
    rng = random.Random(number)
    tokens = ["order", word, f"no{number}"]
    rng.shuffle(tokens)
    label = label or MEANING.get(desk, MEANING[DESKS[0]])[word]
    return dspy.Example(desk=desk, text=" ".join(tokens), label=label).with_inputs("desk", "text")


def examples(count, start=0):
    """Every topic and word in turn."""
    pairs = [(desk, word) for desk in DESKS for word in WORDS]
    return [example(*pairs[i % len(pairs)], start + i) for i in range(count)]


SETS = {
    "trainset": examples(27),
    "valset": examples(18, 100),
    "selectset": examples(18, 200),
}
TEST = examples(18, 300)


def student():
    """A student that follows the first keyword rule that fits, whatever section it stands in."""
    return FakeEngine(lambda prompt: follow(prompt.system, prompt.user, "red"))


def teach(prompt):
    """Write the rule that holds in the topic of the example, which the rule does not name."""
    user = prompt.user
    if "\nEdits: <" in user:
        return "Cause: none.\nEdits: none"
    notes = re.findall(r"^(?:Notes: )?- (.*)$", user, re.MULTILINE)
    if notes:
        return f"Rule: {' '.join(notes)}\nException: none"
    shown = section(user, "Example", "Correct answer:")
    desk = next((desk for desk in DESKS if f"Desk: {desk}" in user), None)
    if desk is None:
        return "ready"  # to the call that checks whether the model answers
    word = next(word for word in WORDS if word in shown)
    return f"Rationale: so.\nRule: {keyword_rule(word, MEANING[desk][word])}"


def optimizer(teacher=None, *, by="desk", engine=None, config=None, **settings):
    config = {"topics": {"by": by}, "search": {"trials": 4}, **(config or {})}
    lm = fake_lm(teacher or FakeEngine(teach), name="fake/teacher")
    return PLD(metric=accuracy, teacher_lm=lm, config=PLDConfig(**config), **settings)


def compile_with(optimizer, program, engine=None, **sets):
    with dspy.context(lm=fake_lm(engine or student(), name="fake/student")):
        return optimizer.compile(program, **{**SETS, **sets})


def share_right(program, shown, engine=None):
    with dspy.context(lm=fake_lm(engine or student(), name="fake/student")):
        said = [program(**e.inputs()).label for e in shown]
    return sum(a == e.label for a, e in zip(said, shown, strict=True)) / len(shown)
