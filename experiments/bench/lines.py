"""One line of a file in `experiments/results`: what a cell found, or why it failed."""

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple, Self, TypeVar

from filelock import FileLock
from pydantic import BaseModel, ConfigDict, ValidationError, model_validator

from experiments.bench.cells import Cell, Traces
from experiments.bench.packing import Gold, Said
from pld_dspy.errors import StorageError

Status = Literal["done", "stopped by budget", "failed"]


class Record(BaseModel):
    """One line of a file of JSON lines."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    cell: str
    """The key: of several lines with the same one the last counts."""


R = TypeVar("R", bound=Record)


class ProgramNote(BaseModel):
    """What the student was asked with, in the words of its predictor."""

    model_config = ConfigDict(frozen=True)

    instructions: str
    demos: int = 0
    """Demonstrations in the prompt."""
    words: dict[str, str] = {}
    """Word shown for each label where it is not the label itself; in lines of a version that chose some."""
    topics: dict[str, str] = {}
    """Instructions by topic; empty where all questions are asked with the same ones."""


class Earlier(BaseModel):
    """What a line of the first experiments has in the place of answers, which they did not keep.

    They ran earlier states of the package, which `commit` of the line names. What else they wrote
    is here under its own names, and in no table.
    """

    model_config = ConfigDict(frozen=True, extra="allow")

    experiment: Literal["first", "search", "wording"]
    delta: float | None = None
    """Score minus that of `against`, on the same test examples."""
    delta_ci95: tuple[float, float] | None = None
    """Paired 95% bootstrap interval of `delta`."""
    against: str = "zero-shot"
    baseline_ci95: tuple[float, float] | None = None
    unparsed_rate_baseline: float | None = None
    rules: int | None = None
    """Rules in the student's prompt; 0 where it was kept as given."""
    search_calls: int | None = None
    """Student calls of the search for a list of rules."""
    search_full_calls: int | None = None
    """Calls that the same lists take when each is asked in full."""
    search_score: float | None = None
    """Of the program on `val`, which the search saw."""
    select_score: float | None = None


class Line(Record):
    """What one cell found. A failed cell has `error`, and none of the scores.

    Scores are in [0, 1] and on test examples, except `val_score` and `curve`. Counts of calls and
    tokens are what the search for a program took; answering the test examples is not in them.
    """

    cell: str
    """`task/optimizer/student/teacher/traces/split/seed/budget`, the key by which a cell is skipped."""
    task: str
    optimizer: str
    """Name in the table of optimizers or of a variant, such as `mipro-light`."""
    student: str
    teacher: str
    """The model that teaches, proposes and reflects."""
    traces: Traces
    """Who wrote the explanations of the training examples, for the optimizers that use them."""
    split_by: Literal["item", "group"]
    seed: int
    """Of the split and of the optimizer."""
    budget: str
    """`x1`, `x3`: that many times what PLD spent; `own`: it spends nothing or sets the budget."""
    budget_calls: int | None = None
    """Student and teacher calls that the cell might make; None is no limit."""
    status: Status
    error: str | None = None
    """Why the cell failed, in one line."""
    note: str = ""
    """What a reader must know, such as why the program is the student as given."""

    test_n: int = 0
    metric: str
    """Metric of `score`, `ci95`, `baseline_score`, `val_score` and `curve`."""
    score: float | None = None
    ci95: tuple[float, float] | None = None
    """95% bootstrap interval of `score` over the test examples."""
    macro_f1: float | None = None
    accuracy: float | None = None
    baseline_score: float | None = None
    """The student as given, on the same test examples."""
    baseline_macro_f1: float | None = None
    baseline_accuracy: float | None = None
    val_score: float | None = None
    """Of the program that was kept, on `val` and `select` together, on which the others validate;
    None if it was not scored on all of them."""
    unparsed_rate: float | None = None
    """Share of test answers from which no label could be read."""
    failures: int | None = None
    """Test examples on which the program crashed; they are None in `said`, and have no score."""
    gold: Gold = ()
    """Gold labels of the test examples, in the order of the split. In the file these three lists
    have one character an answer: `{"labels": ["no", "yes"], "codes": "0-10"}`, `-` for None."""
    said: Said = ()
    """Labels answered, in the order of `gold`; None where none could be read."""
    baseline_said: Said = ()
    """The same for the student as given."""

    greedy_score: float | None = None
    """Of a program that ships with a decision: its score if the label is read from the text."""
    greedy_said: Said = ()
    """The labels read from the text, in the order of `gold`; newer lines have them."""
    decided_score: float | None = None
    """Of the program with the decision layer that all rows get, fitted to its answers on `val` and
    `select`; None where the model that answers gives no label probabilities."""
    decided_ci95: tuple[float, float] | None = None
    """95% bootstrap interval of `decided_score`."""
    decided_said: Said = ()
    """Labels that this decision chooses, in the order of `gold`."""
    decision: dict[str, Any] | None = None
    """Kind, offsets and temperature of this decision, as in `Decision.to_dict`."""
    hindsight_score: float | None = None
    """Best score of such a decision that is fitted to the test answers themselves: no result, but about
    as far as a decision can go. Newer lines have it."""
    decision_calls: int | None = None
    """Requests for the answers to which it was fitted; in no other count and in no budget."""
    separability: float | None = None
    """Mean area under the ROC curve of each label against the rest, over the test answers: what the
    program knows, whatever its bias. 0.5 is nothing."""
    baseline_separability: float | None = None
    """The same for the student as given."""
    separability_gain: float | None = None
    """The first minus the second, over the answers that have both."""
    separability_gain_ci95: tuple[float, float] | None = None
    """Paired 95% bootstrap interval of it."""
    labelled: int | None = None
    """Labelled examples that the program was made from, without those of the decision layer."""

    student_calls: int | None = None
    """Requests to the student while the program was looked for, one an answer."""
    teacher_calls: int | None = None
    """Requests to the teacher, proposer or reflector."""
    cached_calls: int | None = None
    """Calls of either model that DSPy's cache answered within the run; they count for no budget."""
    replayed_calls: int | None = None
    """Of the two counts above, those that an earlier process had paid for. They count, with their
    tokens and their seconds, as if they had been made now."""
    input_tokens: int | None = None
    output_tokens: int | None = None
    cost_usd: float | None = None
    """None where a model's price is not known, which is not the same as free."""
    alone: bool = True
    """Whether no other cell ran beside it. Tables and pictures leave out the seconds of those that
    had to share their machine; counts of calls and tokens do not depend on that."""
    wall_s: float | None = None
    """Seconds of the search for a program."""
    cell_s: float | None = None
    """Seconds that the cell took here: models loaded, both tests and the search, but nothing for
    what a tape answered."""
    prompt_tokens: float | None = None
    """Mean input tokens of one test example."""
    answer_tokens: float | None = None
    """Mean output tokens of one test example."""
    test_latency_s: float | None = None
    """Median seconds of one test call, none of which a cache answered; None if all were stored."""
    curve: tuple[tuple[int, float], ...] = ()
    """`[calls so far, best score on val so far]`. On `val` alone, because every optimizer asks all of
    it about its programs, but PLD's search asks `select` about its finalists only."""
    program: ProgramNote | None = None
    digests: dict[str, str] = {}
    """By split, over the ids of its examples in order; `test` tells which lines can be paired."""
    versions: dict[str, str] = {}
    commit: str | None = None
    earlier: Earlier | None = None
    """Of the lines without answers that the first experiments wrote."""

    @property
    def where(self) -> Cell:
        """The cell, from the line's own keys."""
        return Cell(*(getattr(self, key) for key in Cell._fields))

    @model_validator(mode="after")
    def _complete(self) -> Self:
        if self.status == "failed":
            if self.error is None or self.score is not None:
                msg = "a failed cell has an error and no score"
                raise ValueError(msg)
        elif self.score is None or self.error is not None:
            msg = f"a cell that is {self.status} has a score and no error"
            raise ValueError(msg)
        every = (self.said, self.baseline_said, self.decided_said, self.greedy_said)
        if {len(said) for said in every} - {0, len(self.gold)}:
            msg = "gold, said, baseline_said, decided_said and greedy_said differ in length"
            raise ValueError(msg)
        return self

    def to_json(self) -> str:
        """Return the line, without its end."""
        return self.model_dump_json()


class Broken(NamedTuple):
    """A line that could not be read."""

    number: int
    """Counted from 1."""
    problem: str

    def __str__(self) -> str:
        """Return one line for a person."""
        return f"line {self.number} cannot be read and is left out: {self.problem}"


class Results(NamedTuple):
    """What a results file holds."""

    lines: tuple[Line, ...]
    """In the order of the file; where a cell has several, only the last."""
    broken: tuple[Broken, ...]


def read_lines(path: Path) -> Results:
    """Return the good lines and the broken ones; both empty if there is no file.

    Raises:
        StorageError: The file is there and cannot be read.
    """
    return Results(*read_records(path, Line))


def read_records(path: Path, kind: type[R]) -> tuple[tuple[R, ...], tuple[Broken, ...]]:
    """Return the records of a file of JSON lines, of a cell the last one, and the broken lines.

    Raises:
        StorageError: The file is there and cannot be read.
    """
    if not path.exists():
        return (), ()
    try:
        text = path.read_bytes().decode(errors="replace")
    except OSError as error:
        msg = f"{path} cannot be read: {error.strerror}"
        raise StorageError(msg) from error
    found: dict[str, R] = {}
    broken: list[Broken] = []
    # Not splitlines(): it also splits at U+2028 and the like, which JSON leaves as they are.
    for number, row in enumerate(text.split("\n"), 1):
        if not row.strip():
            continue
        try:
            record = kind.model_validate(json.loads(row))
        except ValidationError as error:
            broken.append(Broken(number, _first(error)))
        except ValueError:
            broken.append(Broken(number, "not JSON"))
        else:
            found.pop(record.cell, None)  # the later line takes its own place
            found[record.cell] = record
    return tuple(found.values()), tuple(broken)


def add_line(line: Record, path: Path) -> None:
    """Add a line to the file, whole or not at all; several processes may do so at once.

    Raises:
        StorageError: It cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(f"{path}.lock"), path.open("ab+") as file:
            start = _mend_end(file)
            file.write(start + line.model_dump_json().encode(errors="backslashreplace") + b"\n")
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        msg = f"{path} cannot be written: {error.strerror}; make room and start again"
        raise StorageError(msg) from error


def _mend_end(file: Any) -> bytes:
    """Return what ends a line that a killed process left half written."""
    size = file.seek(0, os.SEEK_END)
    if not size:
        return b""
    file.seek(size - 1)
    return b"" if file.read(1) == b"\n" else b"\n"


def _first(error: ValidationError) -> str:
    details: Sequence[Any] = error.errors()
    where = ".".join(str(part) for part in details[0]["loc"])
    return f"{where}: {details[0]['msg']}" if where else str(details[0]["msg"])
