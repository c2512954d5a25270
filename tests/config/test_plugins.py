"""Extensions of other packages, found by name; a broken one is named in one line."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from pld_dspy.config.plugins import EMBEDDERS, METRICS, TASKS, find, kind_of, names
from pld_dspy.data.tasks import load_task
from pld_dspy.errors import ConfigError, DataError, PLDError
from pld_dspy.models.embedder import embed, make_embedder
from pld_dspy.runs.report import Report
from pld_dspy.scoring.metrics import corpus_metric_by_name, metric_by_name
from small_runs import CONFIG, write_config

TESTS = Path(__file__).parents[1]

# --- packages that are written for one test -----------------------------------------------------


@pytest.fixture
def package(tmp_path, monkeypatch):
    """Return a function that puts a package with entry points on the path."""
    made = []

    def write(name, code, **groups):
        module = name.replace("-", "_")
        folder = tmp_path / name
        info = folder / f"{module}-1.0.dist-info"
        info.mkdir(parents=True)
        (folder / f"{module}.py").write_text(code, encoding="utf-8")
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
        lines = [
            f"[pld_dspy.{group}]\n"
            + "".join(f"{key} = {module}:{value}\n" for key, value in entries.items())
            for group, entries in groups.items()
        ]
        (info / "entry_points.txt").write_text("\n".join(lines))
        monkeypatch.syspath_prepend(folder)
        made.append(module)

    yield write
    for module in made:
        sys.modules.pop(module, None)


def error_of(function, *args, kind=ConfigError, **options):
    """Return the one line of the error that the call raises."""
    with pytest.raises(kind) as caught:
        function(*args, **options)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_what_is_built_in_is_found_without_a_package():
    assert find("pld_dspy.things", "one", {"one": 1}) == 1
    assert find(METRICS, "accuracy", {"accuracy": len}) is len
    assert [kind_of(group) for group in (TASKS, METRICS, EMBEDDERS)] == [
        "task",
        "metric",
        "embedder",
    ]


def test_an_unknown_name_gets_the_nearest_of_all_packages(package):
    package("pld-extra", "def f2(gold, said): return 1.0", metrics={"f2_macro": "f2"})

    assert names(METRICS, {"mcc": 0}) == ["f2_macro", "mcc"]
    assert error_of(metric_by_name, "f2_makro") == (
        "no metric is called 'f2_makro'; did you mean 'f2_macro'?"
    )


def test_a_package_that_raises_at_import_is_named(package):
    package("pld-broken", "raise RuntimeError('no\\nlicence')", metrics={"f2": "f2"})

    assert error_of(metric_by_name, "f2") == (
        "metric 'f2' of package pld-broken cannot be imported (RuntimeError: no licence); "
        "mend or uninstall the package"
    )
    assert metric_by_name("accuracy").name == "accuracy"


def test_an_entry_point_that_is_not_there_is_named(package):
    package("pld-empty", "", metrics={"f2": "f2"})

    assert "of package pld-empty cannot be imported (AttributeError" in error_of(
        metric_by_name, "f2"
    )


def test_a_name_that_two_packages_claim_names_both(package):
    for name in ("pld-one", "pld-two"):
        package(name, "def f2(example, prediction): return 1.0", metrics={"f2": "f2"})

    line = error_of(metric_by_name, "f2")
    assert line.startswith("metric 'f2' is in the packages pld-")
    assert {"pld-one", "pld-two"} <= set(line.replace(";", " ").split())


@pytest.mark.parametrize(
    ("group", "name", "load"),
    [
        ("tasks", "stereoset", load_task),
        ("metrics", "accuracy", metric_by_name),
        ("embedders", "tfidf", make_embedder),
    ],
)
def test_a_package_cannot_take_a_built_in_name(package, group, name, load):
    package("pld-taker", "def mine(a, b): return 1.0", **{group: {name: "mine"}})

    assert "is in the packages pld-dspy and pld-taker; uninstall one" in error_of(load, name)


@pytest.mark.parametrize(
    "code", ["mine = 3", "def mine(gold): ...", "class mine: ...", "def mine(a, b, c): ..."]
)
def test_a_metric_of_the_wrong_kind_is_named(package, code):
    package("pld-wrong", code, metrics={"mine": "mine"})

    assert "metric 'mine' of package pld-wrong is" in error_of(metric_by_name, "mine")


def test_a_metric_of_single_examples_is_no_corpus_metric(package):
    package(
        "pld-single", "def mine(example, prediction, trace=None): return 1", metrics={"m": "mine"}
    )

    assert "package pld-single scores single examples" in error_of(corpus_metric_by_name, "m")
    assert corpus_metric_by_name("mcc").name == "mcc"


TASK_CODE = """
from pld_dspy.data.tasks import Task
seen = []

def options(*, rows: int = 3, form: "Literal['a', 'b']" = "a", **rest):
    seen.append((rows, form, rest))
    return seen

def positional(path, *, rows=3): ...
def required(*, path: str): raise KeyError(path)
number = 3

from typing import Literal
"""


@pytest.mark.parametrize(
    ("name", "options", "line"),
    [
        (
            "options",
            {"rows": "many"},
            "option rows: 'many' is not allowed, should be a valid integer",
        ),
        ("options", {"form": "bb"}, "option form: 'bb' is not allowed, should be 'a' or 'b'"),
        ("options", {"other": 1}, "returned a list, should be a pld_dspy.data.tasks.Task"),
        ("positional", {}, "takes the positional argument path; a task takes keyword-only options"),
        ("required", {}, "needs the option 'path'; set it in [task.options]"),
        ("required", {"pth": "x", "path": "x"}, "has no option 'pth'; did you mean 'path'"),
        ("number", {}, "is of type int, should be a function that returns a Task"),
    ],
)
def test_a_task_with_wrong_options_or_of_the_wrong_kind_is_named(package, name, options, line):
    package("pld-tasks", TASK_CODE, tasks={name: name})

    said = error_of(load_task, name, **options)
    assert said.startswith(f"task {name!r} of package pld-tasks")
    assert line in said


def test_a_task_that_fails_is_named(package):
    package("pld-tasks", TASK_CODE, tasks={"required": "required"})

    assert error_of(load_task, "required", path="x", kind=DataError) == (
        "task 'required' of package pld-tasks cannot be loaded (KeyError: 'x'); "
        "check its options and its data"
    )


EMBEDDER_CODE = """
import numpy as np
def plain(texts): return np.ones((len(texts), 2))
def factory(): return plain
def factory_with_options(dim=2, seed=0): return plain
class Embedder:
    name = "own"
    def __call__(self, texts): return np.ones((len(texts), 2))
made = Embedder()
class Needy:
    def __init__(self, dim): ...
def short(texts): return np.ones((1, 2))
def two(a, b): ...
def nothing(): return None
number = 3
"""


@pytest.mark.parametrize("name", ["plain", "factory", "Embedder", "made"])
def test_an_embedder_may_be_one_or_make_one(package, name):
    package("pld-vectors", EMBEDDER_CODE, embedders={name.lower(): name})

    assert embed(["a", "b"], make_embedder(name.lower())).shape == (2, 2)


@pytest.mark.parametrize(
    ("name", "line"),
    [
        ("Needy", "cannot be made without arguments (TypeError"),
        ("two", "cannot be made without arguments (TypeError"),
        ("nothing", "is of type NoneType, should be an embedder"),
        ("number", "is of type int, should be an embedder"),
    ],
)
def test_an_embedder_of_the_wrong_kind_is_named(package, name, line):
    package("pld-vectors", EMBEDDER_CODE, embedders={"mine": name})

    assert f"embedder 'mine' of package pld-vectors {line}" in error_of(make_embedder, "mine")


def test_an_embedder_with_vectors_of_the_wrong_length_is_refused(package):
    package("pld-vectors", EMBEDDER_CODE, embedders={"short": "short"})

    with pytest.raises(DataError, match=r"embedder 'short' gave shape \(1, 2\) for 2 texts"):
        embed(["a", "b"], make_embedder("short"))


def test_a_misspelt_embedder_is_no_model_name(package):
    package("pld-vectors", EMBEDDER_CODE, embedders={"letter-counts": "plain"})

    assert "did you mean 'letter-counts'" in error_of(make_embedder, "leter-counts")


# --- a package that is installed ----------------------------------------------------------------


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """Return a folder with the package of `tests/plugin_package`, installed by pip."""
    folder = tmp_path_factory.mktemp("site")
    flags = ["--no-deps", "--no-build-isolation", "--no-index", "--disable-pip-version-check", "-q"]
    subprocess.run(
        [
            sys.executable,
            "-m",
            "pip",
            "install",
            *flags,
            "--target",
            folder,
            TESTS / "plugin_package",
        ],
        check=True,
        capture_output=True,
        text=True,
    )
    return folder


def run(installed, *words):
    """Run the command line in a process that has the package; return what it printed."""
    paths = [str(installed), str(TESTS), str(TESTS.parent)]
    return subprocess.run(
        [sys.executable, str(TESTS / "plugin_run.py"), *map(str, words)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(paths), "COLUMNS": "200"},
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )


def named_config(folder):
    table, _, rest = CONFIG.format(folder=folder).partition("[split]")
    head = table.partition("[task.table]")[0]
    path = folder / "named.toml"
    path.write_text(
        f'embedder = "letters"\n{head}[task]\nname = "colours"\n[task.options]\nrows = 96\n[split]{rest}'
    )
    return path


@pytest.mark.slow
def test_a_run_uses_a_task_a_metric_and_an_embedder_by_name(installed, tmp_path):
    config = named_config(tmp_path)

    planned = run(installed, "distill", config, "--dry-run")
    assert planned.returncode == 0, planned.stderr
    assert "colours" in planned.stdout
    done = run(installed, "distill", config)
    assert done.returncode == 0, done.stderr
    report = Report.read(tmp_path / "run")
    assert (report.task, report.metric) == ("colours", "balanced_accuracy")
    assert report.compiled > report.baseline


@pytest.mark.slow
def test_a_run_uses_a_clusterer_by_name(installed, tmp_path):
    config = write_config(tmp_path)

    done = run(installed, "distill", config, "pld.clusterer=by_label")
    assert done.returncode == 0, done.stderr
    assert Report.read(tmp_path / "run").clustering.startswith("by_label(")
    wrong = run(installed, "distill", config, "--dry-run", "pld.clusterer=by_lable")
    assert wrong.returncode == 2
    assert "no clusterer is called 'by_lable'; did you mean 'by_label'" in wrong.stderr


@pytest.mark.slow
def test_a_table_is_scored_by_a_metric_of_single_examples(installed, tmp_path):
    config = write_config(tmp_path)

    done = run(installed, "distill", config, "task.table.metric=same_label")
    assert done.returncode == 0, done.stderr
    report = Report.read(tmp_path / "run")
    assert report.metric == "same_label"
    assert report.compiled == pytest.approx(report.compiled_accuracy)
    assert report.baseline_ci95[0] <= report.baseline <= report.baseline_ci95[1]
    assert report.delta == pytest.approx(report.compiled - report.baseline)
    shown = run(installed, "evaluate", tmp_path / "run")
    assert f"same_label on test, 24 examples: {report.compiled:.3f}" in shown.stdout


@pytest.mark.slow
@pytest.mark.parametrize(
    ("change", "line"),
    [
        ("task.name=colour", "no task is called 'colour'; did you mean 'colours'"),
        ("task.options.row=3", "task 'colours' of package pld-colours has no option 'row'"),
        ("embedder=leters", "unknown embedder 'leters'; did you mean 'letters'"),
    ],
)
def test_a_wrong_name_is_told_before_anything_is_paid(installed, tmp_path, change, line):
    done = run(installed, "distill", named_config(tmp_path), "--dry-run", change)

    assert done.returncode == 2
    assert line in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


def test_without_the_package_its_names_are_unknown(tmp_path):
    with pytest.raises(PLDError, match="no task is called 'colours'"):
        load_task("colours")
