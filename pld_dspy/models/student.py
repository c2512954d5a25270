"""Student that answers with the label alone."""

from typing import Any

import dspy

from pld_dspy.config.base import Wording
from pld_dspy.models.adapter import DirectAdapter


class DirectStudent(dspy.Module):
    """Answers with the label in one call, without reasoning; always uses `DirectAdapter`.

    >>> from pld_dspy.testing import fake_lm
    >>> task = dspy.Signature("text -> colour: Literal['red', 'grey']", "Name the colour.")
    >>> student = DirectStudent(task)
    >>> student.set_lm(fake_lm(lambda prompt: "Red."))
    >>> student(text="blood").colour
    'red'
    """

    def __init__(self, signature: type[dspy.Signature], *, wording: Wording = "field") -> None:
        super().__init__()
        self.predict = dspy.Predict(signature)
        self.wording = wording

    def forward(self, **inputs: Any) -> dspy.Prediction:
        """Return a prediction with the label.

        Raises:
            AdapterParseError: The answer has no single label.
        """
        with dspy.context(adapter=DirectAdapter(self.wording)):
            return self.predict(**inputs)

    async def aforward(self, **inputs: Any) -> dspy.Prediction:
        """Return a prediction with the label, asynchronously.

        Raises:
            AdapterParseError: The answer has no single label.
        """
        with dspy.context(adapter=DirectAdapter(self.wording)):
            return await self.predict.acall(**inputs)
