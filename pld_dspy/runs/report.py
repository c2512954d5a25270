"""The numbers of a finished run: the record that becomes `report.json`."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple, Self

import dspy
from pydantic import BaseModel, ConfigDict, ValidationError

from pld_dspy.config.run import RunConfig
from pld_dspy.errors import StorageError
from pld_dspy.ledger.versions import commit
from pld_dspy.models.lm import model_name
from pld_dspy.models.topics import unseen
from pld_dspy.records import Evaluation, PLDResult, PredictorResult, Usage
from pld_dspy.runs.before_after import scores
from pld_dspy.runs.setup import Loaded, Models
from pld_dspy.runs.waterfall import Reference, Step, rules_step
from pld_dspy.runs.wording import AskedBest, AskedBestScore, WordingScore, asked_numbers, tests_of
from pld_dspy.scoring.metrics import metric_by_name
from pld_dspy.scoring.statistics import interval

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
    demos: int = 0
    """Number of worked examples in the final prompt."""
    words: dict[str, str] = {}
    """Word that the student sees for each label, where the labels' names say less."""
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
    rule_warnings: tuple[str, ...] = ()
    """False rules that were kept for want of true ones, and labels that no rule answers."""
    clustering: str = ""
    """Method as run, with its settings, for instance `dbscan(eps=0.31, min_samples=3)`."""
    wall_s: float
    """Seconds, summed over all the sessions that worked on the run folder."""
    compile_wall_s: float
    seed: int
    split: dict[str, Any]
    """`by`, `balance`, `seed`, by split name `sizes` and `digests`, and `shared`: by label the number
    of groups, for labels for which only test has groups of its own."""
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
    steps: tuple[Step, ...] = ()
    """What each step brought on test: as given, wording, decision, worked examples, rules."""
    references: tuple[Reference, ...] = ()
    """A bag of words and the majority label on test, from the labelled examples of the run."""
    decision: dict[str, Any] | None = None
    """How labels are chosen, as `Decision.to_dict`; None takes them from the text."""
    form: str = ""
    """How the compiled program is asked, for instance `sentence, names`; empty in older reports."""
    wordings: tuple[WordingScore, ...] = ()
    """The forms compared on validation; the first is that of `baseline`. Empty if it was set."""
    wording_calls: int = 0
    """Student calls of the forms that were not chosen; those of the chosen one are in `student_calls`."""
    asked_best: AskedBestScore | None = None
    """The student without rules in the chosen form, on test; None if that is the form as given."""

    @property
    def kept_as_given(self) -> bool:
        """Whether no list was better than the student as given."""
        return not (self.rules or self.demos or self.words)

    @property
    def rules_step(self) -> Step | None:
        """The step of the rules; None if there are none, or the run has no steps."""
        return rules_step(self.steps)

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


class Tested(NamedTuple):
    """Evaluations on the test examples."""

    before: Evaluation
    """Of the student as given."""
    after: Evaluation
    """Of the compiled program."""
    steps: tuple[Step, ...] = ()
    """From the one to the other."""
    references: tuple[Reference, ...] = ()
    """What needs no language model."""


def make_report(
    config: RunConfig,
    loaded: Loaded,
    models: Models,
    result: PLDResult,
    tested: Tested,
    *,
    wall_s: float,
    asked: AskedBest | None = None,
) -> Report:
    """Return the report of a finished run.

    Args:
        config: Its settings.
        loaded: Its task and splits.
        models: Its models.
        result: What the compile did.
        tested: The student as given and the compiled program, on test.
        wall_s: Seconds, summed over all the sessions that worked on the run folder.
        asked: The forms of asking that were compared; None if it was set.
    """
    task, splits = loaded.task, loaded.splits
    metric = metric_by_name(task.metric)
    first = result.predictors[0]
    return Report(
        task=task.name,
        task_notes=task.notes,
        student=config.student.model,
        student_weights=model_name(models.student),
        teacher=config.teacher_or_student.model,
        teacher_weights=model_name(models.teacher),
        traces="recorded" if config.traces.imported else "teacher",
        **scores(metric, tested.before, tested.after, seed=config.seed),
        **search_numbers(first),
        **asked_numbers(loaded.form, asked, lambda e: interval(metric, e, seed=config.seed)),
        **_choice(result, splits.test),
        steps=tested.steps,
        references=tested.references,
        **_usage(result),
        test_calls=sum(a.calls for e in (*tested[:2], *tests_of(asked)) for a in e.answers),
        cost_usd=_cost(result),
        dropped=dict(result.dropped),
        warnings=first.clustering.diagnosis.warnings,
        rule_warnings=tuple(warning for part in result.predictors for warning in part.warnings),
        clustering=first.clustering.diagnosis.method,
        wall_s=wall_s,
        compile_wall_s=result.wall_s,
        seed=config.seed,
        split={
            **config.split.model_dump(include={"by", "balance"}),
            **{"seed": config.split_seed, "sizes": splits.sizes, "digests": splits.digests},
            **({"shared": dict(splits.shared.groups)} if splits.shared else {}),
        },
        versions=dict(result.versions),
        commit=commit(),
    )


def _cost(result: PLDResult) -> float | None:
    costs = [usage.cost_usd for usage in result.usage.values()]
    return None if None in costs else sum(cost for cost in costs if cost is not None)


def _choice(result: PLDResult, test: Sequence[dspy.Example]) -> dict[str, Any]:
    """Return the fields of a report about what was chosen."""
    first = result.predictors[0]
    return {
        **_topic_numbers(result, test),
        "rules": len(result.rules),
        "demos": sum(len(part.chosen.demos) for part in result.predictors),
        "words": {k: word for part in result.predictors for k, word in part.chosen.words.items()},
        "decision": None if first.decision is None else first.decision.to_dict(),
        "chosen_origin": first.chosen.origin,
        "reason": first.reason,
    }


def _topic_numbers(result: PLDResult, test: Sequence[dspy.Example]) -> dict[str, Any]:
    """Return the fields of a report about the topics; none of them if rules are not by topic."""
    found = [part.chosen.topics for part in result.predictors if part.chosen.topics is not None]
    own = {rule.scope for rule in result.rules if rule.scope is not None}
    return {"topics": len(own), "unseen_topics": unseen(found[0], test)} if found else {}


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


def _usage(result: PLDResult) -> dict[str, Any]:
    used = {role: result.usage.get(role, Usage()) for role in ("teacher", "student")}
    names = ("calls", "input_tokens", "output_tokens")
    return {f"{role}_{n}": getattr(usage, n) for role, usage in used.items() for n in names}
