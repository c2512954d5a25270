"""The folder for downloads, and what is remembered of the files that were checked."""

import hashlib

import pytest

from pld_dspy.data.fetch import cache_root, file_sha256
from pld_dspy.errors import ModelError


def test_the_cache_folder_can_be_set(monkeypatch, tmp_path):
    monkeypatch.setenv("PLD_CACHE_DIR", str(tmp_path))
    assert cache_root() == tmp_path
    assert cache_root(tmp_path / "x") == tmp_path / "x"
    monkeypatch.delenv("PLD_CACHE_DIR")
    assert cache_root().name == "pld_dspy"


def test_the_sha256_of_any_file_is_remembered_until_the_file_changes(tmp_path):
    path = tmp_path / "own.gguf"
    reads = []
    for text in (b"one", b"one", b"three"):
        if not path.exists() or path.read_bytes() != text:
            path.write_bytes(text)
        found = file_sha256(path, cache_dir=tmp_path, progress=lambda *_: reads.append(1))
        assert found == hashlib.sha256(text).hexdigest()
    assert len(reads) == 2
    with pytest.raises(ModelError, match=r"gone\.gguf cannot be read"):
        file_sha256(tmp_path / "gone.gguf", cache_dir=tmp_path)
