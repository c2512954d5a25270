"""The trackers by name."""

from pld_dspy.config.callables import described
from pld_dspy.errors import ConfigError, nearest
from pld_dspy.ledger.tracker import NullTracker, Tracker

NAMES = ("mlflow", "none")
METHODS = tuple(name for name in vars(Tracker) if not name.startswith("_"))


def resolve_tracker(given: str | Tracker | None) -> Tracker:
    """Return the tracker that `given` stands for.

    Args:
        given: `mlflow` (the store and the experiment `pld` of MLflow's own settings), `none`, a
            tracker, or None for none.

    Raises:
        ConfigError: No tracker has this name, or `given` lacks a method of `Tracker`.

    >>> type(resolve_tracker("none")).__name__
    'NullTracker'
    """
    if given is None or given == "none":
        return NullTracker()
    if given == "mlflow":
        from pld_dspy.ledger.mlflow.tracker import MlflowTracker

        return MlflowTracker()
    if isinstance(given, str):
        msg = f"no tracker is called {given!r}{nearest(given, NAMES)}"
        raise ConfigError(msg)
    if isinstance(given, type):
        msg = f"tracker is the class {given.__name__}; give an instance, {given.__name__}(...)"
        raise ConfigError(msg)
    missing = [name for name in METHODS if not callable(getattr(given, name, None))]
    if missing:
        msg = f"tracker is {described(given)} without the methods {', '.join(missing)}; give 'mlflow', 'none', or a Tracker"
        raise ConfigError(msg)
    return given
