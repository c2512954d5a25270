"""Labelled examples: construction, content-hash ids, groups and checks."""

import hashlib
import json
import logging
from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import dataclass

import dspy

from pld_dspy.data.values import is_missing
from pld_dspy.errors import DataError, nearest

logger = logging.getLogger(__name__)

HIDDEN = ("pld_id", "pld_group", "pld_source")
"""Fields that this package adds to an example; they are never inputs."""
MAX_CONFLICTS = 0.05
"""Share of examples with contradictory labels above which the data is refused."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """A row of a data set, before it becomes a `dspy.Example`."""

    id: str
    group: str | None
    """Name of its group, which is not split between train and test; None if unknown."""
    fields: Mapping[str, str]
    """The inputs and the label."""


def make_example(
    inputs: Mapping[str, object],
    label: str,
    *,
    input_keys: Sequence[str],
    label_key: str,
    group: str | None = None,
    source_id: str | None = None,
) -> dspy.Example:
    """Return an example whose inputs are `input_keys` and whose id is the hash of its content.

    Args:
        inputs: Values of the inputs; keys that are not in `input_keys` are left out.
        label: The gold label.
        input_keys: Fields that a program may see.
        label_key: Field that holds the label.
        group: Name of its group (a document, a customer), not split between train and test.
        source_id: Id of the row in its data set.

    Raises:
        DataError: An input is missing.
    """
    for key in input_keys:
        if key not in inputs:
            msg = f"the example has no input {key!r}{nearest(key, inputs)}"
            raise DataError(msg)
    fields = {key: inputs[key] for key in input_keys}
    return dspy.Example(
        **fields,
        **{label_key: label},
        pld_id=_digest(fields, {label_key: label}),
        pld_group=group,
        pld_source=source_id,
    ).with_inputs(*input_keys)


def example_id(example: dspy.Example) -> str:
    """Return the id of an example, 16 hex digits of a hash of its content.

    Raises:
        DataError: The example does not say which of its fields are inputs.
    """
    known = example.get("pld_id")
    return str(known) if known else _digest(_inputs(example), _labels(example))


def clean_examples(
    examples: Iterable[dspy.Example], *, label_key: str, labels: Sequence[str] | None = None
) -> tuple[dspy.Example, ...]:
    """Return the examples without repeats and without contradictions, in the order given.

    A repeat has the inputs and the label of an earlier example. Inputs with two different labels
    are left out altogether. Both are counted in the log.

    Args:
        examples: Examples with inputs set.
        label_key: Field that holds the label.
        labels: Labels allowed; None allows all.

    Raises:
        DataError: No examples, one label only, a label that is missing or not allowed, an input that
            is NaN, or more than 5% of the examples contradict others.
    """
    by_id: dict[str, dspy.Example] = {}
    seen_labels: dict[str, set[str]] = {}
    total = 0
    for example in examples:
        label = _label(example, label_key, labels)
        _check_inputs(example)
        by_id.setdefault(example_id(example), example)
        seen_labels.setdefault(input_digest(example), set()).add(label)
        total += 1
    if not total:
        msg = "there are no examples; give at least two with different labels"
        raise DataError(msg)
    kept = tuple(e for e in by_id.values() if len(seen_labels[input_digest(e)]) == 1)
    conflicts, repeats = len(by_id) - len(kept), total - len(by_id)
    if repeats:
        logger.info("%d repeated examples left out of %d", repeats, total)
    if conflicts > MAX_CONFLICTS * len(by_id):
        msg = (
            f"{conflicts} of {len(by_id)} examples have the inputs of another one and a different "
            f"label (at most {MAX_CONFLICTS:.0%} may); correct the labels"
        )
        raise DataError(msg)
    if conflicts:
        logger.warning("%d examples with contradictory labels left out", conflicts)
    found = sorted({str(example[label_key]) for example in kept})
    if len(found) < 2:
        msg = (
            f"all {len(kept)} examples have the label {found[0]!r}; at least two labels are needed"
        )
        raise DataError(msg)
    return kept


def examples_from_items(
    items: Iterable[Item], *, input_keys: Sequence[str], label_key: str, labels: Sequence[str]
) -> tuple[dspy.Example, ...]:
    """Return an example of each item, in order, repeats included.

    Raises:
        DataError: An input is missing, or a label is not in `labels`.
    """
    made = tuple(
        make_example(
            item.fields,
            item.fields[label_key],
            input_keys=input_keys,
            label_key=label_key,
            group=item.group,
            source_id=item.id,
        )
        for item in items
    )
    for example in made:
        _label(example, label_key, labels)
    return made


def is_preferred(example: dspy.Example, prefer: Container[str]) -> bool:
    """Return whether the example comes from an item whose source id is in `prefer`."""
    source = example.get("pld_source")
    return source is not None and source in prefer


def group_of(example: dspy.Example) -> str:
    """Return the group of the example.

    Raises:
        DataError: It has none.
    """
    group = example.get("pld_group")
    if group is None:
        msg = f"example {example_id(example)} has no group; name a group column or split by item"
        raise DataError(msg)
    return str(group)


def _label(example: dspy.Example, label_key: str, labels: Sequence[str] | None) -> str:
    if label_key not in example:
        visible = [key for key in example.keys() if key not in HIDDEN]  # noqa: SIM118
        msg = f"{_described(example)} has no label {label_key!r}{nearest(label_key, visible)}"
        raise DataError(msg)
    if is_missing(example[label_key]):
        msg = f"{_described(example)} has {example[label_key]} as its label {label_key!r}; give the label, or leave the example out"
        raise DataError(msg)
    label = str(example[label_key])
    if labels is not None and label not in labels:
        msg = f"{_described(example)} has the label {label!r}, which is not in the label set"
        raise DataError(msg + nearest(label, labels))
    return label


def _check_inputs(example: dspy.Example) -> None:
    """Raise if an input is NaN; None is allowed, since a signature may have optional inputs."""
    for key, value in _inputs(example).items():
        if value is not None and is_missing(value):
            msg = f"{_described(example)} has {value} as its input {key!r}; give a value, or leave the example out"
            raise DataError(msg)


def _described(example: dspy.Example) -> str:
    """Return the example's source, or else the beginning of its first input."""
    if source := example.get("pld_source"):
        return f"example {source}"
    texts = [f"{key}={str(value)[:40]!r}" for key, value in _inputs(example).items()]
    return f"the example with {texts[0]}" if texts else "an example"


def _inputs(example: dspy.Example) -> dict[str, object]:
    try:
        return dict(example.inputs().items())
    except ValueError as error:
        msg = "an example has no inputs set; call .with_inputs(...) on it"
        raise DataError(msg) from error


def _labels(example: dspy.Example) -> dict[str, object]:
    return {key: value for key, value in example.labels().items() if key not in HIDDEN}


def input_digest(example: dspy.Example) -> str:
    """Return 16 hex digits of a hash of the inputs, without the label."""
    return _digest(_inputs(example), {})


def _digest(inputs: Mapping[str, object], labels: Mapping[str, object]) -> str:
    text = json.dumps([inputs, labels], sort_keys=True, ensure_ascii=False, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:16]
