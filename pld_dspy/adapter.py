"""A DSPy adapter for small students: instructions verbatim, plain fields, lenient reading."""

import re
from collections.abc import Mapping, Sequence
from typing import Any, Literal, get_args, get_origin

import dspy
from dspy.utils.exceptions import AdapterParseError
from pydantic.fields import FieldInfo

_LEAD_IN = re.compile(
    r"^(?:the\s+)?(?:final\s+|correct\s+|best\s+)*"
    r"(?:answer|label|option|choice|category|domain|class)(?![^\W_])\s*(?:is\b)?\s*[:=]?\s*",
    re.IGNORECASE,
)
_NEGATED = re.compile(r"\b(?:not|isn't|neither|nor)\s+(?:about\s+|an?\s+|the\s+)?$", re.IGNORECASE)
_GOES_ON = re.compile(r"[ \t]+(?!(?:because|since|is)\b)\w", re.IGNORECASE)
_MARKUP = "*_`#\"'()[]{}<>.,;:!- \t\n"
Wording = Literal["field", "sentence"]
"""How the answer is asked for: `Bias domain (answer with one of: a, b):` or `Answer with one of: a, b.`"""

_SHORT = 2
"""Labels up to this length (the letters of a multiple-choice task) are words of their own too often to be looked for inside a sentence."""


class DirectAdapter(dspy.Adapter):
    """Sends the instructions verbatim as the system message and reads one short answer.

    The user message holds the input fields as `Name: value` lines and ends with the name of the
    output field and its allowed labels, because small models answer best when the labels are the
    last thing they read. A signature with several outputs is asked for as `Name: value` sections in
    order, so a chain of thought works with the same adapter. An output that names no single label
    raises `AdapterParseError`; no second call is made behind the caller's back.

    The wording of the request decides much with small students: without rules, a 1.5B model scores
    0.741 macro-F1 [0.680, 0.797] on 200 StereoSet test sentences with `field`, and 0.871
    [0.818, 0.916] with `sentence` (`experiments/results/wording.jsonl`).
    """

    def __init__(self, wording: Wording = "field", **kwargs: Any) -> None:
        """Ask for the answer in this wording; the rest is as in `dspy.Adapter`."""
        super().__init__(**kwargs)
        self.wording = wording

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
            f"{field_title(name, field)}: {inputs[name]}"
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
            return str(outputs.get(next(iter(fields)), missing_field_message))
        return "\n".join(
            f"{field_title(name, field)}: {outputs.get(name, missing_field_message)}"
            for name, field in fields.items()
        )

    def parse(self, signature: type[dspy.Signature], completion: str) -> dict[str, Any]:
        """Return a value for each output field.

        Raises:
            AdapterParseError: A closed-set field names no single label, or a section is missing.
        """
        fields = signature.output_fields
        texts = _sections(completion, fields)
        values: dict[str, Any] = {}
        for name, field in fields.items():
            labels = allowed_labels(field)
            text = texts.get(name)
            value = read_label(text or "", labels) if labels else text
            if not value:
                raise AdapterParseError(
                    adapter_name=type(self).__name__,
                    signature=signature,
                    lm_response=completion,
                    message=f"no {name!r} in the answer {completion[:80]!r}",
                )
            values[name] = value
        return values


def allowed_labels(field: FieldInfo) -> tuple[str, ...]:
    """Return the labels of a `Literal` field, or an empty tuple for an open one."""
    if get_origin(field.annotation) is Literal:
        return tuple(str(value) for value in get_args(field.annotation))
    return ()


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


def read_label(text: str, labels: Sequence[str]) -> str | None:
    """Return the one label that `text` names, or None if it names none or cannot be decided.

    Case, quotes, markup, spaces inside a label, a full stop, and a lead-in such as `Answer:` do not
    matter. A label at the very start wins; otherwise exactly one label must be mentioned. A label
    after `not` is not mentioned, nor is one that only stands inside a longer one.

    >>> read_label("Answer: **Not mentioned**.", ["Entailment", "NotMentioned"])
    'NotMentioned'
    >>> read_label("gender or race", ["gender", "race"]) is None
    True
    """
    lines = text.strip().splitlines() or [""]
    for part in (text, lines[0], lines[-1]):
        stripped = part.strip(_MARKUP)
        for form in (part.strip(), stripped, _LEAD_IN.sub("", stripped).strip(_MARKUP)):
            label = _same(form, labels)
            if label is not None:
                return label
    starts = [label for label in labels if _starts_with(text, label)]
    if starts and len(_mentions(lines[0], labels)) <= 1:
        return max(starts, key=len)
    mentioned = _mentions(text, labels)
    return mentioned[0] if len(mentioned) == 1 else None


def _same(text: str, labels: Sequence[str]) -> str | None:
    # The strictest comparison that fits one label decides, so that `C` and `C++` stay apart.
    for normal in (str, str.casefold, _key):
        same = [label for label in labels if normal(label) == normal(text)]
        if len(same) == 1:
            return same[0]
    return None


def _key(text: str) -> str:
    return re.sub(r"[\W_]+", "", text.casefold()) or text.strip().casefold()


def _pattern(label: str) -> str:
    words = re.findall(r"[A-Z]?[a-z0-9]+|[A-Z]+(?![a-z])|[^\sA-Za-z0-9]", label) or [label]
    return r"(?<!\w)" + r"[\s_-]*".join(re.escape(word) for word in words) + r"(?!\w)"


def _starts_with(text: str, label: str) -> bool:
    body = _LEAD_IN.sub("", text.strip().lstrip(_MARKUP)).lstrip(_MARKUP)
    match = re.match(_pattern(label), body, re.IGNORECASE)
    if match is None:
        return False
    return _stands_alone(label, body[match.end() :])


def _stands_alone(label: str, rest: str) -> bool:
    # `a. Some text` answers with the letter; `A man ...` does not. No other letter is a word.
    letter = len(label) == 1 and label.isalpha() and label.lower() not in {"a", "i"}
    return len(label) > _SHORT or letter or not _GOES_ON.match(rest)


def _mentions(text: str, labels: Sequence[str]) -> list[str]:
    spans = []
    for label in labels:
        pattern = f"(?P<label>{_pattern(label)})"
        if len(label) <= _SHORT:
            pattern = r"\b(?:answer|option|choice)\b\W*(?:is\W*)?(?:option\W*)?" + pattern
        for match in re.finditer(pattern, text, re.IGNORECASE):
            start, end = match.span("label")
            if not _NEGATED.search(text[:start]) and _stands_alone(label, text[end:]):
                spans.append((start, end, label))
    inner = {
        (start, end, label)
        for start, end, label in spans
        if any(s <= start and end <= e and e - s > end - start for s, e, _ in spans)
    }
    return list(dict.fromkeys(label for *place, label in spans if (*place, label) not in inner))


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


def _sections(completion: str, fields: Mapping[str, FieldInfo]) -> dict[str, str]:
    titles = {name: field_title(name, field) for name, field in fields.items()}
    heading = "|".join(re.escape(title) for title in titles.values())
    # A model may repeat the request, the labels in brackets included, before it answers.
    repeated = r"(?:\([^)\n]*\)[\s*_]*)?"
    start = rf"(?im)^[\s*#>_-]*(?:the\s+)?({heading})(?:\s+is)?[\s*_]*{repeated}:[ \t*_]*"
    pieces = re.split(start, completion)
    found: dict[str, str] = {}
    for title, body in zip(pieces[1::2], pieces[2::2], strict=True):
        name = next(n for n, t in titles.items() if t.lower() == title.lower())
        found.setdefault(name, body.strip().strip("*").strip())
    if len(fields) == 1 and not found:
        found[next(iter(fields))] = completion.strip()
    elif len(fields) > 1 and pieces[0].strip():
        # Models often go straight on with the first section and leave its heading out.
        found.setdefault(next(iter(fields)), pieces[0].strip())
    return found
