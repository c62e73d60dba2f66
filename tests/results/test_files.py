from __future__ import annotations

import json
import resource
import signal
from pathlib import Path

import pytest

from replication.errors import ReplicationError, ResultError
from replication.results.files import read_json, sha256_json, write_bytes, write_json


def test_json_comes_back_with_its_schema(tmp_path: Path):
    write_json(tmp_path / "a" / "x.json", "thing/1", {"value": 0.1})
    assert read_json(tmp_path / "a" / "x.json", "thing/1") == {"schema": "thing/1", "value": 0.1}


@pytest.mark.parametrize("content", ["", "{", "[1]", '{"schema": "thing/2"}'])
def test_a_broken_or_foreign_file_is_named(tmp_path: Path, content: str):
    path = tmp_path / "x.json"
    path.write_text(content)
    with pytest.raises(ResultError, match=r"x\.json: .*delete it"):
        read_json(path, "thing/1")


def test_a_missing_file_is_named(tmp_path: Path):
    with pytest.raises(ResultError, match=r"x\.json: no such file"):
        read_json(tmp_path / "x.json", "thing/1")


def test_nan_is_not_written(tmp_path: Path):
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json(tmp_path / "x.json", "thing/1", {"value": float("nan")})
    assert not list(tmp_path.iterdir())


def test_a_full_disk_keeps_the_old_file_and_leaves_no_half_one(tmp_path: Path):
    path = tmp_path / "x.bin"
    write_bytes(path, b"old")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, limits[1]))
    try:
        with pytest.raises(ReplicationError, match=r"x\.bin: cannot write: .*Free disk space"):
            write_bytes(path, b"n" * 100_000)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, handler)
    assert path.read_bytes() == b"old"
    assert [file.name for file in tmp_path.iterdir()] == ["x.bin"]


def test_a_folder_that_is_a_file_is_named(tmp_path: Path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ReplicationError, match=r"x\.json: cannot write"):
        write_json(tmp_path / "file" / "x.json", "thing/1", {})


def test_hash_does_not_depend_on_key_order():
    assert sha256_json({"a": 1, "b": [1, 2]}) == sha256_json(json.loads('{"b": [1, 2], "a": 1}'))
