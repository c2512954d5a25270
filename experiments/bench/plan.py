"""How cells are run: what is the same for all of them, and the package's own settings for one."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from experiments.bench.cells import Cell
from experiments.bench.configs import BenchConfig, ModelFile, TaskFile, model_file, task_file
from pld_dspy.config.run import RunConfig
from pld_dspy.errors import ConfigError

RUNS = Path("runs/compare")


@dataclass(frozen=True, kw_only=True)
class Plan:
    """How cells are run: the same for all of them."""

    config: BenchConfig
    endpoints: Mapping[str, str]
    """Address by model."""
    alone: bool = True
    """Whether nothing else runs beside a cell, so that its seconds say something."""
    runs: Path = RUNS
    """Folder of the tapes; cells of the same task, split, seed and model share one for each role."""


def run_config(cell: Cell, plan: Plan) -> RunConfig:
    """Return the package's own settings for the cell: the task, its split, and the models."""
    task, config = task_file(cell.task), plan.config
    settings: dict[str, Any] = {
        "run_dir": plan.runs,
        "seed": cell.seed,
        "task": task.task.model_dump(exclude_none=True),
        "split": {
            **task.sizes.model_dump(),
            **{"by": cell.split_by, "balance": task.balance, "scarce": task.scarce},
        },
        "student": _model(cell.student, config.student_tokens, task, plan)
        | {"wording": task.wording or config.wording},
        "teacher": _model(cell.teacher, config.teacher_tokens, task, plan),
        "traces": {"file": task.recorded, "use": cell.traces == "recorded"},
    }
    return RunConfig(**settings)


def _model(name: str, max_tokens: int, task: TaskFile, plan: Plan) -> dict[str, Any]:
    file: ModelFile = model_file(name)
    settings: dict[str, Any] = {
        "max_tokens": max(max_tokens, file.answer_tokens or 0),
        "temperature": file.temperature,
    }
    if name in plan.endpoints:
        model = file.endpoint_model or f"openai/{name}"
        return settings | {"model": model, "api_base": plan.endpoints[name]}
    if file.model.startswith("local/"):
        settings["server"] = {"context_tokens": task.context_tokens}
    return settings | {"model": file.model}


def endpoints_of(pairs: Sequence[str]) -> dict[str, str]:
    """Return the address by model of options `MODEL=URL`.

    Raises:
        ConfigError: One is not of that form, or names no model of `experiments/models`.
    """
    found = {}
    for pair in pairs:
        model, equals, url = pair.partition("=")
        if not equals or not url:
            msg = f"--endpoint {pair!r} is no MODEL=URL, such as qwen2.5-coder-0.5b=http://127.0.0.1:8080/v1"
            raise ConfigError(msg)
        model_file(model)
        found[model] = url
    return found


def repeated(option: str, values: Sequence[str]) -> list[str]:
    """Return the option before each of its values, as a command line gives them."""
    return [word for value in values for word in (option, value)]
