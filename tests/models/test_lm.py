"""LMs by name: stable names for local weights, and one line for every way in which a call can fail."""

import json
import os
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import SimpleNamespace

import dspy
import pytest
from dspy.utils.exceptions import (
    ContextWindowExceededError,
    LMAuthError,
    LMInvalidRequestError,
    LMRateLimitError,
    LMServerError,
    LMTransportError,
    LMUnsupportedModelError,
)

from pld_dspy.errors import ModelError
from pld_dspy.models import lm as models
from pld_dspy.models.lm import check_lm, count_tokens, make_lm, model_name
from pld_dspy.models.lm_errors import (
    RATE_LIMITED,
    REFUSED,
    UNREACHABLE,
    content_filtered,
    context_too_long,
    explain,
)
from pld_dspy.models.local.catalogue import CATALOGUE
from pld_dspy.models.local.fetch import model_path
from pld_dspy.models.local.server import ServerSettings


@pytest.fixture
def started(monkeypatch):
    """The (path, settings) of every server that was asked for, each on a port of its own."""
    seen = []

    class Server:
        def __init__(self, path, settings):
            self.key = (path, settings)

        def start(self):
            seen.append(self.key)
            return SimpleNamespace(address=f"http://127.0.0.1:{9000 + len(seen)}")

    monkeypatch.setattr(models, "LocalServer", Server)
    return seen


@pytest.fixture
def weights(tmp_path):
    path = tmp_path / "own.gguf"
    path.write_bytes(b"GGUF one")
    return path


def test_a_catalogue_model_is_named_by_its_weights(started, monkeypatch, tmp_path):
    monkeypatch.setattr(models, "fetch", lambda model, progress: tmp_path / f"{model.name}.gguf")
    lms = [make_lm("local/qwen2.5-coder-0.5b") for _ in range(2)]
    assert {model_name(lm) for lm in lms} == {"openai/qwen2.5-coder-0.5b@1d961463-q4_k_m"}
    assert [lm.kwargs["api_base"] for lm in lms] == [
        "http://127.0.0.1:9001/v1",
        "http://127.0.0.1:9002/v1",
    ]
    assert started[0] == (tmp_path / "qwen2.5-coder-0.5b.gguf", ServerSettings())


def test_a_path_is_named_by_its_bytes(started, weights):
    first = model_name(make_lm(f"local/{weights}"))
    weights.write_bytes(b"GGUF two!")
    second = model_name(make_lm(f"local/{weights}"))
    assert first.startswith("openai/own@")
    assert first != second


def test_a_relative_path_works(started, weights, monkeypatch):
    monkeypatch.chdir(weights.parent)
    assert model_name(make_lm("local/./own.gguf")) == model_name(make_lm(f"local/{weights}"))


def test_local_defaults(started, weights):
    lm = make_lm(f"local/{weights}")
    assert lm.cache is False
    assert (lm.kwargs["temperature"], lm.kwargs["max_tokens"]) == (0.0, 1024)
    assert make_lm(f"local/{weights}", cache=True).cache is True


def test_server_settings_and_lm_settings_go_where_they_belong(started, weights):
    settings = ServerSettings(parallel=4)
    lm = make_lm(f"local/{weights}", server=settings, max_tokens=5, seed=7)
    assert started[-1][1] == settings
    assert (lm.kwargs["max_tokens"], lm.kwargs["seed"]) == (5, 7)


def test_other_names_go_to_dspy_as_they_are(started):
    lm = make_lm("openai/gpt-4o-mini", temperature=0.5, api_key="k")
    assert (lm.model, lm.cache, lm.kwargs["temperature"]) == ("openai/gpt-4o-mini", True, 0.5)
    assert started == []


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("local/smollm2-135", {}, "did you mean 'smollm2-135m'"),
        ("local/./gone.gguf", {}, r"gone\.gguf cannot be read"),
        ("openai/x", {"server": ServerSettings()}, "server settings are for local/"),
        ("openai/", {}, "dspy.LM refuses 'openai/'"),
        ("openai/gpt-5", {"max_tokens": 9}, "dspy.LM refuses 'openai/gpt-5'"),
    ],
)
def test_a_wrong_name_or_setting_is_one_line(name, options, message):
    with pytest.raises(ModelError, match=message) as caught:
        make_lm(name, **options)
    assert "\n" not in str(caught.value)


class _Endpoint(BaseHTTPRequestHandler):
    """Answers with the status that stands first in the path."""

    def do_POST(self):
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.asked.append(asked)
        status = int(self.path.split("/")[1])
        message = {"role": "assistant", "content": "ok"}
        reply = {
            "id": "1",
            "object": "chat.completion",
            "created": 1,
            "model": "m",
            "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
            "usage": {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2},
        }
        body = json.dumps(reply if status == 200 else {"error": {"message": "said so\nand more"}})
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body.encode())

    def log_message(self, *_):
        pass


@pytest.fixture
def endpoint():
    with ThreadingHTTPServer(("127.0.0.1", 0), _Endpoint) as http:
        http.asked = []
        thread = threading.Thread(target=http.serve_forever)
        thread.start()
        yield http
        http.shutdown()
        thread.join()


@pytest.fixture
def lm_at(endpoint):
    lms = []

    def make(status, **kwargs):
        base = f"http://127.0.0.1:{endpoint.server_port}/{status}"
        lms.append(make_lm("openai/m", api_base=base, **({"api_key": "none"} | kwargs)))
        return lms[-1]

    yield make
    for lm in lms:
        lm.close()


def test_a_working_model_passes_with_one_short_call(lm_at, endpoint):
    lm = lm_at(200, max_tokens=500)
    check_lm(lm)
    assert [asked["max_completion_tokens"] for asked in endpoint.asked] == [16]
    assert lm.kwargs["max_tokens"] == 500
    assert lm.history == []


@pytest.mark.parametrize(
    ("status", "remedy"),
    [
        (400, "check the model's name and the settings"),
        (401, "set OPENAI_API_KEY to a valid key"),
        (402, "check the account's credit"),
        (404, "check the model's name, and that api_base"),
        (408, "check api_base, or pass a longer timeout="),
        (429, "wait, or use fewer threads"),
        (500, "check api_base and that the server runs"),
    ],
)
def test_each_refusal_says_what_to_do_after_one_call(lm_at, endpoint, status, remedy):
    with pytest.raises(ModelError, match=f"openai/m at .* said so; {remedy}") as caught:
        check_lm(lm_at(status))
    assert "\n" not in str(caught.value)
    assert len(endpoint.asked) == 1


def test_nobody_at_the_address_is_told():
    lm = make_lm("openai/m", api_base="http://127.0.0.1:9/v1", api_key="none")
    with pytest.raises(ModelError, match=r"Connection refused; check api_base"):
        check_lm(lm)


def test_a_missing_key_is_named(monkeypatch):
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    with pytest.raises(ModelError, match="no key; set OPENAI_API_KEY to a valid key"):
        check_lm(make_lm("openai/gpt-4o-mini"))


def test_a_key_that_only_litellm_misses_is_named(monkeypatch):
    found = {"missing_keys": ["SOME_KEY"]}
    stub = SimpleNamespace(validate_environment=lambda model: found)
    monkeypatch.setitem(sys.modules, "litellm", stub)
    lm = make_lm("together_ai/a/b")
    assert "SOME_KEY not set" in explain(lm, LMServerError("no such host"))
    assert "set SOME_KEY to a valid key" in explain(lm, LMAuthError("no"))
    with_key = make_lm("together_ai/a/b", api_key="k")
    assert "SOME_KEY" not in explain(with_key, LMServerError("no such host"))


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (ContextWindowExceededError(), True),
        (LMInvalidRequestError("request (50 tokens) exceeds the available context size"), True),
        (LMInvalidRequestError("unknown field"), False),
        (LMRateLimitError("maximum context"), False),
        (ValueError("context size"), False),
    ],
)
def test_a_prompt_that_is_too_long_is_told_apart(error, expected):
    assert context_too_long(error) is expected


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (LMInvalidRequestError("The response was filtered due to the prompt triggering Azure OpenAI's content management policy"), True),
        (LMInvalidRequestError("no", provider_code="content_filter"), True),
        (LMInvalidRequestError("Input data may contain inappropriate content."), True),
        (LMInvalidRequestError("unknown field"), False),
        (LMServerError("content filter"), False),
    ],
)  # fmt: skip
def test_a_content_filter_is_told_apart(error, expected):
    assert content_filtered(error) is expected


def test_a_program_with_another_adapter_is_told_what_takes_no_system_role():
    lm = make_lm("openai/gemma", api_key="k")
    said = explain(lm, LMInvalidRequestError("System role not supported"))
    assert said.endswith(
        "use DirectStudent, which then puts the instructions into the user message"
    )


def test_the_groups_of_errors_follow_dspy():
    assert issubclass(LMTransportError, UNREACHABLE)
    assert issubclass(LMAuthError, REFUSED)
    assert issubclass(LMRateLimitError, RATE_LIMITED)
    groups = UNREACHABLE + REFUSED + RATE_LIMITED
    assert not issubclass(LMUnsupportedModelError, groups)


def test_tokens_are_counted_where_the_model_runs(monkeypatch):
    monkeypatch.setattr(models, "is_local", lambda base: base == "http://127.0.0.1:1/v1")
    monkeypatch.setattr(models, "tokenize", lambda base, text: text.split())
    stub = SimpleNamespace(token_counter=lambda model, text: len(text))
    monkeypatch.setitem(sys.modules, "litellm", stub)
    here = make_lm("openai/m", api_base="http://127.0.0.1:1/v1", api_key="none")
    assert count_tokens(here, "two words") == 2
    assert count_tokens(make_lm("openai/m", api_key="none"), "two words") == 9


def test_no_price_list_is_downloaded():
    assert os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] == "True"


@pytest.mark.live
def test_a_real_model_gives_a_label():
    pytest.importorskip("xllamacpp")
    if not model_path(CATALOGUE["qwen2.5-coder-0.5b"]).exists():
        pytest.skip("the model is not in the cache; fetch it with `pld models`")
    settings = ServerSettings(context_tokens=512)
    lm = make_lm("local/qwen2.5-coder-0.5b", max_tokens=8, server=settings)
    check_lm(lm)
    assert count_tokens(lm, "Hello there friend") == 3
    (answer,) = lm("What is the capital of France? Answer with one word.")
    assert "paris" in answer.lower()
    with pytest.raises(dspy.utils.exceptions.LMInvalidRequestError) as caught:
        lm("word " * 2000)
    assert context_too_long(caught.value)
