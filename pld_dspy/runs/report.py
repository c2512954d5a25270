"""The numbers of a finished run: the record that becomes `report.json`."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, ValidationError

from pld_dspy.config.run import RunConfig
from pld_dspy.errors import StorageError
from pld_dspy.ledger.versions import commit
from pld_dspy.models.lm import model_name
from pld_dspy.records import Evaluation, Interval, PLDResult, PredictorResult, Usage
from pld_dspy.runs.setup import Loaded, Models
from pld_dspy.runs.topics import topic_numbers
from pld_dspy.scoring.evaluator import as_accuracy
from pld_dspy.scoring.metrics import CorpusMetric, Metric, macro_f1, metric_by_name
from pld_dspy.scoring.statistics import (
    bootstrap_interval,
    mcnemar,
    paired_bootstrap,
    paired_bootstrap_scores,
)

REPORT_FILE = "report.json"


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
    topics: int | None = None
    """Number of topics with rules of their own in the final prompts; None if rules are not by topic."""
    unseen_topics: int | None = None
    """Test examples with a topic that training lacks, which get the general rules only."""
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
    clustering: str = ""
    """Method as run, with its settings, for instance `dbscan(eps=0.31, min_samples=3)`."""
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
        """Whether no list was better than the student as given."""
        return self.rules == 0 and self.demos == 0

    @property
    def test_measures(self) -> dict[str, float]:
        """The scores on test and what the run took, as metrics of a tracked run."""
        names = ("baseline", "compiled", "delta", "p_worse", "mcnemar_p", "prompt_tokens", "rules")
        rates = ("unparsed_rate_baseline", "unparsed_rate_compiled", "wall_s")
        return {name: float(getattr(self, name)) for name in (*names, *rates)}

    @property
    def search_measures(self) -> dict[str, float]:
        """The numbers of the search, as metrics of a tracked run; empty without one."""
        measures = {
            "val_score": self.search_score,
            "select_score": self.select_score,
            "optimism": self.optimism,
            "trials": self.search_trials,
            "calls": self.search_calls,
            "full_calls": self.search_full_calls,
        }
        return {name: float(value) for name, value in measures.items() if value is not None}

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


def make_report(
    config: RunConfig,
    loaded: Loaded,
    models: Models,
    result: PLDResult,
    tested: tuple[Evaluation, Evaluation],
    *,
    wall_s: float,
) -> Report:
    """Return the report of a finished run.

    Args:
        config: Its settings.
        loaded: Its task and splits.
        models: Its models.
        result: What the compile did.
        tested: The student as given and the compiled program, on test.
        wall_s: Seconds, summed over all the sessions that worked on the run folder.
    """
    task, splits = loaded.task, loaded.splits
    costs = [usage.cost_usd for usage in result.usage.values()]
    first = result.predictors[0]
    return Report(
        task=task.name,
        task_notes=task.notes,
        student=config.student.model,
        student_weights=model_name(models.student),
        teacher=config.teacher_or_student.model,
        teacher_weights=model_name(models.teacher),
        traces="recorded" if config.traces.imported else "teacher",
        **scores(metric_by_name(task.metric), *tested, seed=config.seed),
        **search_numbers(first),
        rules=len(result.rules),
        demos=sum(len(part.chosen.demos) for part in result.predictors),
        **topic_numbers(result, splits.test),
        chosen_origin=first.chosen.origin,
        reason=first.reason,
        **_usage(result, "teacher"),
        **_usage(result, "student"),
        test_calls=sum(answer.calls for e in tested for answer in e.answers),
        cost_usd=None if None in costs else sum(cost for cost in costs if cost is not None),
        dropped=dict(result.dropped),
        warnings=first.clustering.diagnosis.warnings,
        clustering=first.clustering.diagnosis.method,
        wall_s=wall_s,
        compile_wall_s=result.wall_s,
        seed=config.seed,
        split={
            **config.split.model_dump(include={"by", "balance"}),
            **{"seed": config.split_seed, "sizes": splits.sizes, "digests": splits.digests},
        },
        versions=dict(result.versions),
        commit=commit(),
    )


def scores(metric: Metric, before: Evaluation, after: Evaluation, *, seed: int) -> dict[str, Any]:
    """Return the fields of a report that compare two evaluations of the same examples."""
    first = {a.example_id: a for a in before.answers}
    second = {a.example_id: a for a in after.answers}
    both = [i for i in first if i in second]
    gold = [first[i].gold for i in both]
    said = [first[i].counted for i in both], [second[i].counted for i in both]
    if isinstance(metric, CorpusMetric):
        paired = paired_bootstrap(metric, gold, *said, seed=seed)
    else:
        values = [first[i].score for i in both], [second[i].score for i in both]
        paired = paired_bootstrap_scores(*values, seed=seed)
    ranges = {name: interval(metric, e, seed=seed) for name, e in _named(before, after).items()}
    return {
        "test_n": len(before.answers),
        "metric": before.metric,
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
    """Return the fields of a report about the search; none of them if there was none."""
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


def interval(metric: Metric, evaluation: Evaluation, *, seed: int) -> Interval:
    """Return the score with its 95% bootstrap interval, over the answers without an error."""
    if not isinstance(metric, CorpusMetric):
        values = [answer.score for answer in evaluation.answers if answer.error is None]
        return paired_bootstrap_scores([0.0] * len(values), values, seed=seed).delta
    return bootstrap_interval(metric, *_answers(evaluation), seed=seed)


def _usage(result: PLDResult, role: str) -> dict[str, Any]:
    used = result.usage.get(role, Usage())
    counts = ("calls", "input_tokens", "output_tokens")
    return {f"{role}_{name}": getattr(used, name) for name in counts}


def _named(before: Evaluation, after: Evaluation) -> Mapping[str, Evaluation]:
    return {"baseline": before, "compiled": after}


def _answers(evaluation: Evaluation) -> tuple[list[str], list[str | None]]:
    answers = evaluation.answers
    return [answer.gold for answer in answers], [answer.counted for answer in answers]


def _score(metric: CorpusMetric, evaluation: Evaluation) -> float:
    return metric(*_answers(evaluation))
