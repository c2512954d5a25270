"""A whole run on a keyword task, with fakes in the place of both models."""

import csv
import re
from collections import Counter

from fakes import (
    KEYWORD_RULE,
    FakeTeacher,
    RuleFollower,
    fake_lm,
    follow,
    keyword_rule,
    keyword_task,
    mentions,
)

TASK = keyword_task(90)
CONFIG = """
run_dir = "{folder}/run"
[task.table]
path = "{folder}/table.csv"
inputs = ["text"]
label = "label"
[split]
train = 24
val = 16
select = 16
test = 24
balance = "natural"
[student]
model = "fake/student"
[teacher]
model = "fake/teacher"
[pld.search]
trials = 2
race.enabled = false
[pld.refine]
rounds = 1
"""


def write_config(folder, rows=TASK.rows, header=("text", "label")):
    """Write a table and the config of a run on it; return the path of the config."""
    with (folder / "table.csv").open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([header, *rows])
    path = folder / "run.toml"
    path.write_text(CONFIG.format(folder=folder), encoding="utf-8")
    return path


def explain_in_sections(prompt):
    """Answer each request to the teacher in its own form, with the task's own rules."""
    shown = Counter(KEYWORD_RULE.findall(prompt.user)).most_common(1)
    if shown:
        word, label = shown[0][0]
    else:
        text = prompt.user.partition("Example:")[2]
        found = ((w, label) for w, label in TASK.words.items() if mentions(text, w))
        word, label = next(found, ("nothing", TASK.default))
    rule = keyword_rule(word, label)
    said = {"Exception": "none", "Edits": f"ADD: {rule}", "Rule": rule}
    asked = re.findall(r"^([A-Z][\w ]*): <", prompt.user, re.MULTILINE)
    return "\n".join(f"{title}: {said.get(title, 'because')}" for title in asked)


class Models:
    """Both models, in the place of `make_lm`."""

    def __init__(self, monkeypatch, *, student=None, teacher=None):
        self.student = student or RuleFollower(TASK.default)
        self.teacher = teacher or FakeTeacher(explain_in_sections)
        self.asked = []
        monkeypatch.setattr("pld_dspy.runs.setup.make_lm", self.make_lm)

    def make_lm(self, name, **settings):
        self.asked.append((name, settings))
        engine = {"fake/student": self.student, "fake/teacher": self.teacher}[name]
        return fake_lm(engine, name=name)


def right_answer(text):
    return follow("\n".join(TASK.rules), text, TASK.default)
