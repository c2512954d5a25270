"""Remembers which parameters an endpoint refuses, and whether it takes a system role."""

import logging
import re
import threading
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import dspy
from dspy.utils.exceptions import LMError, LMInvalidRequestError, LMUnsupportedFeatureError

from pld_dspy.models.lm_errors import content_filtered, context_too_long, refuses_system_role

logger = logging.getLogger(__name__)

_KEPT = frozenset(
    [
        "model",
        "messages",
        "max_tokens",
        "max_completion_tokens",
        "n",
        "api_base",
        "api_key",
        "base_url",
        "timeout",
        "num_retries",
    ]
) | {"cache", "rollout_id", "logprobs", "top_logprobs", "response_format", "tools", "tool_choice"}
"""Parameters that are never left out here: they define the request or are handled elsewhere."""

_LOGPROBS = frozenset({"logprobs", "top_logprobs"})

_COMPLAINT = re.compile(
    r"support|unknown|unrecogni|permitted|allowed|invalid|deprecated|only|must|unexpected|extra"
)


class Refusals:
    """Parameters and roles that one endpoint has refused in this process."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.parameters: set[str] = set()
        self.system_role = False
        self._lock = threading.Lock()

    def learn(
        self,
        sent: Mapping[str, Any],
        error: LMError,
        *,
        system_role: bool = True,
        optional: Collection[str] = (),
    ) -> bool:
        """Record what the error refuses; return whether the request may be sent again without it.

        Args:
            sent: All parameters of the request.
            error: The error of the request.
            system_role: Whether the request had a system message.
            optional: Parameters of this call alone; log-probabilities among them may be left out.
        """
        if context_too_long(error) or content_filtered(error):
            return False
        with self._lock:
            if refuses_system_role(error):
                return system_role and self._without_system_role()
            if not isinstance(error, LMInvalidRequestError | LMUnsupportedFeatureError):
                return False
            return self._without_parameter(sent, error, _KEPT - (_LOGPROBS & set(optional)))

    def _without_system_role(self) -> bool:
        # Several threads may get the error at the same time.
        if not self.system_role:
            logger.warning(
                "%s takes no system role; the instructions go into the user message", self.name
            )
        self.system_role = True
        return True

    def _without_parameter(
        self, sent: Mapping[str, Any], error: LMError, kept: Collection[str]
    ) -> bool:
        message = str(error).lower()
        named = {feature.rsplit(".", 1)[-1] for feature in getattr(error, "features", ())}
        for name, value in sent.items():
            if name in kept or value is None:
                continue
            word = re.search(rf"(?<!\w){re.escape(name)}(?!\w)", message)
            if name in named or (word and _COMPLAINT.search(message)):
                if name not in self.parameters:
                    logger.warning("%s refuses %s = %r; it is left out", self.name, name, value)
                self.parameters |= _LOGPROBS if name in _LOGPROBS else {name}
                return True
        return False

    def applied(
        self, lm: dspy.BaseLM, kwargs: Mapping[str, Any]
    ) -> tuple[dspy.BaseLM, dict[str, Any]]:
        """Return the LM and the settings of the request without the refused parameters."""
        left = {name: value for name, value in kwargs.items() if name not in self.parameters}
        refused = (self.parameters - _LOGPROBS) & lm.kwargs.keys()
        if not refused:
            return lm, left
        copied = lm.copy(**dict.fromkeys(refused))
        copied.history = lm.history  # callers read the history of the original LM
        return copied, left

    def messages(self, messages: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
        """Return the messages; without a system role its text starts the first user message."""
        first, *rest = messages
        if not self.system_role or first["role"] != "system" or not rest:
            return list(messages)
        content = rest[0]["content"]
        if isinstance(content, str):
            return [{**rest[0], "content": f"{first['content']}\n\n{content}"}, *rest[1:]]
        text = {"type": "text", "text": f"{first['content']}\n\n"}
        return [{**rest[0], "content": [text, *content]}, *rest[1:]]


_known: dict[tuple[str, str], Refusals] = {}
_lock = threading.Lock()


def refusals(lm: dspy.BaseLM) -> Refusals:
    """Return the refusals of the endpoint of `lm` in this process."""
    address = str(lm.kwargs.get("api_base") or lm.kwargs.get("base_url") or "")
    with _lock:
        name = f"{lm.model} at {address}" if address else str(lm.model)
        return _known.setdefault((str(lm.model), address), Refusals(name))
