from __future__ import annotations

import json
import os
import resource
import signal
from pathlib import Path

import pytest

from replication.errors import ReplicationError, ResultError
from replication.results.files import read_json, replacing, sha256_json, write_bytes, write_json, write_text


def test_json_comes_back_with_its_schema(tmp_path: Path):
    write_json(tmp_path / "a" / "x.json", "thing/1", {"value": 0.1})
    assert read_json(tmp_path / "a" / "x.json", "thing/1") == {"schema": "thing/1", "value": 0.1}


@pytest.mark.parametrize("content", ["", "{", "[1]", '{"schema": "thing/2"}'])
def test_a_broken_or_foreign_file_is_named(tmp_path: Path, content: str):
    path = tmp_path / "x.json"
    path.write_text(content)
    with pytest.raises(ResultError, match=r"x\.json: .*; run the step that makes it again"):
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


def test_a_file_appears_when_all_of_it_is_written(tmp_path: Path):
    path = tmp_path / "new" / "x.bin"
    with replacing(path) as file:
        file.write(b"one ")
        file.write(b"two")
        assert not path.exists()
    assert path.read_bytes() == b"one two"
    assert path.stat().st_mode & 0o777 == 0o644


def test_whatever_fails_in_between_keeps_the_old_file(tmp_path: Path):
    path = tmp_path / "x.bin"
    write_bytes(path, b"old")
    with pytest.raises(ZeroDivisionError), replacing(path) as file:
        file.write(bytes([1 // (len(b"new") - 3)]))
    assert path.read_bytes() == b"old"
    assert [file.name for file in tmp_path.iterdir()] == ["x.bin"]


def test_a_failure_to_read_another_file_is_not_called_a_failure_to_write(tmp_path: Path):
    with pytest.raises(FileNotFoundError, match=r"other\.bin"), replacing(tmp_path / "x.bin") as file:
        file.write((tmp_path / "other.bin").read_bytes())
    assert not list(tmp_path.iterdir())


def test_what_a_killed_process_was_writing_is_removed_a_day_later(tmp_path: Path):
    path = tmp_path / "a[1].json"
    old, young, other = (tmp_path / name for name in (".a[1].json.abcd1234", ".a[1].json.abcd5678", ".b.json.abcd1234"))
    for left in (old, young, other):
        left.write_text("half")
    for left in (old, other):
        os.utime(left, (1, 1))
    write_text(path, "whole")
    assert {left.name for left in tmp_path.iterdir()} == {path.name, young.name, other.name}
