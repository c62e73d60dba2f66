"""The set-up of `.venv`: instant when complete, made again when interrupted, clear when it cannot be made."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import environment
import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def venv(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A place for an environment that is not the real one, with the real inputs copied beside it."""
    shutil.copytree(ROOT / "envs", tmp_path / "envs", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    folder = tmp_path / ".venv"
    monkeypatch.setattr(environment, "ROOT", tmp_path)
    monkeypatch.setattr(environment, "LOCK", tmp_path / "envs" / "requirements.txt")
    monkeypatch.setattr(environment, "VENV", folder)
    monkeypatch.setattr(environment, "PYTHON", folder / "bin" / "python")
    monkeypatch.setattr(environment, "STAMP", folder / "complete")
    monkeypatch.setattr(environment, "UNFINISHED", folder / "unfinished")
    return folder


@pytest.fixture
def installs(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    calls: list[str] = []
    monkeypatch.setattr(environment, "install", lambda: calls.append("install"))
    return calls


def make_venv(folder: Path) -> None:
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder)], check=True)


def test_made_once_and_again_only_when_an_input_changes(venv: Path, installs: list[str]) -> None:
    make_venv(venv)
    environment.main()
    environment.main()
    assert installs == ["install"]
    assert not environment.UNFINISHED.exists()
    for name in ("pyproject.toml", "envs/requirements.txt", "envs/uv.txt", "envs/detectron2/backend.py"):
        before = len(installs)
        with (environment.ROOT / name).open("a") as file:
            file.write("\n# changed\n")
        environment.main()
        environment.main()
        assert len(installs) == before + 1, name


def test_interrupted_set_up_is_made_again_from_nothing(venv: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_venv(venv)

    def killed() -> None:
        (venv / "half-installed").touch()
        raise KeyboardInterrupt

    monkeypatch.setattr(environment, "install", killed)
    with pytest.raises(KeyboardInterrupt):
        environment.main()
    assert not environment.is_complete()
    monkeypatch.setattr(environment, "install", lambda: None)
    environment.main()
    assert environment.is_complete()
    assert not (venv / "half-installed").exists()


def test_a_finished_environment_of_the_same_python_is_kept(venv: Path, installs: list[str]) -> None:
    make_venv(venv)
    (venv / "mine").touch()
    environment.main()
    assert (venv / "mine").exists()


def test_an_environment_without_working_python_is_made_again(venv: Path, installs: list[str]) -> None:
    make_venv(venv)
    (venv / "mine").touch()
    for path in (venv / "bin").glob("python*"):
        path.unlink()
    environment.main()
    assert not (venv / "mine").exists()
    assert environment.venv_version() == environment.version()


def test_a_half_deleted_environment_is_never_installed_into(venv: Path, installs: list[str]) -> None:
    """Without pyvenv.cfg its python runs, but is the base Python: installing would change the whole machine."""
    make_venv(venv)
    (venv / "pyvenv.cfg").unlink()
    assert subprocess.run([str(environment.PYTHON), "-c", ""]).returncode == 0
    assert environment.venv_version() is None
    environment.main()
    assert installs == ["install"]
    assert environment.venv_version() == environment.version()


def test_install_refuses_what_is_no_virtual_environment(venv: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_venv(venv)
    (venv / "pyvenv.cfg").unlink()
    monkeypatch.setattr(environment, "run_all", lambda commands, _: pytest.fail("something was installed"))
    with pytest.raises(SystemExit, match="is not a virtual environment"):
        environment.install()


def test_installers_are_bound_to_the_environment(venv: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_venv(venv)
    seen: list[dict[str, str]] = []
    monkeypatch.setattr(environment, "run_all", lambda commands, variables: seen.append(variables) or True)
    for name in environment.ELSEWHERE:
        monkeypatch.setenv(name, "elsewhere")
    environment.install()
    assert seen[0]["VIRTUAL_ENV"] == str(venv)
    assert seen[0]["PIP_REQUIRE_VIRTUALENV"] == "1"
    assert not set(environment.ELSEWHERE) & set(seen[0])


def test_interrupted_deletion_leaves_nothing_in_place(
    venv: Path, installs: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    make_venv(venv)
    environment.UNFINISHED.touch()

    def killed(path: Path) -> None:
        (path / "pyvenv.cfg").unlink()
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(shutil, "rmtree", killed)
        with pytest.raises(KeyboardInterrupt):
            environment.main()
    assert not venv.exists()
    environment.main()
    assert environment.is_complete()
    assert [path.name for path in venv.parent.glob(".venv*")] == [".venv"]


def test_missing_venv_module_says_what_to_install(venv: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    half = tmp_path / "half-python"
    half.write_text("#!/bin/sh\necho 'ensurepip is not available' >&2\nexit 1\n")
    half.chmod(0o755)
    monkeypatch.setattr(sys, "_base_executable", str(half), raising=False)
    with pytest.raises(SystemExit, match=r"ensurepip is not available(?s:.*)apt-get install python3\.1\d-venv"):
        environment.create()
    assert environment.UNFINISHED.exists()


def test_pip_takes_over_where_uv_fails(venv: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_venv(venv)
    tried: list[list[list[str]]] = []
    monkeypatch.setattr(environment, "run_all", lambda commands, _: tried.append(commands) or len(tried) == 2)
    environment.install()
    assert [Path(commands[-1][0]).name for commands in tried] == ["uv", "python"]
    assert all("--require-hashes" in commands[0] for commands in tried)


def test_no_network_is_one_message(venv: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_venv(venv)
    monkeypatch.setattr(environment, "run_all", lambda commands, _: False)
    with pytest.raises(SystemExit, match=r"could not be installed.*pip config list"):
        environment.install()


def test_commands_stop_at_the_first_failure(tmp_path: Path) -> None:
    touch = [
        [sys.executable, "-c", f"open({str(tmp_path / name)!r}, 'w'); raise SystemExit({name == 'b'})"]
        for name in "abc"
    ]
    assert not environment.run_all(touch, {})
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "b"]


def test_make_refuses_an_unsuitable_python(tmp_path: Path) -> None:
    old = tmp_path / "python3.8"
    old.write_text("#!/bin/sh\nexit 1\n")
    old.chmod(0o755)
    command = ["make", "-C", str(ROOT), "environment", f"PYTHON={old}"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode != 0
    assert "Python 3.11 or 3.12 is needed" in done.stderr
    assert str(old) in done.stderr


def test_help_lists_every_target() -> None:
    done = subprocess.run(["make", "-s", "-C", str(ROOT)], capture_output=True, text=True, check=True)
    makefile = (ROOT / "Makefile").read_text()
    phony = next(line for line in makefile.splitlines() if line.startswith(".PHONY:")).split()[1:]
    assert {line.split()[1] for line in done.stdout.splitlines() if line.startswith("  make ")} == set(phony)
