"""The browser of the report's tests: found where it starts, installed only where that is possible, never an error."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import browser
import pytest


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A PATH of one empty folder."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder))
    monkeypatch.delenv("CHROMIUM", raising=False)
    return folder


def program(path: Path, script: str = "exit 0") -> Path:
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return path


def test_the_first_that_starts(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert browser.find() is None
    chrome = program(path / "google-chrome")
    assert browser.find() == str(chrome)
    program(path / "chromium-browser", "echo use snap >&2; exit 1")
    assert browser.find() == str(chrome)
    named = program(tmp_path / "own")
    monkeypatch.setenv("CHROMIUM", str(named))
    assert browser.find() == str(named)
    monkeypatch.setenv("CHROMIUM", str(tmp_path / "absent"))
    assert browser.find() == str(chrome)


def test_root_installs_it_once(path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(browser.os, "geteuid", lambda: 0)
    assert browser.install() is None
    made = f"case \"$*\" in *install*) printf '#!/bin/sh\\n' > {path}/chromium; /bin/chmod 755 {path}/chromium;; esac"
    program(path / "apt-get", f'echo noise; echo "$*" >> {path}/calls; {made}')
    assert browser.install() == str(path / "chromium")
    assert browser.install() == str(path / "chromium")
    calls = (path / "calls").read_text().splitlines()
    assert [line.split()[3:] for line in calls] == [["update"], ["install", "chromium"]]
    assert "noise" not in capfd.readouterr().out


@pytest.mark.parametrize(("user", "script"), [(1000, "touch {}/called"), (0, "exit 100")])
def test_what_cannot_be_installed_is_no_error(
    path: Path, monkeypatch: pytest.MonkeyPatch, user: int, script: str
) -> None:
    monkeypatch.setattr(browser.os, "geteuid", lambda: user)
    program(path / "apt-get", script.format(path))
    assert browser.install() is None
    assert not (path / "called").exists()


def test_the_script_never_fails(path: Path) -> None:
    done = subprocess.run([sys.executable, browser.__file__], capture_output=True, text=True)
    assert done.returncode == 0
    assert "none found" in done.stdout
