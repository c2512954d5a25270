"""What can be checked is checked before a model is asked."""

import json
from types import SimpleNamespace

import pytest

from pld_dspy import PLD, PLDConfig, macro_f1
from pld_dspy.config.run import read_config
from pld_dspy.errors import ConfigError, ModelError, StorageError
from pld_dspy.models.student import DirectStudent
from pld_dspy.runs.run import run_distill
from small_runs import Models, write_config


@pytest.fixture
def models(monkeypatch):
    return Models(monkeypatch)


def refused(tmp_path, models, error, line, *changes):
    """Run with the changed settings, which have to be refused before a model is made."""
    with pytest.raises(error, match=line):
        run_distill(read_config(write_config(tmp_path), changes))
    assert models.asked == []


@pytest.mark.parametrize(
    ("storage", "line"),
    [
        ("nowhere", "search.storage 'nowhere' cannot be used"),
        ("sqlite:////proc/no/such.db", "search.storage sqlite:////proc/no/such.db cannot be used"),
        ("journal:/proc/no/such.journal", "the search journal /proc/no/such.journal cannot be"),
    ],
)
def test_a_storage_that_cannot_be_used(tmp_path, models, storage, line):
    refused(tmp_path, models, StorageError, line, f"pld.search.storage={storage}")


def test_a_sampler_whose_package_is_not_installed(tmp_path, models, monkeypatch):
    monkeypatch.setattr("pld_dspy.stages.search.sampler.find_spec", lambda name: None)

    line = "search.sampler 'gp' needs the package torch"
    refused(tmp_path, models, ConfigError, line, "pld.search.sampler=gp")


def test_a_prompt_name_that_the_registry_refuses(tmp_path, models):
    changes = ("mlflow.enabled=true", "mlflow.register_prompt=team/prompt")
    refused(tmp_path, models, ConfigError, "register_prompt 'team/prompt' is no name", *changes)


def test_a_run_folder_that_cannot_be_made_or_written(tmp_path, models):
    (tmp_path / "file").write_text("", encoding="utf-8")

    line = "the run folder .*file/run cannot be made: Not a directory"
    refused(tmp_path, models, StorageError, line, f"run_dir={tmp_path}/file/run")
    refused(tmp_path, models, StorageError, "the run folder /proc", "run_dir=/proc")


@pytest.mark.filterwarnings("ignore::sqlalchemy.exc.SADeprecationWarning")
def test_an_artifact_root_that_cannot_be_written(tmp_path, models):
    from mlflow import MlflowClient

    uri = f"sqlite:///{tmp_path}/m.db"
    client = MlflowClient(tracking_uri=uri)
    made = client.create_experiment("away", artifact_location="file:///proc/no/such")

    changes = ("mlflow.enabled=true", f"mlflow.tracking_uri={uri}", "mlflow.experiment=away")
    refused(tmp_path, models, ConfigError, "artifacts cannot be written to .*/proc/no", *changes)
    assert [run.info.status for run in client.search_runs([made])] == ["FAILED"]


@pytest.mark.filterwarnings("ignore::sqlalchemy.exc.SADeprecationWarning")
def test_an_embedding_model_that_does_not_answer(tmp_path, models, monkeypatch):
    import litellm
    import openai

    def refuse(**_):
        raise openai.OpenAIError("no such key")

    monkeypatch.setattr(litellm, "embedding", refuse)
    with pytest.raises(ModelError, match="embedder 'gemini/x' failed: no such key"):
        run_distill(read_config(write_config(tmp_path), ["embedder=gemini/x"]))
    assert (models.student.calls, models.teacher.calls) == (1, 1)  # each model's own check


def test_compile_checks_before_it_asks_too(tmp_path):
    (tmp_path / "file").write_text("", encoding="utf-8")
    from fakes import FakeEngine, fake_lm
    from keyword_runs import TRAIN, Colour

    engine = FakeEngine(lambda prompt: "red")
    student = DirectStudent(Colour)
    student.set_lm(fake_lm(engine))

    def compiling(**settings):
        PLD(metric=macro_f1, **settings).compile(student, trainset=TRAIN)

    with pytest.raises(StorageError, match=r"search\.storage 'nowhere' cannot be used"):
        compiling(config=PLDConfig(search={"storage": "nowhere"}))
    with pytest.raises(StorageError, match="cannot be made"):
        compiling(run_dir=tmp_path / "file" / "run")
    assert engine.calls == 0


@pytest.mark.slow
def test_an_embedding_model_is_paid_once_and_counted_once_a_compile(tmp_path, models, monkeypatch):
    import litellm

    asked = []

    def embedding(*, model, input):
        asked.append(input)
        data = [{"index": n, "embedding": [len(t) % 7, n % 3, 1.0]} for n, t in enumerate(input)]
        return SimpleNamespace(data=data, usage=SimpleNamespace(prompt_tokens=10))

    monkeypatch.setattr(litellm, "embedding", embedding)
    monkeypatch.setitem(litellm.model_cost, "gemini/x", {"input_cost_per_token": 1e-6})
    config = read_config(write_config(tmp_path), ["embedder=gemini/x"])
    run_distill(config)
    lines = (config.run_dir / "embeddings.jsonl").read_text(encoding="utf-8").splitlines()

    assert [texts for texts in asked if texts != ["ok"]] == asked[1:]
    assert len(asked) == 1 + len(lines) == 2
    assert json.loads(lines[0])["spent"]["input_tokens"] == 10
    assert (config.run_dir / "clusters.png").exists()
    run_distill(config)
    assert asked[2:] == [["ok"]]
