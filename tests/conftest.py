"""No test reaches the network, a cache of the user, or the settings of another test."""

import ipaddress
import os
import socket
import tempfile

# Read when dspy, mlflow, litellm and matplotlib are imported, so they stand before those imports.
os.environ.setdefault("LITELLM_LOCAL_MODEL_COST_MAP", "True")
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
os.environ.setdefault("DSPY_CACHEDIR", tempfile.mkdtemp(prefix="pld-dspy-cache-"))
os.environ.setdefault("MPLBACKEND", "Agg")
# Small matrices: threads of the linear algebra only wait for each other.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import dspy
import optuna
import pytest
from hypothesis import settings

# How long an example takes depends on what else the machine does; no test is about that.
# Under CI each run draws the same examples; elsewhere each run draws new ones.
settings.register_profile("pld", deadline=None, derandomize=bool(os.environ.get("CI")))
settings.load_profile("pld")

optuna.logging.set_verbosity(optuna.logging.WARNING)
dspy.configure_cache(enable_disk_cache=False)

AMBIENT = ("MLFLOW_TRACKING_URI", "MLFLOW_EXPERIMENT_NAME", "MLFLOW_EXPERIMENT_ID", "MLFLOW_RUN_ID")


def is_local(host):
    """Whether `host` is this machine: a loopback address, its name, or nothing at all."""
    if host in {None, "", "localhost", b"localhost"}:
        return True
    try:
        return ipaddress.ip_address(host.decode() if isinstance(host, bytes) else host).is_loopback
    except ValueError:
        return False


@pytest.fixture(autouse=True)
def _no_network(request, monkeypatch):
    """Refuse every address but loopback, except in live tests."""
    if request.node.get_closest_marker("live"):
        return

    def guarded(call):
        def connect(sock, address, *args):
            if sock.family != getattr(socket, "AF_UNIX", None) and not is_local(address[0]):
                raise RuntimeError(
                    f"a test tried to connect to {address[0]}; only loopback is open"
                )
            return call(sock, address, *args)

        return connect

    resolve = socket.getaddrinfo

    def getaddrinfo(host, *args, **kwargs):
        if not is_local(host):
            raise RuntimeError(f"a test tried to look up {host}; only loopback is open")
        return resolve(host, *args, **kwargs)

    monkeypatch.setattr(socket.socket, "connect", guarded(socket.socket.connect))
    monkeypatch.setattr(socket.socket, "connect_ex", guarded(socket.socket.connect_ex))
    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)


@pytest.fixture(autouse=True)
def _own_settings(request, monkeypatch, tmp_path_factory):
    """Give each test its own settings; a live test keeps the user's model cache."""
    for name in AMBIENT:
        monkeypatch.delenv(name, raising=False)
    if not request.node.get_closest_marker("live"):
        monkeypatch.setenv("PLD_CACHE_DIR", str(tmp_path_factory.mktemp("cache")))
    with dspy.context(lm=None, callbacks=[]):
        yield
