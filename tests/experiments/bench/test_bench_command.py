"""The command of the comparison: what it skips, what it records, and how it spreads over machines."""

import os
import re
import sys
import time
from pathlib import Path

import pytest
from typer.testing import CliRunner

import experiments.bench.command as command
from compare_runs import World
from experiments.__main__ import app
from experiments.bench.cells import SETS_BUDGET, Cell
from experiments.bench.lines import Line, add_line, read_lines
from experiments.bench.workers import run_here, run_on_ray
from pld_dspy.errors import ConfigError

try:
    import ray
except ImportError:
    ray = None

TEXT = """
[pld]
finalists = 2
refine = { rounds = 1 }
search = { trials = 2 }

[[grid]]
tasks = ["keywords"]
optimizers = ["zero-shot", "labeled-few-shot", "gepa"]
students = ["small"]
teachers = ["large"]
"""


def cell(optimizer, budget="own", seed=0):
    return Cell("keywords", optimizer, "small", "large", "teacher", "item", seed, budget)


PLD, ZERO, FEW, GEPA = map(cell, (SETS_BUDGET, "zero-shot", "labeled-few-shot", "gepa"))
GEPA = GEPA._replace(budget="x1")


class Command:
    """The command in a folder of its own, with fakes for models; cells run in this process."""

    def __init__(self, tmp_path, monkeypatch):
        self.world = World(tmp_path / "world", monkeypatch)
        self.config = tmp_path / "compare.toml"
        self.config.write_text(TEXT, encoding="utf-8")
        self.results = tmp_path / "results.jsonl"
        self.runs = tmp_path / "runs"
        self.ran = []
        monkeypatch.setattr(command, "run_here", self.run_here)

    def run_here(self, cells, arguments, *, logs, begun, ended, jobs):
        for one in cells:
            self.ran.append(one)
            begun(one, logs / "log")
            module, name, _, *options = arguments(one)[1:]
            assert (module, name) == ("experiments", "run")
            done = self(*options)
            ended(one, None if done.exit_code == 0 else "it died")

    def __call__(self, *options):
        paths = ["--results", str(self.results), "--runs", str(self.runs)]
        return CliRunner().invoke(app, ["run", str(self.config), *paths, *options])

    @property
    def lines(self):
        return {line.cell: line for line in read_lines(self.results).lines}


@pytest.fixture
def compare(tmp_path, monkeypatch):
    return Command(tmp_path, monkeypatch)


def test_every_cell_gets_one_line_and_is_skipped_the_next_time(compare):
    first = compare()
    again = compare()

    assert first.exit_code == again.exit_code == 0, first.output
    assert compare.ran == [PLD, ZERO, FEW, GEPA]
    assert list(compare.lines) == [one.name for one in compare.ran]
    assert "4 cells, 0 done, 4 to do" in first.output
    assert "4 cells, 4 done, 0 to do" in again.output
    told = re.findall(r"(\d) of 4 cells in \d+ min, 0 failed(; some)?", first.output)
    assert told == [("1", "; some"), ("2", "; some"), ("3", "; some"), ("4", "")]
    assert all(line.cell_s > 0 for line in compare.lines.values())
    pld, gepa = compare.lines[PLD.name], compare.lines[GEPA.name]
    assert gepa.budget_calls == pld.student_calls + pld.teacher_calls
    assert gepa.student_calls + gepa.teacher_calls <= gepa.budget_calls


def test_a_dry_run_lists_cells_and_runs_none(compare):
    add_line(failed(ZERO), compare.results)
    shown = compare("--dry-run", "--only", "shot")

    assert compare.ran == []
    assert "to do              keywords/labeled-few-shot/" in shown.output
    assert "failed             keywords/zero-shot/" in shown.output
    assert "gepa" not in shown.output


def test_a_cell_that_was_asked_for_brings_the_one_that_sets_its_budget(compare):
    compare("--only", "gepa")

    assert compare.ran == [PLD, GEPA]


def test_limit_takes_the_first(compare):
    compare("--limit", "2")

    assert compare.ran == [PLD, ZERO]


def test_a_failed_cell_is_run_again(compare):
    add_line(failed(ZERO), compare.results)
    compare("--only", "zero-shot")

    assert compare.ran == [ZERO]
    assert compare.lines[ZERO.name].status == "done"


def test_a_broken_line_is_named_and_the_rest_is_used(compare):
    compare("--only", "zero-shot")
    with compare.results.open("a", encoding="utf-8") as file:
        file.write("{broken\n")
    shown = compare("--only", "zero-shot")

    assert "results.jsonl: line 2 cannot be read and is left out: not JSON" in shown.output
    assert compare.ran == [ZERO]


def test_a_rival_without_a_budget_is_recorded_as_failed(compare):
    compare("--one", GEPA.name)
    line = compare.lines[GEPA.name]

    assert (line.status, line.score) == ("failed", None)
    assert "has no line; run it first" in line.error


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        (["--endpoint", "small"], "--endpoint 'small' is no MODEL=URL"),
        (["--endpoint", "smal=http://x"], "no model is called 'smal'; did you mean 'small'?"),
        (["--one", "gepa"], "'gepa' names no cell"),
    ],
)
def test_a_wrong_option_ends_with_2_and_one_line(compare, options, problem):
    done = compare(*options)

    assert done.exit_code == 2
    assert problem in done.output
    assert "Traceback" not in done.output


def failed(one):
    return Line(
        cell=one.name, **one._asdict(), metric="macro_f1", status="failed", error="it broke"
    )


def test_a_process_that_dies_is_told_and_stops_no_other(tmp_path):
    told = []
    code = {ZERO: "import os; os._exit(9)", FEW: "print('hello')"}
    run_here(
        [ZERO, FEW],
        lambda one: ["-c", code[one]],
        logs=tmp_path,
        begun=lambda one, log: told.append(log.name),
        ended=lambda one, problem: told.append(problem),
    )

    assert told == [
        "keywords-zero-shot-small-large-teacher-item-0-own.log",
        "its process ended with 9",
        "keywords-labeled-few-shot-small-large-teacher-item-0-own.log",
        None,
    ]
    assert (tmp_path / told[2]).read_text(encoding="utf-8") == "hello\n"


MEET = """
import pathlib, sys, time
mine, other = map(pathlib.Path, sys.argv[1:])
mine.touch()
until = time.monotonic() + 60
while not other.exists():
    time.sleep(0.01)
    assert time.monotonic() < until
"""


def test_jobs_are_how_many_cells_run_at_once(tmp_path):
    files = {ZERO: ("zero", "few"), FEW: ("few", "zero")}
    problems = []
    run_here(
        [ZERO, FEW],
        lambda one: ["-c", MEET, *(str(tmp_path / name) for name in files[one])],
        logs=tmp_path,
        begun=lambda one, log: None,
        ended=lambda one, problem: problems.append(problem),
        jobs=2,
    )

    assert problems == [None, None]


@pytest.mark.parametrize("jobs", [1, 3])
def test_the_cell_that_sets_a_budget_ends_before_one_that_needs_it_begins(tmp_path, jobs):
    events = []
    run_here(
        [GEPA, ZERO, PLD],
        lambda one: ["-c", ""],
        logs=tmp_path,
        begun=lambda one, log: events.append(("begun", one)),
        ended=lambda one, problem: events.append(("ended", one)),
        jobs=jobs,
    )

    assert len(events) == 6
    assert events.index(("ended", PLD)) < events.index(("begun", GEPA))


@pytest.mark.parametrize("options", [(), ("--jobs", "2")])
def test_a_line_tells_whether_its_cell_had_the_machine_alone(compare, options):
    assert compare("--only", "zero-shot", *options).exit_code == 0
    assert compare.lines[ZERO.name].alone == (not options)


def test_ray_that_is_missing_names_what_installs_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    cells = run_on_ray([ZERO], work, address="auto", budget=lambda one: None, arguments={})
    with pytest.raises(ConfigError, match="--ray needs ray of the extra `compare`"):
        next(cells)


def work(name, budget, *, slow_s, folder):
    """Stand for a cell on a Ray worker: it tells where it runs, and is there when that is lost."""
    node = ray.get_runtime_context().get_node_id()
    (Path(folder) / f"{name.replace('/', '-')} {node} {time.monotonic_ns()}").touch()
    time.sleep(slow_s)
    one = Cell.named(name)
    scores = {"score": 1.0, "student_calls": 7, "teacher_calls": 3, "budget_calls": budget}
    line = Line(cell=name, **one._asdict(), metric="macro_f1", status="done", **scores)
    return line.to_json()


def begun_on(node, folder, ended):
    """Names of the cells that began on a node and have not ended."""
    done = {one.name.replace("/", "-") for one in ended}
    begun = (path.name.split() for path in folder.iterdir())
    return [name for name, where, _ in begun if where == node and name not in done]


@pytest.mark.slow
@pytest.mark.skipif(ray is None, reason="ray is not installed; `make rivals` installs it")
def test_every_line_arrives_once_though_a_machine_is_lost(tmp_path, monkeypatch):
    from ray.cluster_utils import Cluster

    # Workers import this module by its name.
    here = Path(__file__)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(here.parent), str(here.parents[2])]))
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1})
    lost = cluster.add_node(num_cpus=1)
    cluster.wait_for_nodes()
    cells = [cell(SETS_BUDGET), *(cell("gepa", "x1", seed) for seed in (0,))]
    cells += [cell("zero-shot", seed=seed) for seed in range(6)]
    arrived, lines = [], []
    try:
        ended = run_on_ray(
            cells,
            work,
            address=cluster.address,
            budget=lambda one: None if one.budget == "own" else 10,
            arguments={"slow_s": 1.0, "folder": str(tmp_path)},
        )
        killed = []
        for one, text, problem in ended:
            assert problem is None
            arrived.append(one)
            lines.append(Line.model_validate_json(text))
            if not killed and (killed := begun_on(lost.node_id, tmp_path, arrived)):
                cluster.remove_node(lost, allow_graceful=False)
    finally:
        cluster.shutdown()

    attempts = [path.name.split()[0] for path in tmp_path.iterdir()]
    assert killed
    assert all(attempts.count(name) > 1 for name in killed)
    assert sorted(arrived) == sorted(cells)
    assert [line.cell for line in lines] == [one.name for one in arrived]
    assert arrived.index(cells[0]) < arrived.index(cells[1])
    assert lines[arrived.index(cells[1])].budget_calls == 10
