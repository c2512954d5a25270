"""Shared behaviour of the commands: errors in one line on stderr, exit codes, quiet libraries."""

import functools
import logging
import os
from collections.abc import Callable
from typing import NoReturn, ParamSpec

import typer
from rich.console import Console
from rich.logging import RichHandler

from pld_dspy.errors import PLDError

P = ParamSpec("P")

WRONG_INPUT = 2
INTERRUPTED = 130
UNEXPECTED = 1

_QUIET = {
    "TQDM_DISABLE": "1",
    "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    "MLFLOW_LOGGING_LEVEL": "WARNING",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "LITELLM_LOCAL_MODEL_COST_MAP": "True",
}
_NOISY = ("dspy", "optuna", "mlflow", "alembic", "LiteLLM", "httpx", "datasets", "huggingface_hub")


def guarded(command: Callable[P, None]) -> Callable[P, None]:
    """Return `command` with every error as one line on stderr: exit code 2, or 130 if interrupted."""

    @functools.wraps(command)
    def run(*args: P.args, **kwargs: P.kwargs) -> None:
        verbose = bool(kwargs.get("verbose"))
        set_up_logs(verbose=verbose)
        try:
            command(*args, **kwargs)
        except PLDError as error:
            if verbose:
                stderr().print_exception()
            fail(str(error), WRONG_INPUT)
        except KeyboardInterrupt:
            fail("stopped", INTERRUPTED)
        except (typer.Exit, typer.Abort):
            raise
        except Exception as error:
            if verbose:
                raise
            said = (str(error).strip().splitlines() or [""])[0]
            fail(
                f"unexpected {type(error).__name__}: {said}; run it again with -v for the traceback",
                UNEXPECTED,
            )

    return run


def stderr() -> Console:
    """Return the console for progress and errors."""
    return Console(stderr=True)


def fail(message: str, code: int) -> NoReturn:
    """Print the message on one line of stderr and leave with `code`."""
    line = " ".join(message.split())
    typer.echo(line if code == INTERRUPTED else f"error: {line}", err=True)
    raise typer.Exit(code)


def set_up_logs(*, verbose: bool) -> None:
    """Send this package's log to stderr, and keep other libraries quiet unless `verbose`."""
    for name, value in _QUIET.items():
        os.environ.setdefault(name, value)
    logger = logging.getLogger("pld_dspy")
    logger.handlers = [RichHandler(console=stderr(), show_path=False, show_time=verbose)]
    logger.propagate = False
    logger.setLevel(logging.INFO if verbose else logging.WARNING)
    if not verbose:
        quieten()


def quieten() -> None:
    """Keep other libraries quiet; some set their level when they are imported, so call it after that."""
    for name in _NOISY:
        logging.getLogger(name).setLevel(logging.ERROR)
