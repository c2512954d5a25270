"""Prompt-Level Distillation as a DSPy optimizer."""

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import dspy

from pld_dspy.config.callables import check_call
from pld_dspy.config.optimizer import ClusterConfig, PLDConfig, RefineConfig
from pld_dspy.data.splits import Splits, check_disjoint
from pld_dspy.errors import ConfigError
from pld_dspy.ledger.store import StageStore
from pld_dspy.ledger.tracker import Status, Tracker
from pld_dspy.ledger.trackers import resolve_tracker
from pld_dspy.ledger.versions import package_versions
from pld_dspy.models.embedder import embedder_name, make_embedder
from pld_dspy.models.lm import model_name
from pld_dspy.models.prompts import Prompts, resolve_prompts
from pld_dspy.records import Embedder, Progress, Split, Trace, silent
from pld_dspy.scoring.evaluator import Metric
from pld_dspy.stages.cluster.methods import Clusterer, resolve_clusterer
from pld_dspy.stages.common.initial import Initial, initial_rules
from pld_dspy.stages.common.problem import Target
from pld_dspy.stages.common.targets import find_targets, prepare_splits, student_lm
from pld_dspy.stages.common.topics import find_topics, log_topics
from pld_dspy.stages.pipeline import Pipeline
from pld_dspy.stages.refine.protocol import Refiner
from pld_dspy.stages.refine.stage import resolve_refiner
from pld_dspy.stages.search.sampler import check_search
from pld_dspy.stages.select.never_worse import resolve_selector
from pld_dspy.stages.select.selector import Selector

logger = logging.getLogger(__name__)


class PLD(dspy.teleprompt.Teleprompter):
    """Prompt-Level Distillation: puts rules from a teacher's explanations into a student's prompt.

    The object holds settings only, so `compile` can be called again and returns the same program.

    The method is that of Badhe and Shah, "Prompt-Level Distillation", arXiv 2602.21103, with changes
    that are described in the documentation.

    >>> from pld_dspy import macro_f1
    >>> optimizer = PLD(
    ...     metric=macro_f1,
    ...     teacher_lm=dspy.LM("gemini/gemini-2.5-pro"),
    ...     config=PLDConfig(search={"trials": 12}),
    ... )
    >>> optimizer.selector.finalists
    3
    >>> compiled = optimizer.compile(student, trainset=examples)  # doctest: +SKIP
    """

    def __init__(  # noqa: PLR0913 - the fixed interface
        self,
        *,
        metric: Metric,
        teacher_lm: dspy.BaseLM | None = None,
        embedder: str | Embedder = "tfidf:32",
        clusterer: str | ClusterConfig | Clusterer | None = None,
        refiner: str | RefineConfig | Refiner | None = None,
        selector: str | Selector | None = None,
        prompts: Prompts | Mapping[str, Any] | None = None,
        config: PLDConfig | None = None,
        tracker: str | Tracker | None = None,
        run_dir: Path | str | None = None,
        seed: int = 0,
        traces: Path | str | Sequence[Path | str] | Sequence[Trace] | None = None,
        initial_rules: Initial | None = None,
        predictors: Sequence[str] | None = None,
        progress: Progress | None = None,
        run_config: Mapping[str, Any] | None = None,
    ) -> None:
        """Set up the optimizer; no model is called and no file is written.

        Args:
            metric: A corpus metric such as `macro_f1`, or a DSPy metric `(example, prediction)`.
            teacher_lm: Writes traces, rules and edits; None takes the student's own model.
            embedder: `tfidf`, `tfidf:<dimensions>`, a LiteLLM embedding model, or an `Embedder`.
            clusterer: Groups the traces: a method by name, its settings, or a `Clusterer`; None
                uses `config.clusters`.
            refiner: Improves the best rule list: `edits`, `none`, settings of the edits, or a
                `Refiner`; None uses `config.refine`.
            selector: Makes the final choice: `best`, `shortest-within-noise`, `rules-within-noise`, or a
                `Selector`; None uses `config.prefer`.
            prompts: Prompts of the teacher; None uses the built-in ones.
            config: Settings of the stages.
            tracker: Logs the run: `mlflow`, `none`, or a `Tracker`; None is `none`.
            run_dir: Folder where every answer is stored, so that a stopped run resumes; None stores
                nothing.
            seed: Random seed; the same seed and answers give the same program.
            traces: Recorded traces, or one or several JSONL files of them, used instead of phase 1.
            initial_rules: Rules that exist already, or a text, TOML or JSON file of them, some for one
                topic only. They are candidates beside those that are distilled, for the predictor
                that the metric scores.
            predictors: Paths of the predictors to distil into; None means every predictor with
                an output that the examples label.
            progress: Called with an `Event` after each call, also from worker threads.
            run_config: Settings of `pld distill`, stored in the Optuna study so that `pld search-worker`
                can evaluate the same student on another machine; None allows no workers.

        Raises:
            ConfigError: A name is unknown, or an object does not match its protocol.
        """
        super().__init__()
        config = config or PLDConfig()
        check_call(
            "metric",
            metric,
            ("example", "prediction"),
            expected="a CorpusMetric such as macro_f1, or a function (example, prediction)",
        )
        self.metric = metric
        self.teacher_lm = teacher_lm
        self.embedder = _embedder(embedder)
        named = config.clusterer if clusterer is None else clusterer
        self.clusters, self.clusterer = resolve_clusterer(named, config.clusters)
        self.refiner = resolve_refiner(refiner, config.refine)
        self.selector = resolve_selector(selector, config)
        self.prompts = resolve_prompts(prompts)
        self.config = config
        self.tracker = resolve_tracker(tracker)
        self.run_dir = Path(run_dir) if run_dir is not None else None
        self.seed = seed
        self.traces = traces
        self.initial_rules = initial_rules
        self.predictors = predictors
        self.progress: Progress = progress or silent
        self.run_config = run_config

    def compile(
        self,
        student: dspy.Module,
        *,
        trainset: Sequence[dspy.Example],
        teacher: dspy.Module | None = None,
        valset: Sequence[dspy.Example] | None = None,
        selectset: Sequence[dspy.Example] | None = None,
        **kwargs: Any,
    ) -> dspy.Module:
        """Return a copy of `student` with the rules in its instructions and a `pld_result` attribute.

        The uncompiled student is a candidate too: on held-out examples it is compared with the best
        rule lists, and its copy is returned without rules if none of them beats it.

        Args:
            student: The program; not modified.
            trainset: Labelled examples, for the teacher and for refinement.
            teacher: Only its LM is used, and only if no `teacher_lm` was set.
            valset: Validation examples, for refinement and search; None holds out a share of
                `trainset` (`config.val_share`, half of it for selection), whole groups if every
                example has a `pld_group`.
            selectset: Held-out examples for the final choice only; None takes half of `valset`.
            **kwargs: Refused; only there because `dspy.Teleprompter.compile` has it.

        Raises:
            ConfigError: No LM is set, no predictor can be distilled into, there is no such topic
                field, or a given rule cannot be used.
            DataError: The examples are empty, of one class, or shared between the splits.
            NoTracesError: The teacher returned nothing usable.
            ModelError: An endpoint cannot be reached; answers so far are kept.
            StorageError: The run folder or the storage of the search cannot be used.
        """
        _refuse(kwargs)
        lm = student_lm(student)
        targets = find_targets(student, trainset, self.predictors)
        splits = prepare_splits(
            targets, trainset, valset, selectset, share=self.config.val_share, seed=self.seed
        )
        check_disjoint(splits)
        rules = self._topics_and_rules(student, targets[-1], splits)
        check_search(self.config.search, self.run_dir)
        store = StageStore(self.run_dir)
        store.check()
        run = Pipeline(
            metric=self.metric,
            config=self.config,
            embedder=self.embedder,
            clusters=self.clusters,
            clusterer=self.clusterer,
            refiner=self.refiner,
            selector=self.selector,
            tracker=self.tracker,
            seed=self.seed,
            given=self.traces,
            run_config=self.run_config,
            progress=self.progress,
            prompts=self.prompts,
            store=store,
            lm=lm,
            teacher_lm=self.teacher_lm or _own_lm(teacher) or lm,
            data={"train": splits.train, "val": splits.val, "select": splits.select},
            sizes=splits.sizes,
            scored=targets[-1],
            **rules,
        )
        return self._tracked(run, student, targets, splits.digests)

    def _topics_and_rules(
        self, student: dspy.Module, scored: Target, splits: Splits
    ) -> dict[str, Any]:
        """Return `topics` of the examples, which are logged, and the given rules, `initial`."""
        others = (*splits.val, *splits.select)
        signature = scored.signature
        topics = find_topics(self.config.topics, student, signature, splits.train, others)
        if topics is not None:
            log_topics(topics)
        given = initial_rules(self.initial_rules, labels=scored.labels, topics=topics)
        return {"topics": topics, "initial": given}

    def _tracked(
        self,
        run: Pipeline,
        student: dspy.Module,
        targets: Sequence[Target],
        digests: Mapping[Split, str],
    ) -> dspy.Module:
        """Return the compiled program; the tracked run is closed in any case."""
        self.tracker.start(
            name="pld",
            params=self._params(run.lm, run.teacher_lm),
            tags={"optimizer": "PLD"},
            run_dir=self.run_dir,
            digests={str(split): digest for split, digest in digests.items()},
        )
        status: Status = "FAILED"
        try:
            compiled = run.compile(student, targets)
            status = "FINISHED"
        except KeyboardInterrupt:
            status = "KILLED"
            raise
        finally:
            self.tracker.finish(status)
        return compiled

    def _params(self, lm: dspy.BaseLM, teacher: dspy.BaseLM) -> dict[str, object]:
        return {
            "seed": self.seed,
            "student": model_name(lm),
            "teacher": model_name(teacher),
            "embedder": embedder_name(self.embedder),
            "traces": "teacher" if self.traces is None else "recorded",
            "config": self.config.model_dump(mode="json"),
            "versions": package_versions(),
        }


def _refuse(kwargs: Mapping[str, Any]) -> None:
    if kwargs:
        msg = f"compile has no argument {', '.join(map(repr, kwargs))}"
        raise ConfigError(msg)


def _embedder(given: str | Embedder) -> Embedder:
    if not isinstance(given, str):
        check_call("embedder", given, ("texts",), expected="a name or an Embedder (texts)")
    return make_embedder(given)


def _own_lm(teacher: dspy.Module | None) -> dspy.BaseLM | None:
    if teacher is None:
        return None
    return next((p.lm for p in teacher.predictors() if p.lm is not None), None)
