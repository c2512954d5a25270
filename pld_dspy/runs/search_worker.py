"""Joins a running search from another process or another machine."""

import logging
from typing import NamedTuple

from pld_dspy.config.run import RunConfig
from pld_dspy.errors import StorageError
from pld_dspy.ledger.store import StageStore
from pld_dspy.records import Progress, silent
from pld_dspy.runs.setup import Loaded, load, make_evaluator, make_student
from pld_dspy.stages.common.problem import Problem
from pld_dspy.stages.common.prompt import with_demos, with_prompt, with_words
from pld_dspy.stages.demos import shown
from pld_dspy.stages.search.loop import search
from pld_dspy.stages.search.shared.spec import SearchSpec
from pld_dspy.stages.search.shared.storage import FINGERPRINT, find_study, open_storage
from pld_dspy.stages.search.stage import make_contest, mark_of

logger = logging.getLogger(__name__)


class Joined(NamedTuple):
    """What a worker did."""

    study: str
    asked: int
    """Student calls of this worker."""
    tried: int
    """Lists that the study has tried, by all its workers."""


def join_search(
    storage: str, study_name: str, *, api_base: str | None = None, progress: Progress = silent
) -> Joined:
    """Work until the study has all its trials, and return what was done; the main run then resumes.

    The study says which student is asked, on which examples. The examples are read from this
    machine's own sources, and have to be the same.

    Args:
        storage: Database URL, or `journal:<path>`.
        study_name: Name of the study, as in the main run's log.
        api_base: Another address of the student's endpoint, as this machine reaches it.
        progress: Called with an `Event` after each call, also from worker threads.

    Raises:
        StorageError: The storage does not answer, holds no such study, or the study's examples,
            rules or model differ from those of this machine.
        PLDError: The data or the model is not available on this machine.
    """
    study = find_study(open_storage(storage), study_name)
    spec = SearchSpec.read(study)
    config = _config(spec, api_base)
    loaded = load(config)
    lm = make_student(config, progress=progress)
    store = StageStore(None)
    evaluator = make_evaluator(
        config,
        loaded.task,
        lm,
        store,
        progress,
        probabilities=config.pld.search.probabilities,
    )
    problem = _problem(config, loaded, spec)
    contest = make_contest(
        spec.space,
        problem,
        evaluator,
        known=spec.tried,
        config=spec.search,
        seed=spec.seed,
    )
    if mark_of(contest, evaluator, problem) != study.user_attrs.get(FINGERPRINT):
        msg = f"the study {study_name!r} was made with other examples or another model than this machine has; check PLD_DATA_DIR and the packages' versions"
        raise StorageError(msg)
    found = search(contest, study)
    asked = sum(usage.calls for usage in store.spent())
    return Joined(study_name, asked, len(found.tried))


def _config(spec: SearchSpec, api_base: str | None) -> RunConfig:
    config = RunConfig(**spec.config)
    if api_base is None:
        return config
    student = config.student.model_copy(update={"api_base": api_base})
    return config.model_copy(update={"student": student})


def _problem(config: RunConfig, loaded: Loaded, spec: SearchSpec) -> Problem:
    path, demos = spec.predictor, spec.demos
    program, splits = with_words(loaded.baseline, path, spec.words), loaded.splits
    signature = dict(program.named_predictors())[path].signature
    try:
        examples = shown(demos, splits.train, signature, loaded.task.label_key)
    except KeyError as error:
        msg = f"the worked example {error} of the study is not on this machine; check PLD_DATA_DIR"
        raise StorageError(msg) from error
    return Problem(
        task=signature.instructions,
        signature=signature,
        labels=(),
        build=lambda candidate: with_demos(
            with_prompt(program, path, candidate.prompt), path, examples
        ),
        train=splits.train,
        val=splits.val,
        select=splits.select,
        seed=config.seed,
        demos=demos,
        words=spec.words,
    )
