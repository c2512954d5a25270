"""Teachers that judge conditions of the form `the text mentions 'word'` truly."""

import re

from fakes import mentions

CONDITION = re.compile(r"the text mentions '([^']+)'")
JUDGES = "You check "
"""How both prompts of a judge begin."""


def judges(prompt):
    """Return whether the prompt asks for judgements."""
    return prompt.system.startswith(JUDGES)


def judge_truly(prompt):
    """Answer both kinds of requests by the words of the example."""
    user = prompt.user
    if "Conditions: " in user:
        listed, _, example = user.partition("Conditions: ")[2].partition("\nExample: ")
        lines = listed.splitlines()
        true = [n for n, line in enumerate(lines, 1) if _holds(line, example)]
        return ", ".join(map(str, true)) or "none"
    example, _, condition = user.partition("Example: ")[2].partition("\nCondition: ")
    return "yes" if _holds(condition, example) else "no"


def _holds(condition, example):
    return any(mentions(example, word) for word in CONDITION.findall(condition))
