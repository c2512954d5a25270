"""The teacher and the student as DSPy modules that can be used alone."""

from typing import Any

import dspy

from pld_dspy.adapter import DirectAdapter, Wording
from pld_dspy.signatures import ContrastLabels, ExplainExample, MergeRules, ResolveConflicts


class DirectStudent(dspy.Module):
    """Answers with the label alone: one call, no reasoning, whatever adapter is set outside."""

    def __init__(self, signature: type[dspy.Signature], *, wording: Wording = "field") -> None:
        super().__init__()
        self.predict = dspy.Predict(signature)
        self.wording = wording

    def forward(self, **inputs: Any) -> dspy.Prediction:
        """Return a prediction with the label.

        Raises:
            AdapterParseError: The output names no single label.
        """
        with dspy.context(adapter=DirectAdapter(self.wording)):
            return self.predict(**inputs)


class _Teacher(dspy.Module):
    """One request to the teacher, in the plain form that weak models can fill too."""

    signature: type[dspy.Signature]

    def __init__(self) -> None:
        super().__init__()
        self.predict = dspy.Predict(self.signature)

    def forward(self, **inputs: Any) -> dspy.Prediction:
        """Return the filled sections.

        Raises:
            AdapterParseError: A section is missing.
        """
        with dspy.context(adapter=DirectAdapter()):
            return self.predict(**inputs)


class Explain(_Teacher):
    """Teacher chain of thought given the gold label: a rationale, then one rule (phase 1)."""

    signature = ExplainExample


class Merge(_Teacher):
    """Synthesis of one rule, and an exception if need be, from the rules of a cluster (phase 2)."""

    signature = MergeRules


class Contrast(_Teacher):
    """One rule for each label, from rules of all labels side by side."""

    signature = ContrastLabels


class Resolve(_Teacher):
    """Edits of the rule list from the student's wrong and right answers (phase 3)."""

    signature = ResolveConflicts
