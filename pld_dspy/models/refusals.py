"""What an endpoint refuses is left out of later requests: a parameter, or the system role."""

import logging
import re
import threading
from collections.abc import Mapping, Sequence
from typing import Any

import dspy
from dspy.utils.exceptions import LMError, LMInvalidRequestError, LMUnsupportedFeatureError

from pld_dspy.models.lm_errors import content_filtered, context_too_long

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
"""Parameters without which a request would be another one, or which are left out elsewhere."""

_COMPLAINT = re.compile(
    r"support|unknown|unrecogni|permitted|allowed|invalid|deprecated|only|must|unexpected|extra"
)
_SYSTEM_ROLE = re.compile(
    r"system (?:role|message|prompt|instruction)s?\b.*(?:\bnot\b|n't|unsupported|unknown|disallowed)"
    r"|(?:not support|unsupported|unknown|invalid|unexpected)\w*.{0,40}\bsystem\b"
    r"|(?:system|developer) instructions? (?:is|are) not|roles must alternate",
    re.DOTALL,
)


class Refusals:
    """What one endpoint refused so far."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.parameters: set[str] = set()
        self.system_role = False
        self._lock = threading.Lock()

    def learn(self, sent: Mapping[str, Any], error: LMError) -> bool:
        """Return whether the request may be sent again, without what the error says is refused."""
        if not isinstance(error, LMInvalidRequestError | LMUnsupportedFeatureError):
            return False
        if context_too_long(error) or content_filtered(error):
            return False
        said = str(error).lower()
        with self._lock:
            if _SYSTEM_ROLE.search(said):
                return self._without_system_role()
            return self._without_parameter(sent, said, error)

    def _without_system_role(self) -> bool:
        if not self.system_role:
            logger.warning(
                "%s takes no system role; the instructions go into the user's turn", self.name
            )
        # A request of another thread may have been under way.
        before, self.system_role = self.system_role, True
        return not before

    def _without_parameter(self, sent: Mapping[str, Any], said: str, error: LMError) -> bool:
        named = {feature.rsplit(".", 1)[-1] for feature in getattr(error, "features", ())}
        for name, value in sent.items():
            if name in _KEPT or value is None or name in self.parameters:
                continue
            word = re.search(rf"(?<!\w){re.escape(name)}(?!\w)", said)
            if name in named or (word and _COMPLAINT.search(said)):
                self.parameters.add(name)
                logger.warning("%s refuses %s = %r; it is left out", self.name, name, value)
                return True
        return False

    def applied(
        self, lm: dspy.BaseLM, kwargs: Mapping[str, Any]
    ) -> tuple[dspy.BaseLM, dict[str, Any]]:
        """Return the LM and the request's own settings without what is refused."""
        left = {name: value for name, value in kwargs.items() if name not in self.parameters}
        refused = self.parameters & lm.kwargs.keys()
        if not refused:
            return lm, left
        copied = lm.copy(**dict.fromkeys(refused))
        copied.history = lm.history  # calls are looked up at the LM that the caller has
        return copied, left

    def messages(self, messages: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
        """Return the messages; where no system role is taken, its text opens the first user turn."""
        first, *rest = messages
        if not self.system_role or first["role"] != "system" or not rest:
            return list(messages)
        text = f"{first['content']}\n\n{rest[0]['content']}"
        return [{**rest[0], "content": text}, *rest[1:]]


_known: dict[tuple[str, str], Refusals] = {}
_lock = threading.Lock()


def refusals(lm: dspy.BaseLM) -> Refusals:
    """Return what the endpoint of `lm` refused in this process."""
    address = str(lm.kwargs.get("api_base") or lm.kwargs.get("base_url") or "")
    with _lock:
        name = f"{lm.model} at {address}" if address else str(lm.model)
        return _known.setdefault((str(lm.model), address), Refusals(name))
