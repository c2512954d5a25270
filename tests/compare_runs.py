"""Cells of the comparison on a keyword task, with fakes in the place of both models."""

import csv
import json
import re

import experiments.bench.configs as configs
from experiments.bench.cells import OWN, SETS_BUDGET, Cell
from experiments.bench.configs import BenchConfig, budget_of
from experiments.bench.plan import Plan, run_config
from experiments.bench.run_cell import run_cell
from fakes import FakeEngine, asked_fields, fake_lm, follow, keyword_rule, keyword_task, mentions
from keyword_runs import Student, teach
from pld_dspy.runs.setup import load

TASK = keyword_task(90)
TASK_FILE = """
title = "Keywords"
balance = "natural"
guidelines = "If the text mentions 'alpha', answer red."
[task.table]
path = "{folder}/table.csv"
inputs = ["text"]
label = "label"
[sizes]
train = 24
val = 12
select = 12
test = 20
"""
PLD_SETTINGS = {"search": {"trials": 2}, "refine": {"rounds": 1}, "finalists": 2}
PING = "Say ok."


def propose(prompt):
    """Answer as a teacher, and as the proposer of any optimizer: always with rules of the task."""
    fields = asked_fields(prompt)
    if not fields and re.search(r"^([A-Z]\w*): <", prompt.user, re.MULTILINE):
        return reasoned(prompt) if "Reasoning: <" in prompt.user else teach(prompt)
    number = len(prompt) % len(TASK.rules)
    rules = " ".join(TASK.rules[number:] + TASK.rules[:number])
    if not fields:
        label = answer_of(prompt)
        return f"```\n{rules}\n```\n<IMPROVED_VARIABLE>{rules}</IMPROVED_VARIABLE>\n{label}"
    known = {"module_advice": f'{{"predict": "{rules}"}}', "label": answer_of(prompt)}
    said = {name: known.get(name, rules) for name in fields}
    return json.dumps(said) if "JSON object" in prompt.user else said


def answer_of(prompt):
    text = prompt.user.rpartition("Text: ")[2].partition("\n")[0]
    return follow("\n".join(TASK.rules), text, TASK.default)


def reasoned(prompt):
    return f"Reasoning: because\nLabel: {answer_of(prompt)}"


class Teacher(FakeEngine):
    """Explains, proposes and answers; as the ceiling it knows every answer."""

    garble = False
    """Whether proposals come in no form that can be read."""

    def __init__(self):
        def answer(prompt):
            if self.garble and asked_fields(prompt):
                return "as I said before, as I said before,"
            direct = not asked_fields(prompt) and "\nLabel (answer with one of" in prompt.user
            return answer_of(prompt) if direct else propose(prompt)

        super().__init__(answer)


class World:
    """A folder with a task and models, and the engines that stand for them."""

    def __init__(self, folder, monkeypatch, *, student=None, teacher=None):
        self.folder = folder
        self.student = student or Student()
        self.teacher = teacher or Teacher()
        for name in ("tasks", "models"):
            (folder / name).mkdir(parents=True, exist_ok=True)
        with (folder / "table.csv").open("w", encoding="utf-8", newline="") as file:
            csv.writer(file).writerows([("text", "label"), *TASK.rows])
        self._task = folder / "tasks" / "keywords.toml"
        self._task.write_text(TASK_FILE.format(folder=folder), encoding="utf-8")
        for name in ("small", "other", "large"):
            (folder / "models" / f"{name}.toml").write_text(
                f'model = "fake/{name}"\n', encoding="utf-8"
            )
        monkeypatch.setattr(configs, "HERE", folder)
        monkeypatch.setattr("pld_dspy.runs.setup.make_lm", self.make_lm)

    def set_task(self, **settings):
        """Put settings on top of the task's file."""
        text = self._task.read_text(encoding="utf-8")
        lines = "".join(f"{key} = {json.dumps(value)}\n" for key, value in settings.items())
        self._task.write_text(lines + text, encoding="utf-8")

    def make_lm(self, name, *, temperature, max_tokens, **settings):
        engine = self.teacher if name == "fake/large" else self.student
        lm = fake_lm(engine, name=name)
        return lm.copy(temperature=temperature, max_tokens=max_tokens)

    def plan(self, runs="runs", **settings):
        grid = {
            "tasks": ["keywords"],
            "students": ["small"],
            "teachers": ["large"],
        }
        config = BenchConfig(**{"grid": [grid], "pld": PLD_SETTINGS, **settings})
        return Plan(config=config, endpoints={}, runs=self.folder / runs)

    def run(self, optimizer, budget=None, plan=None, seed=0, student="small"):
        """Return the line of a cell; `budget` None is one that sets or spends none."""
        which = OWN if budget is None else "x1"
        cell = Cell("keywords", optimizer, student, "large", "teacher", "item", seed, which)
        return run_cell(cell, plan or self.plan(), budget)

    def searching(self, engine, test_texts):
        """Return the prompts that an engine got outside of the test."""
        return [
            prompt
            for prompt in engine.prompts
            if PING not in prompt and not any(text in prompt for text in test_texts)
        ]


def splits_of(world, name):
    """Return the splits of a cell."""
    cell = Cell("keywords", name, "small", "large", "teacher", "item", 0, OWN)
    return load(run_config(cell, world.plan())).splits


def with_topics(world, topic_of):
    """Give the table a second input."""
    rows = [(text, topic_of(text, label), label) for text, label in TASK.rows]
    with (world.folder / "table.csv").open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([("text", "topic", "label"), *rows])
    path = world.folder / "tasks" / "keywords.toml"
    path.write_text(path.read_text("utf-8").replace('["text"]', '["text", "topic"]'), "utf-8")


__all__ = [
    "OWN",
    "PING",
    "SETS_BUDGET",
    "TASK",
    "Cell",
    "Teacher",
    "World",
    "budget_of",
    "keyword_rule",
    "mentions",
    "splits_of",
    "with_topics",
]
