"""Makes the Optuna sampler, and checks that a search can start."""

from importlib.util import find_spec
from pathlib import Path

import optuna
from optuna.storages import RDBStorage

from pld_dspy.config.optimizer import SearchConfig
from pld_dspy.errors import ConfigError
from pld_dspy.stages.search.shared.storage import open_storage


def check_search(config: SearchConfig, folder: Path | None) -> None:
    """Check that the sampler is installed and the storage can be used.

    Args:
        config: Settings of the search; with 0 trials there is no check.
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


def _sampler(config: SearchConfig, seed: int) -> optuna.samplers.BaseSampler:
    seed %= 2**32
    if config.sampler == "random":
        return optuna.samplers.RandomSampler(seed=seed)
    if config.sampler == "gp":
        return optuna.samplers.GPSampler(seed=seed)
    if config.sampler == "cmaes":
        return optuna.samplers.CmaEsSampler(seed=seed, warn_independent_sampling=False)
    return optuna.samplers.TPESampler(seed=seed, n_startup_trials=6)


def check_sampler(name: str) -> None:
    """Raise `ConfigError` if the sampler needs a package that is not installed."""
    package = {"gp": "torch", "cmaes": "cmaes"}.get(name)
    if package is not None and find_spec(package) is None:
        msg = f"search.sampler {name!r} needs the package {package}; install it, or use 'tpe' or 'random'"
        raise ConfigError(msg)
