"""Writes the request for the label in each form, and says which words stand for the labels."""

from collections.abc import Mapping, Sequence

import dspy
from pydantic.fields import FieldInfo

from pld_dspy.errors import ConfigError, nearest
from pld_dspy.models.reading.label_words import LabelWords
from pld_dspy.models.reading.values import label_values
from pld_dspy.records import Form

_YES_NO = {"is", "are", "was", "were", "has", "have", "does", "do", "did", "can", "should", "will"}


def allowed_labels(field: FieldInfo) -> tuple[str, ...]:
    """Return the closed label set of a field as text; empty for an open field."""
    return tuple(label_values(field.annotation))


def field_title(name: str, field: FieldInfo) -> str:
    """Return the display name of a field: its prefix if one was set, else its key as words.

    >>> field_title("bias_domain", dspy.InputField())
    'Bias domain'
    """
    extra = field.json_schema_extra if isinstance(field.json_schema_extra, dict) else {}
    prefix = str(extra.get("prefix") or "").rstrip(": ")
    inferred = name.replace("_", " ")
    # DSPy sets a title-cased prefix by default; only another one was chosen by the author.
    if prefix and prefix.lower() != inferred.lower():
        return prefix
    return inferred[:1].upper() + inferred[1:]


def check_form(form: Form, signature: type[dspy.Signature]) -> None:
    """Check that a signature can be asked in this form.

    Raises:
        ConfigError: It has no input of a name in `inputs_first`, or `labels_as` does not fit its labels.
    """
    inputs = tuple(signature.input_fields)
    unknown = next((name for name in form.inputs_first if name not in inputs), None)
    if unknown is not None:
        msg = f"inputs_first names {unknown!r}, which is no input{nearest(unknown, inputs)}"
        raise ConfigError(msg)
    if len(set(form.inputs_first)) < len(form.inputs_first):
        msg = f"inputs_first is {list(form.inputs_first)}; name each input once"
        raise ConfigError(msg)
    if form.labels_as != "names":
        closed = [f for f in signature.output_fields.values() if allowed_labels(f)]
        if len(closed) != 1:
            msg = f"labels_as goes with one output with a closed label set, and there are {len(closed)}; leave it out"
            raise ConfigError(msg)
        LabelWords.of(allowed_labels(closed[0]), form.labels_as)


def words_of(field: FieldInfo, form: Form) -> LabelWords | None:
    """Return the words for the labels of an output; None if it is open."""
    labels = allowed_labels(field)
    return LabelWords.of(labels, form.labels_as) if labels else None


def form_of(program: object) -> Form | None:
    """Return how a program asks for the label; None if it is not said.

    It is that of the program, of the first predictor in it that has one, or of the adapter in use.
    """
    parts = [program, *(program.predictors() if isinstance(program, dspy.Module) else ())]
    known = (getattr(part, "form", None) for part in (*parts, dspy.settings.adapter))
    return next((form for form in known if isinstance(form, Form)), None)


def shown_labels(program: object, labels: Sequence[str]) -> Mapping[str, tuple[str, ...]]:
    """Return the words that the student sees for each label, the label itself if it is shown by name.

    >>> from pld_dspy.models.student import DirectStudent
    >>> task = dspy.Signature("text -> label: Literal['red', 'grey']")
    >>> shown_labels(DirectStudent(task, labels_as="letters"), ("red", "grey"))
    {'red': ('A',), 'grey': ('B',)}
    """
    return _words_shown(program, labels).every


def shown_text(program: object, labels: Sequence[str], text: str) -> str:
    """Return instructions or numbered rules as the student sees them, with the words for the labels.

    Args:
        program: The student, or its predictor.
        labels: The closed label set; empty if the output is open.
        text: The text with the labels themselves.
    """
    return _words_shown(program, labels).shown(text)


def _words_shown(program: object, labels: Sequence[str]) -> LabelWords:
    form = form_of(program)
    way = "names" if form is None or not labels else form.labels_as
    # A program may make its answer from another label set than the one that it asks about.
    fits = isinstance(way, str) or set(way) == set(labels)
    return LabelWords.of(labels, way if fits else "names")


def shown_instructions(signature: type[dspy.Signature], form: Form) -> str:
    """Return the instructions as the student sees them, with the words for the labels."""
    text = str(signature.instructions)
    if form.labels_as == "names":
        return text
    check_form(form, signature)
    words = [words_of(field, form) for field in signature.output_fields.values()]
    return next((word.shown(text) for word in words if word is not None), text)


def in_order(names: Sequence[str], form: Form) -> list[str]:
    """Return the names of the inputs in the order in which they are shown."""
    first = [name for name in form.inputs_first if name in names]
    return [*first, *(name for name in names if name not in first)]


def request(fields: Mapping[str, FieldInfo], form: Form) -> str:
    """Return the request for the outputs; small models answer best if they read the labels last."""
    if len(fields) > 1:
        lines = "\n".join(
            f"{field_title(name, field)}: <{_description(name, field)}{_choices(field, form)}>"
            for name, field in fields.items()
        )
        return f"Answer in this form:\n{lines}"
    name, field = next(iter(fields.items()))
    title = field_title(name, field)
    words = words_of(field, form)
    if words is None or form.wording == "field":
        return f"\n{title}{_choices(field, form)}:"
    choices = f"Answer {_lead(words)}: {words.choices}."
    return f"\n{_question(title)} {choices}" if form.wording == "question" else f"\n{choices}"


def _question(title: str) -> str:
    """Return the title as a question.

    >>> (
    ...     _question("Bias domain"),
    ...     _question("Is spam"),
    ...     _question("Who wrote it?"),
    ...     _question("ICD code"),
    ... )
    ('Which bias domain fits?', 'Is spam?', 'Who wrote it?', 'Which ICD code fits?')
    """
    first = title.split(maxsplit=1)[0] if title.split() else ""
    if title.endswith("?"):
        return title
    if first.lower() in _YES_NO:
        return f"{title}?"
    lowered = title if first[1:] != first[1:].lower() else title[:1].lower() + title[1:]
    return f"Which {lowered} fits?"


def _choices(field: FieldInfo, form: Form) -> str:
    words = words_of(field, form)
    return "" if words is None else f" (answer {_lead(words)}: {words.choices})"


def _lead(words: LabelWords) -> str:
    return "with one letter" if words.letters else "with one of"


def _description(name: str, field: FieldInfo) -> str:
    extra = field.json_schema_extra if isinstance(field.json_schema_extra, dict) else {}
    text = str(extra.get("desc") or "")
    return name.replace("_", " ") if text in ("", f"${{{name}}}") else text
