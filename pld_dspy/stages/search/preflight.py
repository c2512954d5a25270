"""Checks a search before anything is paid for."""

from pathlib import Path

from optuna.storages import RDBStorage

from pld_dspy.config.optimizer import SearchConfig
from pld_dspy.stages.search.loop import check_sampler
from pld_dspy.stages.search.study import open_storage


def check_search(config: SearchConfig, folder: Path | None) -> None:
    """Return if the search can start: its sampler is installed and its storage can be used.

    Args:
        config: Settings of the search; without trials nothing is needed.
        folder: The run folder.

    Raises:
        ConfigError: The sampler needs a package that is not installed.
        StorageError: The storage does not answer, or its driver is not installed.
    """
    if config.trials == 0:
        return
    check_sampler(config.sampler)
    if config.storage is not None:
        storage = open_storage(config.storage, folder)
        if isinstance(storage, RDBStorage):
            storage.engine.dispose()
