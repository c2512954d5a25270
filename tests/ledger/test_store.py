"""What was paid for survives a kill, a full disk, threads and an edited file."""

import errno
import json
import logging
import os
import resource
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import pld_dspy
from pld_dspy.errors import StorageError
from pld_dspy.ledger.store import Spent, StageStore, key_of


def filled(folder, *keys):
    store = StageStore(folder)
    for key in keys:
        store.put("answers", key, {"value": key.upper()})
    return folder / "answers.jsonl"


def values(folder, *keys):
    store = StageStore(folder)
    records = [store.get("answers", key) for key in keys]
    return [record and record["value"] for record in records]


def test_a_record_is_one_readable_line_and_comes_back_the_same(tmp_path):
    record = {"value": ["é", 1, None], "spent": {"role": "student", "calls": 1}}
    put = StageStore(tmp_path / "run").put("answers", "k", record)
    assert put == {"key": "k", **record} == StageStore(tmp_path / "run").get("answers", "k")
    (line,) = (tmp_path / "run" / "answers.jsonl").read_text(encoding="utf-8").splitlines()
    assert json.loads(line) == put
    assert "é" in line


def test_stages_and_folders_are_apart(tmp_path):
    StageStore(tmp_path).put("answers", "k", {"value": 1})
    assert StageStore(tmp_path).get("traces", "k") is None
    assert StageStore(tmp_path / "other").get("answers", "k") is None
    assert StageStore(None).get("answers", "k") is None


def test_without_a_folder_nothing_is_written(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    store = StageStore(None)
    store.put("answers", "k", {"value": 1})
    assert store.get("answers", "k") == {"key": "k", "value": 1}
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("cut", [1, 5, 30])
def test_a_torn_last_line_is_dropped_and_the_file_repaired(tmp_path, caplog, cut):
    path = filled(tmp_path, "a", "b")
    whole = path.read_bytes()
    path.write_bytes(whole + b'{"key": "c", "value": "a long enough one"}'[:cut])
    with caplog.at_level(logging.WARNING):
        assert values(tmp_path, "a", "b", "c") == ["A", "B", None]
    assert "the last line was cut off" in caplog.text
    assert path.read_bytes() == whole
    filled(tmp_path, "c")
    assert values(tmp_path, "a", "b", "c") == ["A", "B", "C"]


def test_a_process_killed_while_it_writes_loses_no_whole_record(tmp_path):
    code = (
        "import sys, types; from pathlib import Path\n"
        # Without the other modules of the package, whose imports take seconds.
        "sys.modules['pld_dspy'] = types.ModuleType('pld_dspy')\n"
        "sys.modules['pld_dspy'].__path__ = [sys.argv[2]]\n"
        "from pld_dspy.ledger.store import StageStore\n"
        "store = StageStore(Path(sys.argv[1]))\n"
        "for i in range(10**9):\n"
        "    store.put('answers', str(i), {'value': 'x' * 2000})\n"
        "    print(i, flush=True)\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path), *pld_dspy.__path__],
        stdout=subprocess.PIPE,
        text=True,
    )
    said = [process.stdout.readline() for _ in range(20)]
    process.kill()
    said += process.stdout.readlines()
    process.wait()
    process.stdout.close()
    promised = [line.strip() for line in said if line.endswith("\n")]
    assert len(promised) >= 20
    assert values(tmp_path, *promised) == ["x" * 2000] * len(promised)


@pytest.mark.parametrize("broken", ["{not json", "[1, 2]", '{"value": "no key"}', ""])
def test_a_broken_line_is_named_and_skipped(tmp_path, caplog, broken):
    path = filled(tmp_path, "a", "b", "c")
    lines = path.read_text(encoding="utf-8").split("\n")
    lines[1] = broken
    path.write_text("\n".join(lines), encoding="utf-8")
    with caplog.at_level(logging.WARNING):
        assert values(tmp_path, "a", "b", "c") == ["A", None, "C"]
    assert f"{path}, line 2 cannot be read and is skipped" in caplog.text
    assert path.read_text(encoding="utf-8").split("\n")[1] == broken


def test_bytes_that_are_no_text_cost_their_own_line_only(tmp_path, caplog):
    path = filled(tmp_path, "a")
    path.write_bytes(b"\xff\xfe\x00garbage\n" + path.read_bytes())
    with caplog.at_level(logging.WARNING):
        assert values(tmp_path, "a") == ["A"]
    assert "line 1 cannot be read" in caplog.text


@pytest.mark.parametrize(
    "text", ["a\u2028b\u2029c", "a\x85b\x0bc\x0cd\x1ce", "line\nbreak\r\n", "\ud83d alone", "\x00"]
)
def test_any_text_of_a_model_comes_back(tmp_path, caplog, text):
    StageStore(tmp_path).put("answers", "k", {"value": text})
    assert values(tmp_path, "k") == [text]
    assert not caplog.records


@given(st.text(max_size=30), st.text(st.characters(), max_size=30))
def test_any_record_comes_back_in_the_next_process(tmp_path_factory, key, text):
    folder = tmp_path_factory.mktemp("run")
    StageStore(folder).put("answers", key, {"value": text})
    assert values(folder, key) == [text]


def test_a_full_disk_is_one_line_and_leaves_no_half_line(tmp_path, monkeypatch):
    path = filled(tmp_path, "a", "b")
    before = path.read_bytes()
    store = StageStore(tmp_path)

    def full(descriptor):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(StorageError, match="No space left on device; make room") as failed:
            store.put("answers", "c", {"value": "C"})
    assert "\n" not in str(failed.value)
    assert str(path) in str(failed.value)
    assert path.read_bytes() == before
    assert store.get("answers", "c") is None  # not paid for as far as the run knows
    store.put("answers", "c", {"value": "C"})
    assert values(tmp_path, "a", "b", "c") == ["A", "B", "C"]


def test_a_write_that_stops_half_way_is_taken_back(tmp_path):
    path = filled(tmp_path, "a")
    before = path.read_bytes()
    store = StageStore(tmp_path)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(before) + 100, hard))  # the kernel writes 100
    try:
        with pytest.raises(StorageError, match="File too large"):
            store.put("answers", "b", {"value": "x" * 10_000})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert path.read_bytes() == before


def test_a_read_only_folder_is_one_line(tmp_path, monkeypatch):
    filled(tmp_path, "a")
    store = StageStore(tmp_path)

    def refused(path, *args, **kwargs):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    assert store.get("answers", "a")["value"] == "A"
    monkeypatch.setattr(Path, "open", refused)  # file modes do not stop root
    with pytest.raises(StorageError, match=r"answers.jsonl cannot be written: Permission denied"):
        store.put("answers", "b", {"value": "B"})


def test_a_folder_that_is_a_file_is_one_line(tmp_path):
    (tmp_path / "run").write_text("", encoding="utf-8")
    with pytest.raises(
        StorageError, match=r"the run folder .*run cannot be made: .*choose another"
    ):
        StageStore(tmp_path / "run")


def test_a_stage_that_cannot_be_read_is_one_line(tmp_path):
    (tmp_path / "answers.jsonl").mkdir()
    with pytest.raises(StorageError, match=r"answers.jsonl cannot be read: Is a directory"):
        StageStore(tmp_path).get("answers", "k")


def test_threads_write_whole_lines_and_the_last_record_of_a_key_wins(tmp_path):
    store = StageStore(tmp_path)
    together = threading.Barrier(8)

    def work(worker):
        together.wait()
        for i in range(10):
            store.put("answers", f"own {worker} {i}", {"value": "x" * 3000})
            store.put("answers", "shared", {"value": worker})

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(work, range(8)))
    lines = (tmp_path / "answers.jsonl").read_text(encoding="utf-8").splitlines()
    keys = [json.loads(line)["key"] for line in lines]
    assert len(keys) == 160
    assert len(set(keys)) == 81
    last = [json.loads(line)["value"] for line in lines if '"shared"' in line][-1]
    assert values(tmp_path, "shared") == [last] == [store.get("answers", "shared")["value"]]


def test_spent_counts_what_this_run_used_whenever_it_was_paid(tmp_path):
    def cost(calls):
        return {"spent": {"role": "teacher", "calls": calls, "input_tokens": 5, "model": "m"}}

    earlier = StageStore(tmp_path)
    for key, calls in (("old", 1), ("unused", 10)):
        earlier.put("rules", key, cost(calls))
    store = StageStore(tmp_path)
    assert store.spent() == []
    store.get("rules", "old")
    store.get("rules", "old")
    store.get("rules", "missing")
    store.put("traces", "new", cost(100))
    store.put("traces", "free", {"value": 1})
    assert sorted(store.spent(), key=lambda s: s.calls) == [
        Spent(role="teacher", calls=calls, input_tokens=5, model="m") for calls in (1, 100)
    ]


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3)
    ),
    max_leaves=5,
)


@given(st.lists(JSON, min_size=1, max_size=4), st.data())
def test_a_key_changes_with_any_part(parts, data):
    place = data.draw(st.integers(0, len(parts) - 1))
    other = data.draw(JSON.filter(lambda new: json.dumps(new) != json.dumps(parts[place])))
    changed = [*parts[:place], other, *parts[place + 1 :]]
    if json.dumps(changed, sort_keys=True) != json.dumps(parts, sort_keys=True):
        assert key_of(*changed) != key_of(*parts)
    assert key_of(*parts) != key_of(*parts, None)
    assert key_of(*parts) == key_of(*json.loads(json.dumps(parts)))


def test_keys_are_stable_and_mappings_count_the_same_in_any_order():
    assert key_of("stage", {"b": 1, "a": [2.5, None]}) == "fdfecec8adb165c7"
    assert key_of({"b": 1, "a": 2}) == key_of({"a": 2, "b": 1})
    assert key_of("\ud83d") != key_of("?")
