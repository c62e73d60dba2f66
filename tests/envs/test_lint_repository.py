"""The linter of the repository finds what it is for; `make lint` runs it on the repository."""

from __future__ import annotations

import subprocess
from pathlib import Path

import lint_repository
import pytest


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    (tmp_path / "configs" / "variants").mkdir(parents=True)
    (tmp_path / "configs" / "variants" / "Base-A.yaml").write_text("# the paper\nLR: 0.1\nSTEPS: 3  # section 4\n")
    (tmp_path / "configs" / "verdicts.yaml").write_text("alpha: 0.05  # usual\n")
    subprocess.run(["git", "init", "-q", str(tmp_path)], check=True)
    return tmp_path


def lint(root: Path, capsys: pytest.CaptureFixture[str]) -> tuple[int, str]:
    subprocess.run(["git", "-C", str(root), "add", "-A"], check=True)
    return lint_repository.main(root), capsys.readouterr().out


def test_nothing_found(repository: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (repository / "a.txt").write_text("see results/wo" + "rk/x\n")
    assert lint(repository, capsys) == (0, "repository: nothing found\n")


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("a.txt", "https://" + "py" + "pi.org/simple", "a.txt names a package registry: py"),
        ("a.md", "see /ho" + "me/someone/x", "a.md names a place of one machine: /ho"),
        ("uv.lock", "", "uv.lock is a lock with addresses"),
        ("big.bin", "\0" * (6 * 2**20 + 1), "big.bin is larger than"),
        ("configs/variants/Base-A.yaml", "# the paper\nLR: 0.1\nSTEPS: 3\n", "no source beside `STEPS: 3`"),
        ("configs/verdicts.yaml", "alpha: 0.05\n", "no reason beside `alpha: 0.05`"),
    ],
)
def test_what_it_finds(
    repository: Path, name: str, text: str, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (repository / name).write_text(text)
    code, out = lint(repository, capsys)
    assert code == 1
    assert message in out
    assert len(out.splitlines()) == 1
