import json
import logging
import socket
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import mlflow
import pytest
from matplotlib.figure import Figure
from mlflow import MlflowClient

from pld_dspy.errors import ConfigError
from pld_dspy.ledger.mlflow.tracker import MlflowTracker
from pld_dspy.ledger.mlflow.uri import resolve_uri, ui_command
from pld_dspy.ledger.mlflow.values import flatten, plain
from pld_dspy.ledger.tracker import NullTracker
from pld_dspy.records import Answer, Candidate, Evaluation, Rule

pytestmark = pytest.mark.filterwarnings("ignore::sqlalchemy.exc.SADeprecationWarning")


@pytest.fixture(scope="module")
def uri(tmp_path_factory):
    # One database for all tests: making one takes seconds.
    return f"sqlite:///{tmp_path_factory.mktemp('mlflow')}/mlflow.db"


@pytest.fixture
def client(uri):
    return MlflowClient(tracking_uri=uri, registry_uri=uri)


@pytest.fixture
def tracker(uri):
    made = MlflowTracker("pld tests", tracking_uri=uri)
    yield made
    made.finish()


def begin(tracker, **changes):
    settings = {"name": "demo", "params": {"seed": 0}, "tags": {}, "run_dir": None}
    tracker.start(**(settings | changes))
    return tracker.run_id


def candidate(name="c1"):
    rule = Rule(id="r1", text="Say yes.", trace_ids=("t1",), labels={"yes": 1}, origin="medoid")
    return Candidate(id=name, rules=(rule,), prompt=f"Rules of {name}", origin="search")


def evaluation(name="c1", split="val", score=0.75):
    answers = (
        Answer(example_id="e1", gold="yes", answer="yes", score=1.0, input_tokens=40),
        Answer(example_id="e2", gold="no", answer=None, input_tokens=60),
    )
    return Evaluation(
        candidate_id=name, split=split, metric="macro_f1", score=score, answers=answers
    )


def children(client, run_id):
    parent = client.get_run(run_id)
    wanted = f"tags.`mlflow.parentRunId` = '{run_id}'"
    return client.search_runs([parent.info.experiment_id], wanted)


def artifact(client, run_id, path):
    return Path(client.download_artifacts(run_id, path)).read_text(encoding="utf-8")


def test_a_run_keeps_settings_tags_digests_and_status(tracker, client):
    run_id = begin(
        tracker,
        params={
            "search": {"trials": 40},
            "teacher": {"api_key": "sk-very-secret", "max_tokens": 9},
        },
        tags={"task": "demo"},
        digests={"train": "ab" * 32, "test": "cd" * 32},
    )
    assert client.get_run(run_id).info.status == "RUNNING"
    tracker.finish()
    run = client.get_run(run_id)
    assert run.info.status == "FINISHED"
    assert run.info.run_name == "demo"
    assert run.data.params == {
        "search.trials": "40",
        "teacher.api_key": "***",
        "teacher.max_tokens": "9",
    }
    assert run.data.tags["task"] == "demo"
    assert run.data.tags["pld.data.train"] == "ab" * 32
    inputs = {
        i.dataset.name: (i.dataset.digest, i.tags[0].value) for i in run.inputs.dataset_inputs
    }
    assert inputs == {"train": ("ab" * 18, "training"), "test": ("cd" * 18, "test")}
    assert json.loads(artifact(client, run_id, "params.json"))["search"] == {"trials": 40}


def test_metrics_keep_their_steps_and_odd_names_are_made_valid(tracker, client):
    run_id = begin(tracker)
    for step in range(3):
        tracker.metrics({"search/val_score": step / 10, "cost ($)": 1.0}, step=step)
    history = client.get_metric_history(run_id, "search/val_score")
    assert [(m.step, m.value) for m in history] == [(0, 0.0), (1, 0.1), (2, 0.2)]
    assert client.get_run(run_id).data.metrics["cost ___"] == 1


def test_a_candidate_becomes_a_closed_child_run(tracker, client):
    run_id = begin(tracker)
    tracker.candidate(candidate(), evaluation(), extra={"p_worse": 0.2})
    (child,) = children(client, run_id)
    assert child.info.status == "FINISHED"
    assert child.data.tags["pld.candidate_id"] == "c1"
    assert child.data.tags["pld.split"] == "val"
    assert child.data.metrics == {
        "macro_f1": 0.75,
        "rules": 1,
        "demos": 0,
        "label_words": 0,
        "examples": 2,
        "unparsed_rate": 0.5,
        "failures": 0,
        "prompt_tokens": 50,
        "p_worse": 0.2,
    }
    assert artifact(client, child.info.run_id, "prompt.txt") == "Rules of c1"


def test_artifacts_come_back_as_they_went(tracker, client, tmp_path):
    run_id = begin(tracker)
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "rules.json").write_text("[]", encoding="utf-8")
    tracker.text("Überschrift", "prompt.txt")
    tracker.file(tmp_path / "sub" / "rules.json")
    tracker.file(tmp_path / "sub", "stages")
    tracker.figure(Figure(), "plots/empty.png")
    assert artifact(client, run_id, "prompt.txt") == "Überschrift"
    assert artifact(client, run_id, "rules.json") == "[]"
    assert artifact(client, run_id, "stages/rules.json") == "[]"
    picture = Path(client.download_artifacts(run_id, "plots/empty.png"))
    assert picture.read_bytes().startswith(b"\x89PNG")


def test_artifacts_of_a_new_sqlite_store_lie_beside_it(tracker, client, uri):
    location = Path(client.get_run(begin(tracker)).info.artifact_uri)
    assert location.is_relative_to(Path(uri.removeprefix("sqlite:///")).parent / "mlartifacts")


def test_a_prompt_version_is_linked_to_the_run_and_not_made_twice(client, uri, tmp_path):
    tracker = MlflowTracker("pld tests", tracking_uri=uri, register_prompt="pld-demo")
    run_id = begin(tracker, run_dir=tmp_path)
    for _ in range(2):
        tracker.prompt("self", "1. Say yes.", tags={"val": "0.8"})
    tracker.prompt("judge.predict", "Judge.", tags={})
    tracker.finish()
    begin(tracker, run_dir=tmp_path)
    tracker.prompt("self", "1. Say yes.", tags={"val": "0.8"})
    tracker.prompt("self", "1. Say no.", tags={"val": "0.9"})
    tracker.finish()
    versions = {v: client.get_prompt_version("pld-demo", v) for v in (1, 2)}
    assert {v: p.template for v, p in versions.items()} == {1: "1. Say yes.", 2: "1. Say no."}
    assert versions[1].tags["val"] == "0.8"
    assert versions[1].tags["mlflow.run_id"] == run_id
    assert client.get_prompt_version("pld-demo.judge.predict", 1).template == "Judge."
    linked = json.loads(client.get_run(run_id).data.tags["mlflow.linkedPrompts"])
    assert [(link["name"], link["version"]) for link in linked] == [
        ("pld-demo", "1"),
        ("pld-demo.judge.predict", "1"),
        ("pld-demo", "2"),
    ]
    assert artifact(client, run_id, "prompts/prompt.txt") == "1. Say no."


def test_without_a_registry_name_a_prompt_is_an_artifact_only(tracker, client):
    run_id = begin(tracker)
    tracker.prompt("classify", "text", tags={})
    assert artifact(client, run_id, "prompts/classify.txt") == "text"
    assert client.get_prompt("classify") is None


def test_a_resumed_run_goes_on_and_does_not_double_children(uri, client, tmp_path):
    killed = MlflowTracker("pld tests", tracking_uri=uri)
    run_id = begin(killed, run_dir=tmp_path, params={"seed": 0, "trials": 10})
    killed.candidate(candidate("c1"), evaluation("c1"))
    killed._run = None  # as if the process had been killed: nothing closes the run

    resumed = MlflowTracker("pld tests", tracking_uri=uri)
    assert begin(resumed, run_dir=tmp_path, params={"seed": 0, "trials": 20}) == run_id
    resumed.candidate(candidate("c1"), evaluation("c1"))
    resumed.candidate(candidate("c1"), evaluation("c1", split="select"))
    resumed.candidate(candidate("c2"), evaluation("c2"))
    resumed.finish()
    keys = [
        (c.data.tags["pld.candidate_id"], c.data.tags["pld.split"])
        for c in children(client, run_id)
    ]
    assert sorted(keys) == [("c1", "select"), ("c1", "val"), ("c2", "val")]
    run = client.get_run(run_id)
    assert run.info.status == "FINISHED"
    assert run.data.params["trials"] == "10"
    assert run.data.tags["pld.changed_on_resume"] == "trials"
    assert json.loads(artifact(client, run_id, "params.json"))["trials"] == 20


def test_a_finished_run_is_running_again_while_it_is_resumed(tracker, client, tmp_path):
    run_id = begin(tracker, run_dir=tmp_path)
    tracker.finish()
    assert begin(tracker, run_dir=tmp_path) == run_id
    assert client.get_run(run_id).info.status == "RUNNING"


@pytest.mark.parametrize("harm", ["deleted", "broken file"])
def test_a_run_that_is_gone_is_begun_anew(tracker, client, tmp_path, harm):
    first = begin(tracker, run_dir=tmp_path)
    tracker.finish()
    if harm == "deleted":
        client.delete_run(first)
    else:
        (tmp_path / "mlflow_run.json").write_text("{", encoding="utf-8")
    assert begin(tracker, run_dir=tmp_path) != first


@pytest.mark.parametrize("status", ["FAILED", "KILLED"])
def test_a_run_that_ends_badly_says_so(tracker, client, status):
    run_id = begin(tracker)
    tracker.finish(status)
    tracker.finish("FINISHED")  # the second call comes too late
    assert client.get_run(run_id).info.status == status
    assert tracker.run_id is None


def test_a_run_left_open_is_closed_when_the_next_one_starts(tracker, client):
    first = begin(tracker)
    begin(tracker)
    assert client.get_run(first).info.status == "KILLED"


def test_the_exit_hook_closes_an_open_run(tracker, client):
    run_id = begin(tracker)
    tracker._finish_at_exit()
    assert client.get_run(run_id).info.status == "KILLED"


def test_four_threads_may_log_at_once(tracker, client):
    run_id = begin(tracker)

    def log(number):
        tracker.candidate(candidate(f"c{number % 8}"), evaluation(f"c{number % 8}"))
        tracker.metrics({"search/val_score": number / 16}, step=number)

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(log, range(16)))
    found = sorted(c.data.tags["pld.candidate_id"] for c in children(client, run_id))
    assert found == [f"c{n}" for n in range(8)]
    history = client.get_metric_history(run_id, "search/val_score")
    assert sorted(m.step for m in history) == list(range(16))


def test_an_active_run_of_the_user_becomes_the_parent_and_stays_active(
    tracker, client, uri, monkeypatch, tmp_path
):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    theirs = client.create_experiment("of the user", artifact_location=str(tmp_path))
    with mlflow.start_run(experiment_id=theirs) as mine:
        run_id = begin(tracker)
        tracker.finish()
        assert mlflow.active_run().info.run_id == mine.info.run_id
    run = client.get_run(run_id)
    assert run.data.tags["mlflow.parentRunId"] == mine.info.run_id
    assert run.info.experiment_id == mine.info.experiment_id


def test_a_failure_midway_warns_once_and_never_raises(
    tracker, client, monkeypatch, caplog, tmp_path
):
    run_id = begin(tracker)

    def broken(*args, **kwargs):
        raise OSError("disk full\nsecond line")

    with monkeypatch.context() as patch, caplog.at_level(logging.WARNING, "pld_dspy"):
        for name in ("log_batch", "log_text", "create_run", "log_artifact", "log_figure"):
            patch.setattr(MlflowClient, name, broken)
        tracker.metrics({"x": 1.0})
        tracker.text("a", "a.txt")
        tracker.candidate(candidate(), evaluation())
        tracker.file(tmp_path / "missing.txt")
    (warning,) = caplog.messages
    assert warning.startswith("MLflow did not take metrics (OSError: disk full)")
    tracker.metrics({"x": 2.0})
    tracker.finish()
    run = client.get_run(run_id)
    assert (run.info.status, run.data.metrics) == ("FINISHED", {"x": 2.0})


def test_a_dead_store_is_left_alone_after_five_failures(tracker, client, monkeypatch):
    run_id = begin(tracker)
    calls = []

    def broken(*args, **kwargs):
        calls.append(args)
        raise OSError("gone")

    with monkeypatch.context() as patch:
        patch.setattr(MlflowClient, "log_batch", broken)
        for _ in range(20):
            tracker.metrics({"x": 1.0})
    assert len(calls) == 5
    tracker.finish("FAILED")
    assert client.get_run(run_id).info.status == "FAILED"


def test_a_child_whose_log_broke_is_not_left_running(tracker, client, monkeypatch):
    run_id = begin(tracker)
    with monkeypatch.context() as patch:
        patch.setattr(MlflowClient, "log_batch", lambda *args, **kwargs: 1 / 0)
        tracker.candidate(candidate(), evaluation())
    tracker.finish()
    assert [c.info.status for c in children(client, run_id)] == ["KILLED"]


def closed_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def test_a_server_that_does_not_answer_is_an_error_before_the_run(tmp_path):
    secret = f"http://me:hunter2@127.0.0.1:{closed_port()}"
    with pytest.raises(ConfigError, match="nothing answers at the MLflow tracking URI") as caught:
        begin(MlflowTracker(tracking_uri=secret), run_dir=tmp_path)
    assert "hunter2" not in str(caught.value)
    assert "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("uri_of", "message"),
    [
        ("sqlite:///{0}/file.txt/mlflow.db", "nothing answers"),
        ("gopher://nowhere", "does not work"),
        ("runs/mlflow.db", "write 'sqlite:///runs/mlflow.db'"),
    ],
)
def test_a_bad_uri_is_an_error_of_one_line(tmp_path, uri_of, message):
    (tmp_path / "file.txt").touch()
    with pytest.raises(ConfigError, match=message) as caught:
        begin(MlflowTracker(tracking_uri=uri_of.format(tmp_path)))
    assert "\n" not in str(caught.value)


def test_nothing_happens_before_the_start_and_in_the_null_tracker(uri, tmp_path):
    for tracker in (MlflowTracker("never made", tracking_uri=uri), NullTracker()):
        tracker.metrics({"x": 1.0})
        tracker.candidate(candidate(), evaluation())
        tracker.text("a", "a.txt")
        tracker.file(tmp_path)
        tracker.figure(Figure(), "a.png")
        tracker.prompt("p", "text", tags={})
        tracker.finish()
    NullTracker().start(name="n", params={}, tags={}, run_dir=tmp_path)
    assert list(tmp_path.iterdir()) == []
    assert MlflowClient(tracking_uri=uri).get_experiment_by_name("never made") is None


@pytest.mark.parametrize(
    "key", ["api_key", "apiKey", "OPENAI_API_KEY", "hf_token", "token", "password", "Authorization"]
)
def test_secrets_are_masked(key):
    assert plain({"lm": {key: "x1"}}) == {"lm": {key: "***"}}


@pytest.mark.parametrize("key", ["max_tokens", "token_budget", "prompt_tokens", "key", "label_key"])
def test_names_that_only_resemble_secrets_are_kept(key):
    assert plain({key: "x1"}) == {key: "x1"}


def test_secrets_in_values_are_masked():
    assert plain({"base": "https://me:pw@host/v1", "note": "use sk-" + "a" * 30}) == {
        "base": "https://***@host/v1",
        "note": "use ***",
    }


def test_objects_are_logged_by_fields_or_by_name():
    assert plain({"c": candidate(), "f": len, "o": object()}) == {
        "c": {
            "id": "c1",
            "rules": [
                {
                    "id": "r1",
                    "text": "Say yes.",
                    "trace_ids": ["t1"],
                    "labels": {"yes": 1},
                    "origin": "medoid",
                    "parents": [],
                    "cluster_id": None,
                    "truth": None,
                    "scope": None,
                }
            ],
            "prompt": "Rules of c1",
            "origin": "search",
            "note": "",
            "demos": [],
            "topics": None,
            "words": {},
        },
        "f": "len",
        "o": "object",
    }


def test_long_values_are_cut_with_a_mark(tracker, client):
    run_id = begin(tracker, params={"prompt": "x" * 7000} | {f"k{n}": n for n in range(250)})
    params = client.get_run(run_id).data.params
    assert len(params) == 251
    assert len(params["prompt"]) == 6000
    assert params["prompt"].endswith("[cut; whole value in params.json]")
    assert json.loads(artifact(client, run_id, "params.json"))["prompt"] == "x" * 7000


def test_empty_and_none_survive_flattening():
    assert flatten({"a": {}, "b": None, "c": {"d": []}}) == {"a": "{}", "b": "null", "c.d": "[]"}


def test_the_server_command_is_loopback_only_and_safe_offline(tmp_path):
    argv, env = ui_command(f"sqlite:///{tmp_path}/m.db", 5123)
    assert argv[1:4] == ["-m", "mlflow", "server"]
    options = dict(zip(argv[4::2], argv[5::2], strict=True))
    assert options["--host"] == "127.0.0.1"
    assert options["--port"] == "5123"
    assert options["--backend-store-uri"] == f"sqlite:///{tmp_path}/m.db"
    assert env["LITELLM_LOCAL_MODEL_COST_MAP"] == "True"
    assert env["MLFLOW_DISABLE_TELEMETRY"] == "true"


@pytest.mark.parametrize(
    ("uri_of", "port", "message"),
    [("http://127.0.0.1:5000", 5000, "already"), ("sqlite:///m.db", 0, "port 0")],
)
def test_the_server_command_refuses_what_cannot_work(uri_of, port, message):
    with pytest.raises(ConfigError, match=message):
        ui_command(uri_of, port)


def test_the_default_store_is_the_setting_of_mlflow_then_a_file_here(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    assert resolve_uri() == f"sqlite:///{tmp_path}/mlflow.db"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    assert resolve_uri() == "http://127.0.0.1:9"


def test_autolog_that_traces_every_call_is_warned_of(tracker, monkeypatch, caplog):
    from mlflow.utils import autologging_utils

    config = {"disable": False, "log_traces_from_compile": True}
    monkeypatch.setitem(autologging_utils.AUTOLOGGING_INTEGRATIONS, "dspy", config)
    with caplog.at_level(logging.WARNING, "pld_dspy"):
        begin(tracker)
    assert "log_traces_from_compile=True" in caplog.text
