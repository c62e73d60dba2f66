from __future__ import annotations

from pathlib import Path

import pytest

from replication.results.fingerprint import (
    DETECTION,
    EVALUATION,
    FIGURES,
    INFERENCE,
    JUDGING,
    PACKAGE,
    PROPOSALS,
    RENDERING,
    TIMING,
    TRAINING,
    fingerprint,
)

ALL = [TRAINING, DETECTION, PROPOSALS, FIGURES, TIMING, EVALUATION, JUDGING, RENDERING]


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


@pytest.mark.parametrize("patterns", ALL)
def test_every_pattern_matches_a_file(patterns: tuple[str, ...]):
    for pattern in patterns:
        assert list(PACKAGE.glob(pattern.removeprefix("!"))), pattern


def test_a_file_left_out_by_name_does_not_count(package: Path):
    (package / "evaluation" / "more.py").write_text("x = 1")
    fingerprint.cache_clear()
    patterns = (*EVALUATION, "!evaluation/more.py")
    before = fingerprint(patterns, package)
    (package / "evaluation" / "more.py").write_text("x = 2")
    fingerprint.cache_clear()
    assert fingerprint(patterns, package) == before
    assert taken(package) != before


def test_inference_retrains_nothing_but_detects_again():
    for path in INFERENCE:
        assert f"!{path}" in TRAINING
        for patterns in (DETECTION, PROPOSALS, TIMING):
            assert f"!{path}" not in patterns


def test_the_syntax_tree_does_not_depend_on_the_python_version(package: Path):
    """What 3.11 and 3.12 both gave for a function with an f-string in parts and a default argument."""
    (package / "evaluation" / "coco.py").write_text('def f(x: int = 1) -> str:\n    return f"{x:>{x}}" f"{x}a" "b"\n')
    assert taken(package) == "267b7b3a96f1"
