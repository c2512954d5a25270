"""Storage and names of the Optuna study."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import optuna
from optuna.storages import BaseStorage, InMemoryStorage, JournalStorage, RDBStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import TrialState

from pld_dspy.errors import StorageError, nearest
from pld_dspy.ledger.store import key_of

logger = logging.getLogger(__name__)

FINGERPRINT = "fingerprint"
"""Study attribute with a hash of everything that makes trials comparable."""

JOURNAL = "search.journal"
"""Journal file of the study in the run folder."""

FINISHED = (TrialState.COMPLETE, TrialState.PRUNED)
"""States of the trials that count."""

_CONNECT_S = 10


def open_storage(where: str | None, folder: Path | None = None) -> BaseStorage:
    """Return the storage: a database, a journal file, or memory.

    Args:
        where: A database URL as SQLAlchemy knows it (`postgresql+psycopg://...`), or
            `journal:<path>`; None is the journal in `folder`.
        folder: The run folder; None keeps the study in memory.

    Raises:
        StorageError: It cannot be used, or its driver is not installed.
    """
    if where is None and folder is None:
        return InMemoryStorage()
    if where is None or where.startswith("journal:"):
        path = folder / JOURNAL if where is None and folder else Path(str(where)[len("journal:") :])
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.open("ab"):
                pass
            return JournalStorage(JournalFileBackend(str(path)))
        except (OSError, ValueError) as error:
            why = getattr(error, "strerror", None) or error
            msg = f"the search journal {path} cannot be used: {why}; choose another search.storage"
            raise StorageError(msg) from error
    import sqlalchemy.exc

    arguments = {"connect_timeout": _CONNECT_S} if where.startswith(("postgres", "mysql")) else {}
    try:
        return RDBStorage(where, engine_kwargs={"connect_args": arguments, "pool_pre_ping": True})
    except ImportError as error:
        msg = f"the driver for search.storage {without_password(where)} is not installed: {error}"
        raise StorageError(msg) from error
    except (sqlalchemy.exc.SQLAlchemyError, RuntimeError) as error:
        why = " ".join(str(getattr(error, "orig", None) or error).split())[:200]
        msg = f"search.storage {without_password(where)} cannot be used ({why}); check the address and that the server runs"
        raise StorageError(msg) from error


def without_password(url: str) -> str:
    """Return a storage URL without its password, for messages."""
    if url.startswith("journal:"):
        return url
    import sqlalchemy.exc
    from sqlalchemy.engine import make_url

    try:
        return make_url(url).render_as_string(hide_password=True)
    except sqlalchemy.exc.ArgumentError:
        return repr(url)


def study_name(*parts: Any) -> str:
    """Return a name with a hash of the parts."""
    return f"pld-{key_of(*parts)}"


def find_study(storage: BaseStorage, name: str) -> optuna.Study:
    """Return the study of this name.

    Raises:
        StorageError: There is none.
    """
    names = optuna.get_all_study_names(storage)
    if name not in names:
        hint = nearest(name, names) if names else "; it holds no study yet, start the search first"
        msg = f"no study {name!r} in the storage{hint}"
        raise StorageError(msg)
    with quiet():
        return optuna.load_study(study_name=name, storage=storage)


@contextmanager
def quiet() -> Iterator[None]:
    """Silence Optuna's log, and restore its global verbosity afterwards."""
    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    try:
        yield
    finally:
        optuna.logging.set_verbosity(before)
