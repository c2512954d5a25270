"""Tasks: a DSPy signature with a closed label set, and the examples for it."""

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pkgutil import resolve_name
from typing import Any, Literal, get_type_hints

import dspy
from pydantic import TypeAdapter, ValidationError
from pydantic.errors import PydanticUserError

from pld_dspy.config.base import explain_value
from pld_dspy.config.plugins import TASKS, find, owner
from pld_dspy.config.table import TableConfig
from pld_dspy.data.examples import examples_from_items
from pld_dspy.data.splits import Splits, make_splits, make_splits_from_pools
from pld_dspy.data.tables import read_tables
from pld_dspy.errors import ConfigError, DataError, PLDError, nearest
from pld_dspy.records import Split


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """A classification task: signature, labels, metric and examples.

    >>> from pld_dspy.data.examples import make_example
    >>> keys = {"input_keys": ("text",), "label_key": "team"}
    >>> task = Task(
    ...     name="tickets",
    ...     signature=classification_signature(
    ...         "Tickets", "Name the team.", {"text": ""}, ("team", ""), ("billing", "support")
    ...     ),
    ...     labels=("billing", "support"),
    ...     metric="accuracy",
    ...     examples=tuple(
    ...         make_example({"text": text}, team, **keys)
    ...         for text, team in [("My invoice is wrong", "billing"), ("It crashes", "support")]
    ...     ),
    ...     **keys,
    ... )
    >>> task.split({"train": 1, "val": 1}, seed=0).sizes
    {'train': 1, 'val': 1, 'select': 0, 'test': 0}
    """

    name: str
    signature: type[dspy.Signature]
    """Made anew at each load, so that changing one task cannot change another."""
    label_key: str
    labels: tuple[str, ...]
    input_keys: tuple[str, ...]
    metric: str
    """Name of the metric: `macro_f1`, `accuracy`, `mcc`, or one that an installed package adds."""
    examples: tuple[dspy.Example, ...]
    """All the examples, of every pool, repeats included; `split` leaves repeats out."""
    fixed_splits: Mapping[Split, tuple[dspy.Example, ...]] | None = None
    """Pools that the data set gives: val and select are both drawn from `val`. None if it has none."""
    label_words: Mapping[str, str] = field(default_factory=dict)
    """A word for each label that a student may be shown in its place; empty offers none."""
    notes: str = ""
    """Where the examples come from, and what they may not be compared with."""

    def split(self, sizes: Mapping[Split, int], *, seed: int, **options: Any) -> Splits:
        """Return disjoint splits, from the fixed pools if the data set has them.

        Args:
            sizes: Examples wanted of each split.
            seed: Seed of the draw.
            options: `by`, `balance`, `prefer` and `scarce` of `make_splits`.

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
        name: `stereoset`, `stereoset-queues`, `contract_nli`, `logiqa`, or a task that an installed
            package adds under the entry-point group `pld_dspy.tasks`: a function of keyword-only
            options that returns a `Task`.
        options: Keyword arguments of the task's loader.

    Raises:
        ConfigError: No task has this name, it has no such option, or the loader is not one.
        DataError: No source of the data works.
    """
    found = find(TASKS, name, LOADERS, expected="a function that returns a Task")
    own = isinstance(found, str)
    loader = resolve_name(found) if own else found
    who = f"task {name}" if own else owner(TASKS, name)
    checked = _checked_options(who, loader, options)
    try:
        task = loader(**checked)
    except PLDError:
        raise
    except Exception as error:  # whatever another package's loader does
        if own:
            raise
        said = " ".join(f"{type(error).__name__}: {error}".split())
        msg = f"{who} cannot be loaded ({said}); check its options and its data"
        raise DataError(msg) from error
    if not isinstance(task, Task):
        msg = f"{who} returned a {type(task).__name__}, should be a pld_dspy.data.tasks.Task"
        raise ConfigError(msg)
    return task


def _checked_options(
    who: str, loader: Callable[..., Any], options: Mapping[str, Any]
) -> dict[str, Any]:
    """Return the options, converted to the types that the loader's parameters have.

    Raises:
        ConfigError: An option is unknown, missing or of another type, or the loader needs
            positional arguments.
    """
    parameters = inspect.signature(loader).parameters.values()
    known = [p.name for p in parameters if p.kind is p.KEYWORD_ONLY]
    required = [p.name for p in parameters if p.default is p.empty and p.kind is not p.VAR_KEYWORD]
    takes_any = any(p.kind is p.VAR_KEYWORD for p in parameters)
    for option in required:
        if option not in known:
            msg = f"{who} takes the positional argument {option}; a task takes keyword-only options"
            raise ConfigError(msg)
        if option not in options:
            msg = f"{who} needs the option {option!r}; set it in [task.options]"
            raise ConfigError(msg)
    hints = _hints(loader)
    checked = {}
    for option, value in options.items():
        if option not in known and not takes_any:
            hint = nearest(option, known) if known else "; it has none"
            msg = f"{who} has no option {option!r}{hint}"
            raise ConfigError(msg)
        checked[option] = _converted(f"{who}, option {option}", value, hints.get(option, Any))
    return checked


def _hints(loader: Callable[..., Any]) -> dict[str, Any]:
    try:
        return get_type_hints(loader)
    except (NameError, TypeError):  # names that only a type checker sees, or no function
        return {}


def _converted(where: str, value: Any, hint: Any) -> Any:
    try:
        return TypeAdapter(hint).validate_python(value)
    except ValidationError as error:
        msg = f"{where}: {explain_value(error)}"
        raise ConfigError(msg) from error
    except PydanticUserError:  # a type that pydantic does not know is not checked
        return value


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
                name: "" if name == column else column
                for name, column in table.input_columns.items()
            },
            (table.label_key, "" if table.label_key == config.label else config.label),
            table.labels,
        ),
        label_key=table.label_key,
        labels=table.labels,
        input_keys=inputs,
        metric=config.metric,
        examples=tuple(example for pool in pools.values() for example in pool),
        fixed_splits=None if config.single else pools,
        label_words=config.label_words or {},
        notes=f"from {table.notes}",
    )


LOADERS: Mapping[str, str] = {
    name: f"pld_dspy.data.benchmarks.{loader}"
    for name, loader in {
        "stereoset": "stereoset:stereoset",
        "stereoset-queues": "stereoset:stereoset_queues",
        "contract_nli": "contract_nli:contract_nli",
        "logiqa": "logiqa:logiqa",
    }.items()
}
"""Where the loader of each built-in task is."""
