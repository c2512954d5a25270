"""The MLflow store: its address, whether it answers, and the command of its user interface."""

import os
import re
import ssl
import sys
import urllib.error
import urllib.request
from pathlib import Path
from urllib.parse import urlsplit

from pld_dspy.errors import ConfigError

ENVIRONMENT = {
    # Without these, an offline `mlflow server` deadlocks while litellm fetches its price map.
    "LITELLM_LOCAL_MODEL_COST_MAP": "True",
    "MLFLOW_DISABLE_TELEMETRY": "true",
}
_HTTP_ENVIRONMENT = {
    # MLflow's own defaults (7 retries, 120 s each) would block a run for many minutes per call.
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "30",
    # Two lines on standard output for every child run, otherwise.
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
}
MASK = "***"
_SECRET_VALUE = re.compile(r"(?<=://)[^/@\s:]*:[^/@\s]+(?=@)|\b(?:sk-|hf_)[\w-]{16,}")


def resolve_uri(tracking_uri: str | None = None) -> str:
    """Return the store that is used for `tracking_uri`, with the path of a SQLite file absolute.

    Raises:
        ConfigError: If the URI is the bare path of a database.
    """
    for key, value in ENVIRONMENT.items():
        os.environ.setdefault(key, value)
    import mlflow

    uri = str(tracking_uri or mlflow.get_tracking_uri())
    if "://" not in uri and uri.endswith((".db", ".sqlite", ".sqlite3")):
        msg = f"tracking_uri {uri!r} is a path, not a URI; write 'sqlite:///{uri}'"
        raise ConfigError(msg)
    path = sqlite_path(uri)
    return uri if path is None else f"{uri.partition('://')[0]}:///{path}"


def ui_command(
    tracking_uri: str | None = None, port: int = 5000
) -> tuple[list[str], dict[str, str]]:
    """Return the command line and the environment that show the runs at http://127.0.0.1:`port`.

    Raises:
        ConfigError: If the store is already a server, or the port is not in [1, 65535].
    """
    uri = resolve_uri(tracking_uri)
    if not 1 <= port <= 65535:
        msg = f"port {port} is out of range; take one from 1024 to 65535"
        raise ConfigError(msg)
    if urlsplit(uri).scheme in {"http", "https"}:
        msg = f"{without_secrets(uri)} is an MLflow server already; open it in a browser"
        raise ConfigError(msg)
    argv = [sys.executable, "-m", "mlflow", "server", "--backend-store-uri", uri]
    argv += ["--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    return argv, {**os.environ, **ENVIRONMENT}


def check_reachable(uri: str) -> None:
    """Raise `ConfigError` within seconds if nothing answers, where MLflow would try for minutes."""
    path = sqlite_path(uri)
    try:
        if path is not None:
            path.parent.mkdir(parents=True, exist_ok=True)
        elif urlsplit(uri).scheme in {"http", "https"}:
            for key, value in _HTTP_ENVIRONMENT.items():
                os.environ.setdefault(key, value)
            urllib.request.urlopen(_without_login(uri), timeout=5).close()
    except urllib.error.HTTPError:
        return  # something answers; whether it is MLflow shows with the first request
    except (OSError, ValueError) as error:
        if isinstance(getattr(error, "reason", None), ssl.SSLError):
            return  # MLflow has its own settings for certificates
        msg = f"nothing answers at the MLflow tracking URI {without_secrets(uri)} ({one_line(error)}); start the server, or correct tracking_uri"
        raise ConfigError(msg) from error


def sqlite_path(uri: str) -> Path | None:
    """Return the absolute path of a SQLite store; None for another kind of store."""
    scheme, _, rest = uri.partition("://")
    if scheme.partition("+")[0] != "sqlite":
        return None
    return Path(rest.removeprefix("/")).absolute()


def without_secrets(text: str) -> str:
    """Return `text` with the logins of URLs and well-known key formats masked."""
    return _SECRET_VALUE.sub(MASK, text)


def one_line(error: BaseException) -> str:
    """Return the kind of `error` and the first line of its message, at most 200 characters of it."""
    lines = str(error).strip().splitlines() or [""]
    return without_secrets(f"{type(error).__name__}: {lines[0][:200]}")


def _without_login(uri: str) -> str:
    return re.sub(r"(?<=://)[^/@\s]*@", "", uri)
