"""Labels keep their type, from the signature to the user's own metric, the rules and the store."""

import datetime
import decimal
import enum
import json
from typing import Annotated, Literal, Optional

import dspy
import numpy as np
import pytest
from dspy.utils.exceptions import AdapterParseError
from hypothesis import given, settings
from hypothesis import strategies as st

from fakes import FakeEngine, Script, fake_lm
from label_sets import LABELS
from pld_dspy.data.values import is_missing
from pld_dspy.errors import ConfigError, DataError
from pld_dspy.ledger.store import StageStore
from pld_dspy.models.adapter import DirectAdapter
from pld_dspy.models.reading.values import allows_none, label_text, label_values
from pld_dspy.models.student import DirectStudent
from pld_dspy.models.teacher import Teacher
from pld_dspy.scoring.evaluator import Evaluator, silent
from pld_dspy.scoring.metrics import accuracy, macro_f1, mcc
from pld_dspy.stages.common.targets import find_targets
from pld_dspy.stages.explain import extract_traces


class Colour(enum.Enum):
    R = "red"
    G = "green"


class Level(enum.IntEnum):
    LOW = 1
    HIGH = 2


CLOSED = [
    (Literal[0, 1, 2, 3], {"0": 0, "1": 1, "2": 2, "3": 3}),
    (bool, {"True": True, "False": False}),
    (Colour, {"red": Colour.R, "green": Colour.G}),
    (Level, {"1": Level.LOW, "2": Level.HIGH}),
    (Optional[Literal["a", "b"]], {"a": "a", "b": "b"}),  # noqa: UP045 - as users write it
    (Literal["a", None], {"a": "a"}),
    (Literal["a"] | Literal["b", 3], {"a": "a", "b": "b", "3": 3}),
    (Annotated[Literal[1, 2], "stars"], {"1": 1, "2": 2}),
    (Literal[Colour.R, Colour.G], {"red": Colour.R, "green": Colour.G}),
]
OPEN = [str, int, float, list[str], str | None, Literal["a"] | str, dict]


def signature(annotation):
    fields = {"text": (str, dspy.InputField()), "label": (annotation, dspy.OutputField())}
    return dspy.Signature(fields, "Name it.")


def examples(values):
    rows = enumerate([*values] * 6)
    return [dspy.Example(text=f"text {i}", label=value).with_inputs("text") for i, value in rows]


def perfect(golds):
    """A student that knows the label of each text."""
    texts = {example.text: label_text(example.label) for example in golds}

    def answer(prompt):
        lines = prompt.user.splitlines()
        return texts[next(line[6:] for line in lines if line.startswith("Text: "))]

    return FakeEngine(answer)


@pytest.mark.parametrize(("annotation", "values"), CLOSED)
def test_the_labels_of_a_closed_type_are_listed_and_read_as_values(annotation, values):
    assert dict(label_values(annotation)) == values
    shape = signature(annotation)
    lm = fake_lm(Script(*values))
    with dspy.context(lm=lm):
        said = [DirectStudent(shape)(text="x").label for _ in values]
    assert said == list(values.values())
    assert [type(value) for value in said] == [type(value) for value in values.values()]
    assert f"Answer with one of: {', '.join(values)}." in lm.engine.prompts[0].user


@pytest.mark.parametrize("annotation", OPEN)
def test_an_open_type_has_no_labels(annotation):
    assert not label_values(annotation)


@pytest.mark.parametrize(
    ("annotation", "text", "value"),
    [(int, "7", 7), (float, "0.5", 0.5), (list[str], '["a", "b"]', ["a", "b"]), (str, "7", "7")],
)
def test_an_open_answer_has_the_type_of_its_field(annotation, text, value):
    assert DirectAdapter().parse(signature(annotation), text) == {"label": value}


def test_an_open_answer_of_another_type_is_a_miss():
    with pytest.raises(AdapterParseError, match="no 'label' in the answer 'many'"):
        DirectAdapter().parse(signature(int), "many")


def test_labels_that_read_the_same_are_refused():
    with pytest.raises(
        ConfigError, match=r"the labels 1 and '1' of .* have the same text; rename one"
    ):
        label_values(Literal[1, "1"])


@pytest.mark.parametrize(("annotation", "values"), CLOSED)
def test_a_demonstration_of_a_typed_label_is_written_as_it_is_read(annotation, values):
    shape = signature(annotation)
    for text, value in values.items():
        written = DirectAdapter().format_assistant_message_content(shape, {"label": value})
        assert written == text
        assert DirectAdapter().parse(shape, written) == {"label": value}


def same_value(example, prediction, trace=None):
    return type(prediction.label) is type(example.label) and prediction.label == example.label


METRICS = (same_value, accuracy, macro_f1, mcc)


def score(annotation, golds, metric, adapter=None):
    (target,) = find_targets(DirectStudent(signature(annotation)), golds, None)
    scorer = Evaluator(
        lm=fake_lm(perfect(golds)),
        metric=metric,
        label_key="label",
        labels=target.labels,
        store=StageStore(),
    )
    with dspy.context(adapter=adapter):
        result = scorer.run(DirectStudent(target.signature), golds, candidate_id="c", split="val")
    return result.score


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize(("annotation", "values"), [pair for pair in CLOSED if len(pair[1]) > 1])
def test_a_perfect_student_of_a_typed_signature_scores_1(annotation, values, metric):
    assert score(annotation, examples(values.values()), metric) == 1.0


@settings(deadline=None, max_examples=25)
@given(LABELS, st.sampled_from(METRICS), st.sampled_from(("literal", "optional", "enum", "open")))
def test_a_perfect_student_scores_1(labels, metric, kind):
    labels = tuple(label.strip() for label in labels)
    types = {
        "literal": Literal[labels],
        "optional": Optional[Literal[labels]],  # noqa: UP045
        "enum": enum.Enum("Drawn", {f"L{i}": label for i, label in enumerate(labels)}),
        "open": str,
    }
    values = list(types[kind]) if kind == "enum" else labels
    if len(set(labels)) == len(labels):
        assert score(types[kind], examples(values), metric) == 1.0


def test_rules_name_the_text_of_an_enum_and_contradictions_are_found():
    golds = examples(list(Colour))
    (target,) = find_targets(DirectStudent(signature(Colour)), golds, None)
    engine = FakeEngine(lambda prompt: "Rationale: So.\nRule: If so, answer red.")
    teacher = Teacher(lm=fake_lm(engine), store=StageStore(), progress=silent)
    found = extract_traces(
        teacher, golds, signature=target.signature, label_key="label", labels=target.labels
    )
    assert target.labels == ("red", "green")
    assert {trace.label for trace in found.traces} == {"red"}
    assert found.dropped == {"rules that name another answer than the gold label": 6}
    assert not any("Colour." in prompt for prompt in engine.prompts)


NAN = float("nan")


class NAType:
    """As pandas has it: neither equal nor unequal."""

    def __ne__(self, other):
        return self

    def __bool__(self):
        raise TypeError("boolean value of NA is ambiguous")


@pytest.mark.parametrize(
    "value", [None, NAN, np.float32("nan"), np.datetime64("NaT"), NAType(), decimal.Decimal("nan")]
)
@pytest.mark.parametrize("key", ["text", "label"])
def test_a_missing_value_is_refused_in_one_line(value, key):
    assert is_missing(value)
    golds = examples(("a", "b"))
    golds[3] = golds[3].copy(**{key: value})
    with pytest.raises(DataError, match=rf"^example \w{{16}} has .*{key}") as caught:
        find_targets(dspy.Predict("text -> label"), golds, None)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("value", ["", 0, False, "nan", np.array([1.0, 2.0]), [], Colour.R])
def test_what_is_there_is_not_missing(value):
    assert not is_missing(value)


def test_an_input_that_may_be_none_is_not_missing():
    class Maybe(dspy.Signature):
        text: str | None = dspy.InputField()
        label: Literal["a", "b"] = dspy.OutputField()

    golds = [example.copy(text=None) for example in examples(("a", "b"))]
    assert allows_none(str | None)
    assert find_targets(dspy.Predict(Maybe), golds, None)


class Both(dspy.Signature):
    text: str = dspy.InputField()
    label: Literal["a", "b"] = dspy.OutputField()
    explanation: str = dspy.OutputField()


@pytest.mark.parametrize("closed", [True, False])
def test_of_two_labelled_outputs_the_closed_one_is_learned_and_it_is_said(closed, caplog):
    shape = Both if closed else "text -> label, explanation"
    golds = [
        example.copy(explanation=f"because {i}")
        for i, example in enumerate(examples(("a", "b")) * 2)
    ]
    (target,) = find_targets(dspy.Predict(shape), golds, None)
    assert (target.label_key, target.labels) == ("label", ("a", "b"))
    (message,) = caplog.messages
    assert "'label' is learned, which has a closed label set" in message


def test_two_closed_outputs_are_a_question():
    golds = [example.copy(mood="x") for example in examples(("a", "b"))]
    with pytest.raises(
        ConfigError, match="several outputs of predictor 'self', 'label' and 'mood'"
    ):
        find_targets(dspy.Predict("text -> label, mood"), golds, None)


STORED = [
    (np.int64(3), 3),
    (np.float32(0.5), 0.5),
    (np.bool_(True), True),
    (np.array([1, 2]), [1, 2]),
    (datetime.date(2026, 1, 2), "2026-01-02"),
    (datetime.datetime(2026, 1, 2, 3, tzinfo=datetime.UTC), "2026-01-02 03:00:00+00:00"),
    (decimal.Decimal("1.50"), "1.50"),
    (Colour.R, "red"),
    ({"b", "a"}, ["a", "b"]),
]


@pytest.mark.parametrize(("value", "stored"), STORED)
def test_what_is_saved_can_be_saved(value, stored, tmp_path):
    store = StageStore(tmp_path)
    assert store.put("traces", "k", {"inputs": {"x": value}})["inputs"]["x"] == stored
    assert StageStore(tmp_path).get("traces", "k")["inputs"]["x"] == stored
    json.dumps(stored)


@pytest.mark.parametrize(
    "value", [np.int64(3), datetime.date(2026, 1, 2), decimal.Decimal("1.5"), Colour.R]
)
def test_such_inputs_are_evaluated_and_found_again(value, tmp_path):
    golds = [example.copy(text=value, n=i) for i, example in enumerate(examples(("a", "b")))]
    golds = [example.with_inputs("text", "n") for example in golds]
    lm = fake_lm(FakeEngine(lambda prompt: "a"))
    shape = dspy.Signature("text, n: int -> label")
    for _ in range(2):
        scorer = Evaluator(
            lm=lm, metric=accuracy, label_key="label", labels=("a", "b"), store=StageStore(tmp_path)
        )
        assert scorer.run(DirectStudent(shape), golds, candidate_id="c", split="val").score == 0.5
    assert lm.engine.calls == len(golds)
