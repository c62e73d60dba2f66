"""Reading YAML: what a hostile or mistaken file may not do."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from replication.catalog.load import load_catalog
from replication.catalog.records import read_yaml
from replication.errors import ConfigError


def test_a_bomb_of_aliases_is_refused_at_once(tmp_path: Path) -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 12)]
    (tmp_path / "bomb.yaml").write_text("\n".join(lines))
    started = time.perf_counter()
    with pytest.raises(ConfigError, match=r"bomb\.yaml: not readable as YAML: .*without nested aliases"):
        read_yaml(tmp_path / "bomb.yaml")
    assert time.perf_counter() - started < 5


@pytest.mark.parametrize(
    "text",
    ["a: &a [*a]", "a: " + "[" * 5000, "a: 1\na: 2", "a: !!python/object/apply:os.system ['true']", "2020-13-45: 1"],
)
def test_files_that_are_none_are_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "bad.yaml").write_text(text)
    with pytest.raises(ConfigError, match=r"bad\.yaml: not readable as YAML"):
        read_yaml(tmp_path / "bad.yaml")


def test_aliases_of_honest_files_are_read(tmp_path: Path) -> None:
    (tmp_path / "good.yaml").write_text("a: &a {x: 1}\nb: {<<: *a, y: 2}\nc: [*a, *a]\n")
    assert read_yaml(tmp_path / "good.yaml") == {"a": {"x": 1}, "b": {"x": 1, "y": 2}, "c": [{"x": 1}] * 2}
    assert load_catalog().papers
