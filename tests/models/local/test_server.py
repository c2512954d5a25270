"""The life of a server: shared, counted, stopped, and explained when it fails."""

import json
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import SimpleNamespace

import pytest

from pld_dspy.errors import ModelError
from pld_dspy.models.local import server as local
from pld_dspy.models.local.catalogue import CATALOGUE
from pld_dspy.models.local.fetch import fetch, model_path
from pld_dspy.models.local.server import (
    LocalServer,
    ServerSettings,
    check_gguf,
    is_local,
    tokenize,
)


class Engine:
    """Stands for the xllamacpp module: counts the servers that are alive."""

    def __init__(self):
        self.started = []
        self.alive = 0
        engine = self

        class Server:
            def __init__(self, params):
                if "broken" in params.model.path:
                    raise RuntimeError("Failed to init server")
                engine.started.append(params)
                engine.alive += 1
                self.listening_address = f"http://127.0.0.1:{9000 + len(engine.started)}"

            def __del__(self):
                engine.alive -= 1

        self.Server = Server

    @staticmethod
    def CommonParams():  # noqa: N802 - the engine's name
        return SimpleNamespace(
            model=SimpleNamespace(), cpuparams=SimpleNamespace(), cpuparams_batch=SimpleNamespace()
        )


@pytest.fixture
def engine(monkeypatch):
    fake = Engine()
    monkeypatch.setitem(sys.modules, "xllamacpp", fake)
    monkeypatch.setattr(local, "_running", {})
    return fake


@pytest.fixture
def weights(tmp_path):
    path = tmp_path / "some.gguf"
    path.write_bytes(b"GGUF and more")
    return path


@pytest.mark.parametrize("name", ["parallel", "context_tokens", "threads"])
def test_settings_below_one_are_refused(name):
    with pytest.raises(ModelError, match=f"{name}=0 .* at least 1"):
        ServerSettings(**{name: 0})


def test_a_server_is_ready_when_its_engine_has_answered_once(engine, weights):
    asked = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            asked.append(
                (self.path, json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            )
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b"{}")

        def log_message(self, *args):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as http:
        thread = threading.Thread(target=http.serve_forever)
        thread.start()
        plain = engine.Server.__init__

        def started(self, params):
            plain(self, params)
            self.listening_address = f"http://127.0.0.1:{http.server_port}"

        engine.Server.__init__ = started
        try:
            with LocalServer(weights):
                pass
        finally:
            http.shutdown()
            thread.join()

    [(path, body)] = asked
    assert (path, body["n_predict"]) == ("/completion", 1)


def test_settings_reach_the_engine(engine, weights):
    settings = ServerSettings(parallel=3, context_tokens=100, threads=5)
    with LocalServer(weights, settings) as server:
        assert server.address == "http://127.0.0.1:9001"
    (params,) = engine.started
    assert params.hostnames == ["127.0.0.1"]
    assert (params.n_parallel, params.n_ctx) == (3, 300)
    assert (params.cpuparams.n_threads, params.cpuparams_batch.n_threads) == (5, 5)
    assert params.verbosity < 0


def test_verbose_lets_the_engine_talk(engine, weights):
    with LocalServer(weights, ServerSettings(verbose=True)):
        assert engine.started[0].verbosity > 0


@pytest.mark.parametrize("reuse", [True, False])
def test_prompts_are_kept_only_if_they_may_be_reused(engine, weights, reuse):
    with LocalServer(weights, ServerSettings(reuse_prompt=reuse)):
        (params,) = engine.started
    assert params.cache_prompt is reuse
    assert (params.cache_ram_mib > 0) is reuse


def test_equal_servers_are_one_and_end_with_the_last(engine, weights, tmp_path):
    first, second = LocalServer(weights), LocalServer(tmp_path / "." / "some.gguf")
    assert first.start().address == second.start().address
    assert engine.alive == 1
    first.stop()
    first.stop()
    assert engine.alive == 1
    second.stop()
    assert engine.alive == 0


def test_starting_twice_counts_once(engine, weights):
    server = LocalServer(weights)
    server.start()
    server.start()
    server.stop()
    assert engine.alive == 0


def test_other_settings_are_another_server(engine, weights):
    with LocalServer(weights), LocalServer(weights, ServerSettings(parallel=2)):
        assert engine.alive == 2
    assert engine.alive == 0


def test_many_threads_load_the_weights_once(engine, weights):
    servers = [LocalServer(weights) for _ in range(8)]
    threads = [threading.Thread(target=server.start) for server in servers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(engine.started) == 1
    for server in servers:
        server.stop()
    assert engine.alive == 0


def test_an_error_in_the_block_still_stops_the_server(engine, weights):
    with pytest.raises(KeyError, match="mine"), LocalServer(weights):
        raise KeyError("mine")
    assert engine.alive == 0


def test_the_exit_hook_stops_what_still_runs(engine, weights):
    server = LocalServer(weights).start()
    local._stop_all()
    assert engine.alive == 0
    server.stop()


def test_a_stopped_server_has_no_address(engine, weights):
    server = LocalServer(weights)
    with pytest.raises(ModelError, match=r"call start\(\) first"):
        _ = server.address


def test_without_the_engine_the_extra_is_named(monkeypatch, weights):
    monkeypatch.setitem(sys.modules, "xllamacpp", None)
    with pytest.raises(ModelError, match=r"pip install 'pld-dspy\[local\]'"):
        LocalServer(weights).start()


def test_what_the_engine_cannot_load_is_one_line(engine, tmp_path):
    path = tmp_path / "broken.gguf"
    path.write_bytes(b"GGUFxxxx")
    with pytest.raises(ModelError, match=r"cannot load .*broken\.gguf \(8 bytes\)") as caught:
        LocalServer(path).start()
    assert "\n" not in str(caught.value)
    assert engine.alive == 0


def test_only_gguf_files_are_loaded(tmp_path):
    path = tmp_path / "page.gguf"
    path.write_bytes(b"<html>")
    with pytest.raises(ModelError, match="not a GGUF file"):
        check_gguf(path)
    with pytest.raises(ModelError, match="No such file"):
        check_gguf(tmp_path / "gone.gguf")


def test_a_server_of_this_process_is_known_by_its_address(engine, weights):
    with LocalServer(weights) as server:
        assert is_local(server.address + "/v1")
        assert is_local(server.address + "/v1/")
        assert not is_local("https://example.org/v1")
        address = server.address
    assert not is_local(address)
    assert not is_local(None)


class _Tokenizer(BaseHTTPRequestHandler):
    def do_POST(self):
        length = int(self.headers["Content-Length"])
        words = json.loads(self.rfile.read(length))["content"].split()
        body = json.dumps({"tokens": list(range(len(words)))}).encode()
        self.send_response(200 if self.path == "/tokenize" else 404)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


def test_tokens_are_counted_by_the_server_past_any_proxy(monkeypatch):
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    with ThreadingHTTPServer(("127.0.0.1", 0), _Tokenizer) as http:
        thread = threading.Thread(target=http.serve_forever)
        thread.start()
        try:
            base = f"http://127.0.0.1:{http.server_port}/v1"
            assert tokenize(base, "two words") == [0, 1]
        finally:
            http.shutdown()
            thread.join()
    with pytest.raises(ModelError, match="does not count tokens"):
        tokenize(base, "two words")


@pytest.mark.live
def test_a_real_model_answers_and_stops(capfd):
    pytest.importorskip("xllamacpp")
    model = CATALOGUE["qwen2.5-coder-0.5b"]
    if not model_path(model).exists():
        pytest.skip("the model is not in the cache; fetch it with `pld models`")
    with LocalServer(fetch(model), ServerSettings(context_tokens=512)) as server:
        address = server.address
        assert len(tokenize(address, "Hello there friend")) == 3
    assert capfd.readouterr().err == ""
    with pytest.raises(ModelError, match="Connection refused"):
        tokenize(address, "gone")
