"""Settings of a user's own table."""

from pathlib import Path
from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from pld_dspy.records import Split

Format = Literal["csv", "jsonl"]


class TableConfig(BaseModel):
    """Where a user's examples are, and how they become a task."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = "table"
    path: Path | None = None
    """One file, to be split; or else `train`, with any of the other three."""
    train: Path | None = None
    val: Path | None = None
    select: Path | None = None
    test: Path | None = None
    format: Format | None = None
    """None reads it off the suffix (.csv, .jsonl, .ndjson)."""
    inputs: tuple[str, ...] = Field(min_length=1)
    """Columns that the student sees."""
    label: str
    labels: tuple[str, ...] | None = None
    """The labels allowed; None takes those of the data, sorted."""
    description: str = ""
    """What is to be done, in one sentence; it becomes the prompt. "" writes a plain one."""
    group: str | None = None
    """Column of what must not be split between train and test, for instance a customer."""
    id: str | None = None
    """Column of the id; None takes the file name and the row number, from 0."""
    metric: Literal["macro_f1", "accuracy", "mcc"] = "macro_f1"

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if (self.path is None) == (self.train is None):
            msg = "give either path (one file, to be split) or train (with val, select, test)"
            raise ValueError(msg)
        if self.path is not None and (self.val or self.select or self.test):
            msg = "path is one file to be split; give train in its place to go with val or test"
            raise ValueError(msg)
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
    def files(self) -> dict[Split, Path]:
        """The files by split; a single file to be split stands under `train`."""
        named: dict[Split, Path | None] = {
            "train": self.path or self.train,
            "val": self.val,
            "select": self.select,
            "test": self.test,
        }
        return {split: path for split, path in named.items() if path is not None}

    @property
    def task_description(self) -> str:
        """The description, or a plain sentence in its place."""
        return self.description or f"Give the {self.label} from the {', '.join(self.inputs)}."
