"""Renders rule lists as prompts, and puts prompts into programs."""

import hashlib
import inspect
from collections.abc import Mapping, Sequence
from dataclasses import replace

import dspy

from pld_dspy.errors import ConfigError, nearest
from pld_dspy.models.adapter import allowed_labels, field_title
from pld_dspy.models.reading.values import label_text
from pld_dspy.records import Candidate, Origin, Rule

HEADER = "Rules:"


def render(task: str, rules: Sequence[Rule], *, header: str = HEADER) -> str:
    """Return the instructions: the task, then the rules, numbered from 1 in order.

    Without rules this is the task alone, that is, the student as given.

    >>> render("Name the colour.", [])
    'Name the colour.'
    """
    if not rules:
        return task
    lines = [numbered(number, rule) for number, rule in enumerate(rules, 1)]
    # DSPy cleans instructions like docstrings; the report must show what the student gets.
    return inspect.cleandoc("\n".join([task.lstrip(), "", header, *lines]))


def numbered(number: int, rule: Rule) -> str:
    """Return the rule's line in a prompt."""
    # A line break inside a rule would look like its end.
    return f"{number}. {' '.join(rule.text.split())}"


def make_candidate(
    task: str,
    rules: Sequence[Rule],
    *,
    origin: Origin,
    header: str = HEADER,
    note: str = "",
    demos: Sequence[str] = (),
    words: Mapping[str, str] | None = None,
) -> Candidate:
    """Return the candidate with `rules` in this order; its id is a hash of what the student is shown."""
    prompt = render(task, rules, header=header)
    shown = [f"{label} as {word}" for label, word in (words or {}).items()]
    digest = hashlib.sha256("\n\n".join([prompt, *demos, *shown]).encode()).hexdigest()[:8]
    return Candidate(
        id=f"c{digest}",
        rules=tuple(rules),
        prompt=prompt,
        origin=origin,
        note=note,
        demos=tuple(demos),
        words=dict(words or {}),
    )


def with_prompt(program: dspy.Module, predictor: str, prompt: str) -> dspy.Module:
    """Return a copy of `program` with these instructions at the predictor with path `predictor`.

    The program and its signature classes, which copies share, are not modified.

    Raises:
        ConfigError: There is no such predictor, or DSPy would change the prompt.
    """
    copy = program.deepcopy()
    predictors = dict(copy.named_predictors())
    if predictor not in predictors:
        msg = f"the program has no predictor {predictor!r}{nearest(predictor, predictors)}"
        raise ConfigError(msg)
    module = predictors[predictor]
    if module.signature.instructions == prompt:
        return copy
    module.signature = module.signature.with_instructions(prompt)
    if module.signature.instructions != prompt:
        msg = f"DSPy would change the prompt {prompt[:40]!r}...; write no tabs, no outer blank lines, and no indentation of the first line or of all the others"
        raise ConfigError(msg)
    return copy


def with_demos(program: dspy.Module, predictor: str, demos: Sequence[dspy.Example]) -> dspy.Module:
    """Return a copy of `program` with these demos added to the predictor."""
    copy = program.deepcopy()
    module = dict(copy.named_predictors())[predictor]
    module.demos = [*module.demos, *demos]
    return copy


def with_words(program: dspy.Module, predictor: str, words: Mapping[str, str]) -> dspy.Module:
    """Return a copy of a `DirectStudent` that shows these words for the labels; as it is without words."""
    if not words:
        return program
    copy = program.deepcopy()
    module = dict(copy.named_predictors())[predictor]
    module.form = replace(module.form, labels_as=dict(words))
    return copy


def render_example(signature: type[dspy.Signature], example: dspy.Example) -> str:
    """Return the inputs of an example as in the student's prompt, one `Name: value` per line."""
    inputs = example.inputs()
    known = {name: field for name, field in signature.input_fields.items() if name in inputs}
    if not known:  # an inner predictor, whose inputs are made while the program runs
        return "\n".join(f"{name}: {label_text(value)}" for name, value in inputs.items())
    return "\n".join(
        f"{field_title(name, field)}: {label_text(inputs[name])}" for name, field in known.items()
    )


def output_labels(signature: type[dspy.Signature], label_key: str) -> tuple[str, ...]:
    """Return the closed label set of the output; empty if it is open."""
    return allowed_labels(signature.output_fields[label_key])
