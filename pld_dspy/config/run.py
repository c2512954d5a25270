"""Settings of a run, read from a TOML file."""

import tomllib
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from pld_dspy.config.base import Balance, By, Scarce, Settings, Wording
from pld_dspy.config.optimizer import PLDConfig
from pld_dspy.config.paths import data_file
from pld_dspy.config.table import TableConfig
from pld_dspy.errors import ConfigError, DataError
from pld_dspy.records import Split

Count = Annotated[int, Field(ge=1)]


class TaskConfig(Settings):
    """The task: a named one, or a table of your own."""

    name: str | None = None
    """`stereoset`, `stereoset-queues`, `contract_nli`, `logiqa`, or one that an installed package adds."""
    options: dict[str, Any] = Field(default_factory=dict)
    """Options of the named task; `form` and `max_premise_chars` (of `contract_nli`) may also be
    given beside `name`."""
    table: TableConfig | None = None

    @model_validator(mode="before")
    @classmethod
    def _options_beside_the_name(cls, given: Any) -> Any:
        if not isinstance(given, dict) or not isinstance(given.get("options", {}), dict):
            return given
        beside = {key: given[key] for key in ("form", "max_premise_chars") if key in given}
        rest = {key: value for key, value in given.items() if key not in beside}
        moved = {key: value for key, value in beside.items() if value is not None}
        return {**rest, "options": {**moved, **given.get("options", {})}}

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        if (self.name is None) == (self.table is None):
            msg = "give either name (a known task) or a table [task.table]"
            raise ValueError(msg)
        if self.table is not None and self.options:
            msg = f"{', '.join(self.options)} go with a known task, not with a table"
            raise ValueError(msg)
        return self


class SplitConfig(Settings):
    """Sizes of the four splits, and how they are drawn."""

    train: Count
    val: Count
    select: Count
    test: Count
    by: By = "item"
    """`group` gives train, val with select, and test groups of their own (customers, documents)."""
    scarce: Scarce = "refuse"
    """With `by = "group"`, a label with fewer than three groups is an error; `share` keeps only test
    apart for such a label, and the report says so."""
    balance: Balance = "equal"
    """`equal` label counts, or `natural`, the shares of the data."""
    seed: int | None = None
    """Seed of the splits; None means the run's seed."""

    @property
    def sizes(self) -> dict[Split, int]:
        """Number of examples of each split."""
        return {"train": self.train, "val": self.val, "select": self.select, "test": self.test}


class ServerConfig(Settings):
    """Server of a local model."""

    parallel: Count = 1
    """Calls answered at the same time (server slots)."""
    context_tokens: Count = 8_192
    """Context length: prompt and answer of one call together, in tokens."""
    threads: Count | None = None
    """CPU threads; None means one per core, at most eight."""
    reuse_prompt: bool = True
    """Reuse the prompt cache; False is slower, and makes answers independent of earlier calls."""


class ModelConfig(Settings):
    """A language model and its request settings."""

    model: str = Field(min_length=1)
    """`local/...`, or a name that DSPy knows, such as `openai/gpt-4o-mini`."""
    temperature: Annotated[float, Field(ge=0)] | None = 0.0
    """Sampling temperature; `"default"` or `"none"` (None) leaves it to the endpoint."""
    max_tokens: Count | None = None
    """Maximum answer tokens; None means the endpoint's default (1024 for local models)."""
    api_base: str | None = None
    """URL of an OpenAI-compatible endpoint. Keys are read from the environment only."""
    threads: Count | None = None
    """Concurrent calls; None means the setting of `[pld]`."""
    server: ServerConfig | None = None
    """For local models only."""

    @field_validator("temperature", mode="before")
    @classmethod
    def _left_out(cls, value: object) -> object:
        word = value.strip().lower() if isinstance(value, str) else value
        return None if word in {"default", "none"} else value

    @property
    def is_local(self) -> bool:
        """Whether the model runs on this machine, inside this process."""
        return self.model.startswith("local/")

    @model_validator(mode="after")
    def _server_is_local(self) -> Self:
        if self.is_local and self.api_base is not None:
            msg = f"api_base is for models behind an endpoint, and {self.model} runs here"
            raise ValueError(msg)
        if not self.is_local and self.server is not None:
            msg = f"server is for local/... models, and {self.model} is not one"
            raise ValueError(msg)
        return self


class StudentConfig(ModelConfig):
    """The student's model, and how it is asked."""

    wording: Wording | Literal["auto"] = "sentence"
    """`sentence`: `Answer with one of: a, b.`; `field`: `Bias domain (answer with one of: a, b):`;
    `question`: `Which bias domain fits? Answer with one of: a, b.`; `auto` takes the best of these
    on validation."""
    labels_as: Literal["names", "letters", "words", "auto"] | dict[str, str] = "names"
    """How labels are shown and read: `names`, `letters` (`A (a), B (b)`), `words` (those of the task),
    or a word for each label, as `{Entailment = "Yes", Contradiction = "No"}`, several with ` / `
    between; `auto` takes the best of names, letters and the task's words on validation."""
    inputs_first: tuple[str, ...] = ()
    """Inputs that the prompt has before the others; empty is the order of the task."""

    @property
    def compares_forms(self) -> bool:
        """Whether forms of asking are compared before distillation."""
        return "auto" in {self.wording, self.labels_as if isinstance(self.labels_as, str) else ""}


class TracesConfig(Settings):
    """Recorded traces that replace the teacher's explanations."""

    file: str | Annotated[tuple[str, ...], Field(min_length=1)] | None = None
    """JSONL file of recorded traces, or a list of files; a relative path is relative to
    `PLD_DATA_DIR`, then to the working folder."""
    use: bool = True
    """False asks the teacher anyway and uses the file only for the splits (its examples go to train
    first), so that runs with and without recorded traces have the same test examples."""

    @property
    def paths(self) -> tuple[Path, ...]:
        """The files; none if the teacher writes the traces.

        Raises:
            DataError: A variable in a path is not set, or a file does not exist or is named twice.
        """
        names = (self.file,) if isinstance(self.file, str) else self.file or ()
        found = tuple(data_file(name, "traces.file") for name in names)
        for path, count in Counter(found).items():
            if count > 1:
                msg = f"traces.file names {path} {count} times; name it once"
                raise DataError(msg)
        return found

    @property
    def imported(self) -> bool:
        """Whether recorded traces replace the teacher's."""
        return self.file is not None and self.use


class GivenRulesConfig(Settings):
    """Rules that exist already."""

    initial: str | None = None
    """Text, TOML or JSON file of rules, which are candidates beside the distilled ones; a relative
    path is relative to `PLD_DATA_DIR`, then to the working folder."""

    @property
    def path(self) -> Path | None:
        """The file; None if there is none.

        Raises:
            DataError: A variable in the path is not set, or there is no such file.
        """
        return None if self.initial is None else data_file(self.initial, "rules.initial")


class MlflowConfig(Settings):
    """Tracking in MLflow."""

    enabled: bool = False
    tracking_uri: str | None = None
    """None means MLflow's own setting, or `sqlite:///mlflow.db` in the working folder."""
    experiment: str = "pld"
    register_prompt: str | None = None
    """Name of the prompt in the prompt registry; the final prompt becomes its next version."""


class RunConfig(Settings):
    """All settings of a run."""

    run_dir: Path = Path("runs/pld")
    """Folder of the run; a stopped run resumes from it."""
    seed: int = 0
    embedder: str = "tfidf:32"
    """`tfidf:<dimensions>`, a LiteLLM embedding model, or an embedder that an installed package adds."""
    task: TaskConfig
    split: SplitConfig
    student: StudentConfig
    teacher: ModelConfig | None = None
    """None means that the student's model is also the teacher."""
    traces: TracesConfig = TracesConfig()
    rules: GivenRulesConfig = GivenRulesConfig()
    pld: PLDConfig = PLDConfig()
    mlflow: MlflowConfig = MlflowConfig()

    @property
    def teacher_or_student(self) -> ModelConfig:
        """The teacher's model."""
        return self.student if self.teacher is None else self.teacher

    @property
    def split_seed(self) -> int:
        """Seed of the splits."""
        return self.seed if self.split.seed is None else self.split.seed

    @property
    def pld_config(self) -> PLDConfig:
        """The optimizer's settings, with the threads of `[student]` and `[teacher]`."""
        asked = {
            "threads": self.student.threads,
            "teacher_threads": self.teacher_or_student.threads,
        }
        return self.pld.model_copy(update={k: n for k, n in asked.items() if n is not None})


def read_config(path: Path | str, overrides: Sequence[str] = ()) -> RunConfig:
    """Return the settings in a TOML file, with overrides applied.

    Args:
        path: A TOML file.
        overrides: `key=value` with a dotted key; the value is read as TOML, else as a string.

    Raises:
        ConfigError: The file cannot be read or is not TOML, or a setting is unknown or not allowed.
    """
    file = Path(path)
    try:
        settings = tomllib.loads(file.read_text(encoding="utf-8"))
    except tomllib.TOMLDecodeError as error:
        msg = f"{file} is not TOML: {error}"
        raise ConfigError(msg) from error
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        msg = f"the config {file} cannot be read: {reason}; give the path of a TOML file"
        raise ConfigError(msg) from error
    for override in overrides:
        _apply(settings, override)
    try:
        return RunConfig(**settings)
    except ConfigError as error:
        msg = f"{file}: {error}"
        raise ConfigError(msg) from error


def _apply(settings: dict[str, Any], override: str) -> None:
    key, equals, text = override.partition("=")
    parts = key.strip().split(".")
    if not equals or not all(parts):
        msg = f"{override!r} changes no setting; write it as key=value, for instance split.seed=1"
        raise ConfigError(msg)
    table = settings
    for part in parts[:-1]:
        table = table.setdefault(part, {})
        if not isinstance(table, dict):
            msg = f"{override!r} reaches into {part}, which is a single value in the file"
            raise ConfigError(msg)
    table[parts[-1]] = _value(text.strip())


def _value(text: str) -> Any:
    """Return `text` read as a TOML value, or unchanged if it is not one.

    >>> _value("3"), _value("true"), _value("local/x.gguf")
    (3, True, 'local/x.gguf')
    """
    try:
        read = tomllib.loads(f"value = {text}")
    except tomllib.TOMLDecodeError:
        return text
    # A second line could set more than one value, and dates are strings here.
    value = read["value"] if set(read) == {"value"} else text
    return value if isinstance(value, bool | int | float | str | list | dict) else text
