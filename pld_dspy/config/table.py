"""Settings of a table of your own examples."""

from pathlib import Path
from typing import Literal, Self

from pydantic import Field, model_validator

from pld_dspy.config.base import Settings
from pld_dspy.records import Split

Format = Literal["csv", "tsv", "jsonl", "parquet"]


class TableConfig(Settings):
    """Files or a hub data set with labelled examples, and which columns are inputs and label.

    >>> TableConfig(path="tickets.csv", inputs=["text"], label="team").task_description
    'Give the team from the text.'
    """

    name: str = "table"
    path: Path | None = None
    """One file, to be split; otherwise give `train`, with any of `val`, `select` and `test`."""
    train: Path | None = None
    val: Path | None = None
    select: Path | None = None
    test: Path | None = None
    hub: str | None = None
    """A data set on the Hugging Face hub, `owner/name`, or a local folder that `datasets` can load,
    instead of files."""
    subset: str | None = None
    """Subset (configuration) of the hub data set; None means its default one."""
    split: str | dict[Split, str] | None = None
    """One split of the hub data set, to be split here, or a hub split for each of ours, such as
    `{train = "train", test = "validation"}`."""
    revision: str | None = None
    """Commit, tag or branch of the hub data set; None means the newest."""
    format: Format | None = None
    """File format; None infers it from the suffix: .csv, .tsv, .tab, .jsonl, .ndjson, .parquet, .pq."""
    delimiter: str | None = Field(default=None, min_length=1, max_length=1)
    """Delimiter of a CSV file; None detects comma, semicolon, tab or bar from the header."""
    encoding: str | None = None
    """Encoding of text files, such as `cp1252`; None means UTF-8, or the encoding of the byte order mark."""
    inputs: tuple[str, ...] = Field(min_length=1)
    """Columns of the inputs."""
    label: str
    """Column of the gold label."""
    labels: tuple[str, ...] | None = None
    """Label set; None means the labels in the data, sorted."""
    label_words: dict[str, str] | None = None
    """A word for each label, which `labels_as = "words"` or `"auto"` of `[student]` shows in its place."""
    description: str = ""
    """Task instructions in one sentence, the start of the prompt; "" means a default sentence."""
    group: str | None = None
    """Column of the group, for instance a customer, that with `split.by = "group"` is in train, in val
    and select, or in test only."""
    id: str | None = None
    """Column of the example id; None means file name and row number, from 0."""
    metric: str = "macro_f1"
    """`macro_f1`, `accuracy`, `mcc`, or a metric that an installed package adds."""

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        if [self.path, self.train, self.hub].count(None) != 2:
            msg = (
                "give either path (one file, to be split), train (with val, select, test) "
                "or hub (a data set, with split)"
            )
            raise ValueError(msg)
        if self.train is None and (self.val or self.select or self.test):
            msg = "val, select and test need train; give train instead of path or hub"
            raise ValueError(msg)
        if self.hub is None and (self.split or self.subset or self.revision):
            msg = "split, subset and revision go with hub; leave them out for files"
            raise ValueError(msg)
        if self.hub is not None and (self.format or self.delimiter or self.encoding):
            msg = "format, delimiter and encoding go with files; leave them out for hub"
            raise ValueError(msg)
        if self.hub is not None and not self.hub_splits.get("train"):
            msg = 'hub needs split, such as "train" or {train = "train", test = "test"}'
            raise ValueError(msg)
        return self

    @model_validator(mode="after")
    def _consistent_columns(self) -> Self:
        if self.label in self.inputs:
            msg = f"the label column {self.label!r} is among the inputs; take it out"
            raise ValueError(msg)
        if len(set(self.inputs)) < len(self.inputs):
            msg = "an input column is named twice"
            raise ValueError(msg)
        if self.labels is not None and len(set(self.labels)) < max(2, len(self.labels)):
            msg = f"labels are {list(self.labels)}; give at least two, each once"
            raise ValueError(msg)
        return self

    @property
    def single(self) -> bool:
        """Whether all examples are in one file or hub split, to be split here."""
        return self.path is not None or (self.hub is not None and not isinstance(self.split, dict))

    @property
    def files(self) -> dict[Split, Path]:
        """The files by split; a single file to be split is under `train`."""
        named: dict[Split, Path | None] = {
            "train": self.path or self.train,
            "val": self.val,
            "select": self.select,
            "test": self.test,
        }
        return {split: path for split, path in named.items() if path is not None}

    @property
    def hub_splits(self) -> dict[Split, str]:
        """The hub's split for each of ours; a single one to be split is under `train`."""
        if isinstance(self.split, str):
            return {"train": self.split}
        return self.split or {}

    @property
    def columns(self) -> tuple[str, ...]:
        """All columns that are read."""
        optional = (column for column in (self.group, self.id) if column is not None)
        return (*self.inputs, self.label, *optional)

    @property
    def task_description(self) -> str:
        """The description, or a default sentence."""
        return self.description or f"Give the {self.label} from the {', '.join(self.inputs)}."
