"""A file is read whole, also where it changes meanwhile or a read gives less than was asked for."""

import os
from types import SimpleNamespace

import pytest

from fastlt.data import regular_file
from fastlt.data.regular_file import read_regular_file

CONTENT = bytes(range(256)) * 40


@pytest.fixture
def path(tmp_path):
    (tmp_path / "file").write_bytes(CONTENT)
    return tmp_path / "file"


@pytest.mark.parametrize("kind", [str, lambda path: path])
def test_the_content_of_a_path_or_its_text(path, kind):
    assert read_regular_file(kind(path)) == CONTENT


def test_a_read_that_gives_less(path, monkeypatch):
    read = os.read
    monkeypatch.setattr(regular_file.os, "read", lambda handle, count: read(handle, min(count, 100)))
    assert read_regular_file(path) == CONTENT


@pytest.mark.parametrize("seen", [0, 3, len(CONTENT) - 1, len(CONTENT) + 5])
def test_a_file_that_grew_or_shrank_since_its_size_was_asked(path, monkeypatch, seen):
    mode = os.stat(path).st_mode
    monkeypatch.setattr(regular_file.os, "fstat", lambda handle: SimpleNamespace(st_mode=mode, st_size=seen))
    assert read_regular_file(path) == CONTENT


def test_a_file_that_grows_without_end(path, monkeypatch):
    monkeypatch.setattr(regular_file, "MAX_BYTES", 1000)
    monkeypatch.setattr(regular_file, "BLOCK", 64)
    mode = os.stat(path).st_mode
    stale = SimpleNamespace(st_mode=mode, st_size=900)
    monkeypatch.setattr(regular_file.os, "fstat", lambda handle: stale)
    monkeypatch.setattr(regular_file.os, "stat", lambda path: stale)
    with pytest.raises(OSError, match="more than 1,000 bytes"):
        read_regular_file(path)
