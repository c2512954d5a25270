"""Asks a program for its answers."""

import logging
import math
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextvars import copy_context
from dataclasses import dataclass, replace
from typing import Any

import dspy
from dspy.utils.exceptions import AdapterParseError, LMError

from pld_dspy.data.examples import example_id
from pld_dspy.data.values import is_missing
from pld_dspy.errors import DataError, ModelError
from pld_dspy.ledger.store import StageStore
from pld_dspy.ledger.usage import Meter, metered
from pld_dspy.models.forms import shown_labels
from pld_dspy.models.lm import count_tokens, model_name
from pld_dspy.models.lm_errors import RATE_LIMITED, REFUSED, UNREACHABLE, explain
from pld_dspy.models.logprobs import (
    gold_probability,
    label_distribution,
    read_tokens,
)
from pld_dspy.models.reading.labels import read_label
from pld_dspy.models.reading.values import label_text
from pld_dspy.models.topics import topic_by_topic
from pld_dspy.models.with_logprobs import LogprobsProgram, LogprobsUnsupported
from pld_dspy.records import Answer
from pld_dspy.scoring.answers import STAGE, from_record, to_record
from pld_dspy.scoring.metrics import CorpusMetric, Metric, metric_name
from pld_dspy.scoring.outage import Outage

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Asker:
    """Asks a program about examples, and stores what it read from its outputs."""

    lm: dspy.BaseLM
    metric: Metric
    label_key: str
    labels: tuple[str, ...]
    store: StageStore
    threads: int
    probabilities: bool
    unsupported: LogprobsUnsupported
    outage: Outage

    def ask(
        self,
        program: dspy.Module,
        todo: Sequence[tuple[str, dspy.Example]],
        report: Callable[[int], None],
    ) -> list[Answer]:
        """Return the answers in the order in which they came; `todo` has keys and examples.

        Raises:
            ModelError: The endpoint cannot be reached or refuses; answers so far are kept.
        """
        done: list[Answer] = []
        enabled = self.probabilities and bool(self.labels and todo)
        ask = LogprobsProgram.of(program, self.lm, self.unsupported, enabled=enabled)
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
        self.outage.check()  # not every queued call is cancelled in time
        answer = self._answer(ask, example, key)
        self.outage.note(answer, self.lm)
        return answer

    def _answer(self, ask: LogprobsProgram, example: dspy.Example, key: str) -> Answer:
        gold = self._gold(example)
        answer = Answer(example_id=example_id(example), gold=gold, answer=None)
        with dspy.context(lm=self.lm, trace=[]), metered() as meter:
            try:
                answer = self._read(ask, example, answer, meter)
            except AdapterParseError as unread:
                shown = shown_labels(ask.program, self.labels)
                found = self._distribution(getattr(unread, "logprobs", None), None, shown)
                answer = replace(answer, raw=str(unread.lm_response or ""), probabilities=found)
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
        return from_record(
            self.store.put(STAGE, key, to_record(answer, spent, requested=self.probabilities))
        )

    def _read(
        self, ask: LogprobsProgram, example: dspy.Example, answer: Answer, meter: Meter
    ) -> Answer:
        prediction = ask(example.inputs(), lambda: meter.calls)
        raw = _field_text(prediction, self.label_key)
        label = read_label(raw, self.labels) if self.labels else raw
        score = self._score_one(example, prediction, label == answer.gold)
        p_gold, found = None, None
        if ask.requesting is not None and meter.calls == 1:
            shown = shown_labels(ask.program, self.labels)
            p_gold = gold_probability(prediction, self.labels, label, answer.gold, shown=shown)
            found = self._distribution(prediction.get("logprobs", None), label, shown)
        return replace(
            answer,
            answer=label,
            raw=raw,
            score=score,
            p_gold=p_gold,
            read=label,
            probabilities=found,
        )

    def _distribution(
        self, logprobs: Any, label: str | None, shown: Mapping[str, tuple[str, ...]]
    ) -> dict[str, float] | None:
        if not self.labels:
            return None
        tokens = read_tokens(logprobs)
        return label_distribution(tokens, self.labels, answer=label, shown=shown) or None

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
            msg = (
                f"the metric {metric_name(self.metric)} returned {score}; return a number in [0, 1]"
            )
            raise DataError(msg)
        return score


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
