"""Files of a finished run: prompt, rules with their evidence, program, pictures."""

import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import dspy

from pld_dspy.data.examples import example_id
from pld_dspy.data.tasks import Task
from pld_dspy.errors import PLDError, StorageError
from pld_dspy.ledger.figure_style import picture_file
from pld_dspy.ledger.store import StageStore
from pld_dspy.models.embedder import embed, make_embedder
from pld_dspy.models.forms import allowed_labels, shown_text
from pld_dspy.models.reading.label_words import words_in
from pld_dspy.records import Evaluation, Interval, PLDResult, PredictorResult, Rule, Trace
from pld_dspy.runs.plots.scores import (
    BeforeAfter,
    before_after_figure,
    cluster_map,
    confusion_pair,
    score_over_candidates,
)
from pld_dspy.runs.plots.search import front_figure, gains_figure, validation_points

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
        (part.predictor, _as_shown(predictors[part.predictor], part.chosen.prompt))
        for part in result.predictors
    ]
    single = len(prompts) == 1
    text = "\n\n".join(prompt if single else f"[{name}]\n{prompt}" for name, prompt in prompts)
    paths = [run_dir / name for name in (PROMPT_FILE, RULES_FILE, PROGRAM_FILE)]
    write_text(paths[0], text + "\n")
    evidence = {
        part.predictor: {
            **_with_shown(rules_with_evidence(part, sources), predictors[part.predictor]),
            "words": _words(part),
            "demos": _demos(part.chosen.demos, predictors[part.predictor], sources),
        }
        for part in result.predictors
    }
    write_json(paths[1], evidence)
    program.save(str(paths[2]))
    return paths


def _as_shown(predictor: dspy.Predict, text: str) -> str:
    """Return instructions or a numbered rule as the student sees them."""
    fields = predictor.signature.output_fields
    labels = next((found for f in fields.values() if (found := allowed_labels(f))), ())
    return shown_text(predictor, labels, text)


def _with_shown(evidence: dict[str, Any], predictor: dspy.Predict) -> dict[str, Any]:
    """Return the rules with `shown`, their text as the student sees it, where that is another."""
    rules = []
    for rule in evidence["rules"]:
        number = f"{rule['number']}. "
        shown = _as_shown(predictor, number + " ".join(rule["text"].split()))
        shown = shown.removeprefix(number)
        same = shown == " ".join(rule["text"].split())
        rules.append(rule if same else {**rule, "shown": shown})
    return {**evidence, "rules": rules}


def rules_with_evidence(part: PredictorResult, sources: Mapping[str, Any]) -> dict[str, Any]:
    """Return the chosen rules in order, each with its gains, its traces and their examples, and ancestors.

    A gain is the estimate with the ends of its 95% interval; None where none was measured. `gain` is
    over all the lists that were tried, `list_gain` against the chosen list without the rule as far as the
    search tried it, and `left_out` the same on validation and selection examples together.

    Args:
        part: What was distilled into one predictor.
        sources: Id of each training example in the data set that it comes from, by example id.
    """
    traces = {trace.id: trace for trace in part.traces}
    known = {rule.id: rule for rule in part.rules}
    known |= {rule.id: rule for edit in part.edits for rule in edit.added}
    known |= {rule.id: rule for candidate in part.candidates for rule in candidate.rules}
    chosen = part.chosen
    search = part.search
    gains = _by_text(search.gains if search else {}, known)
    list_gains = _by_text(search.list_gains.get(chosen.id, {}) if search else {}, known)
    left_out = _by_text(part.left_out, known)
    return {
        "candidate": chosen.id,
        "origin": chosen.origin,
        "note": chosen.note,
        "reason": part.reason,
        "topics": None if chosen.topics is None else chosen.topics.field,
        "rules": [
            {
                "number": number,
                **_rule(rule),
                "gain": gains.get(rule.text),
                "list_gain": list_gains.get(rule.text),
                **({"left_out": left_out.get(rule.text)} if left_out else {}),
                "traces": [_trace(traces[i], sources) for i in rule.trace_ids if i in traces],
                "ancestors": [_rule(known[i]) for i in _ancestors(rule, known)],
            }
            for number, rule in enumerate(chosen.rules, 1)
        ],
    }


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


def _by_text(gains: Mapping[str, Interval], known: Mapping[str, Rule]) -> dict[str, list[float]]:
    """Return estimate, low and high by text: the search counts rules of the same text as one."""
    return {
        known[i].text: [gain.estimate, gain.low, gain.high]
        for i, gain in gains.items()
        if i in known
    }


def _cluster_picture(part: PredictorResult, pictures: Pictures) -> "dict[str, Figure]":
    rules = [trace.rule for trace in part.traces]
    try:
        vectors = embed(rules, make_embedder(pictures.embedder), pictures.store)
    except PLDError as error:
        # The run is done and paid for; an embedder whose vectors are not kept may fail by now.
        logger.warning("no picture of the clusters: %s", error)
        return {}
    return {"clusters": cluster_map(vectors, part.clustering, part.traces)}


def _words(part: PredictorResult) -> list[dict[str, Any]]:
    """Return the words that the student sees for the labels, with what speaks for each."""
    chosen = part.chosen.words
    return [asdict(w) for w in part.words if w.word in words_in(chosen.get(w.label, ""), w.label)]


def _demos(
    ids: Sequence[str], predictor: dspy.Predict, sources: Mapping[str, Any]
) -> list[dict[str, Any]]:
    """Return the worked examples with their ids; they come after the student's own."""
    label_key = next(reversed(predictor.signature.output_fields))
    return [
        {
            "example_id": example,
            "source_id": sources.get(example),
            "label": str(demo[label_key]),
            "inputs": {name: demo[name] for name in predictor.signature.input_fields},
        }
        for example, demo in zip(
            ids, predictor.demos[len(predictor.demos) - len(ids) :], strict=True
        )
    ]


def _rule(rule: Rule) -> dict[str, Any]:
    return {
        "id": rule.id,
        "text": rule.text,
        "labels": dict(rule.labels),
        "support": rule.support,
        "origin": rule.origin,
        "cluster": rule.cluster_id,
        "scope": rule.scope,
        "parents": list(rule.parents),
        "trace_ids": list(rule.trace_ids),
        **({} if rule.truth is None else {"truth": rule.truth.to_dict()}),
    }


def _trace(trace: Trace, sources: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "id": trace.id,
        "example_id": trace.example_id,
        "source_id": sources.get(trace.example_id),
        "label": trace.label,
        "rationale": trace.rationale,
        **({"kinds": list(trace.kinds)} if trace.kinds else {}),
        "rule": trace.rule,
        "written_by": trace.source,
    }


def _ancestors(rule: Rule, known: Mapping[str, Rule]) -> list[str]:
    """Return the ids of the rules that edits replaced on the way to `rule`, nearest first."""
    found, queue = list[str](), list(rule.parents)
    while queue:
        parent = queue.pop(0)
        if parent in known and parent not in found:
            found.append(parent)
            queue.extend(known[parent].parents)
    return found
