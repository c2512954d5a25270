"""The command `pld diagnose`."""

import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from pld_dspy.cli.guard import INTERRUPTED, fail, guarded, quieten, stderr

if TYPE_CHECKING:
    from pld_dspy.config.run import RunConfig
    from pld_dspy.records import Event, Progress
    from pld_dspy.runs.diagnose.checkup import Checkup
    from pld_dspy.runs.setup import Loaded

_TEACHER = {
    "classify": "teacher answers",
    "rules": "teacher writes rules",
    "words": "teacher gives titles",
}


@guarded
def diagnose(
    config: Annotated[Path, typer.Argument(help="TOML file with the settings.")],
    overrides: Annotated[
        list[str] | None, typer.Argument(help="key=value, for instance split.seed=1")
    ] = None,
    *,
    examples: Annotated[
        int, typer.Option(help="Labelled examples of train and val to ask about.")
    ] = 40,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the figures and the advice as JSON.")
    ] = False,
    run_dir: Annotated[Path | None, typer.Option(help="Replaces run_dir of the config.")] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print what it would take, and stop.")
    ] = False,
    verbose: Annotated[
        bool, typer.Option("--verbose", "-v", help="Show logs and full tracebacks.")
    ] = False,
) -> None:
    """Tell from a few answers whether distillation is worth it, and what to do first."""
    from pld_dspy.config.run import read_config

    given = [] if run_dir is None else [f"run_dir={json.dumps(str(run_dir))}"]
    changes = [*(overrides or []), *given]
    settings = read_config(config, changes)
    from pld_dspy.runs.diagnose.plan import plan_diagnose
    from pld_dspy.runs.setup import load

    loaded = load(settings)
    planned = plan_diagnose(settings, examples=examples, loaded=loaded)
    if dry_run:
        from pld_dspy.cli.show import show_plan

        show_plan(planned, Console())
        return
    if not verbose:
        quieten()
    try:
        checkup = _run(settings, loaded, examples)
    except KeyboardInterrupt:
        again = " ".join(["pld diagnose", str(config), *changes])
        fail(f"stopped; {settings.run_dir} has every answer, resume with: {again}", INTERRUPTED)
    _show(checkup, as_json=as_json)


def _run(settings: "RunConfig", loaded: "Loaded", examples: int) -> "Checkup":
    from pld_dspy.cli.progress import RunProgress
    from pld_dspy.runs.diagnose.run import run_diagnose

    with RunProgress(stderr()) as progress:
        return run_diagnose(settings, examples=examples, loaded=loaded, progress=_named(progress))


def _show(checkup: "Checkup", *, as_json: bool) -> None:
    from pld_dspy.cli.show_checkup import show_checkup
    from pld_dspy.runs.diagnose.advice import advise

    advice = advise(checkup)
    if as_json:
        typer.echo(json.dumps({"advice": asdict(advice), **asdict(checkup)}, indent=2))
    else:
        show_checkup(checkup, advice, Console())


def _named(progress: "Progress") -> "Progress":
    """Return a progress that shows what is asked, where a run shows the list on trial."""

    def show(event: "Event") -> None:
        if event.role == "student":
            event = replace(event, stage=f"student, {event.item}", item="")
        elif event.role == "teacher":
            event = replace(event, stage=_TEACHER.get(event.stage, event.stage))
        progress(event)

    return show
