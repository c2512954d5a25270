"""Every state of the program that was asked about validation examples, as a callback sees it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import dspy
from dspy.utils.callback import BaseCallback
from dspy.utils.exceptions import AdapterParseError

from experiments.bench.meter import Meter, role_of
from pld_dspy.data.examples import example_id
from pld_dspy.data.tasks import Task
from pld_dspy.ledger.store import key_of
from pld_dspy.models.forms import form_of
from pld_dspy.models.reading.labels import read_label
from pld_dspy.models.topics import to_state, topics_in
from pld_dspy.records import TopicPrompts
from pld_dspy.scoring.metrics import CorpusMetric


class State(NamedTuple):
    """What an optimizer may change, copied so that nothing can change it later."""

    predictors: tuple[tuple[str, type[dspy.Signature], tuple[Any, ...]], ...]
    """Path, signature and demonstrations."""
    wording: str | None = None
    """How it asks; copies keep that of the program that they are made from."""
    topics: TopicPrompts | None = None
    """Instructions by topic."""

    @classmethod
    def of(cls, program: dspy.Module) -> "State":
        """Return the state of `program`."""
        return cls(
            tuple(
                (
                    path,
                    predictor.signature.with_instructions(predictor.signature.instructions),
                    tuple(predictor.demos),
                )
                for path, predictor in program.named_predictors()
            ),
            None if (form := form_of(program)) is None else form.name,
            topics_in(program),
        )

    @property
    def key(self) -> str:
        """What changes with anything that makes the program ask otherwise."""
        return key_of(
            self.wording,
            None if self.topics is None else to_state(self.topics),
            [
                [
                    path,
                    signature.instructions,
                    [
                        (n, str(f.annotation), str(f.json_schema_extra))
                        for n, f in signature.fields.items()
                    ],
                    [dict(demo) for demo in demos],
                ]
                for path, signature, demos in self.predictors
            ],
        )

    @property
    def length(self) -> int:
        """Characters of instructions and demonstrations, those of all topics together."""
        by_topic = {} if self.topics is None else self.topics.prompts
        return sum(map(len, by_topic.values())) + sum(
            len(signature.instructions) + sum(len(str(dict(demo))) for demo in demos)
            for _, signature, demos in self.predictors
        )

    def put_into(self, program: dspy.Module) -> dspy.Module:
        """Return a copy of `program` in this state."""
        copy = program.deepcopy()
        predictors = dict(copy.named_predictors())
        for path, signature, demos in self.predictors:
            predictors[path].signature = signature
            predictors[path].demos = list(demos)
        if self.topics is not None:
            copy.topics = self.topics
        return copy


@dataclass(slots=True)
class _Scored:
    state: State
    said: dict[str, str | None] = field(default_factory=dict)


class Archive(BaseCallback):
    """Notes what the student says to validation examples, whoever asks, and under which program.

    A state is scored in full once each validation example was answered under it by the student, as
    it is decoded in the test; answers of the teacher and samples at a temperature do not count.
    """

    def __init__(
        self,
        *,
        task: Task,
        metric: CorpusMetric,
        val: Sequence[dspy.Example],
        curve: Sequence[dspy.Example],
        test: Sequence[dspy.Example],
        student: dspy.LM,
        meter: Meter,
    ) -> None:
        """Note nothing yet.

        Args:
            task: What is asked; its inputs tell the examples apart.
            metric: Of the scores.
            val: A state that has answered all of these is scored in full.
            curve: Those of `val` on which the curve is drawn: every optimizer asks them.
            test: Examples that nobody may ask.
            student: Its decoding is the one that counts.
            meter: Tells when a score came.
        """
        self._task = task
        self._metric = metric
        self._meter = meter
        self._gold = {example_id(e): str(e[task.label_key]) for e in val}
        self._curve_ids = tuple(example_id(e) for e in curve)
        self._ids = {self._place(e.inputs()): example_id(e) for e in val}
        self._forbidden = {self._place(e.inputs()) for e in test}
        self._temperature = student.kwargs.get("temperature")
        self._running: dict[str, tuple[str, str]] = {}
        self._scored: dict[str, _Scored] = {}
        self._on_curve: set[str] = set()
        self.curve: list[tuple[int, float]] = []
        self.leaks = 0
        """Times that a program was asked about a test example."""

    def on_module_start(self, call_id: str, instance: Any, inputs: dict[str, Any]) -> None:
        """Note which state is asked about which example; DSPy calls this before each module."""
        if isinstance(instance, dspy.Predict) or not hasattr(instance, "named_predictors"):
            return
        place = self._place(inputs.get("kwargs") or {})
        if place in self._forbidden:
            self.leaks += 1
        if place not in self._ids or not self._by_student(instance):
            return
        state = State.of(instance)
        key = state.key
        self._scored.setdefault(key, _Scored(state))
        self._running[call_id] = (key, self._ids[place])

    def on_module_end(
        self, call_id: str, outputs: Any, exception: BaseException | None = None
    ) -> None:
        """Note the answer; DSPy calls this after each module."""
        asked = self._running.pop(call_id, None)
        if asked is None or not (exception is None or isinstance(exception, AdapterParseError)):
            return
        key, example = asked
        scored = self._scored[key]
        if example not in scored.said:
            scored.said[example] = self._label(outputs)
            self._draw(key)

    def best(self) -> State | None:
        """Return the best state scored in full; ties go to the shorter. None if there is none."""
        full = [s for s in self._scored.values() if len(s.said) == len(self._gold)]
        if not full:
            return None
        return min(full, key=lambda s: (-self._score(s, self._gold), s.state.length)).state

    def score(self, program: dspy.Module) -> float | None:
        """Return the program's validation score; None if it was not scored in full."""
        scored = self._scored.get(State.of(program).key)
        if scored is None or len(scored.said) < len(self._gold):
            return None
        return self._score(scored, self._gold)

    def _by_student(self, program: dspy.Module) -> bool:
        lms = [predictor.lm or dspy.settings.lm for predictor in program.predictors()]
        return all(
            role_of(lm) == "student" and lm.kwargs.get("temperature") == self._temperature
            for lm in lms
        )

    def _place(self, inputs: Mapping[str, Any]) -> str:
        return key_of([str(inputs.get(key)) for key in self._task.input_keys])

    def _label(self, outputs: Any) -> str | None:
        # GEPA's programs return the prediction together with its trace.
        prediction = outputs[0] if isinstance(outputs, tuple) else outputs
        said = getattr(prediction, self._task.label_key, None)
        return None if said is None else read_label(str(said), self._task.labels)

    def _draw(self, key: str) -> None:
        said = self._scored[key].said
        if key in self._on_curve or any(i not in said for i in self._curve_ids):
            return
        self._on_curve.add(key)
        score = self._score(self._scored[key], self._curve_ids)
        if not self.curve or score > self.curve[-1][1]:
            self.curve.append((self._meter.calls, score))

    def _score(self, scored: _Scored, ids: Sequence[str] | Mapping[str, str]) -> float:
        asked = list(ids)
        return self._metric([self._gold[i] for i in asked], [scored.said[i] for i in asked])
