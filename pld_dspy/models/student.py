"""Student that answers with the label alone."""

from typing import Any

import dspy

from pld_dspy.config.base import Wording
from pld_dspy.models.adapter import DirectAdapter
from pld_dspy.models.topics import from_state, instructions, to_state, with_rule_ids
from pld_dspy.records import TopicPrompts


class DirectStudent(dspy.Module):
    """Answers with the label in one call, without reasoning; always uses `DirectAdapter`.

    With `topics`, each input is asked with the instructions of its topic, and the prediction has the
    ids of the rules in them as `rules`.

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
        self.topics: TopicPrompts | None = None

    def forward(self, **inputs: Any) -> dspy.Prediction:
        """Return a prediction with the label.

        Raises:
            AdapterParseError: The answer has no single label.
        """
        with dspy.context(adapter=DirectAdapter(self.wording)):
            topical = instructions(self.topics, self.predict.signature, inputs)
            prediction = self.predict(**inputs, **topical)
        return with_rule_ids(prediction, self.topics, inputs)

    async def aforward(self, **inputs: Any) -> dspy.Prediction:
        """Return a prediction with the label, asynchronously.

        Raises:
            AdapterParseError: The answer has no single label.
        """
        with dspy.context(adapter=DirectAdapter(self.wording)):
            topical = instructions(self.topics, self.predict.signature, inputs)
            prediction = await self.predict.acall(**inputs, **topical)
        return with_rule_ids(prediction, self.topics, inputs)

    def dump_state(self, json_mode: bool = True) -> dict[str, Any]:
        """Return the state, with the prompts by topic if there are any."""
        state: dict[str, Any] = super().dump_state(json_mode=json_mode)
        return state if self.topics is None else {**state, "topics": to_state(self.topics)}

    def load_state(self, state: dict[str, Any], **kwargs: Any) -> None:
        """Take over a state of `dump_state`; one without topics removes those that are there."""
        super().load_state(state, **kwargs)
        self.topics = from_state(state["topics"]) if "topics" in state else None
