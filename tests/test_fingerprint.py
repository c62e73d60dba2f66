from __future__ import annotations

from pathlib import Path

import pytest

from replication.fingerprint import DETECTION, EVALUATION, PACKAGE, RENDERING, TRAINING, fingerprint


@pytest.fixture
def package(tmp_path: Path) -> Path:
    (tmp_path / "evaluation").mkdir()
    (tmp_path / "evaluation" / "coco.py").write_text('"""Docs."""\n\ndef ap(x):\n    """More."""\n    return x + 1\n')
    return tmp_path


def taken(package: Path) -> str:
    fingerprint.cache_clear()
    return fingerprint(EVALUATION, package)


def test_comments_docstrings_and_layout_do_not_count(package: Path):
    before = taken(package)
    (package / "evaluation" / "coco.py").write_text("# why\ndef ap(x):\n\n    return (x + 1)\n")
    assert taken(package) == before


def test_code_counts(package: Path):
    before = taken(package)
    (package / "evaluation" / "coco.py").write_text("def ap(x):\n    return x + 2\n")
    assert taken(package) != before


def test_a_new_file_counts(package: Path):
    before = taken(package)
    (package / "evaluation" / "more.py").write_text("")
    assert taken(package) != before


@pytest.mark.parametrize("patterns", [TRAINING, DETECTION, EVALUATION, RENDERING])
def test_every_pattern_matches_a_file(patterns: tuple[str, ...]):
    for pattern in patterns:
        assert list(PACKAGE.glob(pattern)), pattern


def test_the_syntax_tree_does_not_depend_on_the_python_version(package: Path):
    """What 3.11 and 3.12 both gave for a function with an f-string in parts and a default argument."""
    (package / "evaluation" / "coco.py").write_text('def f(x: int = 1) -> str:\n    return f"{x:>{x}}" f"{x}a" "b"\n')
    assert taken(package) == "267b7b3a96f1"
