"""Classifies LM errors and explains them in one line."""

import re
from http import HTTPStatus

import dspy
from dspy.utils.exceptions import (
    ContextWindowExceededError,
    LMAuthError,
    LMBillingError,
    LMConfigurationError,
    LMError,
    LMInvalidRequestError,
    LMNotConfiguredError,
    LMRateLimitError,
    LMServerError,
    LMTimeoutError,
    LMTransportError,
    LMUnsupportedFeatureError,
    LMUnsupportedModelError,
)

UNREACHABLE: tuple[type[LMError], ...] = (LMTransportError, LMTimeoutError, LMServerError)
"""The endpoint did not answer, after retries by DSPy; other examples would fail too."""


REFUSED: tuple[type[LMError], ...] = (LMAuthError, LMBillingError, LMConfigurationError)
"""The key, the account or a setting is wrong; other examples would fail too."""


RATE_LIMITED: tuple[type[LMError], ...] = (LMRateLimitError,)
"""Too many calls; `retry_after` of the error is in seconds, if the provider returns it."""


_TOO_LONG = (
    "context size",
    "context length",
    "context window",
    "maximum context",
    "too many tokens",
)


_FILTERED = (
    *("content_filter", "content filter", "content_policy", "content policy", "responsibleai"),
    *("content management policy", "data_inspection_failed", "moderation", "safety system"),
    *("flagged", "inappropriate content"),
)


_SYSTEM_ROLE = re.compile(
    r"system (?:role|message|prompt|instruction)s?\b.*(?:\bnot\b|n't|unsupported|unknown|disallowed)"
    r"|(?:not support|unsupported|unknown|invalid|unexpected)\w*.{0,40}\bsystem\b"
    r"|(?:system|developer) instructions? (?:is|are) not|roles must alternate",
    re.DOTALL | re.IGNORECASE,
)


def context_too_long(error: BaseException) -> bool:
    """Return whether `error` says that the prompt does not fit into the model's context.

    DSPy recognises most of these; llama.cpp and some gateways only say it in the message.
    """
    if isinstance(error, ContextWindowExceededError):
        return True
    return isinstance(error, LMInvalidRequestError) and any(
        words in str(error).lower() for words in _TOO_LONG
    )


def content_filtered(error: BaseException) -> bool:
    """Return whether `error` says that a content filter stopped this one request."""
    if not isinstance(error, LMInvalidRequestError):
        return False
    message = f"{error.provider_code or ''} {error}".lower()
    return any(words in message for words in _FILTERED)


def refuses_system_role(error: BaseException) -> bool:
    """Return whether `error` says that the endpoint takes no system role (e.g. Gemma on vLLM)."""
    kinds = (LMInvalidRequestError, LMUnsupportedFeatureError)
    return isinstance(error, kinds) and _SYSTEM_ROLE.search(str(error)) is not None


def explain(lm: dspy.BaseLM, error: LMError) -> str:
    """Return one line for `error`: the model, the reason, and what to do."""
    # The remedy for a missing key already names the variable.
    reason = "no key" if isinstance(error, LMNotConfiguredError) else _first_line(error)
    where = lm.kwargs.get("api_base")
    place = f" at {where}" if where else ""
    return f"{lm.model}{place} does not answer: {reason}; {_remedy(lm, error)}"


def _remedy(lm: dspy.BaseLM, error: LMError) -> str:
    if isinstance(error, LMNotConfiguredError | LMAuthError):
        keys = getattr(error, "env_keys", None) or _missing_keys(lm) or ("the endpoint's variable",)
        return f"set {' or '.join(keys)} to a valid key, or pass api_key="
    if context_too_long(error):
        return "shorten the prompt, or use a model or a server with a longer context"
    if refuses_system_role(error):
        return "use DirectStudent, which then puts the instructions into the user message"
    if content_filtered(error):
        return "leave the example out, or use an endpoint without that filter"
    if isinstance(error, LMServerError | LMInvalidRequestError) and (keys := _missing_keys(lm)):
        # Some of LiteLLM's providers call the API without a key and fail with an unrelated error.
        return f"{' and '.join(keys)} not set; check that, and the model's name"
    # Many gateways answer 404 without the code by which DSPy recognises an unknown model.
    if isinstance(error, LMUnsupportedModelError) or error.status == HTTPStatus.NOT_FOUND:
        return "check the model's name, and that api_base ends as the endpoint requires (often /v1)"
    remedies: dict[type[LMError], str] = {
        LMTransportError: "check api_base, and that the server runs",
        LMTimeoutError: "check api_base, or pass a longer timeout=",
        LMServerError: "check api_base and that the server runs, or try again later",
        LMRateLimitError: "wait, or use fewer threads",
        LMBillingError: "check the account's credit",
    }
    fallback = "check the model's name and the settings passed to it"
    return next((text for kind, text in remedies.items() if isinstance(error, kind)), fallback)


def _missing_keys(lm: dspy.BaseLM) -> tuple[str, ...]:
    """Return the missing environment variables of LiteLLM; none if address or key was passed."""
    if lm.kwargs.keys() & {"api_key", "api_base", "base_url"}:
        return ()
    import litellm

    return tuple(litellm.validate_environment(lm.model)["missing_keys"])


def _first_line(error: Exception) -> str:
    text = str(getattr(error, "message", "") or error).strip()
    return text.splitlines()[0].rstrip(".") if text else type(error).__name__
