"""Student that answers with the label alone."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Self

import dspy

from pld_dspy.models.adapter import DirectAdapter
from pld_dspy.models.forms import check_form
from pld_dspy.records import Form, LabelsAs, Wording


class StudentPredict(dspy.Predict):
    """A predictor that saves with its state how it asks, so that a loaded program decides the same.

    What else belongs to the student's decisions is to be saved and loaded here, too.
    """

    def __init__(self, signature: type[dspy.Signature], form: Form) -> None:
        super().__init__(signature)
        self.form = form

    def dump_state(self, json_mode: bool = True) -> dict[str, Any]:
        """Return the state of the predictor, with its form."""
        return {**super().dump_state(json_mode=json_mode), "form": self.form.to_json()}

    def load_state(self, state: dict[str, Any], **kwargs: Any) -> Self:
        """Load the state; one that was saved without a form leaves the form as it is."""
        form = state.get("form")
        super().load_state({key: state[key] for key in state if key != "form"}, **kwargs)
        self.form = self.form if form is None else Form.from_json(form)
        return self


class DirectStudent(dspy.Module):
    """Answers with the label in one call, without reasoning; always uses `DirectAdapter`.

    A saved program holds how it asks: loaded into a student of the same signature it decides the
    same. A program saved by an earlier version holds no form; load it into a student that is made
    with the wording of the saved one, which was `field` unless another was set.

    Args:
        signature: The task, with one output.
        wording: Form of the request: `sentence`, `field` or `question`.
        labels_as: `names`, `letters`, or a mapping with a word for each label. The student reads and
            answers in these; predictions hold the labels themselves.
        inputs_first: Inputs that the prompt has before the others.

    Raises:
        ConfigError: `labels_as` does not fit the labels, or an input is unknown.

    >>> from pld_dspy.testing import fake_lm
    >>> task = dspy.Signature("text -> colour: Literal['red', 'grey']", "Name the colour.")
    >>> student = DirectStudent(task, labels_as={"red": "warm", "grey": "cold"})
    >>> student.set_lm(fake_lm(lambda prompt: "Warm."))
    >>> student(text="blood").colour
    'red'
    """

    def __init__(
        self,
        signature: type[dspy.Signature],
        *,
        wording: Wording = "sentence",
        labels_as: LabelsAs = "names",
        inputs_first: Sequence[str] = (),
    ) -> None:
        super().__init__()
        first = tuple(inputs_first)
        form = Form(wording=wording, labels_as=labels_as, inputs_first=first)
        self.predict = StudentPredict(signature, form)
        check_form(form, self.predict.signature)

    @property
    def form(self) -> Form:
        """How the student is asked."""
        form: Form = self.predict.form
        return form

    @property
    def wording(self) -> Wording:
        """The form of the request."""
        return self.form.wording

    def asked(self, form: Form) -> Self:
        """Return a copy that is asked in another form.

        Raises:
            ConfigError: The form does not fit the signature.
        """
        check_form(form, self.predict.signature)
        copy: Self = self.deepcopy()
        copy.predict.form = replace(form)
        return copy

    def forward(self, **inputs: Any) -> dspy.Prediction:
        """Return a prediction with the label.

        Raises:
            AdapterParseError: The answer has no single label.
        """
        with dspy.context(adapter=self._adapter()):
            return self.predict(**inputs)

    async def aforward(self, **inputs: Any) -> dspy.Prediction:
        """Return a prediction with the label, asynchronously.

        Raises:
            AdapterParseError: The answer has no single label.
        """
        with dspy.context(adapter=self._adapter()):
            return await self.predict.acall(**inputs)

    def _adapter(self) -> DirectAdapter:
        form = self.form
        return DirectAdapter(form.wording, labels_as=form.labels_as, inputs_first=form.inputs_first)
