"""The command `pld`. Heavy modules are imported by the commands that need them."""

import json
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

from pld_dspy.cli.diagnose import diagnose
from pld_dspy.cli.guard import INTERRUPTED, fail, guarded, quieten, stderr
from pld_dspy.errors import StorageError, nearest

if TYPE_CHECKING:
    import dspy

    from pld_dspy.config.run import RunConfig
    from pld_dspy.records import Split

app = typer.Typer(
    name="pld",
    help="Distil a teacher model's reasoning into a rule list in a small model's prompt.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)
models_app = typer.Typer(
    help="Local models that need no endpoint.", no_args_is_help=True, rich_markup_mode=None
)
app.add_typer(models_app, name="models")
app.command()(diagnose)

Verbose = Annotated[bool, typer.Option("--verbose", "-v", help="Show logs and full tracebacks.")]
PREFER = "best, shortest-within-noise or rules-within-noise; replaces pld.prefer."
RunDir = Annotated[Path, typer.Argument(help="Folder of a finished run.")]


def main() -> Any:
    """Run the command line; it ends the process with its exit code."""
    return app()


@app.command()
@guarded
def distill(
    config: Annotated[Path, typer.Argument(help="TOML file with the settings.")],
    overrides: Annotated[
        list[str] | None, typer.Argument(help="key=value, for instance split.seed=1")
    ] = None,
    *,
    run_dir: Annotated[Path | None, typer.Option(help="Replaces run_dir of the config.")] = None,
    prefer: Annotated[str | None, typer.Option(help=PREFER)] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print what the run would take, and stop.")
    ] = False,
    verbose: Verbose = False,
) -> None:
    """Distil a teacher into a student's prompt, and score both on test examples."""
    from pld_dspy.config.run import read_config

    options = {"run_dir": run_dir, "pld.prefer": prefer}
    given = {key: json.dumps(str(value)) for key, value in options.items() if value is not None}
    changes = [*(overrides or []), *(f"{key}={value}" for key, value in given.items())]
    settings = read_config(config, changes)
    from pld_dspy.cli.show import show_plan, show_report
    from pld_dspy.runs.estimate import plan
    from pld_dspy.runs.setup import load

    loaded = load(settings)
    planned = plan(settings, loaded)
    if dry_run:
        show_plan(planned, Console())
        return
    from pld_dspy.cli.progress import RunProgress
    from pld_dspy.runs.page import PAGE_FILE, write_markdown
    from pld_dspy.runs.run import run_distill

    if not verbose:
        quieten()
    try:
        with RunProgress(stderr(), planned.stages) as progress:
            report = run_distill(settings, loaded=loaded, progress=progress)
    except KeyboardInterrupt:
        again = " ".join(["pld distill", str(config), *changes])
        fail(f"stopped; {settings.run_dir} has every answer, resume with: {again}", INTERRUPTED)
    rules = _read_json(settings.run_dir / "rules.json")
    write_markdown(report, rules, settings.run_dir / PAGE_FILE)
    show_report(report, rules, settings.run_dir, Console())


@app.command("search-worker")
@guarded
def search_worker(
    *,
    storage: Annotated[str, typer.Option(help="Database URL, or journal:<path>.")],
    study: Annotated[
        str, typer.Option(help="Name of the study, from the log of `pld distill -v`.")
    ],
    api_base: Annotated[
        str | None, typer.Option(help="The student's endpoint as this machine reaches it.")
    ] = None,
    verbose: Verbose = False,
) -> None:
    """Help a running search from another process or machine."""
    from pld_dspy.cli.progress import RunProgress
    from pld_dspy.runs.search_worker import join_search

    if not verbose:
        quieten()
    with RunProgress(stderr()) as progress:
        joined = join_search(storage, study, api_base=api_base, progress=progress)
    typer.echo(f"{joined.study}: {joined.tried} lists tried; {joined.asked} answers by this worker")


@app.command()
@guarded
def evaluate(
    run_dir: RunDir,
    *,
    split: Annotated[str, typer.Option(help="train, val, select or test.")] = "test",
    file: Annotated[
        Path | None, typer.Option(help="Score on this CSV or JSONL file with the task's columns.")
    ] = None,
    fresh: Annotated[
        bool, typer.Option("--fresh", help="Ask the model again, also where answers are stored.")
    ] = False,
    verbose: Verbose = False,
) -> None:
    """Score the program of a finished run on a split, or on a table."""
    from pld_dspy.cli.progress import RunProgress
    from pld_dspy.cli.show import show_score
    from pld_dspy.ledger.store import StageStore
    from pld_dspy.runs.setup import load, load_table, make_evaluator, make_student

    chosen = _split(split)
    if not verbose:
        quieten()
    settings = _saved_config(run_dir)
    loaded = load(settings)
    task, examples, name = loaded.task, loaded.splits.get(chosen), split
    if file is not None:
        examples, name = load_table(settings, task, file), str(file)
    program = _saved_program(run_dir, loaded.baseline)
    with RunProgress(stderr()) as progress:
        lm = make_student(settings, progress=progress)
        store = StageStore(None if fresh else run_dir)
        evaluator = make_evaluator(settings, task, lm, store, progress)
        result = evaluator.run(program, examples, candidate_id="program", split=chosen)
    show_score(evaluator.metric, result, name, Console(), seed=settings.seed)


@app.command()
@guarded
def show(
    run_dir: RunDir,
    *,
    rule: Annotated[
        str | None, typer.Option(help="Id or number of a rule: its traces and examples.")
    ] = None,
    verbose: Verbose = False,
) -> None:
    """Show the result of a finished run, or the evidence of one rule."""
    from pld_dspy.cli.show import show_report, show_rule
    from pld_dspy.runs.report import Report

    rules = _read_json(run_dir / "rules.json")
    if rule is None:
        show_report(Report.read(run_dir), rules, run_dir, Console())
        return
    from pld_dspy.errors import ConfigError

    lists = [(*chosen["rules"], *chosen.get("unused", ())) for chosen in rules.values()]
    known = [entry for entries in lists for entry in entries]
    found = next((e for e in known if rule in {e["id"], str(e.get("number"))}), None)
    if found is None:
        hint = nearest(rule, [e["id"] for e in known]) if known else "; the run kept no rules"
        msg = f"no rule {rule!r} in {run_dir}{hint}"
        raise ConfigError(msg)
    show_rule(found, _example_texts(run_dir), Console())


@app.command()
@guarded
def ui(
    run_dir: Annotated[Path | None, typer.Argument(help="Folder of a tracked run.")] = None,
    *,
    port: Annotated[int, typer.Option(help="Port on this machine.")] = 5000,
    tracking_uri: Annotated[
        str | None, typer.Option(help="MLflow store; by default the run's, or MLflow's own.")
    ] = None,
    verbose: Verbose = False,
) -> None:
    """Show tracked runs in MLflow, in a browser on this machine."""
    from pld_dspy.ledger.mlflow.uri import ui_command

    uri = tracking_uri
    if uri is None and run_dir is not None:
        uri = _saved_config(run_dir).mlflow.tracking_uri
    command, environment = ui_command(uri, port)
    stderr().print(f"MLflow at http://127.0.0.1:{port}; stop it with Ctrl-C")
    done = subprocess.run(command, env=environment, check=False)
    raise typer.Exit(done.returncode)


@models_app.command("list")
@guarded
def list_models(*, verbose: Verbose = False) -> None:
    """List the local models, and which are downloaded."""
    from rich.table import Column, Table

    from pld_dspy.models.local.catalogue import CATALOGUE
    from pld_dspy.models.local.fetch import model_path

    table = Table(Column("model", no_wrap=True), "MB", "downloaded", "licence", "notes")
    for name, model in CATALOGUE.items():
        here = "yes" if model_path(model).exists() else "no"
        size = f"{model.bytes / 1e6:.0f}"
        table.add_row(f"local/{name}", size, here, model.licence, model.notes)
    Console().print(table)


@models_app.command("fetch")
@guarded
def fetch_model(
    name: Annotated[str, typer.Argument(help="Name as in `pld models list`.")],
    *,
    verbose: Verbose = False,
) -> None:
    """Download a local model and check it."""
    from pld_dspy.data.fetch import rich_progress
    from pld_dspy.models.local.catalogue import catalogue_model
    from pld_dspy.models.local.fetch import fetch

    model = catalogue_model(name.removeprefix("local/"))
    with rich_progress() as progress:
        path = fetch(model, progress=progress)
    typer.echo(str(path))


def _split(name: str) -> "Split":
    from pld_dspy.data.splits import SPLITS
    from pld_dspy.errors import ConfigError

    for split in SPLITS:
        if split == name:
            return split
    msg = f"no split is called {name!r}{nearest(name, SPLITS)}"
    raise ConfigError(msg)


def _saved_config(run_dir: Path) -> "RunConfig":
    from pld_dspy.config.run import RunConfig

    return RunConfig(**_read_json(run_dir / "config.json")).model_copy(update={"run_dir": run_dir})


def _saved_program(run_dir: Path, program: "dspy.Module") -> "dspy.Module":
    path = run_dir / "program.json"
    if not path.is_file():
        msg = f"{run_dir} has no program.json; finish the run with `pld distill`"
        raise StorageError(msg)
    program.load(str(path))
    return program


def _example_texts(run_dir: Path) -> dict[str, str]:
    from pld_dspy.data.examples import example_id
    from pld_dspy.runs.setup import load
    from pld_dspy.stages.common.prompt import render_example

    loaded = load(_saved_config(run_dir))
    signature = loaded.task.signature
    return {example_id(e): render_example(signature, e) for e in loaded.splits.train}


def _read_json(path: Path) -> dict[str, Any]:
    try:
        read: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is not JSON"
        msg = f"{path} cannot be read: {why}; give the folder of a run made by `pld distill`"
        raise StorageError(msg) from error
    return read
