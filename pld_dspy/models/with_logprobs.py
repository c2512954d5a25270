"""Runs a program with log-probabilities, where the endpoint gives them."""

import logging
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Self

import dspy
from dspy.utils import exceptions as lm_errors

from pld_dspy.models.logprobs import TOP, read_tokens

logger = logging.getLogger(__name__)

_NOT_THE_PARAMETER = (
    *(lm_errors.LMTransportError, lm_errors.LMTimeoutError, lm_errors.LMRateLimitError),
    *(lm_errors.LMAuthError, lm_errors.LMBillingError),
)
"""Errors that a request without log-probabilities would raise too."""


class LogprobsUnsupported:
    """Remembers that an endpoint returns no log-probabilities."""

    def __init__(self) -> None:
        self._lock = threading.Lock()

    def __bool__(self) -> bool:
        return self._lock.locked()

    def note(self, lm: dspy.BaseLM, reason: str) -> None:
        """Stop requesting log-probabilities; the first call logs the reason as a warning."""
        if self._lock.acquire(blocking=False):
            logger.warning(
                "%s gives no log-probabilities (%s); they are not requested again, and p_gold is unknown",
                lm.model,
                " ".join(reason.split())[:200],
            )


@dataclass(frozen=True, slots=True)
class LogprobsProgram:
    """Runs a program with log-probabilities where possible."""

    program: dspy.Module
    """The original program."""
    requesting: dspy.Module | None
    """The program with log-probabilities requested by its own LM, if it has one; None requests none."""
    lm: dspy.BaseLM
    """The LM of the context, with log-probabilities requested."""
    unsupported: LogprobsUnsupported

    @classmethod
    def of(
        cls,
        program: dspy.Module,
        lm: dspy.BaseLM,
        unsupported: LogprobsUnsupported,
        *,
        enabled: bool,
    ) -> Self:
        """Return the wrapped program; only one predictor with one output gets log-probabilities."""
        predictors = program.predictors()
        one = len(predictors) == 1 and len(predictors[0].signature.output_fields) == 1
        if not enabled or not one:
            return cls(program, None, lm, unsupported)
        requesting, own = program, predictors[0].lm
        if own is not None:
            requesting = program.deepcopy()
            requesting.predictors()[0].lm = _with_logprobs(own)
        return cls(program, requesting, _with_logprobs(lm), unsupported)

    def __call__(self, inputs: Mapping[str, Any], calls: Callable[[], int]) -> Any:
        """Return the prediction; `calls` returns the number of LM calls answered so far."""
        if self.requesting is None or self.unsupported:
            return self.program(**inputs)
        before = calls()
        try:
            with dspy.context(lm=self.lm):
                prediction = self.requesting(**inputs)
        except (lm_errors.LMError, TypeError, ValueError) as failed:
            if calls() > before or isinstance(failed, _NOT_THE_PARAMETER):
                raise
            try:
                return self.program(**inputs)
            finally:
                # If the same request is answered without the parameter, the parameter was the cause.
                if calls() > before:
                    self.unsupported.note(self.lm, str(failed))
        if not read_tokens(prediction.get("logprobs", None)):
            self.unsupported.note(self.lm, "they are not in its answer")
        return prediction


def _with_logprobs(lm: dspy.BaseLM) -> dspy.BaseLM:
    if lm.model_type != "chat":
        return lm
    copied = lm.copy(logprobs=True, top_logprobs=TOP)
    copied.history = lm.history  # callers read the history of the original LM
    return copied
