"""One MLflow run by its id: open or resume it, and write to it."""

import json
import logging
import re
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pld_dspy.errors import ConfigError
from pld_dspy.ledger.mlflow.uri import one_line, resolve_uri, sqlite_path, without_secrets
from pld_dspy.ledger.mlflow.values import MAX_VALUE, flatten, metric_key, plain
from pld_dspy.records import Candidate, Evaluation

logger = logging.getLogger(__name__)

_RUN_FILE = "mlflow_run.json"
_CONTEXTS = {"train": "training", "val": "validation", "select": "selection", "test": "test"}
_LINKED_PROMPTS = "mlflow.linkedPrompts"
_PROMPT_EXPERIMENTS = "_mlflow_experiment_ids"


@dataclass(slots=True)
class OpenRun:
    """An open MLflow run."""

    client: Any
    id: str
    experiment_id: str
    children: dict[tuple[str, str], tuple[str, bool]] = field(default_factory=dict)
    """Run id, and whether it is closed, by candidate id and split."""
    known_params: dict[str, str] = field(default_factory=dict)
    settings: dict[str, Any] = field(default_factory=dict)
    """All the settings logged since it was opened; they are `params.json`."""
    strikes: int = 0
    warned: bool = False


def open_run(
    uri: str, experiment: str, name: str, tags: Mapping[str, str], run_dir: Path | None
) -> OpenRun:
    """Return the run recorded in `run_dir`, or a new one where there is none.

    A new run is a child of the active run of the calling thread, if that is in the same store.

    Raises:
        ConfigError: If the experiment was deleted.
        Exception: Whatever the store raises.
    """
    import mlflow
    from mlflow.tracking.context.registry import resolve_tags

    client = mlflow.MlflowClient(tracking_uri=uri, registry_uri=uri)
    record = run_dir / _RUN_FILE if run_dir is not None else None
    if record is not None and (run := _resumed_run(client, uri, record)) is not None:
        client.log_batch(run.id, tags=_tags(tags))
        return run
    active = mlflow.active_run() if resolve_uri() == uri else None
    if active is not None:
        experiment_id = active.info.experiment_id
        tags = {**tags, "mlflow.parentRunId": active.info.run_id}
    else:
        experiment_id = _experiment_id(client, uri, experiment)
    made = client.create_run(experiment_id, run_name=name, tags=resolve_tags(dict(tags)))
    if record is not None:
        record.parent.mkdir(parents=True, exist_ok=True)
        saved = {"tracking_uri": without_secrets(uri), "run_id": made.info.run_id}
        record.write_text(json.dumps(saved), encoding="utf-8")
    return OpenRun(client=client, id=made.info.run_id, experiment_id=experiment_id)


def log_params(run: OpenRun, params: Mapping[str, object]) -> None:
    """Add the settings to the parameters, and in full to `params.json`."""
    from mlflow.entities import Param

    run.settings |= plain(params)
    flat = flatten(run.settings)
    # A parameter of a run cannot be changed, so what a resumed run changed goes into a tag.
    changed = sorted(
        key for key, value in flat.items() if run.known_params.get(key, value) != value
    )
    new = [Param(key, value) for key, value in flat.items() if key not in run.known_params]
    for first in range(0, len(new), 100):
        run.client.log_batch(run.id, params=new[first : first + 100])
    run.known_params |= {param.key: param.value for param in new}
    if changed:
        run.client.set_tag(run.id, "pld.changed_on_resume", ", ".join(changed)[:MAX_VALUE])
    run.client.log_dict(run.id, run.settings, "params.json")


def check_artifacts(run: OpenRun, params: Mapping[str, object]) -> None:
    """Write the settings where all the artifacts go.

    Raises:
        ConfigError: They cannot be written there.
    """
    run.settings |= plain(params)
    try:
        run.client.log_dict(run.id, run.settings, "params.json")
    except Exception as error:
        where = without_secrets(str(run.client.get_run(run.id).info.artifact_uri))
        msg = f"MLflow artifacts cannot be written to {where} ({one_line(error)}); make it writable, or take another mlflow.experiment or tracking_uri"
        raise ConfigError(msg) from error


def log_digests(run: OpenRun, digests: Mapping[str, str]) -> None:
    """Write the content hash of each split as an input of the run."""
    from mlflow.entities import Dataset, DatasetInput, InputTag

    inputs = [
        DatasetInput(
            Dataset(name=split, digest=digest[:36], source_type="code", source="{}"),
            [InputTag("mlflow.data.context", _CONTEXTS.get(split, split))],
        )
        for split, digest in digests.items()
    ]
    if inputs:
        run.client.log_inputs(run.id, inputs)


def log_metrics(run: OpenRun, run_id: str, values: Mapping[str, float], step: int) -> None:
    """Write one value of each metric in one request, to the run or one of its children."""
    from mlflow.entities import Metric

    now = int(time.time() * 1000)
    metrics = [Metric(metric_key(name), float(value), now, step) for name, value in values.items()]
    for first in range(0, len(metrics), 1000):
        run.client.log_batch(run_id, metrics=metrics[first : first + 1000])


def log_candidate(
    run: OpenRun, candidate: Candidate, evaluation: Evaluation, extra: Mapping[str, float]
) -> None:
    """Make the child run of a scored candidate, unless it is there already."""
    key = (candidate.id, evaluation.split)
    child, closed = run.children.get(key, (None, False))
    if closed:
        return
    if child is None:
        tags = {
            "mlflow.parentRunId": run.id,
            "pld.candidate_id": candidate.id,
            "pld.split": evaluation.split,
            "pld.origin": candidate.origin,
            "pld.metric": evaluation.metric,
            "mlflow.note.content": candidate.note,
        }
        name = f"{candidate.id} {evaluation.split}"
        child = run.client.create_run(run.experiment_id, run_name=name, tags=tags).info.run_id
        run.children[key] = (child, False)
    values = {
        evaluation.metric: evaluation.score,
        "rules": len(candidate.rules),
        "demos": len(candidate.demos),
        "label_words": len(candidate.words),
        "examples": len(evaluation.answers),
        "unparsed_rate": evaluation.unparsed_rate,
        "failures": evaluation.failures,
        "prompt_tokens": evaluation.prompt_tokens,
        **extra,
    }
    log_metrics(run, child, values, 0)
    run.client.log_text(child, candidate.prompt, "prompt.txt")
    run.client.set_terminated(child, "FINISHED")
    run.children[key] = (child, True)


def register_prompt_version(run: OpenRun, name: str, text: str, tags: Mapping[str, str]) -> None:
    """Make a version of the prompt, unless this run has made the same one before.

    `register_prompt` of MLflow is not used: it links the version to the experiment that is active
    in the process, in a thread of its own and in the default store.
    """
    client = run.client
    linked = json.loads(client.get_run(run.id).data.tags.get(_LINKED_PROMPTS, "[]"))
    for link in linked:
        if link["name"] == name:
            version = client.get_prompt_version(name, link["version"])
            if version is not None and version.template == text:
                return
    prompt = client.get_prompt(name) or client.create_prompt(name)
    made = client.create_prompt_version(name, text, tags={**tags, "mlflow.run_id": run.id})
    ids = {i for i in (prompt.tags or {}).get(_PROMPT_EXPERIMENTS, "").split(",") if i}
    listed = ",".join(sorted(ids | {run.experiment_id}))
    client.set_prompt_tag(name, _PROMPT_EXPERIMENTS, f",{listed},")
    linked.append({"name": name, "version": str(made.version)})
    client.set_tag(run.id, _LINKED_PROMPTS, json.dumps(linked))


def warn_of_autolog() -> None:
    """Warn if autolog traces every call of a compile."""
    from mlflow.utils import autologging_utils as autolog

    disabled = autolog.autologging_is_disabled("dspy")  # type: ignore[no-untyped-call]
    traces = autolog.get_autologging_config(  # type: ignore[no-untyped-call]
        "dspy", "log_traces_from_compile", False
    )
    if traces and not disabled:
        logger.warning(
            "mlflow.dspy.autolog(log_traces_from_compile=True) is on: it makes every scored "
            "example several times slower; switch it off"
        )


def _resumed_run(client: Any, uri: str, record: Path) -> OpenRun | None:
    """Return the run of the record, set to RUNNING again; None if it is gone or elsewhere."""
    from mlflow.exceptions import MlflowException

    try:
        saved = json.loads(record.read_text(encoding="utf-8"))
        if saved["tracking_uri"] != without_secrets(uri):
            return None
        found = client.get_run(saved["run_id"])
    except (FileNotFoundError, ValueError, KeyError, TypeError, MlflowException):
        return None
    if found.info.lifecycle_stage != "active":
        return None
    client.update_run(found.info.run_id, status="RUNNING")
    run = OpenRun(
        client=client,
        id=found.info.run_id,
        experiment_id=found.info.experiment_id,
        known_params=dict(found.data.params),
    )
    for child in _children(client, run):
        tags = child.data.tags
        key = (tags.get("pld.candidate_id", ""), tags.get("pld.split", ""))
        run.children[key] = (child.info.run_id, child.info.status == "FINISHED")
    return run


def _children(client: Any, run: OpenRun) -> Iterable[Any]:
    wanted, token = f"tags.`mlflow.parentRunId` = '{run.id}'", None
    while True:
        page = client.search_runs([run.experiment_id], wanted, page_token=token)
        yield from page
        token = page.token
        if not token:
            return


def _experiment_id(client: Any, uri: str, name: str) -> str:
    found = client.get_experiment_by_name(name)
    if found is not None:
        if found.lifecycle_stage == "active":
            return str(found.experiment_id)
        msg = f"experiment {name!r} was deleted; restore it or take another name"
        raise ConfigError(msg)
    path = sqlite_path(uri)
    folder = re.sub(r"[^\w.-]", "-", name)
    beside = str(path.parent / "mlartifacts" / folder) if path is not None else None
    return str(client.create_experiment(name, artifact_location=beside))


def _tags(tags: Mapping[str, str]) -> list[Any]:
    from mlflow.entities import RunTag

    return [RunTag(key, value) for key, value in tags.items()]
