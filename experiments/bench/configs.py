"""What a config of `experiments/configs` says: its cells, and the files of its tasks and models."""

import tomllib
from collections.abc import Iterator, Mapping, Sequence
from itertools import product
from pathlib import Path
from typing import Any, Literal, TypeVar

from pydantic import Field

from experiments.bench.cells import OWN, SETS_BUDGET, Cell, Traces
from experiments.bench.lines import Line
from experiments.optimizers import OPTIMIZERS, Optimizer
from pld_dspy.config.base import Balance, By, Scarce, Settings, Wording
from pld_dspy.config.optimizer import PLDConfig
from pld_dspy.config.run import Count, TaskConfig
from pld_dspy.errors import ConfigError, nearest

HERE = Path(__file__).parents[1]
Budget = Literal["x1", "x3"]
TIMES: Mapping[str, int] = {"x1": 1, "x3": 3}
ALL = "all"

S = TypeVar("S", bound=Settings)


class Sizes(Settings):
    """Examples of each split."""

    train: Count
    val: Count
    select: Count
    test: Count


class TaskFile(Settings):
    """One file of `experiments/tasks`."""

    title: str
    task: TaskConfig
    sizes: Sizes
    balance: Balance = "equal"
    scarce: Scarce = "refuse"
    """What a split by group does with a label of too few groups."""
    recorded: str | tuple[str, ...] | None = None
    """Recorded traces; with either kind of traces their examples go to train first."""
    guides: str | None = None
    """Rules of the model whose traces were recorded: with them, PLD's candidates beside its own."""
    clusters: dict[str, Any] = Field(default={})
    """Settings of PLD's clustering that suit the task."""
    wording: Wording | None = None
    """How the student is asked, in place of the config's."""
    topic: str | None = None
    """Input field with few values that tell much, such as the hypothesis of ContractNLI: label shares
    by its value are used by `topic-majority` and by the decision layer of all rows, and PLD makes
    rules by it."""
    context_tokens: Count = 8192
    """For local models."""
    guidelines: str = ""
    """Label guidelines that a person wrote without a look at the examples."""


class ModelFile(Settings):
    """One file of `experiments/models`."""

    model: str
    """`local/...`, or a name that DSPy knows."""
    endpoint_model: str | None = None
    """Its name when `--endpoint` gives an address; None is `openai/` and the name of the file."""
    temperature: float | None = Field(default=0.0, ge=0)
    answer_tokens: Count | None = None
    """Room for an answer, in place of the config's, for models that think first."""


class Variant(Settings):
    """PLD with other settings, under a name of its own."""

    title: str = ""
    base: str = SETS_BUDGET
    """The optimizer that runs with these settings."""
    pld: dict[str, Any] = Field(default={})
    """Settings that differ, as in `[pld]`."""
    train: Count | None = None
    """Training examples; None is all."""


class Grid(Settings):
    """Every combination of these is a cell."""

    tasks: tuple[str, ...]
    optimizers: tuple[str, ...] = (ALL,)
    """Names of the table of optimizers or of `[variants]`; `all` is the table but for its `extra` ones."""
    students: tuple[str, ...]
    teachers: tuple[str, ...]
    traces: tuple[Traces, ...] = ("teacher",)
    """`recorded` is for the optimizers that can use recorded traces; the others have one cell."""
    split_by: tuple[By, ...] = ("item",)
    seeds: tuple[int, ...] = (0,)
    budgets: tuple[Budget, ...] = ("x1",)


class BenchConfig(Settings):
    """One experiment: cells, and where their lines and their page go."""

    grid: tuple[Grid, ...]
    results: str = ""
    """Name of the file of lines in `experiments/results`; empty is that of the config."""
    page: str | None = None
    """Page of the report in `experiments`; configs without one have theirs in `results`."""
    place: str = ""
    """Name of the places `<!-- NAME:start -->` in README and docs that get the report's summary."""
    earlier: tuple[str, ...] = ()
    """Files in `experiments/results` with lines of earlier versions of the same cells."""
    pld: dict[str, Any] = Field(default={})
    """Settings of PLD in every cell."""
    variants: dict[str, Variant] = Field(default={})
    student_tokens: Count = 12
    """Longest direct answer."""
    teacher_tokens: Count = 512
    """Longest explanation, proposal or reflection, for every optimizer."""
    embedder: str = "tfidf:32"
    """Of PLD's rules; what a hosted one costs is in no line."""
    wording: Wording = "field"
    """How the student is asked; see `DirectAdapter`."""

    def optimizer(self, name: str) -> Optimizer:
        """Return the optimizer, or the one that a variant is based on.

        Raises:
            ConfigError: There is none of that name.
        """
        base = self.variants[name].base if name in self.variants else name
        if base not in OPTIMIZERS:
            msg = f"no optimizer is called {base!r}{nearest(base, [*OPTIMIZERS, *self.variants])}"
            raise ConfigError(msg)
        return OPTIMIZERS[base]

    def pld_settings(self, task: TaskFile, optimizer: str) -> PLDConfig:
        """Return PLD's settings in a cell.

        Raises:
            ConfigError: A setting is unknown or not allowed.
        """
        of_task = {"clusters": task.clusters, "topics": {"by": task.topic}}
        of_row = self.variants.get(optimizer, Variant()).pld
        merged = _merge(_merge(of_task, self.pld), of_row)
        try:
            return PLDConfig(**merged)
        except ConfigError as error:
            msg = f"pld: {error}"
            raise ConfigError(msg) from error


def read_bench(path: Path) -> BenchConfig:
    """Return the config, with every name in it known.

    Raises:
        ConfigError: The file cannot be read, or a setting, a task, an optimizer or a model is unknown.
    """
    config = _read(path, BenchConfig)
    for name in config.variants:
        if name in OPTIMIZERS:
            msg = f"{path}: the variant {name!r} has the name of an optimizer; rename it"
            raise ConfigError(msg)
    try:
        for name in config.variants:
            config.optimizer(name)
        for cell in cells_of(config):
            config.pld_settings(task_file(cell.task), cell.optimizer)
            for model in (cell.student, cell.teacher):
                model_file(model)
    except ConfigError as error:
        msg = f"{path}: {error}"
        raise ConfigError(msg) from error
    return config


def results_file(path: Path, config: BenchConfig) -> Path:
    """Return the file of the lines of the config at `path`."""
    return HERE / "results" / f"{config.results or path.stem}.jsonl"


def task_file(name: str) -> TaskFile:
    """Return the task of that name.

    Raises:
        ConfigError: There is no such file, or it cannot be used.
    """
    return _named("task", name, TaskFile, HERE / "tasks")


def model_file(name: str) -> ModelFile:
    """Return the model of that name.

    Raises:
        ConfigError: There is no such file, or it cannot be used.
    """
    return _named("model", name, ModelFile, HERE / "models")


def cells_of(config: BenchConfig) -> list[Cell]:
    """Return the cells in the order of the config, each once; a cell that sets a budget comes first.

    A grid whose optimizers need a budget gets the PLD cells that set it, named or not.

    Raises:
        ConfigError: An optimizer is unknown.
    """
    found: dict[Cell, None] = {}
    for grid in config.grid:
        for cell in _combinations(grid, config):
            if cell.budget != OWN:
                found.setdefault(cell.pays)
            found.setdefault(cell)
    # Nothing else waits for another cell, so one pass is enough.
    return sorted(found, key=lambda cell: cell.optimizer != SETS_BUDGET)


def budget_of(cell: Cell, lines: Sequence[Line]) -> int | None:
    """Return the calls that the cell may make; None is no limit.

    Raises:
        ConfigError: The cell that sets the budget has no line, or failed.
    """
    if cell.budget == OWN:
        return None
    found = next((line for line in lines if line.cell == cell.pays.name), None)
    if found is None or found.status == "failed":
        why = "has no line" if found is None else f"failed: {found.error}"
        msg = f"the budget is what {cell.pays.name} spends, and that {why}; run it first"
        raise ConfigError(msg)
    return TIMES[cell.budget] * (int(found.student_calls or 0) + int(found.teacher_calls or 0))


def _combinations(grid: Grid, config: BenchConfig) -> Iterator[Cell]:
    every = [optimizer.name for optimizer in OPTIMIZERS.values() if not optimizer.extra]
    names = [n for name in grid.optimizers for n in (every if name == ALL else (name,))]
    for task in grid.tasks:
        task_file(task)
    places = product(grid.tasks, grid.split_by, grid.seeds, grid.students, grid.teachers, names)
    for task, split_by, seed, student, teacher, name in places:
        found = config.optimizer(name)
        traces: tuple[Traces, ...] = grid.traces if found.traces else ("teacher",)
        budgets: tuple[str, ...] = grid.budgets if found.matched else (OWN,)
        for trace, budget in product(traces, budgets):
            yield Cell(task, name, student, teacher, trace, split_by, seed, budget)


def _named(what: str, name: str, kind: type[S], folder: Path) -> S:
    known = sorted(path.stem for path in folder.glob("*.toml"))
    if name not in known:
        msg = f"no {what} is called {name!r}{nearest(name, known)}"
        raise ConfigError(msg)
    return _read(folder / f"{name}.toml", kind)


def _read(path: Path, kind: type[S]) -> S:
    try:
        return kind(**tomllib.loads(path.read_text(encoding="utf-8")))
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        msg = f"{path} cannot be read: {reason}; give the path of a TOML file"
        raise ConfigError(msg) from error
    except tomllib.TOMLDecodeError as error:
        msg = f"{path} is not TOML: {error}"
        raise ConfigError(msg) from error
    except ConfigError as error:
        msg = f"{path}: {error}"
        raise ConfigError(msg) from error


def _merge(first: Mapping[str, Any], second: Mapping[str, Any]) -> dict[str, Any]:
    """Return both tables, inner tables merged too; the second wins."""
    merged = dict(first)
    for key, value in second.items():
        before = merged.get(key)
        both = isinstance(before, Mapping) and isinstance(value, Mapping)
        merged[key] = _merge(before, value) if both else value  # type: ignore[arg-type]
    return merged
