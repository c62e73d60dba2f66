"""The audit of the lock: vulnerabilities fail, an unreachable database does not."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import audit
import pytest


def said(document: object, error: str = "", code: int = 0) -> tuple[str, ...]:
    """A program that stands for pip-audit."""
    text = f"import sys; print({json.dumps(document)!r}); print({error!r}, file=sys.stderr); sys.exit({code})"
    return (sys.executable, "-c", text)


@pytest.fixture
def lock(tmp_path: Path) -> Path:
    path = tmp_path / "requirements.txt"
    hashed = " \\\n    --hash=sha256:0\n"
    path.write_text(f"# made by uv\na-b==1.2{hashed}c.d==3.0rc1 ; sys_platform != 'win32'{hashed}")
    return path


def test_the_lock_of_the_repository_is_read_whole():
    lines = [line for line in audit.LOCKED.read_text().splitlines() if line and line[0] not in "# "]
    assert [f"{name}=={version}" for name, version in audit.locked()] == [line.split()[0] for line in lines]


def test_a_vulnerability_fails(lock: Path, capsys: pytest.CaptureFixture[str]):
    holes = [{"id": "CVE-1", "fix_versions": ["1.3", "2.0"]}, {"id": "CVE-2", "fix_versions": []}]
    packages = [{"name": "a-b", "version": "1.2", "vulns": holes}, {"name": "c.d", "skip_reason": "not found"}]
    assert audit.main(lock, said({"dependencies": packages}, code=1)) == 1
    assert capsys.readouterr().out == "a-b 1.2: CVE-1, mended in 1.3, 2.0\na-b 1.2: CVE-2, mended in none\n"


def test_no_vulnerability(lock: Path, capsys: pytest.CaptureFixture[str]):
    assert audit.main(lock, said({"dependencies": [{"name": "a-b", "version": "1.2", "vulns": []}]})) == 0
    assert capsys.readouterr().out == "audit: no known vulnerability in what the lock holds for this machine\n"


@pytest.mark.parametrize(
    "command",
    [
        ("no-such-program",),
        (sys.executable, "-c", "import sys; sys.exit('no route to host')"),
        (sys.executable, "-m", "no_such_module"),
        said([], "no route to host", 1),
        said(
            {"dependencies": [{"name": "a-b", "skip_reason": "not found"}, {"name": "c.d", "skip_reason": "not found"}]}
        ),
        said({"dependencies": []}),
    ],
)
def test_without_the_database_the_lock_is_printed(
    lock: Path, capsys: pytest.CaptureFixture[str], command: tuple[str, ...]
):
    assert audit.main(lock, command) == 0
    out = capsys.readouterr().out
    assert out.startswith("audit: not compared with the database of vulnerabilities (")
    assert out.endswith("locked are:\n  a-b 1.2\n  c.d 3.0rc1\n")
