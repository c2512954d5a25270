"""The student as a DSPy module that can be used alone."""

from typing import Any

import dspy

from pld_dspy.config.base import Wording
from pld_dspy.models.adapter import DirectAdapter


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

    async def aforward(self, **inputs: Any) -> dspy.Prediction:
        """Return a prediction with the label, asynchronously.

        Raises:
            AdapterParseError: The output names no single label.
        """
        with dspy.context(adapter=DirectAdapter(self.wording)):
            return await self.predict.acall(**inputs)
