import itertools
import json
import shutil
from collections import Counter
from pathlib import Path

import pytest

from fakes import FakeTeacher, RuleFollower
from pld_dspy.config.run import read_config
from pld_dspy.data.splits import example_id
from pld_dspy.errors import DataError, ModelError, StorageError
from pld_dspy.ledger.mlflow import tracker as mlflow_tracker
from pld_dspy.runs import run as distill_module
from pld_dspy.runs.estimate import plan
from pld_dspy.runs.report import Report
from pld_dspy.runs.run import load, run_distill
from pld_dspy.runs.setup import load_table
from small_runs import TASK, Models, explain_in_sections, write_config


@pytest.fixture
def models(monkeypatch):
    return Models(monkeypatch)


@pytest.fixture
def config(tmp_path):
    return read_config(write_config(tmp_path))


class Interrupting(RuleFollower):
    """A student whose user presses Ctrl-C during a call."""

    def __init__(self, at):
        super().__init__(TASK.default)
        self._at = at

    def answer(self, prompt, call):
        if call == self._at:
            raise KeyboardInterrupt
        return super().answer(prompt, call)


@pytest.mark.slow
def test_a_run_reports_what_it_found(config, models):
    report = run_distill(config)
    run_dir = config.run_dir

    assert report.delta == pytest.approx(report.compiled - report.baseline)
    assert report.delta_ci95[0] <= report.delta <= report.delta_ci95[1]
    assert report.compiled > report.baseline
    assert (report.test_n, report.traces, report.metric) == (24, "teacher", "macro_f1")
    assert report.prompt_tokens > report.prompt_tokens_baseline > 0
    assert report.test_calls == 2 * report.test_n
    # One call to each model checks that it answers.
    assert report.teacher_calls == models.teacher.calls - 1
    assert report.student_calls + report.test_calls == models.student.calls - 1
    assert Report.read(run_dir) == report
    assert json.loads((run_dir / "report.json").read_text())["split"]["sizes"]["test"] == 24
    for name in ("confusion", "clusters", "candidates", "before_after"):
        assert (run_dir / f"{name}.png").stat().st_size > 1000


@pytest.mark.slow
def test_every_rule_leads_back_to_the_rows_behind_it(config, models):
    report = run_distill(config)
    chosen = json.loads((config.run_dir / "rules.json").read_text())["predict"]
    train = {example_id(e): e for e in load(config).splits.train}
    prompt = (config.run_dir / "prompt.txt").read_text()

    assert len(chosen["rules"]) == report.rules > 0
    for rule in chosen["rules"]:
        assert f"{rule['number']}. {rule['text']}" in prompt
        assert rule["support"] == len(rule["traces"]) == sum(rule["labels"].values())
        for trace in rule["traces"]:
            example = train[trace["example_id"]]
            assert (trace["source_id"], trace["label"]) == (example.pld_source, example.label)


@pytest.mark.slow
def test_a_second_run_in_the_same_folder_asks_nothing_again(config, models):
    first = run_distill(config)
    calls = models.student.calls, models.teacher.calls
    second = run_distill(config)

    assert (models.student.calls, models.teacher.calls) == (calls[0] + 1, calls[1] + 1)
    times = {"wall_s", "compile_wall_s"}
    assert second.model_dump(exclude=times) == first.model_dump(exclude=times)
    assert second.wall_s > first.wall_s


@pytest.mark.slow
@pytest.mark.parametrize("at", [10, 60])
def test_an_interrupted_run_goes_on_where_it_stopped(config, monkeypatch, tmp_path, at):
    whole = Models(monkeypatch)
    other = config.model_copy(update={"run_dir": tmp_path / "whole"})
    expected = run_distill(other)
    stopped = Models(monkeypatch, student=Interrupting(at))
    with pytest.raises(KeyboardInterrupt):
        run_distill(config)
    resumed = Models(monkeypatch)
    report = run_distill(config)

    assert report.compiled == expected.compiled
    assert report.commit == expected.commit
    # The stopped call is made again, and so is the check of each model.
    assert stopped.student.calls + resumed.student.calls == whole.student.calls + 2
    assert stopped.teacher.calls + resumed.teacher.calls <= whole.teacher.calls + 1


@pytest.mark.slow
def test_the_time_of_a_run_that_was_killed_outright_counts(config, models, monkeypatch, tmp_path):
    seconds = itertools.count(0.0, 7.0)  # each look at the clock finds it seven seconds on
    monkeypatch.setattr("pld_dspy.ledger.clock.monotonic", lambda: next(seconds))
    told, killed = [], tmp_path / "killed"

    def progress(event):
        told.append(event)
        if len(told) == 50:
            shutil.copytree(config.run_dir, killed)  # as it is when the process dies right now
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_distill(config, progress=progress)
    report = run_distill(config.model_copy(update={"run_dir": killed}))

    assert report.wall_s > report.compile_wall_s > 40 * 7


def test_test_examples_never_reach_compile(config, models, monkeypatch):
    seen = []

    class Spy:
        def __init__(self, **settings):
            pass

        def compile(self, student, *, trainset, valset, selectset):
            seen.extend(map(example_id, [*trainset, *valset, *selectset]))
            raise StorageError("stop here")

    monkeypatch.setattr(distill_module, "PLD", Spy)
    with pytest.raises(StorageError, match="stop here"):
        run_distill(config)

    test = {example_id(e) for e in load(config).splits.test}
    assert len(seen) == 56
    assert not test & set(seen)


@pytest.mark.slow
def test_a_student_that_rules_cannot_help_is_kept_and_the_report_says_so(config, monkeypatch):
    class Stubborn(RuleFollower):
        def answer(self, prompt, call):
            return TASK.default

    Models(monkeypatch, student=Stubborn(TASK.default))
    report = run_distill(config)

    assert report.kept_as_given
    assert (report.delta, report.chosen_origin) == (0.0, "as given")
    assert "stays as given" in report.reason


def test_both_models_answer_before_anything_is_paid_for(config, monkeypatch):
    broken = FakeTeacher(explain_in_sections, fail_on=lambda call: True)
    models = Models(monkeypatch, teacher=broken)
    with pytest.raises(ModelError, match=r"fake/teacher does not answer"):
        run_distill(config)

    assert models.student.calls == 1


def test_equal_models_are_made_once(config, models):
    from pld_dspy.runs.setup import make_models

    made = make_models(config.model_copy(update={"teacher": None}))

    assert made.teacher is made.student
    assert [name for name, _ in models.asked] == ["fake/student"]


@pytest.mark.slow
def test_recorded_traces_spare_the_teacher_and_their_rows_are_trained_on(config, models, tmp_path):
    rows = [(n, text) for n, (text, label) in enumerate(TASK.rows) if label != TASK.default][:20]
    lines = [
        json.dumps({"id": f"table.csv:{n}", "rule": explain(text), "rationale": "w"})
        for n, text in rows
    ]
    file = tmp_path / "traces.jsonl"
    file.write_text("\n".join(lines), encoding="utf-8")
    config = config.model_copy(
        update={"traces": config.traces.model_copy(update={"file": str(file)})}
    )
    report = run_distill(config)
    train = {e.pld_source for e in load(config).splits.train}

    assert report.traces == "recorded"
    assert not (config.run_dir / "traces.jsonl").exists()
    assert len({f"table.csv:{n}" for n, _ in rows} & train) >= 15


@pytest.mark.slow
def test_a_label_with_too_few_groups_is_refused_or_named_in_the_report(tmp_path, models):
    few = {TASK.default: 2}
    seen = Counter()
    rows = []
    for text, label in TASK.rows:
        seen[label] += 1
        rows.append([text, label, f"{label} {seen[label] % few.get(label, 6)}"])
    path = write_config(tmp_path, rows, ("text", "label", "topic"))
    by_group = ["split.by=group", "task.table.group=topic"]

    with pytest.raises(DataError, match=rf"label '{TASK.default}' \(2\) for 3 sides"):
        run_distill(read_config(path, by_group))
    assert models.asked == []

    config = read_config(path, [*by_group, "split.scarce=share"])
    assert run_distill(config).split["shared"] == few


def explain(text):
    class Prompt(str):
        user = f"Example: {text}\nRule: <rule>"

    return explain_in_sections(Prompt()).removeprefix("Rule: ")


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::sqlalchemy.exc.SADeprecationWarning")
def test_the_run_is_tracked_with_its_scores_files_and_pictures(
    config, models, tmp_path, monkeypatch
):
    import mlflow

    opened = []
    real = mlflow_tracker.open_run
    monkeypatch.setattr(
        mlflow_tracker, "open_run", lambda *args: opened.append(args) or real(*args)
    )
    uri = f"sqlite:///{tmp_path}/m.db"
    mlflow_settings = config.mlflow.model_copy(update={"enabled": True, "tracking_uri": uri})
    report = run_distill(config.model_copy(update={"mlflow": mlflow_settings}))
    run_id = json.loads((config.run_dir / "mlflow_run.json").read_text())["run_id"]
    client = mlflow.MlflowClient(tracking_uri=uri)
    run = client.get_run(run_id)

    assert len(opened) == 1
    assert run.info.status == "FINISHED"
    settings = json.loads(
        Path(client.download_artifacts(run_id, "params.json")).read_text(encoding="utf-8")
    )
    assert {"run", "versions", "embedder"} <= settings.keys()
    assert run.data.params["student"] == "fake/student"
    assert run.data.tags["optimizer"] == "PLD"
    assert run.data.metrics["test.compiled"] == report.compiled
    assert run.data.params["run.split.test"] == "24"
    assert run.data.tags["pld.data.test"] == report.split["digests"]["test"]
    names = {file.path for file in client.list_artifacts(run_id)}
    assert {"report.json", "confusion.png", "clusters.png", "rules.json", "prompts"} <= names


def test_two_processes_do_not_share_a_folder(config, models):
    from filelock import FileLock

    config.run_dir.mkdir()
    with (
        FileLock(config.run_dir / "distill.lock"),
        pytest.raises(StorageError, match="another process works in"),
    ):
        run_distill(config)


@pytest.mark.parametrize(
    ("rows", "header", "line"),
    [
        ([(f"t{n}", "red") for n in range(90)], ("text", "label"), "at least two are needed"),
        (TASK.rows, ("txt", "label"), "has no column 'text'"),
        (TASK.rows[:20], ("text", "label"), "ask for fewer"),
    ],
)
def test_bad_data_is_refused_before_a_model_is_made(tmp_path, models, rows, header, line):
    config = read_config(write_config(tmp_path, rows, header))
    with pytest.raises(DataError, match=line):
        run_distill(config)

    assert models.asked == []


@pytest.mark.slow
def test_the_plan_bounds_the_calls_that_are_made(config, models):
    planned = plan(config)
    assert models.asked == []
    assert models.student.calls == models.teacher.calls == 0
    made = Counter()
    report = run_distill(config, progress=lambda event: made.update([(event.stage, event.role)]))
    by_name = {stage.name: stage for stage in planned.stages}
    bound = Counter()
    for stage in planned.stages:
        bound[stage.events, stage.role] += stage.calls

    assert by_name["traces"].calls == 24
    assert by_name["traces"].exact
    assert report.teacher_calls <= planned.calls("teacher")
    assert report.student_calls + report.test_calls <= planned.calls("student")
    assert made["left out", "student"] > 0
    assert made <= bound


def test_the_plan_names_downloads_and_makes_none(config, models):
    config = config.model_copy(
        update={"teacher": config.student.model_copy(update={"model": "local/smollm2-135m"})}
    )

    assert plan(config).downloads == {"local/smollm2-135m": 98_362_432}
    assert models.asked == []


def test_the_plan_asks_the_teacher_for_no_trace_that_is_recorded(config, tmp_path):
    file = tmp_path / "t.jsonl"
    file.write_text(json.dumps({"id": "table.csv:1", "rule": "r"}), encoding="utf-8")
    traces = config.traces.model_copy(update={"file": str(file)})

    assert plan(config.model_copy(update={"traces": traces})).stages[0].calls == 0


def test_a_longer_prompt_is_planned_for_students_with_rules(config):
    stages = {s.name: s for s in plan(config).stages}
    per_call = [
        stages[name].input_tokens / stages[name].calls for name in ("test, as given", "search")
    ]

    assert per_call[1] > per_call[0]


def test_traces_with_a_byte_order_mark_and_line_separators_choose_the_training_examples(config):
    ids = [f"table.csv:{n}" for n in range(3)]
    lines = [json.dumps({"id": i, "rule": "If\u2028x"}, ensure_ascii=False) for i in ids]
    file = config.run_dir.parent / "traces.jsonl"
    file.write_text("\ufeff" + "\n".join(lines), encoding="utf-8")
    traces = config.traces.model_copy(update={"file": str(file)})

    train = load(config.model_copy(update={"traces": traces})).splits.train
    assert set(ids) <= {example.pld_source for example in train}


def test_another_table_is_read_with_the_settings_of_the_own_one(config, tmp_path):
    own = config.task.table.model_copy(update={"delimiter": "^", "encoding": "cp1252"})
    settings = config.model_copy(update={"task": config.task.model_copy(update={"table": own})})
    task = load(config).task
    odd, plain = tmp_path / "more.csv", tmp_path / "more.tsv"
    odd.write_bytes("text^label\n\u00e4^red\nx^green\n".encode("cp1252"))
    plain.write_text("text\tlabel\n\u00e4\tred\nx\tgreen\n", encoding="utf-8")

    for path in (odd, plain):
        assert [e.text for e in load_table(settings, task, path)] == ["\u00e4", "x"]
