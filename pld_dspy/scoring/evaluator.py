"""Scores a program on a split."""

import logging
import math
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextvars import copy_context
from dataclasses import dataclass, field, replace
from typing import Any

import dspy
from dspy.utils.exceptions import AdapterParseError, LMError

from pld_dspy.data.examples import example_id
from pld_dspy.data.values import is_missing
from pld_dspy.errors import DataError, ModelError, PLDError
from pld_dspy.ledger.store import StageStore, key_of
from pld_dspy.ledger.usage import Meter, metered
from pld_dspy.models.lm import count_tokens, model_name
from pld_dspy.models.lm_errors import RATE_LIMITED, REFUSED, UNREACHABLE, explain
from pld_dspy.models.logprobs import LogprobsProgram, LogprobsUnsupported, gold_probability
from pld_dspy.models.reading.labels import read_label
from pld_dspy.models.reading.values import label_text
from pld_dspy.models.topics import topic_by_topic
from pld_dspy.records import Answer, Evaluation, Event, Progress, Split, silent
from pld_dspy.scoring.answers import STAGE, from_record, to_record
from pld_dspy.scoring.fingerprint import identity
from pld_dspy.scoring.metrics import CorpusMetric, accuracy
from pld_dspy.scoring.metrics import Metric as Metric
from pld_dspy.scoring.outage import Outage, explanation
from pld_dspy.scoring.statistics import PairedResult, paired_bootstrap, paired_bootstrap_scores

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluator:
    """Scores programs with one LM and one metric.

    >>> from pld_dspy.models.student import DirectStudent
    >>> from pld_dspy.testing import fake_lm
    >>> colours = dspy.Signature("text -> label: Literal['red', 'grey']", "Name the colour.")
    >>> settings = {"label_key": "label", "labels": ("red", "grey"), "store": StageStore()}
    >>> evaluator = Evaluator(lm=fake_lm(lambda prompt: "red"), metric=accuracy, **settings)
    >>> examples = [dspy.Example(text="blood", label="red").with_inputs("text")]
    >>> evaluator.run(DirectStudent(colours), examples, candidate_id="c1", split="val").score
    1.0
    """

    lm: dspy.BaseLM
    """The student's LM; a predictor that has an LM of its own keeps it."""
    metric: Metric
    label_key: str
    labels: tuple[str, ...]
    """The closed label set; empty if the output is open."""
    store: StageStore
    threads: int = 1
    progress: Progress = silent
    seed: int = 0
    probabilities: bool = False
    """Whether to request log-probabilities, for `p_gold` of the answers. Only for a closed label set
    and a program of one predictor with one output, and not again after an endpoint returned none."""
    _unsupported: LogprobsUnsupported = field(
        default_factory=LogprobsUnsupported, init=False, repr=False, compare=False
    )
    _outage: Outage = field(default_factory=Outage, init=False, repr=False, compare=False)

    @property
    def metric_name(self) -> str:
        """Name of the metric, for reports."""
        return str(getattr(self.metric, "name", getattr(self.metric, "__name__", "metric")))

    def run(
        self,
        program: dspy.Module,
        examples: Sequence[dspy.Example],
        *,
        candidate_id: str,
        split: Split,
        progress: Progress | None = None,
    ) -> Evaluation:
        """Return the scored answers of `program`, in the order of `examples`.

        Stored answers of the same program, model and example are reused. `progress` overrides that
        of the evaluator.

        Raises:
            DataError: There is no example.
            ModelError: The endpoint cannot be reached or refuses; answers so far are kept.
            PLDError: No answer could be read so far, from this program or an earlier one: it failed
                on every example, or the first 20 answers name no label.
        """
        if not examples:
            msg = f"the {split} split is empty; give it examples"
            raise DataError(msg)
        fingerprint = self.fingerprint(program)
        answers: dict[str, Answer] = {}
        todo: dict[str, dspy.Example] = {}
        for example in examples:
            key = key_of(fingerprint, example_id(example))
            stored = self.store.get(STAGE, key)
            if stored is None:
                todo[key] = example
            else:
                answers[example_id(example)] = from_record(stored)
                self._outage.note(answers[example_id(example)], self.lm)
        report = progress or self.progress
        event = Event(split, "student", 0, len(todo), item=candidate_id)
        for answer in self._ask(
            program, list(todo.items()), lambda done: report(replace(event, done=done))
        ):
            answers[answer.example_id] = answer
        ordered = tuple(answers[example_id(example)] for example in examples)
        if not self._outage.over:
            msg = explanation(list(ordered), self.lm)
            if all(answer.error is not None for answer in ordered):
                raise PLDError(msg)
            logger.warning("%s", msg)
        return Evaluation(
            candidate_id=candidate_id,
            split=split,
            metric=self.metric_name,
            score=self.score(ordered),
            answers=ordered,
        )

    def score(self, answers: Sequence[Answer]) -> float:
        """Return the metric over the answers; errors are wrong."""
        return score_answers(self.metric, answers)

    def compare(self, first: Evaluation, second: Evaluation, *, n: int = 2000) -> PairedResult:
        """Return second minus first over their common examples, with interval; errors are wrong."""
        by_id = {answer.example_id: answer for answer in first.answers}
        pairs = [
            (by_id[answer.example_id], answer)
            for answer in second.answers
            if answer.example_id in by_id
        ]
        if isinstance(self.metric, CorpusMetric):
            return paired_bootstrap(
                self.metric,
                [a.gold for a, _ in pairs],
                [a.counted for a, _ in pairs],
                [b.counted for _, b in pairs],
                n=n,
                seed=self.seed,
            )
        return paired_bootstrap_scores(
            [_score(a) for a, _ in pairs], [_score(b) for _, b in pairs], n=n, seed=self.seed
        )

    def adopt(self, program: dspy.Module, example: dspy.Example, answer: Answer) -> None:
        """Store an answer of the same program from another process, unless one is stored already."""
        key = key_of(self.fingerprint(program), example_id(example))
        if answer.error is not None or self.store.get(STAGE, key) is not None:
            return
        spent = {
            "role": "student",
            "calls": answer.calls,
            "cached_calls": 0,
            "input_tokens": answer.input_tokens,
            "output_tokens": answer.output_tokens,
            "model": model_name(self.lm),
        }
        self.store.put(STAGE, key, to_record(answer, spent))

    def fingerprint(self, program: dspy.Module) -> str:
        """Return a hash of everything that the answers and their scores depend on."""
        return key_of(*identity(program, self.lm), self.metric_name)

    def _ask(
        self,
        program: dspy.Module,
        todo: Sequence[tuple[str, dspy.Example]],
        report: Callable[[int], None],
    ) -> list[Answer]:
        done: list[Answer] = []
        enabled = self.probabilities and bool(self.labels and todo)
        ask = LogprobsProgram.of(program, self.lm, self._unsupported, enabled=enabled)
        with ThreadPoolExecutor(max_workers=max(1, self.threads)) as pool:
            # DSPy keeps its settings in context variables, which threads do not inherit.
            futures = [
                pool.submit(copy_context().run, self._ask_one, ask, example, key)
                for key, example in topic_by_topic(program, todo)
            ]
            try:
                for future in as_completed(futures):
                    done.append(future.result())
                    report(len(done))
            except BaseException:
                for future in futures:
                    future.cancel()
                raise
        return done

    def _ask_one(self, ask: LogprobsProgram, example: dspy.Example, key: str) -> Answer:
        self._outage.check()  # not every queued call is cancelled in time
        answer = self._answer(ask, example, key)
        self._outage.note(answer, self.lm)
        return answer

    def _answer(self, ask: LogprobsProgram, example: dspy.Example, key: str) -> Answer:
        gold = self._gold(example)
        answer = Answer(example_id=example_id(example), gold=gold, answer=None)
        with dspy.context(lm=self.lm, trace=[]), metered() as meter:
            try:
                answer = self._read(ask, example, answer, meter)
            except AdapterParseError as unread:
                answer = replace(answer, raw=str(unread.lm_response or ""))
            except (*UNREACHABLE, *REFUSED, *RATE_LIMITED) as failed:
                msg = f"{explain(self.lm, failed)}; answers so far are kept; run again to resume"
                raise ModelError(msg) from failed
            except LMError as failed:
                answer = replace(answer, error=explain(self.lm, failed))
            except DataError as failed:
                answer = replace(answer, error=str(failed))
            except Exception as failed:  # noqa: BLE001 - a user's program may raise anything
                answer = replace(answer, error=f"{type(failed).__name__}: {failed}")
        if answer.error is not None:
            logger.warning("no answer to example %s: %s", answer.example_id, answer.error)
            return answer
        spent = meter.spent("student", model_name(self.lm))
        answer = replace(
            answer,
            calls=spent["calls"],
            input_tokens=self._prompt_tokens(meter),
            output_tokens=spent["output_tokens"],
        )
        return from_record(self.store.put(STAGE, key, to_record(answer, spent)))

    def _read(
        self, ask: LogprobsProgram, example: dspy.Example, answer: Answer, meter: Meter
    ) -> Answer:
        prediction = ask(example.inputs(), lambda: meter.calls)
        raw = _field_text(prediction, self.label_key)
        label = read_label(raw, self.labels) if self.labels else raw
        score = self._score_one(example, prediction, label == answer.gold)
        p_gold = None
        if ask.requesting is not None and meter.calls == 1:
            p_gold = gold_probability(prediction, self.labels, label, answer.gold)
        return replace(answer, answer=label, raw=raw, score=score, p_gold=p_gold)

    def _gold(self, example: dspy.Example) -> str:
        gold = example.get(self.label_key)
        if is_missing(gold):
            msg = f"example {example_id(example)} has the label {self.label_key} = {gold!r}; give it one, or leave the example out"
            raise DataError(msg)
        return label_text(gold)

    def _prompt_tokens(self, meter: Meter) -> int:
        """Return the input tokens, counted locally where the endpoint reported none."""
        billed = meter.tracker.input_tokens
        unbilled = meter.calls - (meter.tracker.reported if billed else 0)
        if unbilled <= 0 or not meter.prompts:
            return billed
        counted = sum(count_tokens(self.lm, prompt) for prompt in meter.prompts)
        return billed + round(counted * unbilled / max(1, len(meter.prompts)))

    def _score_one(self, example: dspy.Example, prediction: Any, right: bool) -> float:
        if isinstance(self.metric, CorpusMetric):
            return float(right)
        result = self.metric(example, prediction)
        score = float(getattr(result, "score", result) or 0.0)
        if not math.isfinite(score):
            msg = f"the metric {self.metric_name} returned {score}; return a number in [0, 1]"
            raise DataError(msg)
        return score


def score_answers(metric: Metric, answers: Sequence[Answer]) -> float:
    """Return the metric over the answers, 0.0 if there are none; errors are wrong."""
    if not answers:
        return 0.0
    if isinstance(metric, CorpusMetric):
        return metric([a.gold for a in answers], [a.counted for a in answers])
    return sum(map(_score, answers)) / len(answers)


def _score(answer: Answer) -> float:
    return answer.score if answer.error is None else 0.0


def as_accuracy(evaluation: Evaluation) -> float:
    """Return the accuracy, whatever the metric; unreadable answers and errors are wrong."""
    answers = evaluation.answers
    return accuracy([a.gold for a in answers], [a.counted for a in answers])


def _field_text(prediction: Any, field: str) -> str:
    """Return the text of a field; DataError if the program returned no such field."""
    if not isinstance(prediction, dspy.Example | Mapping):
        msg = f"the program returned {type(prediction).__name__}; return a dspy.Prediction with {field!r}"
        raise DataError(msg)
    fields = list(prediction.keys())
    if field not in fields:
        names = ", ".join(map(repr, fields)) or "no field at all"
        msg = f"the prediction lacks the labelled field {field!r} and has {names}; return it from the program"
        raise DataError(msg)
    return label_text(prediction[field])
