"""Student that answers with the label alone."""

import logging
from contextlib import AbstractContextManager
from typing import Any

import dspy
from dspy.utils.exceptions import AdapterParseError

from pld_dspy.config.base import Wording
from pld_dspy.models.adapter import DirectAdapter, allowed_labels
from pld_dspy.models.logprobs import TOP, label_distribution, read_tokens
from pld_dspy.models.reading.values import label_text, label_values
from pld_dspy.records.decision import Decision

logger = logging.getLogger(__name__)

_STATE = "decision"


class DirectStudent(dspy.Module):
    """Answers with the label in one call, without reasoning; always uses `DirectAdapter`.

    >>> from pld_dspy.testing import fake_lm
    >>> task = dspy.Signature("text -> colour: Literal['red', 'grey']", "Name the colour.")
    >>> student = DirectStudent(task)
    >>> student.set_lm(fake_lm(lambda prompt: "Red."))
    >>> student(text="blood").colour
    'red'
    """

    def __init__(
        self,
        signature: type[dspy.Signature],
        *,
        wording: Wording = "field",
        decision: Decision | None = None,
    ) -> None:
        """Set up the student.

        Args:
            signature: The task; a decision needs one output with a closed label set.
            wording: How the prompt asks for the label.
            decision: How the label is chosen from the label probabilities; None takes the label that
                the answer names. It takes effect where the endpoint returns log-probabilities, in
                the same call and with no token more. It is part of the saved state.
        """
        super().__init__()
        self.predict = dspy.Predict(signature)
        self.wording = wording
        self.decision = decision

    def forward(self, **inputs: Any) -> dspy.Prediction:
        """Return a prediction with the label.

        Raises:
            AdapterParseError: The answer has no single label, and the decision needs one.
        """
        with self._adapter():
            try:
                prediction = self.predict(**self._asked(inputs))
            except AdapterParseError as unread:
                return self._decided(dspy.Prediction(), inputs, unread)
        return self._decided(prediction, inputs)

    async def aforward(self, **inputs: Any) -> dspy.Prediction:
        """Return a prediction with the label, asynchronously.

        Raises:
            AdapterParseError: The answer has no single label, and the decision needs one.
        """
        with self._adapter():
            try:
                prediction = await self.predict.acall(**self._asked(inputs))
            except AdapterParseError as unread:
                return self._decided(dspy.Prediction(), inputs, unread)
        return self._decided(prediction, inputs)

    def dump_state(self, json_mode: bool = True) -> dict[str, Any]:
        """Return the state of the predictor, and the decision if there is one."""
        state: dict[str, Any] = super().dump_state(json_mode=json_mode)
        return state if self.decision is None else {**state, _STATE: self.decision.to_dict()}

    def load_state(self, state: dict[str, Any], **options: Any) -> None:
        """Load a state of `dump_state`.

        Raises:
            DataError: The decision in it cannot be read.
        """
        stored = state.get(_STATE)
        decision = None if stored is None else Decision.from_dict(stored)
        super().load_state(state, **options)
        self.decision = decision

    def _adapter(self) -> AbstractContextManager[None]:
        context: AbstractContextManager[None] = dspy.context(adapter=DirectAdapter(self.wording))
        return context

    def _asked(self, inputs: dict[str, Any]) -> dict[str, Any]:
        """Return the inputs, with log-probabilities requested if the decision needs them."""
        if self.decision is None or self.decision.kind == "greedy":
            return inputs
        wanted = {"logprobs": True, "top_logprobs": TOP}
        return {**inputs, "config": {**(inputs.get("config") or {}), **wanted}}

    def _decided(
        self,
        prediction: dspy.Prediction,
        inputs: dict[str, Any],
        unread: AdapterParseError | None = None,
    ) -> dspy.Prediction:
        """Return the prediction with the label that the decision chooses."""
        decision = self.decision
        if decision is None or decision.kind == "greedy":
            if unread is not None:
                raise unread
            return prediction
        name, field = next(iter(self.predict.signature.output_fields.items()))
        found = getattr(unread, "logprobs", None) if unread else prediction.get("logprobs")
        read = None if unread else label_text(prediction[name])
        probabilities = label_distribution(read_tokens(found), allowed_labels(field), answer=read)
        if probabilities:
            topic = inputs.get(decision.topic_field) if decision.topic_field else None
            chosen = decision.choose(probabilities, None if topic is None else label_text(topic))
            prediction[name] = label_values(field.annotation)[chosen]
        elif unread is not None:
            raise unread
        else:
            _warn_once(self.predict.lm or dspy.settings.lm)
        return prediction


_warned: set[str] = set()


def _warn_once(lm: dspy.BaseLM | None) -> None:
    model = str(getattr(lm, "model", "the endpoint"))
    if model not in _warned:
        _warned.add(model)
        logger.warning("%s gives no log-probabilities; labels are read from its text", model)
