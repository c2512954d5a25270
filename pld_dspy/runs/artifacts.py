"""Files of a finished run: prompt, rules with their evidence, program, pictures."""

import json
import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import dspy

from pld_dspy.data.examples import example_id
from pld_dspy.data.tasks import Task
from pld_dspy.errors import PLDError, StorageError
from pld_dspy.ledger.figure_style import picture_file
from pld_dspy.ledger.store import StageStore
from pld_dspy.models.embedder import embed, make_embedder
from pld_dspy.records import Evaluation, Interval, PLDResult, PredictorResult
from pld_dspy.runs.plots.scores import (
    BeforeAfter,
    before_after_figure,
    cluster_map,
    confusion_pair,
    score_over_candidates,
)
from pld_dspy.runs.plots.search import front_figure, gains_figure, validation_points
from pld_dspy.runs.rules.evidence import as_shown, evidence_for

if TYPE_CHECKING:
    from matplotlib.figure import Figure

logger = logging.getLogger(__name__)

PROMPT_FILE = "prompt.txt"
RULES_FILE = "rules.json"
PROGRAM_FILE = "program.json"
_DPI = 150


@dataclass(frozen=True, slots=True, kw_only=True)
class Pictures:
    """What the pictures of a run are drawn from."""

    task: Task
    result: PLDResult
    before: Evaluation
    after: Evaluation
    intervals: tuple[tuple[float, float], tuple[float, float]]
    """95% intervals of the two test scores."""
    embedder: str
    store: StageStore
    """Of the run folder: it holds the vectors that an embedding model gave."""


def write_json(path: Path, value: Any) -> None:
    """Write `value` as readable JSON."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False) + "\n")


def write_text(path: Path, text: str) -> None:
    """Write `text` so that a reader sees the old file or the new one, never half of it.

    Raises:
        StorageError: It cannot be written.
    """
    fresh = path.with_name(f".{path.name}.tmp")
    try:
        fresh.write_text(text, encoding="utf-8")
        fresh.replace(path)
    except OSError as error:
        msg = f"{path} cannot be written: {error.strerror}; make room, then start again"
        raise StorageError(msg) from error


def write_program(
    run_dir: Path, program: dspy.Module, result: PLDResult, train: Sequence[dspy.Example]
) -> list[Path]:
    """Return the files with the final prompt, its rules and their evidence, and the program's state."""
    sources = {example_id(example): example.get("pld_source") for example in train}
    predictors = dict(program.named_predictors())
    prompts = [
        (part.predictor, as_shown(predictors[part.predictor], part.chosen.prompt))
        for part in result.predictors
    ]
    single = len(prompts) == 1
    text = "\n\n".join(prompt if single else f"[{name}]\n{prompt}" for name, prompt in prompts)
    paths = [run_dir / name for name in (PROMPT_FILE, RULES_FILE, PROGRAM_FILE)]
    write_text(paths[0], text + "\n")
    evidence = {
        part.predictor: evidence_for(part, predictors[part.predictor], sources)
        for part in result.predictors
    }
    write_json(paths[1], evidence)
    program.save(str(paths[2]))
    return paths


def write_pictures(pictures: Pictures, run_dir: Path) -> list[Path]:
    """Return the pictures written: confusion, clusters, candidates, before and after, the search.

    Those about the rules are drawn for each predictor, with its name in the file's if there are several.
    """
    before, after = (
        Interval(estimate=evaluation.score, low=low, high=high)
        for evaluation, (low, high) in zip(
            (pictures.before, pictures.after), pictures.intervals, strict=True
        )
    )
    name = f"{pictures.task.name} test"
    row = BeforeAfter(name=name, before=before, after=after, metric=pictures.task.metric)
    drawn: dict[str, Figure] = {
        picture_file("confusion"): confusion_pair(
            pictures.before, pictures.after, pictures.task.labels
        ),
        picture_file("before_after"): before_after_figure([row]),
    }
    parts = pictures.result.predictors
    for part in parts:
        of_part = _predictor_pictures(part, pictures)
        predictor = part.predictor if len(parts) > 1 else ""
        drawn |= {picture_file(stem, predictor): figure for stem, figure in of_part.items()}
    for file, figure in drawn.items():
        figure.savefig(run_dir / file, dpi=_DPI)
    return [run_dir / file for file in drawn]


def _predictor_pictures(part: PredictorResult, pictures: Pictures) -> "dict[str, Figure]":
    scored = score_over_candidates(part.evaluations, part.candidates, chosen=part.chosen_id)
    return {
        "candidates": scored,
        **_search_pictures(part, pictures.task.metric),
        **_cluster_picture(part, pictures),
    }


def _search_pictures(part: PredictorResult, metric: str) -> "dict[str, Figure]":
    """Return what there is to see of the search; without one, nothing."""
    record = part.search
    drawn: dict[str, Figure] = {}
    if record is None or not record.trials:
        return drawn
    given = next((c.id for c in part.candidates if c.origin == "as given"), None)
    if points := validation_points(part.evaluations):
        drawn["front"] = front_figure(points, given=given, chosen=part.chosen_id, metric=metric)
    # What leaving a rule out of the list changes says more than a few other lists do.
    if gains := part.left_out or record.gains:
        kept = {rule.text for rule in part.chosen.rules}
        chosen = {rule.id for rule in part.rules if rule.text in kept}
        drawn["gains"] = gains_figure(replace(record, gains=gains), part.rules, chosen=chosen)
    return drawn


def _cluster_picture(part: PredictorResult, pictures: Pictures) -> "dict[str, Figure]":
    rules = [trace.rule for trace in part.traces]
    try:
        vectors = embed(rules, make_embedder(pictures.embedder), pictures.store)
    except PLDError as error:
        # The run is done and paid for; an embedder whose vectors are not kept may fail by now.
        logger.warning("no picture of the clusters: %s", error)
        return {}
    return {"clusters": cluster_map(vectors, part.clustering, part.traces)}
