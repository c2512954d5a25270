"""Student that answers with the label alone."""

import logging
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Self

import dspy
from dspy.utils.exceptions import AdapterParseError

from pld_dspy.models.adapter import DirectAdapter
from pld_dspy.models.forms import allowed_labels, check_form, words_of
from pld_dspy.models.local.server import tokenizer_of
from pld_dspy.models.logprobs import TOP, label_distribution, read_tokens
from pld_dspy.models.reading.values import label_text, label_values
from pld_dspy.models.topics import from_state, instructions, to_state, topic_of, with_rule_ids
from pld_dspy.records import Decision, Form, LabelsAs, TopicPrompts, Wording
from pld_dspy.records.decision import Tokenizer

logger = logging.getLogger(__name__)


class StudentPredict(dspy.Predict):
    """A predictor that saves with its state how it asks and decides, so that a loaded one does the same."""

    def __init__(
        self, signature: type[dspy.Signature], form: Form, decision: Decision | None = None
    ) -> None:
        super().__init__(signature)
        self.form = form
        self.decision = decision
        self.topics: TopicPrompts | None = None

    def dump_state(self, json_mode: bool = True) -> dict[str, Any]:
        """Return the state of the predictor, with its form, its decision and its prompts by topic."""
        state = {**super().dump_state(json_mode=json_mode), "form": self.form.to_json()}
        if self.decision is not None:
            state["decision"] = self.decision.to_dict()
        if self.topics is not None:
            state["topics"] = to_state(self.topics)
        return state

    def load_state(self, state: dict[str, Any], **kwargs: Any) -> Self:
        """Load the state; one that was saved without a form leaves the form as it is.

        Raises:
            DataError: The decision in it cannot be read.
        """
        form, stored = state.get("form"), state.get("decision")
        decision = None if stored is None else Decision.from_dict(stored)
        prompts = state.get("topics")
        own = {key: state[key] for key in state if key not in {"form", "decision", "topics"}}
        super().load_state(own, **kwargs)
        self.form = self.form if form is None else Form.from_json(form)
        self.decision = decision
        self.topics = None if prompts is None else from_state(prompts)
        return self


class DirectStudent(dspy.Module):
    """Answers with the label in one call, without reasoning; always uses `DirectAdapter`.

    A saved program holds how it asks: loaded into a student of the same signature it decides the
    same. A program saved by an earlier version holds no form; load it into a student that is made
    with the wording of the saved one, which was `field` unless another was set.

    With `topics`, each input is asked with the instructions of its topic, and the prediction has the
    ids of the rules in them as `rules`.

    Args:
        signature: The task, with one output.
        wording: Form of the request: `sentence`, `field` or `question`.
        labels_as: `names`, `letters`, or a mapping with a word for each label. The student reads and
            answers in these; predictions hold the labels themselves.
        inputs_first: Inputs that the prompt has before the others.
        decision: How the label is chosen from the label probabilities, where the endpoint returns
            them, in the same call and with no token more; None takes the label that the answer names.
            It needs a closed label set.

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
        decision: Decision | None = None,
    ) -> None:
        super().__init__()
        first = tuple(inputs_first)
        form = Form(wording=wording, labels_as=labels_as, inputs_first=first)
        self.predict = StudentPredict(signature, form, decision)
        check_form(form, self.predict.signature)

    @property
    def form(self) -> Form:
        """How the student is asked."""
        form: Form = self.predict.form
        return form

    @property
    def decision(self) -> Decision | None:
        """How the label is chosen; None takes the label that the answer names."""
        decision: Decision | None = self.predict.decision
        return decision

    def deciding(self, decision: Decision | None) -> Self:
        """Return a copy that chooses its labels by another decision."""
        copy: Self = self.deepcopy()
        copy.predict.decision = decision
        return copy

    @property
    def topics(self) -> TopicPrompts | None:
        """The instructions by topic; None asks every input with those of the predictor."""
        topics: TopicPrompts | None = self.predict.topics
        return topics

    @topics.setter
    def topics(self, topics: TopicPrompts | None) -> None:
        self.predict.topics = topics

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

    def logit_bias(
        self, tokens: Tokenizer | None = None, *, topic: str | None = None
    ) -> dict[int, float]:
        """Return the decision as `logit_bias` by token id, for a deployment that reads the text only.

        Ask the endpoint with this bias, the same prompt, temperature 0 and `max_tokens=1`: the token
        begins the label that this program chooses. The bias would spoil later tokens. Empty without a
        decision that corrects something.

        Args:
            tokens: Returns the token ids of a text; None knows those of a model that this process serves.
            topic: For a decision by topic: the topic that the bias is for.

        Raises:
            ConfigError: Two labels begin with the same token, or the tokens of the model are not known.
        """
        field = next(iter(self.predict.signature.output_fields.values()))
        words = words_of(field, self.form)
        if words is None or self.decision is None or self.decision.kind == "greedy":
            return {}
        known = tokens or tokenizer_of(self.predict.lm or dspy.settings.lm)
        return self.decision.logit_bias(words.every, known, topic=topic)

    def forward(self, **inputs: Any) -> dspy.Prediction:
        """Return a prediction with the label.

        Raises:
            AdapterParseError: The answer has no single label, and the decision needs one.
        """
        with dspy.context(adapter=self._adapter()):
            try:
                prediction = self.predict(**self._asked(inputs))
            except AdapterParseError as unread:
                prediction = self._decided(dspy.Prediction(), inputs, unread)
            else:
                prediction = self._decided(prediction, inputs)
        return with_rule_ids(prediction, self.topics, inputs)

    async def aforward(self, **inputs: Any) -> dspy.Prediction:
        """Return a prediction with the label, asynchronously.

        Raises:
            AdapterParseError: The answer has no single label, and the decision needs one.
        """
        with dspy.context(adapter=self._adapter()):
            try:
                prediction = await self.predict.acall(**self._asked(inputs))
            except AdapterParseError as unread:
                prediction = self._decided(dspy.Prediction(), inputs, unread)
            else:
                prediction = self._decided(prediction, inputs)
        return with_rule_ids(prediction, self.topics, inputs)

    def _adapter(self) -> DirectAdapter:
        form = self.form
        return DirectAdapter(form.wording, labels_as=form.labels_as, inputs_first=form.inputs_first)

    def _asked(self, inputs: dict[str, Any]) -> dict[str, Any]:
        """Return the arguments of the predictor: the inputs, and what topic and decision need."""
        asked = {**inputs, **instructions(self.topics, self.predict.signature, inputs)}
        if self.decision is None or self.decision.kind == "greedy":
            return asked
        wanted = {"logprobs": True, "top_logprobs": TOP}
        return {**asked, "config": {**(inputs.get("config") or {}), **wanted}}

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
        words = words_of(field, self.form)
        probabilities = label_distribution(
            read_tokens(found),
            allowed_labels(field),
            answer=None if unread else label_text(prediction[name]),
            shown=None if words is None else words.every,
        )
        if probabilities:
            topic = topic_of(decision.topic_field, inputs) if decision.topic_field else None
            chosen = decision.choose(probabilities, topic)
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
