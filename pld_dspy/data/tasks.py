"""Tasks: a DSPy signature with a closed label set, and the examples for it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import Any, Literal

import dspy

from pld_dspy.config.table import TableConfig
from pld_dspy.data.examples import examples_from_items
from pld_dspy.data.splits import Splits, make_splits, make_splits_from_pools
from pld_dspy.data.tables import read_tables
from pld_dspy.errors import ConfigError, nearest
from pld_dspy.records import Split

Metric = Literal["macro_f1", "accuracy", "mcc"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """What is to be answered, from what, and how an answer is counted."""

    name: str
    signature: type[dspy.Signature]
    """Made anew at each load, so that changing one task cannot change another."""
    label_key: str
    labels: tuple[str, ...]
    input_keys: tuple[str, ...]
    metric: Metric
    examples: tuple[dspy.Example, ...]
    """All the examples, of every pool, repeats included; `split` leaves repeats out."""
    fixed_splits: Mapping[Split, tuple[dspy.Example, ...]] | None = None
    """Pools that the data set gives: val and select are both drawn from `val`. None if it has none."""
    notes: str = ""
    """Where the examples come from, and what they may not be compared with."""

    def split(self, sizes: Mapping[Split, int], *, seed: int, **options: Any) -> Splits:
        """Return disjoint splits, from the fixed pools if the data set has them.

        Args:
            sizes: Examples wanted of each split.
            seed: Seed of the draw.
            options: `by`, `balance` and `prefer` of `make_splits`.

        Raises:
            DataError: There are too few examples.
        """
        if self.fixed_splits is None:
            return make_splits(
                self.examples, sizes=sizes, label_key=self.label_key, seed=seed, **options
            )
        return make_splits_from_pools(
            self.fixed_splits, sizes=sizes, label_key=self.label_key, seed=seed, **options
        )


def classification_signature(
    name: str,
    task: str,
    inputs: Mapping[str, str],
    output: tuple[str, str],
    labels: Sequence[str],
) -> type[dspy.Signature]:
    """Return a new signature class with one output, restricted to `labels`.

    Args:
        name: Name of the class.
        task: One sentence that says what to do; it becomes the prompt.
        inputs: Description of each input, by name; "" for none.
        output: Name and description of the output.
        labels: The labels allowed.
    """
    fields: dict[str, tuple[Any, Any]] = {
        key: (str, dspy.InputField(desc=text) if text else dspy.InputField())
        for key, text in inputs.items()
    }
    key, text = output
    fields[key] = (
        Literal[tuple(labels)],
        dspy.OutputField(desc=text) if text else dspy.OutputField(),
    )
    made: type[dspy.Signature] = dspy.make_signature(fields, task, name)
    return made


def load_task(name: str, **options: Any) -> Task:
    """Return the task of that name with its examples.

    Args:
        name: `stereoset`, `contract_nli` or `logiqa`.
        options: What the task's own loader takes.

    Raises:
        ConfigError: No task has this name, or it has no such option.
        DataError: No source of the data works.
    """
    if name not in LOADERS:
        msg = f"no task is called {name!r}{nearest(name, LOADERS)}"
        raise ConfigError(msg)
    module, _, function = LOADERS[name].partition(":")
    loader = getattr(import_module(module), function)
    known = loader.__kwdefaults__ or {}
    for option in options:
        if option not in known:
            hint = nearest(option, known) if known else "; it has none"
            msg = f"task {name} has no option {option!r}{hint}"
            raise ConfigError(msg)
    task: Task = loader(**options)
    return task


def task_from_table(config: TableConfig) -> Task:
    """Return the task that a user's table describes.

    Args:
        config: The files, and which of their columns are what.

    Raises:
        DataError: A file or a column is missing, or the rows are not usable.
    """
    table = read_tables(config)
    inputs = tuple(table.input_columns)
    pools = {
        split: examples_from_items(
            items, input_keys=inputs, label_key=table.label_key, labels=table.labels
        )
        for split, items in table.items.items()
    }
    return Task(
        name=config.name,
        signature=classification_signature(
            "TableTask",
            config.task_description,
            {
                field: "" if field == column else column
                for field, column in table.input_columns.items()
            },
            (table.label_key, "" if table.label_key == config.label else config.label),
            table.labels,
        ),
        label_key=table.label_key,
        labels=table.labels,
        input_keys=inputs,
        metric=config.metric,
        examples=tuple(example for pool in pools.values() for example in pool),
        fixed_splits=None if config.path else pools,
        notes=f"from {', '.join(str(path) for path in config.files.values())}",
    )


LOADERS: Mapping[str, str] = {
    name: f"pld_dspy.data.benchmarks.{name}:{name}"
    for name in ("stereoset", "contract_nli", "logiqa")
}
"""Where the loader of each built-in task is."""
