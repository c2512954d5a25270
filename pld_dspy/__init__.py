"""Prompt-Level Distillation as a DSPy optimizer.

The public names are imported when they are first used, so that the command line starts at once.
"""

import importlib
import os
from typing import TYPE_CHECKING

# Without this, importing litellm (MLflow's server does) tries to fetch a price list and can hang.
os.environ.setdefault("LITELLM_LOCAL_MODEL_COST_MAP", "True")

__version__ = "0.1.0"

__all__ = [
    "PLD",
    "Clusterer",
    "DirectAdapter",
    "DirectStudent",
    "Embedder",
    "Form",
    "MlflowTracker",
    "PLDConfig",
    "PLDResult",
    "Prompts",
    "RefineContext",
    "Refinement",
    "Refiner",
    "SelectContext",
    "Selector",
    "Tracker",
    "Verdict",
    "__version__",
    "accuracy",
    "best_wording",
    "load_task",
    "macro_f1",
    "make_lm",
    "mcc",
]

if TYPE_CHECKING:
    from pld_dspy.config.optimizer import PLDConfig
    from pld_dspy.data.tasks import load_task
    from pld_dspy.ledger.mlflow.tracker import MlflowTracker
    from pld_dspy.ledger.tracker import Tracker
    from pld_dspy.models.adapter import DirectAdapter
    from pld_dspy.models.lm import make_lm
    from pld_dspy.models.prompts import Prompts
    from pld_dspy.models.student import DirectStudent
    from pld_dspy.optimizer import PLD
    from pld_dspy.records import Embedder, Form, PLDResult
    from pld_dspy.scoring.metrics import accuracy, macro_f1, mcc
    from pld_dspy.stages.cluster.methods import Clusterer
    from pld_dspy.stages.refine.protocol import RefineContext, Refinement, Refiner
    from pld_dspy.stages.select.selector import SelectContext, Selector, Verdict
    from pld_dspy.stages.wording import best_wording
else:
    _HOME = {
        "DirectAdapter": "models.adapter",
        "PLDConfig": "config.optimizer",
        "accuracy": "scoring.metrics",
        "macro_f1": "scoring.metrics",
        "mcc": "scoring.metrics",
        "make_lm": "models.lm",
        "PLD": "optimizer",
        "DirectStudent": "models.student",
        "load_task": "data.tasks",
        "MlflowTracker": "ledger.mlflow.tracker",
        "PLDResult": "records",
        "Clusterer": "stages.cluster.methods",
        "Embedder": "records",
        "Form": "records",
        "Prompts": "models.prompts",
        "RefineContext": "stages.refine.protocol",
        "Refinement": "stages.refine.protocol",
        "Refiner": "stages.refine.protocol",
        "SelectContext": "stages.select.selector",
        "Selector": "stages.select.selector",
        "Tracker": "ledger.tracker",
        "Verdict": "stages.select.selector",
        "best_wording": "stages.wording",
    }

    # Hidden from type checkers, which would else take every misspelt name for an object.
    def __getattr__(name: str) -> object:
        if name not in _HOME:
            msg = f"module {__name__!r} has no attribute {name!r}"
            raise AttributeError(msg)
        value = getattr(importlib.import_module(f"{__name__}.{_HOME[name]}"), name)
        globals()[name] = value
        return value

    def __dir__() -> list[str]:
        return sorted({*globals(), *__all__})
