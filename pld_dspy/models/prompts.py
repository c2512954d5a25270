"""Prompts of the teacher. The docstring of each signature is sent to the model."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, Literal

import dspy

from pld_dspy.config.callables import described
from pld_dspy.errors import ConfigError, nearest
from pld_dspy.models.reading.values import allows_none


class ExplainExample(dspy.Signature):
    """You teach a very small language model to do a classification task by giving it rules.

    You see one example of the task with its correct answer. The name of the answer may say nothing. First say in one short sentence who or what the example is about, and what makes the correct answer right. Then name three kinds of things that this belongs to, from the narrowest to the widest. Then write one rule that would decide many other examples of the same kind.

    The rule must
    - be one sentence of the form "If ..., answer ...";
    - have a condition that can be checked with yes or no by looking at the text;
    - name the kind of thing that decides ("a tool", "an illness"), never the particular name, word or detail of this example;
    - end with the correct answer, spelled exactly as given.

    For instance, if the text were "The shop sold us two warm rolls" and the correct answer "red":
    Rationale: The text is about rolls, which people eat, and not about travel or sport.
    Kinds: a piece of bread, something to eat, something to buy
    Rule: If the text is about something to eat or drink, answer red.
    """

    # The paper's extraction prompt (phase 1): gold-conditioned rationale, then an abstract rule. The
    # kinds in between are not in the paper: a weak teacher that does not name them first writes rules
    # about the words of the example. Those in the prompt are of no benchmark here; it repeats them.
    task: str = dspy.InputField()
    possible_answers: str = dspy.InputField()
    example: str = dspy.InputField()
    correct_answer: str = dspy.InputField()
    rationale: str = dspy.OutputField(desc="one short sentence")
    kinds: str | None = dspy.OutputField(desc="three kinds, from the narrowest to the widest")
    rule: str = dspy.OutputField(desc="If ..., answer ...")


class MergeRules(dspy.Signature):
    """You write the rulebook of a very small language model.

    Below are notes about one topic of the task. Merge them into a single rule of one sentence. Say in general words which kinds of things the notes are about, and list those kinds ("a tool, a machine or a vehicle"). Leave out details that only one note has.

    The rule must have the form "If ..., answer ...", and its condition must be checkable with yes or no by looking at the text. If some notes give another answer than most, write one exception for them in the same form; otherwise write "none".

    For instance, for notes about bread, soup and tea whose answer is "food":
    Rule: If the text is about a dish, a drink or an ingredient, answer food.
    Exception: none
    """

    # Phase 2. Unless the prompt says which condition to keep, a weak teacher drops the general one;
    # the exception line keeps minority labels that a plain merge loses (paper, §5.2).
    task: str = dspy.InputField()
    possible_answers: str = dspy.InputField()
    main_answer: str = dspy.InputField(desc="the answer of most notes")
    notes: str = dspy.InputField()
    rule: str = dspy.OutputField(desc="If ..., answer ...")
    exception: str = dspy.OutputField(desc="If ..., answer ..., or none")


class ContrastLabels(dspy.Signature):
    """You write the rulebook of a very small language model.

    Below is a task with its possible answers, and notes about solved examples of each answer. Compare the notes of one answer with those of the others. Then write one rule for each answer that says when it is right, and what tells it from the other answers.

    Write one rule a line, each of one sentence in the form "If ..., answer ...". A condition must be checkable with yes or no by looking at the text, in general words. Every possible answer has exactly one rule.
    """

    # Not in the paper, whose phase 2 never sees two labels side by side unless a cluster mixes them.
    task: str = dspy.InputField()
    possible_answers: str = dspy.InputField()
    notes: str = dspy.InputField()
    rules: str = dspy.OutputField(desc="one line for each possible answer: If ..., answer ...")


class ResolveConflicts(dspy.Signature):
    """You improve the rulebook of a very small language model that reads only these rules.

    Below are the rules, some examples that the model got wrong, and some that it got right. Find out what the mistakes have in common. Then propose at most three edits that would correct them and keep the right answers right.

    Write one edit a line, in one of these forms:
    ADD: If ..., answer ...
    MODIFY R2: If ..., answer ...
    SPLIT R2: If ..., answer ... || If ..., answer ...
    MERGE R1 R3: If ..., answer ...
    DELETE R4
    """

    # Phase 3. Edits refer to rule numbers, so that all other rules stay word for word.
    task: str = dspy.InputField()
    possible_answers: str = dspy.InputField()
    rules: str = dspy.InputField()
    wrong_answers: str = dspy.InputField()
    right_answers: str = dspy.InputField()
    cause: str = dspy.OutputField(desc="what the mistakes have in common, one sentence")
    edits: str = dspy.OutputField(desc="one edit a line")


class JudgeConditions(dspy.Signature):
    """You check which conditions hold for an example.

    Below are numbered conditions and one example. A condition holds if it is plainly true of this very example. Judge each one on its own, by what the example says. Several may hold, or none.

    Answer with the numbers of the conditions that hold, separated by commas, or with "none".
    """

    # Neither the gold label nor the rules' answers are shown, so that they cannot sway the judgement.
    conditions: str = dspy.InputField()
    example: str = dspy.InputField()
    numbers: str = dspy.OutputField(desc="the numbers of the conditions that hold, or none")


class CheckCondition(dspy.Signature):
    """You check whether a condition holds for an example.

    It holds if it is plainly true of this very example, by what the example says. Answer only with yes or no.
    """

    # The condition comes last, so that a local server reads each example once.
    example: str = dspy.InputField()
    condition: str = dspy.InputField()
    holds: Literal["yes", "no"] = dspy.OutputField()


class AnswerExample(dspy.Signature):
    """You solve a classification task.

    You see one example of the task. First explain in one or two short sentences what in the example decides between the possible answers. Then give the answer, spelled exactly as it is listed.
    """

    # The gold label is not shown: the score tells what a teacher can pass on.
    task: str = dspy.InputField()
    possible_answers: str = dspy.InputField()
    example: str = dspy.InputField()
    rationale: str = dspy.OutputField(desc="one or two short sentences")
    answer: str = dspy.OutputField(desc="one of the possible answers")


class AnswerLikeExamples(dspy.Signature):
    """You solve a classification task.

    You see some solved examples of the task, and one that you have to solve. First explain in one or two short sentences which solved examples it is like, and what they have in common. Then give the answer, spelled exactly as it is listed.
    """

    # Where the names of the labels say nothing, only solved examples can tell what they mean.
    task: str = dspy.InputField()
    possible_answers: str = dspy.InputField()
    solved_examples: str = dspy.InputField()
    example: str = dspy.InputField()
    rationale: str = dspy.OutputField(desc="one or two short sentences")
    answer: str = dspy.OutputField(desc="one of the possible answers")


class NameTexts(dspy.Signature):
    """You see some texts of one kind, and give them a title.

    The title is the kind of thing that the texts are about, in one or two words. Answer only with the title.
    """

    # Neither the task nor the labels are shown, so that the title is of the texts alone. Weak teachers
    # follow `TITLED`, and not a description; asked for all labels at once, they write "group".
    texts: str = dspy.InputField()
    title: str = dspy.OutputField(desc="the kind of thing, in one or two words")


TITLED = (
    (
        "food",
        ("The roll was still warm.", "She cooked a soup for us.", "An apple a day is enough."),
    ),
    ("weather", ("The storm came at night.", "It was foggy.", "Snow fell on the hills.")),
    ("tool", ("He cut the board with a saw.", "The hammer is heavy.", "She lent me a drill.")),
)
"""Titles of other texts, shown before the question; their kinds are those of no benchmark here."""


@dataclass(frozen=True, kw_only=True)
class Prompts:
    """The seven prompts of the teacher, each a `dspy.Signature` or its instructions as text.

    A custom signature must have the output fields of the default, and only input fields that the
    default has. The prompt text is part of the cache key, so a changed prompt is sent again.

    >>> Prompts(merge="Merge the notes into one rule.").merge.instructions
    'Merge the notes into one rule.'
    """

    explain: type[dspy.Signature] | str = ExplainExample
    """Phase 1: rationale, kinds and rule of one labelled example; the kinds may be left out."""
    merge: type[dspy.Signature] | str = MergeRules
    """Phase 2: one rule, and an exception, from the rules of a cluster."""
    contrast: type[dspy.Signature] | str = ContrastLabels
    """One rule for each label, from rules of all labels."""
    resolve: type[dspy.Signature] | str = ResolveConflicts
    """Phase 3: edits from the errors of the student."""
    judge: type[dspy.Signature] | str = JudgeConditions
    """Which conditions of rules hold for an example, all in one request."""
    check: type[dspy.Signature] | str = CheckCondition
    """Whether one condition of a rule holds for an example, in a request of its own."""
    name: type[dspy.Signature] | str = NameTexts
    """A title for some examples of one label, whose name it does not see."""

    def __post_init__(self) -> None:
        """Convert texts to signatures and check the fields.

        Raises:
            ConfigError: A text is empty, or a signature has unknown or missing fields.
        """
        for field in fields(self):
            default: Any = field.default
            given = getattr(self, field.name)
            if isinstance(given, str):
                if not given.strip():
                    msg = f"the prompt {field.name!r} is empty; write instructions, or leave it out"
                    raise ConfigError(msg)
                given = default.with_instructions(given)
                object.__setattr__(self, field.name, given)
            _check_fields(field.name, given, default)


def resolve_prompts(given: Prompts | Mapping[str, Any] | None) -> Prompts:
    """Return the prompts in `given`, with the built-in ones for those it leaves out.

    Raises:
        ConfigError: `given` is not a mapping, names an unknown prompt, or a prompt is invalid.
    """
    if isinstance(given, Prompts):
        return given
    if given is not None and not isinstance(given, Mapping):
        msg = f"prompts is {described(given)}; give Prompts(...) or a dict of prompts by name"
        raise ConfigError(msg)
    known = [field.name for field in fields(Prompts)]
    for name in given or {}:
        if name not in known:
            msg = f"no prompt is called {name!r}{nearest(str(name), known)}"
            raise ConfigError(msg)
    return Prompts(**(given or {}))


def _check_fields(name: str, given: Any, default: Any) -> None:
    signature = isinstance(given, type) and issubclass(given, dspy.Signature)
    if not signature:
        msg = f"the prompt {name!r} is {described(given)}; give a dspy.Signature or a text"
        raise ConfigError(msg)
    needed = {n for n, f in default.output_fields.items() if not allows_none(f.annotation)}
    missing = sorted(needed - given.output_fields.keys())
    unknown = sorted(given.input_fields.keys() - default.input_fields.keys())
    if missing or unknown:
        msg = f"the prompt {name!r} must have the outputs {sorted(needed)} and inputs among {sorted(default.input_fields)}; missing: {missing}, unknown: {unknown}"
        raise ConfigError(msg)
