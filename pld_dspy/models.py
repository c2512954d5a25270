"""Language models by name: hosted ones as DSPy knows them, and `local/...` ones started here."""

import os
from http import HTTPStatus
from pathlib import Path
from typing import Any, NamedTuple

# The price list is read when litellm is first imported; the shipped copy needs no network.
os.environ.setdefault("LITELLM_LOCAL_MODEL_COST_MAP", "True")

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
    LMUnsupportedModelError,
)

from pld_dspy.cache import Progress, file_sha256
from pld_dspy.catalogue import catalogue_model
from pld_dspy.download import fetch
from pld_dspy.errors import ModelError
from pld_dspy.local import (
    LocalServer,
    ServerSettings,
    check_gguf,
    is_local,
    tokenize,
)

LOCAL_PREFIX = "local/"
LOCAL_MAX_TOKENS = 1_024
"""Longest answer of a local model unless told; without a bound a weak model can talk for minutes."""

UNREACHABLE: tuple[type[LMError], ...] = (LMTransportError, LMTimeoutError, LMServerError)
"""The endpoint gave no answer; DSPy has already retried. Another example would fare no better."""

REFUSED: tuple[type[LMError], ...] = (LMAuthError, LMBillingError, LMConfigurationError)
"""No example can be answered until a person changes a key, an account or a setting."""

RATE_LIMITED: tuple[type[LMError], ...] = (LMRateLimitError,)
"""Too many calls; `retry_after` of the error is in seconds where the provider told it."""

_TOO_LONG = (
    "context size",
    "context length",
    "context window",
    "maximum context",
    "too many tokens",
)


class _LocalModel(NamedTuple):
    model: str
    """As in `lm.model`: it names the weights, and is the same at every start."""
    path: Path


def make_lm(
    name: str,
    *,
    temperature: float | None = 0.0,
    max_tokens: int | None = None,
    cache: bool | None = None,
    server: ServerSettings | None = None,
    progress: Progress | None = None,
    **kwargs: Any,
) -> dspy.LM:
    """Return a `dspy.LM` for `name`.

    `local/<catalogue name>` downloads the model if need be, and `local/<path>.gguf` takes any file;
    both start a server in this process, which runs until the process ends. Every other name goes
    to `dspy.LM` as it is.

    Args:
        name: `local/qwen2.5-coder-1.5b`, `local//models/x.gguf`, `openai/gpt-4o-mini`, ...
        temperature: None leaves it to the endpoint; some reasoning models allow nothing else.
        max_tokens: None is 1024 for local models, and the endpoint's own limit elsewhere.
        cache: DSPy's cache. None is off for local models, whose answers the run folder keeps, and
            on elsewhere.
        server: How a local server runs; refused for other models.
        progress: Called while a local model is downloaded.
        **kwargs: Further arguments of `dspy.LM`.

    Raises:
        ModelError: The model is not known, cannot be fetched or loaded, or DSPy refuses a setting.
        StorageError: There is no room for the download.
    """
    if name.startswith(LOCAL_PREFIX):
        found = _find_local(name.removeprefix(LOCAL_PREFIX), progress)
        running = LocalServer(found.path, server or ServerSettings()).start()
        kwargs |= {"api_base": f"{running.address}/v1", "api_key": "none"}
        model = found.model
        max_tokens = LOCAL_MAX_TOKENS if max_tokens is None else max_tokens
        cache = bool(cache)
    elif server is not None:
        msg = f"server settings are for {LOCAL_PREFIX}... models, and {name!r} is not one"
        raise ModelError(msg)
    else:
        model = name
        cache = cache is None or cache
    try:
        return dspy.LM(model, temperature=temperature, max_tokens=max_tokens, cache=cache, **kwargs)
    except (LMError, ValueError, TypeError) as error:
        msg = f"dspy.LM refuses {name!r}: {_first_line(error)}"
        raise ModelError(msg) from error


def _find_local(rest: str, progress: Progress | None) -> _LocalModel:
    if "/" in rest or rest.endswith(".gguf"):
        path = Path(rest).expanduser()
        check_gguf(path)
        digest = file_sha256(path, progress=progress)
        return _LocalModel(f"openai/{path.stem}@{digest[:8]}", path)
    model = catalogue_model(rest)
    path = fetch(model, progress=progress)
    return _LocalModel(f"openai/{model.name}@{model.sha256[:8]}-{model.quantization.lower()}", path)


def model_name(lm: dspy.BaseLM) -> str:
    """Return the name of `lm` for cache keys and reports; for a local model it names the weights."""
    return str(lm.model)


def count_tokens(lm: dspy.BaseLM, text: str) -> int:
    """Return how many tokens `text` is for `lm`.

    Exact for local models and those whose tokenizer LiteLLM has; a close guess for the others.
    """
    api_base = lm.kwargs.get("api_base")
    if is_local(api_base):
        return len(tokenize(str(api_base), text))
    import litellm

    return int(litellm.token_counter(model=lm.model, text=text))


def context_too_long(error: BaseException) -> bool:
    """Return whether `error` says that the prompt does not fit into the model's context.

    DSPy classes most of these itself; llama.cpp and some gateways only say so in words.
    """
    if isinstance(error, ContextWindowExceededError):
        return True
    return isinstance(error, LMInvalidRequestError) and any(
        words in str(error).lower() for words in _TOO_LONG
    )


def check_lm(lm: dspy.BaseLM) -> None:
    """Return if `lm` answers one tiny call, made now and kept in no cache.

    Raises:
        ModelError: It does not; one line says which model, why, and what to do.
    """
    short = {"max_tokens": 16} if lm.kwargs.get("max_tokens") else {}
    try:
        lm.copy(cache=False, num_retries=0, **short)("Answer with one word: ok")
    except LMError as error:
        raise ModelError(explain(lm, error)) from error


def explain(lm: dspy.BaseLM, error: LMError) -> str:
    """Return one line for `error`: which model, what it said, and what to do about it."""
    # A missing key has its own remedy, which already quotes what is missing.
    said = "no key" if isinstance(error, LMNotConfiguredError) else _first_line(error)
    where = lm.kwargs.get("api_base")
    place = f" at {where}" if where else ""
    return f"{lm.model}{place} does not answer: {said}; {_remedy(lm, error)}"


def _remedy(lm: dspy.BaseLM, error: LMError) -> str:
    if isinstance(error, LMNotConfiguredError | LMAuthError):
        keys = getattr(error, "env_keys", None) or _missing_keys(lm) or ("the endpoint's variable",)
        return f"set {' or '.join(keys)} to a valid key, or pass api_key="
    if context_too_long(error):
        return "shorten the prompt, or take a model or a server with a longer context"
    if isinstance(error, LMServerError | LMInvalidRequestError) and (keys := _missing_keys(lm)):
        # Some of LiteLLM's providers call out without a key, and fail in ways that hide it.
        return f"{' and '.join(keys)} not set; check that, and the model's name"
    # Many gateways answer 404 without the code by which DSPy knows an unknown model.
    if isinstance(error, LMUnsupportedModelError) or error.status == HTTPStatus.NOT_FOUND:
        return "check the model's name, and that api_base ends where the endpoint wants (often /v1)"
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
    """Return the environment variables that LiteLLM misses; none if the caller gave address or key."""
    if lm.kwargs.keys() & {"api_key", "api_base", "base_url"}:
        return ()
    import litellm

    return tuple(litellm.validate_environment(lm.model)["missing_keys"])


def _first_line(error: Exception) -> str:
    text = str(getattr(error, "message", "") or error).strip()
    return text.splitlines()[0].rstrip(".") if text else type(error).__name__
