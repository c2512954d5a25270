"""OpenAI-compatible server for a local model, inside this process.

The engine is llama.cpp through `xllamacpp` (the optional extra `local`). It answers HTTP requests on
the loopback interface, so `dspy.LM` and other optimizers use it like a hosted endpoint.
"""

import atexit
import json
import logging
import os
import threading
import urllib.error
import urllib.request
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from pld_dspy.errors import ConfigError, ModelError
from pld_dspy.records.decision import Tokenizer

logger = logging.getLogger(__name__)

_TIMEOUT_S = 60.0
_PROMPT_CACHE_MIB = 512  # the engine's default of 8 GiB is more than small machines have


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerSettings:
    """Settings of a local server. Equal settings for the same file share one server."""

    parallel: int = 1
    """Number of calls answered at the same time (slots). One is fastest for short label calls on few
    cores, because the rule prompt stays in the slot's cache; more help long generations."""
    context_tokens: int = 8_192
    """Maximum tokens of prompt and answer of one call; memory is allocated for `parallel` times this."""
    threads: int | None = None
    """CPU threads; None means one per core, at most eight. If other work keeps the cores busy, fewer
    threads are several times faster, because llama.cpp's threads wait for the slowest one."""
    reuse_prompt: bool = True
    """Reuse the prompt cache. Much faster for long rule prompts, but rounding then depends on earlier
    calls, and a close answer may flip even at temperature 0. False always gives the same answer to
    the same prompt."""
    verbose: bool = False
    """Let llama.cpp write its log to stderr."""

    def __post_init__(self) -> None:
        for name in ("parallel", "context_tokens", "threads"):
            value = getattr(self, name)
            if value is not None and value < 1:
                msg = f"{name}={value} of the local server must be at least 1"
                raise ModelError(msg)


@dataclass(slots=True)
class _Running:
    native: Any
    address: str
    users: int = 0


# llama.cpp loads the weights into this process, so servers are shared process-wide.
_running: dict[tuple[Path, ServerSettings], _Running] = {}
_lock = threading.RLock()


@dataclass(slots=True)
class LocalServer:
    """An OpenAI-compatible server for one GGUF file on a free loopback port, inside this process.

    Use `start` and `stop`, or a `with` block; servers that still run at exit are stopped then.
    Servers with the same file and settings share the weights, which are loaded once and freed by the
    last `stop`.
    """

    path: Path
    settings: ServerSettings = field(default_factory=ServerSettings)
    _key: tuple[Path, ServerSettings] | None = field(default=None, init=False, repr=False)

    @property
    def address(self) -> str:
        """`http://127.0.0.1:<port>`, without `/v1`.

        Raises:
            ModelError: The server is not running.
        """
        with _lock:
            if self._key is None:
                msg = f"the server for {self.path} is not running; call start() first"
                raise ModelError(msg)
            return _running[self._key].address

    def start(self) -> Self:
        """Start the server and return it; loading takes seconds per gigabyte.

        Raises:
            ModelError: The engine is not installed, or the file cannot be loaded.
        """
        with _lock:
            if self._key is None:
                key = (self.path.resolve(), self.settings)
                if key not in _running:
                    _running[key] = _load(*key)
                _running[key].users += 1
                self._key = key
        return self

    def stop(self) -> None:
        """Stop the server; the last one to stop frees the weights. Further calls do nothing."""
        with _lock:
            key, self._key = self._key, None
            running = _running.get(key) if key is not None else None
            if key is None or running is None:
                return
            running.users -= 1
            if running.users == 0:
                # The engine has no stop method: it shuts down when its last reference is dropped.
                del _running[key]

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()


@atexit.register
def _stop_all() -> None:
    with _lock:
        _running.clear()


def _load(path: Path, settings: ServerSettings) -> _Running:
    try:
        import xllamacpp
    except ImportError as error:
        msg = (
            f"local models need the engine xllamacpp ({error}); run: pip install 'pld-dspy[local]'"
        )
        raise ModelError(msg) from error
    check_gguf(path)
    params = xllamacpp.CommonParams()
    params.model.path = str(path)
    params.model_alias = {path.stem}
    params.hostnames = ["127.0.0.1"]
    params.port = 0
    params.n_parallel = settings.parallel
    params.n_ctx = settings.context_tokens * settings.parallel
    params.warmup = False
    params.cache_prompt = settings.reuse_prompt
    params.cache_ram_mib = _PROMPT_CACHE_MIB if settings.reuse_prompt else 0
    params.verbosity = 3 if settings.verbose else -1
    threads = settings.threads or min(os.cpu_count() or 1, 8)
    params.cpuparams.n_threads = threads
    params.cpuparams_batch.n_threads = threads
    logger.info("loading %s with %s", path, settings)
    try:
        native = xllamacpp.Server(params)
    except RuntimeError as error:
        msg = (
            f"llama.cpp cannot load {path} ({path.stat().st_size} bytes): broken file, unknown "
            f"architecture, or not enough memory for {params.n_ctx} context tokens; "
            "verbose=True shows its log"
        )
        raise ModelError(msg) from error
    _wait_for_loop(native.listening_address)
    return _Running(native=native, address=native.listening_address)


def _wait_for_loop(address: str) -> None:
    """Return when the engine's loop answers.

    The engine waits for its loop when it shuts down, for ever if that was told to end before it had
    begun. A server that does not answer shows at the first call.
    """
    with suppress(OSError):
        _post(f"{address}/completion", {"prompt": "a", "n_predict": 1, "cache_prompt": False})


def _post(url: str, body: dict[str, Any]) -> Any:
    headers = {"Content-Type": "application/json"}
    request = urllib.request.Request(url, json.dumps(body).encode(), headers)
    # A proxy set in the environment must not get loopback calls.
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(request, timeout=_TIMEOUT_S) as reply:
        return json.load(reply)


def check_gguf(path: Path) -> None:
    """Check that `path` is a readable GGUF file.

    Raises:
        ModelError: It does not exist, cannot be read, or is of another format.
    """
    try:
        with path.open("rb") as file:
            magic = file.read(4)
    except OSError as error:
        msg = f"model file {path} cannot be read: {error.strerror}"
        raise ModelError(msg) from error
    if magic != b"GGUF":
        msg = f"{path} is not a GGUF file (it starts with {magic!r}); give the path of a .gguf file"
        raise ModelError(msg)


def is_local(api_base: str | None) -> bool:
    """Return whether a server of this process answers at `api_base`.

    >>> is_local("https://example.org/v1")
    False
    """
    if not api_base:
        return False
    root = api_base.removesuffix("/").removesuffix("/v1")
    with _lock:
        return any(running.address == root for running in _running.values())


def tokenize(api_base: str, text: str) -> list[int]:
    """Return the token ids of `text` from the local server at `api_base`.

    Raises:
        ModelError: The server does not answer.
    """
    url = api_base.removesuffix("/").removesuffix("/v1") + "/tokenize"
    try:
        tokens: list[int] = _post(url, {"content": text})["tokens"]
    except urllib.error.URLError as error:
        msg = f"the local server at {api_base} does not count tokens: {error.reason}"
        raise ModelError(msg) from error
    return tokens


def tokenizer_of(lm: Any) -> Tokenizer:
    """Return the tokenizer of a model that this process serves.

    Raises:
        ConfigError: It is served elsewhere, and its tokens are not known here.
    """
    address = getattr(lm, "kwargs", {}).get("api_base")
    if not is_local(address):
        model = str(getattr(lm, "model", None))
        msg = f"the tokens of {model} are not known here; give `tokens`, which returns the token ids of a text, such as tiktoken.encoding_for_model('gpt-4o').encode"
        raise ConfigError(msg)
    return lambda text: tokenize(str(address), text)
