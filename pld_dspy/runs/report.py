"""What a run found, in numbers: the record that becomes `report.json`."""

import importlib.metadata
import platform
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, ValidationError

from pld_dspy.errors import StorageError
from pld_dspy.records import Evaluation, Interval, PredictorResult
from pld_dspy.scoring.evaluator import as_accuracy
from pld_dspy.scoring.metrics import CorpusMetric, macro_f1
from pld_dspy.scoring.statistics import bootstrap_interval, mcnemar, paired_bootstrap

REPORT_FILE = "report.json"
_PACKAGES = ("pld-dspy", "dspy", "optuna", "mlflow", "scikit-learn", "numpy", "xllamacpp")


class Report(BaseModel):
    """The student as given against the compiled program, on test examples that nothing else saw."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    task: str
    task_notes: str
    student: str
    student_weights: str
    """Model name as in cache keys; for a local model it names the weights."""
    teacher: str
    teacher_weights: str
    traces: Literal["teacher", "recorded"]
    test_n: int
    metric: str
    """Metric of `baseline`, `compiled`, `delta` and their intervals."""
    baseline: float
    compiled: float
    baseline_ci95: tuple[float, float]
    compiled_ci95: tuple[float, float]
    delta: float
    """Compiled minus baseline, in metric units, on the examples that both answered."""
    delta_ci95: tuple[float, float]
    p_worse: float
    """Share of the resamples in which the compiled program is worse, in [0, 1]."""
    mcnemar_p: float
    baseline_macro_f1: float
    compiled_macro_f1: float
    baseline_accuracy: float
    compiled_accuracy: float
    unparsed_rate_baseline: float
    unparsed_rate_compiled: float
    failures: int
    """Test examples on which the compiled program crashed; they have no score."""
    failures_baseline: int
    prompt_tokens: float
    """Mean input tokens of one compiled call; 0.0 where the endpoint reports none."""
    prompt_tokens_baseline: float
    rules: int
    """Number of rules in the final prompt."""
    demos: int = 0
    """Number of worked examples in the final prompt."""
    chosen_origin: str
    reason: str
    teacher_calls: int
    teacher_input_tokens: int
    teacher_output_tokens: int
    student_calls: int
    """Calls of the compile; those of the test are in `test_calls`."""
    student_input_tokens: int
    student_output_tokens: int
    test_calls: int
    cost_usd: float | None
    """Price of the compile; None where a price is not known, which is not the same as free."""
    dropped: dict[str, int]
    warnings: tuple[str, ...]
    """What the clustering's diagnosis warns of."""
    wall_s: float
    """Seconds, summed over all the sessions that worked on the run folder."""
    compile_wall_s: float
    seed: int
    split: dict[str, Any]
    """`by`, `balance`, `seed`, and by split name `sizes` and `digests`."""
    versions: dict[str, str]
    commit: str | None
    """Commit of the package's checkout, `-dirty` if it has changes; None outside a checkout."""
    search_score: float | None = None
    """Validation score of the chosen list, on which the search chose; None without a search."""
    select_score: float | None = None
    """Score of the chosen list on the selection examples, which the search did not see."""
    optimism: float | None = None
    """`search_score` minus `select_score`: how much of the former is luck, and noise of both."""
    search_trials: int | None = None
    """Lists that the search tried."""
    search_calls: int | None = None
    """Student answers that these lists took."""
    search_full_calls: int | None = None
    """Student answers that the same lists would have taken without racing."""

    @property
    def kept_as_given(self) -> bool:
        """Whether nothing was found better than the student as given."""
        return self.rules == 0 and self.demos == 0

    def to_json(self) -> str:
        """Return the report as JSON text, one key a line."""
        return self.model_dump_json(indent=2) + "\n"

    @classmethod
    def read(cls, run_dir: Path) -> Self:
        """Return the report of a finished run.

        Raises:
            StorageError: The folder has none, or it cannot be read.
        """
        path = run_dir / REPORT_FILE
        try:
            return cls.model_validate_json(path.read_text(encoding="utf-8"))
        except OSError as error:
            msg = f"{path} cannot be read: {error.strerror}; finish the run with `pld distill`"
            raise StorageError(msg) from error
        except UnicodeDecodeError as error:
            msg = f"{path} is not text ({error.reason}); run again"
            raise StorageError(msg) from error
        except ValidationError as error:
            msg = f"{path} is not a report of this version ({error.error_count()} problems); run again"
            raise StorageError(msg) from error


def scores(
    metric: CorpusMetric, before: Evaluation, after: Evaluation, *, seed: int
) -> dict[str, Any]:
    """Return the fields of a report that compare two evaluations of the same examples."""
    first = {a.example_id: a for a in before.answers}
    second = {a.example_id: a for a in after.answers}
    both = [i for i in first if i in second]
    gold = [first[i].gold for i in both]
    said = [first[i].counted for i in both], [second[i].counted for i in both]
    paired = paired_bootstrap(metric, gold, *said, seed=seed)
    ranges = {name: interval(metric, e, seed=seed) for name, e in _named(before, after).items()}
    return {
        "test_n": len(before.answers),
        "metric": metric.name,
        "baseline": before.score,
        "compiled": after.score,
        **{f"{name}_ci95": (found.low, found.high) for name, found in ranges.items()},
        "delta": paired.delta.estimate,
        "delta_ci95": (paired.delta.low, paired.delta.high),
        "p_worse": paired.p_worse,
        "mcnemar_p": mcnemar(gold, *said),
        **{f"{name}_macro_f1": _score(macro_f1, e) for name, e in _named(before, after).items()},
        **{f"{name}_accuracy": as_accuracy(e) for name, e in _named(before, after).items()},
        "unparsed_rate_baseline": before.unparsed_rate,
        "unparsed_rate_compiled": after.unparsed_rate,
        "failures": after.failures,
        "failures_baseline": before.failures,
        "prompt_tokens": after.prompt_tokens,
        "prompt_tokens_baseline": before.prompt_tokens,
    }


def search_numbers(part: PredictorResult) -> dict[str, Any]:
    """Return the fields of a report that tell of the search; none of them if there was none."""
    record = part.search
    if record is None or not record.trials:
        return {}
    val, held_out = (part.score(part.chosen_id, split) for split in ("val", "select"))
    return {
        "search_score": val,
        "select_score": held_out,
        "optimism": None if val is None or held_out is None else val - held_out,
        "search_trials": len(record.trials),
        "search_calls": record.calls,
        "search_full_calls": record.full_calls,
    }


def interval(metric: CorpusMetric, evaluation: Evaluation, *, seed: int) -> Interval:
    """Return the score with its 95% bootstrap interval, over the answers without an error."""
    return bootstrap_interval(metric, *_answers(evaluation), seed=seed)


def versions() -> dict[str, str]:
    """Return the versions of Python and of the packages that decide a result."""
    found = {"python": platform.python_version()}
    for package in _PACKAGES:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue  # the engine for local models is optional
    return found


def commit() -> str | None:
    """Return the commit of this package's checkout, with `-dirty` if tracked files are changed."""
    here = Path(__file__)
    try:
        # An installation inside another project's checkout is not tracked there.
        _git(here.parent, "ls-files", "--error-unmatch", here.name)
        head = _git(here.parent, "rev-parse", "HEAD")
        # Results are added while other runs of the same code go on.
        code = (":/", ":(top,exclude)experiments/results")
        changed = _git(here.parent, "status", "--porcelain", "--untracked-files=no", "--", *code)
    except (OSError, subprocess.SubprocessError):
        return None
    return f"{head}-dirty" if changed else head


def _git(folder: Path, *words: str) -> str:
    command = ["git", "-C", str(folder), *words]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=20)
    return done.stdout.strip()


def _named(before: Evaluation, after: Evaluation) -> Mapping[str, Evaluation]:
    return {"baseline": before, "compiled": after}


def _answers(evaluation: Evaluation) -> tuple[list[str], list[str | None]]:
    answers = evaluation.answers
    return [answer.gold for answer in answers], [answer.counted for answer in answers]


def _score(metric: CorpusMetric, evaluation: Evaluation) -> float:
    return metric(*_answers(evaluation))
