"""A DSPy adapter for small students: instructions verbatim, plain fields, lenient reading."""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import dspy
from dspy.adapters.utils import parse_value
from dspy.utils.exceptions import AdapterParseError, LMError
from pydantic.fields import FieldInfo

from pld_dspy.config.base import Wording
from pld_dspy.models.reading.labels import read_label
from pld_dspy.models.reading.thoughts import answer_part
from pld_dspy.models.reading.values import label_text, label_values
from pld_dspy.models.refusals import refusals


class DirectAdapter(dspy.Adapter):
    """Sends the instructions verbatim as the system message and reads one short answer.

    The user message holds the input fields as `Name: value` lines and ends with the name of the
    output field and its allowed labels, because small models answer best when the labels are the
    last thing they read. A signature with several outputs is asked for as `Name: value` sections in
    order, so a chain of thought works with the same adapter. An output that names no single label
    raises `AdapterParseError`; no second call is made behind the caller's back. Only a request that
    the endpoint refused for a parameter, or for its system role, is sent again without it.

    The wording of the request decides much with small students: without rules, a 1.5B model scores
    0.741 macro-F1 [0.680, 0.797] on 200 StereoSet test sentences with `field`, and 0.871
    [0.818, 0.916] with `sentence` (`experiments/results/wording.jsonl`).
    """

    def __init__(self, wording: Wording = "field", **kwargs: Any) -> None:
        """Ask for the answer in this wording; the rest is as in `dspy.Adapter`."""
        super().__init__(**kwargs)
        self.wording = wording

    def __call__(
        self,
        lm: dspy.BaseLM,
        lm_kwargs: dict[str, Any],
        signature: type[dspy.Signature],
        demos: list[dict[str, Any]],
        inputs: dict[str, Any],
    ) -> list[dict[str, Any]]:
        """Ask `lm` and return what `parse` reads, one record for each answer."""
        refused = refusals(lm)
        while True:
            asked, settings = refused.applied(lm, lm_kwargs)
            sent, system_role = {**asked.kwargs, **settings}, not refused.system_role
            try:
                with _folding(lm):
                    return list(super().__call__(asked, settings, signature, demos, inputs))
            except LMError as error:
                if not refused.learn(sent, error, system_role=system_role):
                    raise

    async def acall(
        self,
        lm: dspy.BaseLM,
        lm_kwargs: dict[str, Any],
        signature: type[dspy.Signature],
        demos: list[dict[str, Any]],
        inputs: dict[str, Any],
    ) -> list[dict[str, Any]]:
        """Do as `__call__` does, asynchronously."""
        refused = refusals(lm)
        while True:
            asked, settings = refused.applied(lm, lm_kwargs)
            sent, system_role = {**asked.kwargs, **settings}, not refused.system_role
            try:
                with _folding(lm):
                    return list(await super().acall(asked, settings, signature, demos, inputs))
            except LMError as error:
                if not refused.learn(sent, error, system_role=system_role):
                    raise

    def format(
        self,
        signature: type[dspy.Signature],
        demos: list[dict[str, Any]],
        inputs: dict[str, Any],
    ) -> list[dict[str, Any]]:
        """Return the messages, without a system role where the endpoint takes none."""
        messages = super().format(signature, demos, inputs)
        lm = _asked.get()
        return messages if lm is None else refusals(lm).messages(messages)

    def _call_postprocess(
        self,
        processed_signature: type[dspy.Signature],
        original_signature: type[dspy.Signature],
        outputs: Sequence[Any],
        *args: Any,
    ) -> list[dict[str, Any]]:
        for output in outputs:
            if (
                isinstance(output, dict)
                and not output.get("text")
                and "reasoning_content" in output
            ):
                # The base class would put the thoughts in the place of the answer.
                raise AdapterParseError(
                    adapter_name=type(self).__name__,
                    signature=original_signature,
                    lm_response="",
                    message="the answer is empty: the model only thought; raise max_tokens",
                )
        return list(
            super()._call_postprocess(processed_signature, original_signature, outputs, *args)
        )

    def format_system_message(self, signature: type[dspy.Signature]) -> str:
        """Return the instructions, unchanged."""
        return str(signature.instructions)

    def format_user_message_content(
        self,
        signature: type[dspy.Signature],
        inputs: Mapping[str, Any],
        prefix: str = "",
        suffix: str = "",
        main_request: bool = False,
    ) -> str:
        """Return the fields, then what to answer and from which labels."""
        lines = [
            f"{field_title(name, field)}: {label_text(inputs[name])}"
            for name, field in signature.input_fields.items()
            if name in inputs
        ]
        parts = [prefix, *lines, _request(signature.output_fields, self.wording), suffix]
        return "\n".join(part for part in parts if part)

    def format_assistant_message_content(
        self,
        signature: type[dspy.Signature],
        outputs: Mapping[str, Any],
        missing_field_message: str | None = None,
    ) -> str:
        """Return a demonstration's answer in the form that `parse` reads."""
        fields = signature.output_fields
        if len(fields) == 1:
            return label_text(outputs.get(next(iter(fields)), missing_field_message))
        return "\n".join(
            f"{field_title(name, field)}: {label_text(outputs.get(name, missing_field_message))}"
            for name, field in fields.items()
        )

    def parse(self, signature: type[dspy.Signature], completion: str) -> dict[str, Any]:
        """Return a value of its own type for each output field.

        Raises:
            AdapterParseError: A closed-set field names no single label, a section is missing, or a
                text is no value of its field's type.
        """
        texts = _sections(completion, signature)
        values: dict[str, Any] = {}
        for name, field in signature.output_fields.items():
            try:
                values[name] = _value(texts.get(name) or "", field)
            except ValueError as error:
                raise AdapterParseError(
                    adapter_name=type(self).__name__,
                    signature=signature,
                    lm_response=completion,
                    message=f"no {name!r} in the answer {completion[:80]!r}",
                ) from error
        return values


_asked: ContextVar[dspy.BaseLM | None] = ContextVar("asked", default=None)


@contextmanager
def _folding(lm: dspy.BaseLM) -> Iterator[None]:
    """Let `format` know which endpoint its messages are for."""
    token = _asked.set(lm)
    try:
        yield
    finally:
        _asked.reset(token)


def _value(text: str, field: FieldInfo) -> Any:
    """Return the value that the text is; ValueError if it is none."""
    labels = label_values(field.annotation)
    if labels:
        label = read_label(text, tuple(labels))
        if label is None:
            raise ValueError(text)
        return labels[label]
    if not text:
        raise ValueError(text)
    return text if field.annotation in {str, Any} else parse_value(text, field.annotation)


def allowed_labels(field: FieldInfo) -> tuple[str, ...]:
    """Return the labels of a field with a closed set as text, or an empty tuple for an open one."""
    return tuple(label_values(field.annotation))


def field_title(name: str, field: FieldInfo) -> str:
    """Return the name a person would read: the field's own prefix if it was set, else from its key.

    >>> field_title("bias_domain", dspy.InputField())
    'Bias domain'
    """
    extra = field.json_schema_extra if isinstance(field.json_schema_extra, dict) else {}
    prefix = str(extra.get("prefix") or "").rstrip(": ")
    inferred = name.replace("_", " ")
    # DSPy fills in a title-cased prefix by itself; only one that differs was chosen by the author.
    if prefix and prefix.lower() != inferred.lower():
        return prefix
    return inferred[:1].upper() + inferred[1:]


def _request(fields: Mapping[str, FieldInfo], wording: Wording) -> str:
    if len(fields) == 1:
        name, field = next(iter(fields.items()))
        labels = allowed_labels(field)
        if labels and wording == "sentence":
            return f"\nAnswer with one of: {', '.join(labels)}."
        return f"\n{field_title(name, field)}{_choices(field)}:"
    forms = "\n".join(
        f"{field_title(name, field)}: <{_description(name, field)}{_choices(field)}>"
        for name, field in fields.items()
    )
    return f"Answer in this form:\n{forms}"


def _choices(field: FieldInfo) -> str:
    labels = allowed_labels(field)
    return f" (answer with one of: {', '.join(labels)})" if labels else ""


def _description(name: str, field: FieldInfo) -> str:
    extra = field.json_schema_extra if isinstance(field.json_schema_extra, dict) else {}
    text = str(extra.get("desc") or "")
    return name.replace("_", " ") if text in ("", f"${{{name}}}") else text


def _sections(completion: str, signature: type[dspy.Signature]) -> dict[str, str]:
    """Return the text under each output's heading; of a repeated one the last, which a draft is not."""
    fields = signature.output_fields
    text = answer_part(completion)
    titles = {name: field_title(name, field) for name, field in fields.items()}
    names = {title.lower(): name for name, title in titles.items()}
    if len(fields) > 1:
        text = _before_next_example(text, signature, titles)
    pieces = re.split(_heading(titles.values()), text)
    found: dict[str, str] = {}
    for title, body in zip(pieces[1::2], pieces[2::2], strict=True):
        said = _without_stray_stars(body)
        if said:
            found[names[title.lower()]] = said
    if len(fields) == 1 and not found:
        found[next(iter(fields))] = text if len(pieces) == 1 else ""
    elif len(fields) > 1 and pieces[0].strip():
        # Models often go straight on with the first section and leave its heading out.
        found.setdefault(next(iter(fields)), pieces[0].strip())
    return found


def _heading(titles: Iterable[str]) -> str:
    named = "|".join(re.escape(title) for title in titles)
    # A model may repeat the request, the labels in brackets included, before it answers.
    repeated = r"(?:\((?:[^()\n]|\([^()\n]*\))*\)[\s*_]*)?"
    return rf"(?im)^[\s*#>_-]*(?:the\s+)?({named})(?:\s+is)?[\s*_]*{repeated}[:\uff1a][ \t*_]*"


def _before_next_example(
    text: str, signature: type[dspy.Signature], titles: Mapping[str, str]
) -> str:
    """Return the text up to where the model, done with its answer, continues with an example of its own."""
    seen: set[str] = set()
    inputs = {field_title(name, field).lower() for name, field in signature.input_fields.items()}
    outputs = {title.lower() for title in titles.values()}
    for match in re.finditer(_heading([*titles.values(), *inputs]), text):
        title = match[1].lower()
        if title in outputs:
            seen.add(title)
        elif seen == outputs:
            return text[: match.start()]
    return text


def _without_stray_stars(body: str) -> str:
    """Return the body without the end of bold type that began before the heading."""
    text = body.strip()
    return text.removesuffix("**").rstrip() if text.count("**") % 2 else text
