"""The optimizer as DSPy knows it: settings, checks, and one compile."""

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import dspy

from pld_dspy.config.callables import check_call
from pld_dspy.config.optimizer import ClusterConfig, PLDConfig, RefineConfig
from pld_dspy.data.splits import check_disjoint
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
from pld_dspy.stages.common.problem import Target
from pld_dspy.stages.common.targets import find_targets, prepare_splits, student_lm
from pld_dspy.stages.pipeline import Pipeline
from pld_dspy.stages.refine.protocol import Refiner
from pld_dspy.stages.refine.stage import resolve_refiner
from pld_dspy.stages.search.sampler import check_search
from pld_dspy.stages.select import Selector, resolve_selector

logger = logging.getLogger(__name__)


class PLD(dspy.teleprompt.Teleprompter):
    """Prompt-Level Distillation: rules from a teacher's explanations, in the prompt of a student.

    The object holds settings only, so `compile` can be called again and returns the same program.

    >>> optimizer = PLD(
    ...     metric=macro_f1, teacher_lm=dspy.LM("gemini/gemini-2.5-pro")
    ... )  # doctest: +SKIP
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
        traces: Path | str | Sequence[Trace] | None = None,
        predictors: Sequence[str] | None = None,
        progress: Progress | None = None,
        run_config: Mapping[str, Any] | None = None,
    ) -> None:
        """Set up the optimizer; nothing is called or written yet.

        Args:
            metric: A corpus metric such as `macro_f1`, or a DSPy metric `(example, prediction)`.
            teacher_lm: Writes traces, rules and edits; None takes the student's own model.
            embedder: `tfidf`, `tfidf:<dimensions>`, a LiteLLM embedding model, or an `Embedder`.
            clusterer: Groups the traces: the name of a method, its settings, or a `Clusterer`;
                None takes `config.clusters`.
            refiner: Improves the best list: `edits`, `none`, settings of the edits, or a `Refiner`;
                None takes `config.refine`.
            selector: Makes the final choice: `best`, `shortest-within-noise`, or a `Selector`; None
                takes `config.prefer`.
            prompts: Prompts of the teacher in place of the built-in ones.
            config: Settings of the stages.
            tracker: Where the run is logged: `mlflow`, `none`, or a `Tracker`; None logs nowhere.
            run_dir: Folder that keeps every answer, so that a stopped run resumes; None keeps none.
            seed: Seed of every draw; the same seed and answers give the same program.
            traces: Recorded traces, or a JSONL file of them, in place of phase 1.
            predictors: Paths of the predictors to distil into; None takes each predictor that
                has an output with a gold label in the examples.
            progress: Called with an `Event` after each call, also from worker threads.
            run_config: Settings of `pld distill`, written into the study of the search so that
                `pld search-worker` can ask the same student elsewhere; None lets none join.

        Raises:
            ConfigError: A name is not known, or an object cannot be called as its protocol says.
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
        if not isinstance(embedder, str):
            check_call("embedder", embedder, ("texts",), expected="a name or an Embedder (texts)")
        self.embedder = make_embedder(embedder)
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
        """Return a copy of `student` whose instructions hold the rules, with `pld_result` attached.

        The student is scored beside every rule list on examples that no step has used, and is
        returned as given if no list beats it there.

        Args:
            student: The program; it is not changed.
            trainset: Labelled examples for the teacher and for the refinement loop.
            teacher: Only its LM is used, and only if no `teacher_lm` was set.
            valset: Examples that guide refinement and search; None sets some of `trainset` aside.
            selectset: Examples for the final choice alone; None takes half of `valset`.
            **kwargs: None is known; a name that is not is refused.

        Raises:
            ConfigError: No LM is set, or no predictor can be distilled into.
            DataError: The examples are empty, of one class, or shared between the splits.
            NoTracesError: The teacher gave nothing usable.
            ModelError: An endpoint cannot be reached; what was answered before is kept.
            StorageError: The run folder or the storage of the search cannot be used.
        """
        if kwargs:
            msg = f"compile has no argument {', '.join(map(repr, kwargs))}"
            raise ConfigError(msg)
        lm = student_lm(student)
        targets = find_targets(student, trainset, self.predictors)
        splits = prepare_splits(
            targets, trainset, valset, selectset, share=self.config.val_share, seed=self.seed
        )
        check_disjoint(splits)
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
        )
        return self._tracked(run, student, targets, splits.digests)

    def _tracked(
        self,
        run: Pipeline,
        student: dspy.Module,
        targets: Sequence[Target],
        digests: Mapping[Split, str],
    ) -> dspy.Module:
        """Return the compiled program; the tracked run is closed whatever happens."""
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


def _own_lm(teacher: dspy.Module | None) -> dspy.BaseLM | None:
    if teacher is None:
        return None
    return next((p.lm for p in teacher.predictors() if p.lm is not None), None)
