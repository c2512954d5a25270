"""Run a program over a split, score it, and compare two candidates on the same examples."""

import logging
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextvars import copy_context
from dataclasses import dataclass, field, replace
from typing import Any

import dspy
from dspy.utils.exceptions import AdapterParseError, LMError

from pld_dspy.data.examples import example_id
from pld_dspy.errors import DataError, ModelError, PLDError
from pld_dspy.ledger.store import StageStore, key_of
from pld_dspy.ledger.usage import metered
from pld_dspy.models.labels import read_label
from pld_dspy.models.lm import model_name
from pld_dspy.models.lm_errors import RATE_LIMITED, REFUSED, UNREACHABLE, explain
from pld_dspy.models.logprobs import Asking, Without, gold_probability
from pld_dspy.records import Answer, Evaluation, Event, Progress, Split, silent
from pld_dspy.scoring.fingerprint import identity
from pld_dspy.scoring.metrics import CorpusMetric, accuracy
from pld_dspy.scoring.metrics import Metric as Metric
from pld_dspy.scoring.statistics import PairedResult, paired_bootstrap, paired_bootstrap_scores

logger = logging.getLogger(__name__)


STAGE = "answers"


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluator:
    """How answers are got and scored; the same for every candidate of a compile."""

    lm: dspy.BaseLM
    """The student's model; predictors with one of their own keep it."""
    metric: Metric
    label_key: str
    labels: tuple[str, ...]
    """The closed label set; empty if the output is open."""
    store: StageStore
    threads: int = 1
    progress: Progress = silent
    seed: int = 0
    probabilities: bool = False
    """Ask for log-probabilities too, so that answers have `p_gold`. Only where the label set is closed
    and the program is one predictor with one output; an endpoint that gives none is asked without."""
    _without: Without = field(default_factory=Without, init=False, repr=False, compare=False)

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

        Answers stored under the same program, model and example are not asked for again. `progress`
        takes the place of the evaluator's own.

        Raises:
            DataError: There is no example.
            ModelError: The endpoint cannot be reached or refuses; what was answered is kept.
            PLDError: The program fails on every example.
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
                answers[example_id(example)] = _from_record(stored)
        tell = progress or self.progress
        event = Event(split, "student", 0, len(todo), item=candidate_id)
        for answer in self._ask(
            program, list(todo.items()), lambda done: tell(replace(event, done=done))
        ):
            answers[answer.example_id] = answer
        ordered = tuple(answers[example_id(example)] for example in examples)
        if all(answer.error is not None for answer in ordered):
            msg = f"the program failed on all {len(ordered)} examples; the first said: {ordered[0].error}"
            raise PLDError(msg)
        return Evaluation(
            candidate_id=candidate_id,
            split=split,
            metric=self.metric_name,
            score=self.score(ordered),
            answers=ordered,
        )

    def score(self, answers: Sequence[Answer]) -> float:
        """Return the metric over the answers that have no error."""
        return score_answers(self.metric, answers)

    def compare(self, first: Evaluation, second: Evaluation, *, n: int = 2000) -> PairedResult:
        """Return second minus first over the examples that both answered, with its interval."""
        by_id = {answer.example_id: answer for answer in first.answers if answer.error is None}
        pairs = [
            (by_id[answer.example_id], answer)
            for answer in second.answers
            if answer.error is None and answer.example_id in by_id
        ]
        if isinstance(self.metric, CorpusMetric):
            return paired_bootstrap(
                self.metric,
                [a.gold for a, _ in pairs],
                [a.answer for a, _ in pairs],
                [b.answer for _, b in pairs],
                n=n,
                seed=self.seed,
            )
        return paired_bootstrap_scores(
            [a.score for a, _ in pairs], [b.score for _, b in pairs], n=n, seed=self.seed
        )

    def adopt(self, program: dspy.Module, example: dspy.Example, answer: Answer) -> None:
        """Store an answer that another process got from the same program, unless it is stored here."""
        key = key_of(self.fingerprint(program), example_id(example))
        if answer.error is not None or self.store.get(STAGE, key) is not None:
            return
        record = {
            "example_id": answer.example_id,
            "gold": answer.gold,
            "answer": answer.answer,
            "raw": answer.raw,
            "score": answer.score,
            "spent": {
                "role": "student",
                "calls": answer.calls,
                "cached_calls": 0,
                "input_tokens": answer.input_tokens,
                "output_tokens": answer.output_tokens,
                "model": model_name(self.lm),
            },
        }
        if answer.p_gold is not None:
            record["p_gold"] = answer.p_gold
        self.store.put(STAGE, key, record)

    def fingerprint(self, program: dspy.Module) -> str:
        """Return what changes with anything that makes the program answer or be scored differently."""
        return key_of(
            *identity(program, self.lm),
            self.metric_name,
        )

    def _ask(
        self,
        program: dspy.Module,
        todo: Sequence[tuple[str, dspy.Example]],
        tell: Callable[[int], None],
    ) -> list[Answer]:
        done: list[Answer] = []
        wanted = self.probabilities and bool(self.labels and todo)
        ask = Asking.of(program, self.lm, self._without, wanted=wanted)
        with ThreadPoolExecutor(max_workers=max(1, self.threads)) as pool:
            # DSPy keeps its settings in context variables, which threads do not inherit.
            futures = [
                pool.submit(copy_context().run, self._answer, ask, example, key)
                for key, example in todo
            ]
            try:
                for future in as_completed(futures):
                    done.append(future.result())
                    tell(len(done))
            except BaseException:
                for future in futures:
                    future.cancel()
                raise
        return done

    def _answer(self, ask: Asking, example: dspy.Example, key: str) -> Answer:
        gold = str(example[self.label_key])
        error: str | None = None
        label: str | None = None
        raw, score, p_gold = "", 0.0, None
        with dspy.context(lm=self.lm, trace=[]), metered() as meter:
            try:
                prediction = ask(example.inputs(), lambda: meter.calls)
                raw = _said(prediction, self.label_key)
                label = read_label(raw, self.labels) if self.labels else raw
                score = self._score_one(example, prediction, label == gold)
                if ask.telling is not None and meter.calls == 1:
                    p_gold = gold_probability(prediction, self.labels, label, gold)
            except AdapterParseError as unread:
                raw = str(unread.lm_response or "")
            except (*UNREACHABLE, *REFUSED, *RATE_LIMITED) as failed:
                msg = f"{explain(self.lm, failed)}; what was answered is kept, start again to go on"
                raise ModelError(msg) from failed
            except LMError as failed:
                error = explain(self.lm, failed)
            except DataError as failed:
                error = str(failed)
            except Exception as failed:  # noqa: BLE001 - a user's program may raise anything
                error = f"{type(failed).__name__}: {failed}"
        if error is not None:
            logger.warning("example %s got no answer: %s", example_id(example), error)
            return Answer(example_id=example_id(example), gold=gold, answer=None, error=error)
        spent = meter.spent("student", model_name(self.lm))
        record = {
            "example_id": example_id(example),
            "gold": gold,
            "answer": label,
            "raw": raw,
            "score": score,
            "spent": spent,
        }
        if p_gold is not None:
            record["p_gold"] = p_gold
        return _from_record(self.store.put(STAGE, key, record))

    def _score_one(self, example: dspy.Example, prediction: Any, right: bool) -> float:
        if isinstance(self.metric, CorpusMetric):
            return float(right)
        result = self.metric(example, prediction)
        return float(getattr(result, "score", result) or 0.0)


def score_answers(metric: Metric, answers: Sequence[Answer]) -> float:
    """Return the metric over the answers that have no error; 0.0 if all of them have one."""
    read = [answer for answer in answers if answer.error is None]
    if not read:
        return 0.0
    if isinstance(metric, CorpusMetric):
        return metric([a.gold for a in read], [a.answer for a in read])
    return sum(answer.score for answer in read) / len(read)


def as_accuracy(evaluation: Evaluation) -> float:
    """Return the share of right answers, whatever the metric; an unreadable answer is wrong."""
    read = [answer for answer in evaluation.answers if answer.error is None]
    return accuracy([a.gold for a in read], [a.answer for a in read])


def _said(prediction: Any, field: str) -> str:
    """Return the text of a field; DataError if there is none, which no better answer would mend."""
    if not isinstance(prediction, dspy.Example | Mapping):
        msg = f"the program returned {type(prediction).__name__}; return a dspy.Prediction with {field!r}"
        raise DataError(msg)
    fields = list(prediction.keys())
    if field not in fields:
        had = ", ".join(map(repr, fields)) or "no field at all"
        msg = f"the prediction lacks the labelled field {field!r} and has {had}; return it from the program"
        raise DataError(msg)
    return str(prediction[field])


def _from_record(record: Mapping[str, Any]) -> Answer:
    spent = record["spent"]
    return Answer(
        example_id=record["example_id"],
        gold=record["gold"],
        answer=record["answer"],
        raw=record["raw"],
        score=record["score"],
        calls=spent["calls"],
        input_tokens=spent["input_tokens"],
        output_tokens=spent["output_tokens"],
        p_gold=record.get("p_gold"),
    )
