"""Makes language models by name, hosted or local."""

import os
from pathlib import Path
from typing import Any, NamedTuple

from pld_dspy.models.lm_errors import _first_line, explain

# The price list is read when litellm is first imported; the shipped copy needs no network.
os.environ.setdefault("LITELLM_LOCAL_MODEL_COST_MAP", "True")

import dspy
from dspy.utils.exceptions import AdapterParseError, LMError

from pld_dspy.data.fetch import file_sha256
from pld_dspy.errors import ModelError
from pld_dspy.models.local.catalogue import catalogue_model
from pld_dspy.models.local.fetch import fetch
from pld_dspy.models.local.server import (
    LocalServer,
    ServerSettings,
    check_gguf,
    is_local,
    tokenize,
)
from pld_dspy.models.student import DirectStudent
from pld_dspy.records import Progress

LOCAL_PREFIX = "local/"
LOCAL_MAX_TOKENS = 1_024
"""Default answer limit of a local model, in tokens; without it a weak model may write for minutes."""


class _LocalModel(NamedTuple):
    model: str
    """Name for `lm.model`: identifies the weights, and is the same at every start."""
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

    `local/<catalogue name>` downloads the model if needed, and `local/<path>.gguf` loads a file;
    both start a server in this process, which runs until the process ends. Any other name is passed
    to `dspy.LM`.

    Args:
        name: `local/qwen2.5-coder-1.5b`, `local//models/x.gguf`, `openai/gpt-4o-mini`, ...
        temperature: None leaves it to the endpoint; some reasoning models allow nothing else.
        max_tokens: Maximum answer tokens; None means 1024 for local models, else the endpoint's limit.
        cache: Whether to use DSPy's cache; None means off for local models, whose answers the run
            folder stores, and on for others.
        server: Settings of a local server; refused for other models.
        progress: Called during a download.
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
    """Return the name of `lm` for cache keys and reports."""
    return str(lm.model)


def is_local_lm(lm: dspy.BaseLM) -> bool:
    """Return whether a server of this process answers for `lm`."""
    return is_local(lm.kwargs.get("api_base"))


def count_tokens(lm: dspy.BaseLM, text: str) -> int:
    """Return the number of tokens of `text` for `lm`.

    Exact for local models and those whose tokenizer LiteLLM has, approximate for others.
    """
    if is_local_lm(lm):
        return len(tokenize(str(lm.kwargs["api_base"]), text))
    import litellm

    return int(litellm.token_counter(model=lm.model, text=text))


def check_lm(lm: dspy.BaseLM) -> None:
    """Check with one small call, which is not cached, that `lm` answers.

    Raises:
        ModelError: It does not answer.
    """
    short = {"max_tokens": 16} if lm.kwargs.get("max_tokens") else {}
    asked = dspy.Signature("request -> answer", "Answer with one word.")
    with dspy.context(lm=lm.copy(cache=False, num_retries=0, **short), trace=[]):
        try:
            DirectStudent(asked)(request="Say ok.")
        except AdapterParseError:
            pass  # it answered; a reasoning model needs more tokens for a label
        except LMError as error:
            raise ModelError(explain(lm, error)) from error
