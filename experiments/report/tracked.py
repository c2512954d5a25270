"""The report in MLflow: one run for the page and its pictures, and a child run for each optimizer."""

from collections.abc import Mapping
from pathlib import Path

from experiments.report.coverage import Setting
from experiments.report.page import Comparison
from experiments.report.statistics import (
    Standing,
    compile_tokens,
    is_ablation,
    mean_of,
    seconds_of,
    validation_gap,
)
from pld_dspy.ledger.mlflow.runs import OpenRun, log_digests, log_metrics, log_params, open_run
from pld_dspy.ledger.mlflow.uri import check_reachable, resolve_uri

EXPERIMENT = "comparison"
TRACKING_URI = "sqlite:///runs/mlflow.db"


def log_report(
    comparison: Comparison, report: Path, pictures: Path, *, tracking_uri: str = TRACKING_URI
) -> str:
    """Log everything and return the id of the parent run.

    Args:
        comparison: What was found.
        report: The page.
        pictures: The folder of its pictures.
        tracking_uri: Store of the runs.

    Raises:
        ConfigError: The store cannot be reached, or the experiment was deleted.
    """
    uri = resolve_uri(tracking_uri)
    check_reachable(uri)
    parent = open_run(uri, EXPERIMENT, "comparison report", {"pld.kind": "report"}, None)
    status = "FAILED"
    try:
        _log_parent(parent, comparison, report, pictures)
        for setting, found in comparison.found.items():
            varied = (s for s in comparison.varied.get(setting, ()) if is_ablation(s.optimizer))
            for standing in (*found, *varied):
                _log_child(parent, uri, setting, standing)
        status = "FINISHED"
    finally:
        parent.client.set_terminated(parent.id, status)
    return parent.id


def values(standing: Standing) -> dict[str, float]:
    """Return the metrics of one optimizer in one setting; what is not known is left out."""
    lines = standing.lines
    given = standing.vs_given.delta if standing.vs_given else None
    ours = standing.vs_ours.delta if standing.vs_ours else None
    known: dict[str, float | None] = {
        "score": standing.score.estimate,
        "score_low": standing.score.low,
        "score_high": standing.score.high,
        "macro_f1": standing.macro_f1.estimate,
        "accuracy": standing.accuracy.estimate,
        "seeds": len(lines),
        "rank": standing.rank,
        "minus_given": given.estimate if given else None,
        "minus_given_low": given.low if given else None,
        "minus_given_high": given.high if given else None,
        "minus_pld_searched": ours.estimate if ours else None,
        "mcnemar_p": standing.mcnemar_p,
        "holm_p": standing.holm_p,
        "validation_minus_test": validation_gap(lines),
        "compile_tokens": mean_of(compile_tokens(line) for line in lines),
        "student_calls": mean_of(line.student_calls for line in lines),
        "teacher_calls": mean_of(line.teacher_calls for line in lines),
        "prompt_tokens": mean_of(line.prompt_tokens for line in lines),
        "test_latency_s": seconds_of(lines, "test_latency_s"),
        "unparsed_rate": mean_of(line.unparsed_rate for line in lines),
        "cost_usd": mean_of(line.cost_usd for line in lines),
    }
    return {name: float(value) for name, value in known.items() if value is not None}


def _log_parent(run: OpenRun, comparison: Comparison, report: Path, pictures: Path) -> None:
    lines = comparison.lines
    log_params(
        run,
        {
            "tasks": sorted({line.task for line in lines}),
            "students": sorted({line.student for line in lines}),
            "optimizers": sorted({line.optimizer for line in lines}),
            "seeds": sorted({line.seed for line in lines}),
            "commits": sorted({line.commit for line in lines if line.commit}),
        },
    )
    verdicts = [check.verdict for check in comparison.checks]
    counts: Mapping[str, float] = {
        "cells_scored": sum(line.score is not None for line in lines),
        "cells_without_score": len(comparison.gaps),
        "lines_broken": len(comparison.broken),
        "claim_holds": verdicts.count("holds"),
        "claim_does_not_hold": verdicts.count("does not hold"),
        "claim_not_measured": verdicts.count("not measured"),
        "pld_runs_below_given": sum(fall.than is None for fall in comparison.falls),
        "pld_runs_below_asked_best": sum(fall.than is not None for fall in comparison.falls),
    }
    log_metrics(run, run.id, counts, 0)
    digests = {
        f"{line.task} {line.split_by} {line.seed} {part}": digest
        for line in lines
        for part, digest in line.digests.items()
    }
    log_digests(run, digests)
    run.client.log_artifact(run.id, str(report))
    if pictures.is_dir():
        run.client.log_artifacts(run.id, str(pictures), "pictures")


def _log_child(parent: OpenRun, uri: str, setting: Setting, standing: Standing) -> None:
    name = f"{standing.optimizer} {setting.task} {setting.student} {setting.budget}"
    tags = {"mlflow.parentRunId": parent.id, "pld.kind": "optimizer"}
    child = open_run(uri, EXPERIMENT, name, tags, None)
    metric = standing.lines[0].metric
    log_params(child, {**setting._asdict(), "optimizer": standing.optimizer, "metric": metric})
    log_metrics(child, child.id, values(standing), 0)
    child.client.set_terminated(child.id, "FINISHED")
