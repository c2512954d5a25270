"""How the student is asked, and the forms that were compared."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, Self

from pld_dspy.records.scores import Evaluation

Wording = Literal["field", "sentence", "question"]
"""How the student's prompt asks for the label: `Bias domain (answer with one of: a, b):`,
`Answer with one of: a, b.`, or `Which bias domain fits? Answer with one of: a, b.`"""

LabelsAs = Literal["names", "letters"] | Mapping[str, str]
"""How labels are shown and read: by their names, as letters with the names beside them, or as a
word for each label; several words of one label have ` / ` between them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Form:
    """A way to ask for the label.

    >>> Form(labels_as={"Entailment": "Yes", "Contradiction": "No"}).name
    'sentence, labels as Yes, No'
    """

    wording: Wording = "sentence"
    labels_as: LabelsAs = "names"
    inputs_first: tuple[str, ...] = ()
    """Inputs that come before the others, in this order; empty is the order of the signature."""

    @property
    def name(self) -> str:
        """The form in words, for reports."""
        plain = isinstance(self.labels_as, str)
        shown = self.labels_as if plain else f"labels as {', '.join(self.labels_as.values())}"  # type: ignore[union-attr]
        order = f", {', '.join(self.inputs_first)} first" if self.inputs_first else ""
        return f"{self.wording}, {shown}{order}"

    def to_json(self) -> dict[str, Any]:
        """Return the form as JSON-compatible values; `from_json` reads them."""
        labels_as = self.labels_as if isinstance(self.labels_as, str) else dict(self.labels_as)
        return {
            "wording": self.wording,
            "labels_as": labels_as,
            "inputs_first": list(self.inputs_first),
        }

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Self:
        """Return the form that `to_json` wrote."""
        return cls(**{**values, "inputs_first": tuple(values.get("inputs_first", ()))})


@dataclass(frozen=True, slots=True, kw_only=True)
class TriedForm:
    """A form with the student's score on validation."""

    form: Form
    evaluation: Evaluation | None
    """None if the first answers named no label, after which the form was given up."""
    worth: float
    """Mean of score and gold probability, on which the choice is made; `-inf` without an evaluation."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FormChoice:
    """The forms that were compared on validation, and the best of them."""

    tried: tuple[TriedForm, ...]
    """In the order of trial; the first is the form of the student as given."""
    best: Form
    """The form with the largest worth; the first of several."""

    @property
    def plain(self) -> Form:
        """The form of the student as given."""
        return self.tried[0].form
