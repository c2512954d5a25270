"""DSPy adapter for small students: plain prompts, lenient parsing."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import dspy
from dspy.adapters.utils import parse_value
from dspy.utils.exceptions import AdapterParseError, LMError
from pydantic.fields import FieldInfo

from pld_dspy.models.forms import (
    allowed_labels as allowed_labels,
)
from pld_dspy.models.forms import (
    field_title as field_title,
)
from pld_dspy.models.forms import (
    in_order,
    request,
    shown_instructions,
    words_of,
)
from pld_dspy.models.reading.sections import sections
from pld_dspy.models.reading.values import allows_none, label_text, label_values
from pld_dspy.models.refusals import refusals
from pld_dspy.records import Form, LabelsAs, Wording


class DirectAdapter(dspy.Adapter):
    """Sends the instructions as the system message and reads one short answer.

    The user message has the inputs as `Name: value` lines and ends with the request and the labels,
    because small models answer best if they read the labels last. Where labels are shown in other
    words, the instructions, worked examples and the request have these, and the answer is read in
    them; values are the labels themselves. Several outputs are requested as `Name: value` sections in order, so a chain of thought works too. An answer without
    a single label raises `AdapterParseError` and is not retried; only a request that the endpoint
    refused for a parameter or for its system role is sent again without it.

    The wording matters for small students: without rules, a 1.5B model scores 0.741 macro-F1
    [0.680, 0.797] on 200 StereoSet test sentences with `field`, and 0.871 [0.818, 0.916] with
    `sentence` (`experiments/results/wording.jsonl`).

    >>> task = dspy.Signature("text -> colour: Literal['red', 'grey']", "Name the colour.")
    >>> system, user = DirectAdapter().format(task, [], {"text": "blood"})
    >>> user.get("content").splitlines()
    ['Text: blood', '', 'Answer with one of: red, grey.']
    >>> DirectAdapter().parse(task, "**Red**.")
    {'colour': 'red'}
    """

    def __init__(
        self,
        wording: Wording = "sentence",
        *,
        labels_as: LabelsAs = "names",
        inputs_first: Sequence[str] = (),
        **kwargs: Any,
    ) -> None:
        """Set the form of the request; `kwargs` are those of `dspy.Adapter`."""
        super().__init__(**kwargs)
        first = tuple(inputs_first)
        self.form = Form(wording=wording, labels_as=labels_as, inputs_first=first)

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
        """Return the instructions, with the words that stand for the labels."""
        return shown_instructions(signature, self.form)

    def format_user_message_content(
        self,
        signature: type[dspy.Signature],
        inputs: Mapping[str, Any],
        prefix: str = "",
        suffix: str = "",
        main_request: bool = False,
    ) -> str:
        """Return the inputs, then the request with the labels."""
        fields = signature.input_fields
        lines = [
            f"{field_title(name, fields[name])}: {label_text(inputs[name])}"
            for name in in_order([name for name in fields if name in inputs], self.form)
        ]
        parts = [prefix, *lines, request(signature.output_fields, self.form), suffix]
        return "\n".join(part for part in parts if part)

    def format_assistant_message_content(
        self,
        signature: type[dspy.Signature],
        outputs: Mapping[str, Any],
        missing_field_message: str | None = None,
    ) -> str:
        """Return the outputs of a demo in the form that `parse` reads."""
        texts = {
            name: self._shown(label_text(outputs.get(name, missing_field_message)), field)
            for name, field in signature.output_fields.items()
        }
        if len(texts) == 1:
            return next(iter(texts.values()))
        return "\n".join(
            f"{field_title(name, field)}: {texts[name]}"
            for name, field in signature.output_fields.items()
        )

    def parse(self, signature: type[dspy.Signature], completion: str) -> dict[str, Any]:
        """Return the value of each output field, in the type of the field.

        Raises:
            AdapterParseError: A field with a closed label set has no single label, a section is
                missing, or a text cannot be read as the field's type.
        """
        # Models may repeat the request before they answer it.
        asked = request(signature.output_fields, self.form).strip()
        texts = sections(
            completion.lstrip().removeprefix(asked),
            {name: field_title(name, field) for name, field in signature.output_fields.items()},
            [field_title(name, field) for name, field in signature.input_fields.items()],
            optional=[n for n, f in signature.output_fields.items() if allows_none(f.annotation)],
        )
        values: dict[str, Any] = {}
        for name, field in signature.output_fields.items():
            try:
                values[name] = _value(texts.get(name) or "", field, self.form)
            except ValueError as error:
                raise AdapterParseError(
                    adapter_name=type(self).__name__,
                    signature=signature,
                    lm_response=completion,
                    message=f"no {name!r} in the answer {completion[:80]!r}",
                ) from error
        return values

    def _shown(self, text: str, field: FieldInfo) -> str:
        """Return the word for a label of the field; other text unchanged."""
        words = words_of(field, self.form)
        return text if words is None else words.by_label.get(text, text)


_current_lm: ContextVar[dspy.BaseLM | None] = ContextVar("current_lm", default=None)


@contextmanager
def _formatting_for(lm: dspy.BaseLM) -> Iterator[None]:
    """Set the LM that `format` makes messages for."""
    token = _current_lm.set(lm)
    try:
        yield
    finally:
        _current_lm.reset(token)


def _value(text: str, field: FieldInfo, form: Form) -> Any:
    """Return the text as a value of the field's type; ValueError if it is not one."""
    words = words_of(field, form)
    if words is not None:
        label = words.read(text)
        if label is None:
            raise ValueError(text)
        return label_values(field.annotation)[label]
    if not text:
        if allows_none(field.annotation):
            return None
        raise ValueError(text)
    plain = field.annotation in {str, Any, str | None}
    return text if plain else parse_value(text, field.annotation)
