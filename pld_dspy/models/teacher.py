"""Calls the teacher and stores its answers."""

import logging
import threading
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextvars import copy_context
from dataclasses import dataclass, field
from typing import Any

import dspy
from dspy.utils.exceptions import (
    AdapterParseError,
    LMError,
    LMInvalidRequestError,
    LMUnsupportedModelError,
)

from pld_dspy.errors import ModelError
from pld_dspy.ledger.store import Record, StageStore, key_of
from pld_dspy.ledger.usage import metered
from pld_dspy.models.adapter import DirectAdapter
from pld_dspy.models.lm import model_name
from pld_dspy.models.lm_errors import content_filtered, context_too_long, explain
from pld_dspy.models.prompts import (
    TITLED,
    AnswerExample,
    AnswerLikeExamples,
    CheckCondition,
    ContrastLabels,
    ExplainExample,
    JudgeConditions,
    MergeRules,
    NameTexts,
    Prompts,
    ResolveConflicts,
)
from pld_dspy.records import Event, Progress

logger = logging.getLogger(__name__)

WARM = 0.7
"""Temperature of all draws but the first, which uses the LM's own."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """One request to the teacher."""

    module: dspy.Module
    inputs: Mapping[str, str]
    draw: int = 0
    """Number of the sample; 0 uses the LM's own temperature, others `WARM`."""
    name: str = "a request"
    """Name for messages."""


@dataclass(frozen=True, slots=True)
class Reply:
    """The teacher's answer to one request."""

    output: Record | None
    """Output fields by name; None if the answer could not be read."""
    error: str | None = None
    """Why the endpoint refused this request; None if it did not."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Teacher:
    r"""The teacher LM, with a store for its answers and a retry of unreadable ones.

    >>> from pld_dspy.records import silent
    >>> from pld_dspy.testing import fake_lm
    >>> lm = fake_lm(lambda prompt: "Rationale: It is red.\nRule: If it is red, answer red.")
    >>> teacher = Teacher(lm=lm, store=StageStore(), progress=silent)
    >>> request = Request(module=Explain(), inputs={"text": "blood", "answer": "red"})
    >>> teacher.ask("traces", [request])
    [{'rationale': 'It is red.', 'rule': 'If it is red, answer red.'}]
    """

    lm: dspy.BaseLM
    store: StageStore
    threads: int = 1
    progress: Progress
    prompts: Prompts = field(default_factory=Prompts)
    attempts: int = 2
    """Maximum number of calls per request while the answer is unreadable."""
    _answered: threading.Event = field(
        default_factory=threading.Event, init=False, repr=False, compare=False
    )

    def ask(self, stage: str, requests: Sequence[Request]) -> list[Record | None]:
        """Return the output fields of each answer, in order, None for unreadable ones; see `replies`."""
        return [reply.output for reply in self.replies(stage, requests)]

    def replies(self, stage: str, requests: Sequence[Request]) -> list[Reply]:
        """Return the reply to each request, in order.

        A request that the endpoint refuses for its content (length, content filter) does not stop the
        others, and is not sent again by a resumed run.

        Raises:
            ModelError: The endpoint cannot be reached or refuses every request; answers so far are
                kept.
        """
        keys = [self._key(stage, request) for request in requests]
        records = {key: self.store.get(stage, key) for key in keys}
        todo = {key: r for key, r in zip(keys, requests, strict=True) if records[key] is None}
        stopped = threading.Event()

        def one(key: str, request: Request) -> Record | None:
            if stopped.is_set():  # the rest is cancelled only when the failure is heard of
                return None
            try:
                return self._one(stage, key, request)
            except BaseException:
                stopped.set()
                raise

        with ThreadPoolExecutor(max_workers=max(1, self.threads)) as pool:
            futures = {
                pool.submit(copy_context().run, one, key, request): key
                for key, request in todo.items()
            }
            try:
                for done, future in enumerate(as_completed(futures), 1):
                    records[futures[future]] = future.result()
                    self.progress(Event(stage, "teacher", done, len(todo)))
            except BaseException:
                for future in futures:
                    future.cancel()
                raise
        ordered = [records[key] for key in keys]
        return [Reply(r["output"], r.get("error")) if r else Reply(None) for r in ordered]

    def _key(self, stage: str, request: Request) -> str:
        prompts = [
            (path, predictor.signature.instructions, *map(str, predictor.demos))
            for path, predictor in request.module.named_predictors()
        ]
        decoding = {k: self.lm.kwargs.get(k) for k in ("temperature", "max_tokens")}
        return key_of(
            stage, prompts, dict(request.inputs), request.draw, model_name(self.lm), decoding
        )

    def _one(self, stage: str, key: str, request: Request) -> Record:
        output: dict[str, str] | None = None
        refused: str | None = None
        with dspy.context(lm=self.lm, trace=[]), metered() as meter:
            for attempt in range(self.attempts):
                try:
                    prediction = request.module(
                        **request.inputs, config=_config(request.draw, attempt)
                    )
                except AdapterParseError as error:
                    self._answered.set()
                    logger.debug("unreadable %s answer: %s", stage, error)
                except LMError as error:
                    refused = self._refusal(stage, request, error)
                    break
                else:
                    self._answered.set()
                    output = {n: str(value) for n, value in prediction.items() if value is not None}
                    break
        record: Record = {
            "inputs": dict(request.inputs),
            "output": output,
            "draw": request.draw,
            "spent": meter.spent("teacher", model_name(self.lm)),
        }
        if refused is not None:
            record["error"] = refused
        return self.store.put(stage, key, record)

    def _refusal(self, stage: str, request: Request, error: LMError) -> str:
        """Return why this request was refused; ModelError if others would be refused too."""
        reason = explain(self.lm, error)
        by_content = context_too_long(error) or content_filtered(error)
        # If other requests were answered, this one is invalid, and not the endpoint's settings.
        invalid = isinstance(error, LMInvalidRequestError) and not isinstance(
            error, LMUnsupportedModelError
        )
        if not by_content and not (invalid and self._answered.is_set()):
            msg = f"{reason}; answers so far are kept; run again to resume"
            raise ModelError(msg) from error
        logger.warning("%s (%s) is left out: %s", request.name, stage, reason)
        return reason


def _config(draw: int, attempt: int) -> dict[str, Any]:
    if draw == 0 and attempt == 0:
        return {}
    # A rollout id makes DSPy's cache treat this as another request.
    return {"temperature": WARM, "rollout_id": draw * 100 + attempt}


class _Teacher(dspy.Module):
    """Base class of the teacher's modules; plain sections, which weak models can fill too."""

    signature: type[dspy.Signature]

    def __init__(self, signature: type[dspy.Signature] | str | None = None) -> None:
        super().__init__()
        self.predict = dspy.Predict(self.signature if signature is None else signature)

    def forward(self, **inputs: Any) -> dspy.Prediction:
        """Return the output fields.

        Raises:
            AdapterParseError: A section is missing.
        """
        with dspy.context(adapter=DirectAdapter("field")):
            known = self.predict.signature.input_fields
            return self.predict(**{k: v for k, v in inputs.items() if k in known or k == "config"})

    async def aforward(self, **inputs: Any) -> dspy.Prediction:
        """Return the output fields, asynchronously.

        Raises:
            AdapterParseError: A section is missing.
        """
        with dspy.context(adapter=DirectAdapter("field")):
            known = self.predict.signature.input_fields
            return await self.predict.acall(
                **{k: v for k, v in inputs.items() if k in known or k == "config"}
            )


class Explain(_Teacher):
    """Explains an example given its gold label: a rationale, kinds, then one rule (phase 1)."""

    signature = ExplainExample


class Merge(_Teacher):
    """Merges the rules of a cluster into one rule and possibly an exception (phase 2)."""

    signature = MergeRules


class Contrast(_Teacher):
    """Writes one rule per label, from rules of all labels side by side."""

    signature = ContrastLabels


class Resolve(_Teacher):
    """Proposes edits of the rule list from the student's wrong and right answers (phase 3)."""

    signature = ResolveConflicts


class Judge(_Teacher):
    """Says which of several numbered conditions hold for an example."""

    signature = JudgeConditions


class Check(_Teacher):
    """Says whether one condition holds for an example, "yes" or "no"."""

    signature = CheckCondition


class NameLabel(_Teacher):
    """Gives examples of one label a title, as it is done for other texts before."""

    signature = NameTexts

    def __init__(self, signature: type[dspy.Signature] | str | None = None) -> None:
        super().__init__(signature)
        self.predict.demos = [
            {"texts": listed(texts), "title": title}
            for title, texts in TITLED
            if "texts" in self.predict.signature.input_fields
        ]


class Classify(_Teacher):
    """Answers an example whose gold label it does not see: a rationale, then the label."""

    signature = AnswerExample


class ClassifyLike(_Teacher):
    """The same with solved examples in the prompt."""

    signature = AnswerLikeExamples


def listed(texts: Sequence[str]) -> str:
    r"""Return the texts as lines of a list.

    >>> listed(["It is warm.", "It is cold."])
    '- It is warm.\n- It is cold.'
    """
    return "\n".join(f"- {text}" for text in texts)
