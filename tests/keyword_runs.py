"""Whole compiles on a keyword task: a student that obeys its rules, and a teacher that knows them."""

import re
from typing import Literal

import dspy

from fakes import (
    FakeEngine,
    asked_fields,
    fake_lm,
    follow,
    keyword_rule,
    keyword_task,
    mentions,
)
from judges import judge_truly, judges
from pld_dspy import PLD, PLDConfig, accuracy
from pld_dspy.models.student import DirectStudent

TASK = keyword_task(96)
TRAIN, VAL, SELECT, TEST = (TASK.examples[i : i + 24] for i in range(0, 96, 24))
SETS = {"trainset": TRAIN, "valset": VAL, "selectset": SELECT}


class Colour(dspy.Signature):
    """Name the colour."""

    text: str = dspy.InputField()
    label: Literal["red", "green", "blue", "grey"] = dspy.OutputField()


def right_answer(text):
    return follow("\n".join(TASK.rules), text, TASK.default)


class Student(FakeEngine):
    """Obeys the keyword rules in its system message, in whatever form an adapter asks for.

    Without a rule that fits it repeats the `kind` it is given, if any, else says `default(text)`.
    """

    def __init__(self, default=lambda text: TASK.default):
        def answer(prompt):
            user = prompt.user
            given = re.search(r"(?:^Kind: |\[\[ ## kind ## \]\]\n)(\w+)$", user, re.MULTILINE)
            label = follow(prompt.system, user, given[1] if given else default(user))
            fields = asked_fields(prompt)
            sections = re.findall(r"^([A-Z]\w*): <", user, re.MULTILINE)
            if fields:
                return {name: "because" if name == "reasoning" else label for name in fields}
            if sections:
                return "\n".join(
                    f"{title}: {'because' if title == 'Reasoning' else label}" for title in sections
                )
            return label

        super().__init__(answer)


def deciding_rule(text):
    found = ((w, label) for w, label in TASK.words.items() if mentions(text, w))
    return keyword_rule(*next(found, ("nothing", TASK.default)))


def section(user, start, end):
    return user.partition(f"\n{start}: ")[2].partition(f"\n{end}")[0]


def edits_for(user):
    """ADD the rule that a wrong answer lacks; where it is there, MERGE it before the one obeyed."""
    rules = re.findall(r"^R\d+\. (.*)$", section(user, "Rules", "Wrong answers:"), re.MULTILINE)
    wrong = section(user, "Wrong answers", "Right answers:")
    edits = {}
    for text in re.findall(r"^(?:Text: )(.*)$", wrong, re.MULTILINE):
        rule = deciding_rule(text)
        holder = next((n for n, said in enumerate(rules, 1) if rule in said), None)
        obeyed = next((n for n, said in enumerate(rules, 1) if follow(said, text, "")), None)
        if holder is None:
            edits[f"ADD: {rule}"] = None
        elif obeyed not in {None, holder}:
            both = f"{rules[holder - 1]} {rules[obeyed - 1]}"
            edits[f"MERGE R{holder} R{obeyed}: {both}"] = None
    return "\n".join(edits) or "none"


def teach(prompt):
    """Answer each request to the teacher in its own sections, with the rules of the task."""
    user = prompt.user
    sections = re.findall(r"^([A-Z]\w*): <", user, re.MULTILINE)
    if "Edits" in sections:
        return f"Cause: a rule is missing or late.\nEdits: {edits_for(user)}"
    notes = re.findall(r"^(?:Notes: )?- (.*)$", user, re.MULTILINE)
    if notes:
        return f"Rule: {' '.join(notes)}\nException: none"
    text = section(user, "Example", "Correct answer:")
    return f"Rationale: it mentions it.\nRule: {deciding_rule(text)}"


def without_knowledge(prompt):
    """Rules about words that decide nothing, though each names the right answer of its text."""
    user = prompt.user
    if judges(prompt):
        return judge_truly(prompt)
    if "\nEdits: <" in user:
        return "Cause: none.\nEdits: ADD: If the text mentions 'river', answer red."
    notes = re.findall(r"^(?:Notes: )?- (.*)$", user, re.MULTILINE)
    if notes:
        return f"Rule: {notes[0]}\nException: none"
    gold = section(user, "Correct answer", "")
    last = section(user, "Example", "Correct answer:").split()[-1]
    return f"Rationale: so.\nRule: {keyword_rule(last, gold.split()[0])}"


def engines(*, student=None, teacher=None):
    """Both engines, the student's first."""
    return student or Student(), teacher or FakeEngine(teach)


def pld(teacher, **settings):
    settings = {"metric": accuracy, "config": PLDConfig(), **settings}
    return PLD(teacher_lm=fake_lm(teacher, name="fake/teacher"), **settings)


def compiled(student_engine, teacher_engine, program=None, *, sets=None, **settings):
    """Return the program after one compile."""
    program = DirectStudent(Colour) if program is None else program
    with dspy.context(lm=fake_lm(student_engine, name="fake/student")):
        return pld(teacher_engine, **settings).compile(program, **(sets or SETS))


def share_right(program, examples, *, lm=None):
    """The naive score of a program."""
    with dspy.context(lm=lm or fake_lm(Student())):
        said = [program(**example.inputs()).label for example in examples]
    return sum(a == e.label for a, e in zip(said, examples, strict=True)) / len(examples)
