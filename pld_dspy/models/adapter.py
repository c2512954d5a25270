"""DSPy adapter for small students: plain prompts, lenient parsing."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import dspy
from dspy.adapters.utils import parse_value
from dspy.utils.exceptions import AdapterParseError, LMError
from pydantic.fields import FieldInfo

from pld_dspy.config.base import Wording
from pld_dspy.models.reading.labels import read_label
from pld_dspy.models.reading.sections import sections
from pld_dspy.models.reading.values import label_text, label_values
from pld_dspy.models.refusals import refusals


class DirectAdapter(dspy.Adapter):
    """Sends the instructions verbatim as the system message and reads one short answer.

    The user message has the inputs as `Name: value` lines and ends with the name of the output and
    its labels, because small models answer best if they read the labels last. Several outputs are
    requested as `Name: value` sections in order, so a chain of thought works too. An answer without
    a single label raises `AdapterParseError` and is not retried; only a request that the endpoint
    refused for a parameter or for its system role is sent again without it.

    The wording matters for small students: without rules, a 1.5B model scores 0.741 macro-F1
    [0.680, 0.797] on 200 StereoSet test sentences with `field`, and 0.871 [0.818, 0.916] with
    `sentence` (`experiments/results/wording.jsonl`).

    >>> task = dspy.Signature("text -> colour: Literal['red', 'grey']", "Name the colour.")
    >>> system, user = DirectAdapter().format(task, [], {"text": "blood"})
    >>> user.get("content").splitlines()
    ['Text: blood', '', 'Colour (answer with one of: red, grey):']
    >>> DirectAdapter().parse(task, "**Red**.")
    {'colour': 'red'}
    """

    def __init__(self, wording: Wording = "field", **kwargs: Any) -> None:
        """Set the wording of the request; `kwargs` are those of `dspy.Adapter`."""
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
        """Call `lm` and return the parsed outputs, one dict per completion."""
        refused = refusals(lm)
        while True:
            asked, settings = refused.applied(lm, lm_kwargs)
            sent, system_role = {**asked.kwargs, **settings}, not refused.system_role
            try:
                with _formatting_for(lm):
                    return list(super().__call__(asked, settings, signature, demos, inputs))
            except LMError as error:
                if not refused.learn(sent, error, system_role=system_role, optional=settings):
                    raise

    async def acall(
        self,
        lm: dspy.BaseLM,
        lm_kwargs: dict[str, Any],
        signature: type[dspy.Signature],
        demos: list[dict[str, Any]],
        inputs: dict[str, Any],
    ) -> list[dict[str, Any]]:
        """Call `lm` asynchronously; see `__call__`."""
        refused = refusals(lm)
        while True:
            asked, settings = refused.applied(lm, lm_kwargs)
            sent, system_role = {**asked.kwargs, **settings}, not refused.system_role
            try:
                with _formatting_for(lm):
                    return list(await super().acall(asked, settings, signature, demos, inputs))
            except LMError as error:
                if not refused.learn(sent, error, system_role=system_role, optional=settings):
                    raise

    def format(
        self,
        signature: type[dspy.Signature],
        demos: list[dict[str, Any]],
        inputs: dict[str, Any],
    ) -> list[dict[str, Any]]:
        """Return the messages, without a system role if the endpoint refuses it."""
        messages = super().format(signature, demos, inputs)
        lm = _current_lm.get()
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
                # The base class would use the reasoning as the answer.
                raise AdapterParseError(
                    adapter_name=type(self).__name__,
                    signature=original_signature,
                    lm_response="",
                    message="the answer is empty: the model only thought; raise max_tokens",
                )
        values: list[dict[str, Any]] = []
        for output in outputs:
            try:
                values += super()._call_postprocess(
                    processed_signature, original_signature, [output], *args
                )
            except AdapterParseError as unread:
                # From these, the most probable label is known even if the text names none.
                unread.logprobs = output.get("logprobs") if isinstance(output, dict) else None
                raise
        return values

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
        """Return the inputs, then the request with the labels."""
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
        """Return the outputs of a demo in the form that `parse` reads."""
        fields = signature.output_fields
        if len(fields) == 1:
            return label_text(outputs.get(next(iter(fields)), missing_field_message))
        return "\n".join(
            f"{field_title(name, field)}: {label_text(outputs.get(name, missing_field_message))}"
            for name, field in fields.items()
        )

    def parse(self, signature: type[dspy.Signature], completion: str) -> dict[str, Any]:
        """Return the value of each output field, in the type of the field.

        Raises:
            AdapterParseError: A field with a closed label set has no single label, a section is
                missing, or a text cannot be read as the field's type.
        """
        texts = sections(
            completion,
            {name: field_title(name, field) for name, field in signature.output_fields.items()},
            [field_title(name, field) for name, field in signature.input_fields.items()],
        )
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


_current_lm: ContextVar[dspy.BaseLM | None] = ContextVar("current_lm", default=None)


@contextmanager
def _formatting_for(lm: dspy.BaseLM) -> Iterator[None]:
    """Set the LM that `format` makes messages for."""
    token = _current_lm.set(lm)
    try:
        yield
    finally:
        _current_lm.reset(token)


def _value(text: str, field: FieldInfo) -> Any:
    """Return the text as a value of the field's type; ValueError if it is not one."""
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
