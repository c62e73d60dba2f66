"""Standing checks of what git tracks."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
# Spelled in two halves, so that this file does not find itself.
HOSTS = re.compile("|".join(["py" + r"pi\.org", "pythonho" + r"sted\.org", "download" + r"\.pytorch\.org"]))
MACHINE_PATHS = re.compile(r"(?<![\w.<{/-])/(?:ro" + r"ot|ho" + r"me|wo" + r"rk|Us" + r"ers|opt/py" + r"pi)/[\w.-]+")
LONGEST_FILE = 350  # lines of a module
LARGEST_FILE = 4 * 2**20  # bytes


def tracked() -> list[Path]:
    if not (ROOT / ".git").exists():
        pytest.skip("not a git checkout")
    listing = subprocess.run(["git", "-C", str(ROOT), "ls-files", "-z"], capture_output=True, text=True, check=True)
    return [ROOT / name for name in listing.stdout.split("\0") if name and (ROOT / name).is_file()]


def text_of(path: Path) -> str:
    content = path.read_bytes()
    return "" if b"\0" in content[:8192] else content.decode(errors="replace")


def test_no_lock_with_addresses_is_tracked() -> None:
    assert not [path for path in tracked() if path.name in ("uv.lock", "poetry.lock", "Pipfile.lock")]


@pytest.mark.parametrize("pattern", [HOSTS, MACHINE_PATHS], ids=["registry hosts", "machine paths"])
def test_no_tracked_file_names_registry_or_machine(pattern: re.Pattern[str]) -> None:
    found = [f"{path.relative_to(ROOT)}: {match[0]}" for path in tracked() for match in pattern.finditer(text_of(path))]
    assert not found


def test_patterns_find_what_they_are_for() -> None:
    assert HOSTS.search("https://" + "py" + "pi.org/simple")
    assert MACHINE_PATHS.search("see /ho" + "me/someone/x")
    assert not MACHINE_PATHS.search("results/wo" + "rk/x")


def test_no_large_file_is_tracked() -> None:
    assert not [(path.name, path.stat().st_size) for path in tracked() if path.stat().st_size > LARGEST_FILE]


def test_modules_stay_short() -> None:
    lengths = {path: len(path.read_text().splitlines()) for path in (ROOT / "replication").rglob("*.py")}
    assert lengths
    assert not {str(path): length for path, length in lengths.items() if length >= LONGEST_FILE}


@pytest.mark.parametrize("name", ["requirements.txt", "uv.txt"])
def test_every_locked_requirement_has_a_hash_and_no_address(name: str) -> None:
    text = (ROOT / "envs" / name).read_text()
    assert "://" not in text
    entries = re.split(r"^(?=\w)", text, flags=re.MULTILINE)[1:]
    assert entries
    for entry in entries:
        assert re.match(r"[\w.-]+==\S+", entry), entry
        assert re.search(r"--hash=sha256:[0-9a-f]{64}", entry), entry


def test_lock_covers_what_pyproject_asks_for() -> None:
    import tomllib

    from packaging.requirements import Requirement
    from packaging.utils import canonicalize_name

    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    lines = [*project["dependencies"], *(line for extra in project["optional-dependencies"].values() for line in extra)]
    wanted = [Requirement(line) for line in lines]
    text = (ROOT / "envs" / "requirements.txt").read_text()
    pins: dict[str, list[str]] = {}
    for pinned, version in re.findall(r"^([\w.-]+)==([^\s;\\]+)", text, re.MULTILINE):
        pins.setdefault(canonicalize_name(pinned), []).append(version)
    for requirement in wanted:
        if requirement.name in ("detection-replication", "detectron2"):
            continue
        versions = pins[canonicalize_name(requirement.name)]
        assert all(requirement.specifier.contains(version) for version in versions), str(requirement)


def test_license_is_apache() -> None:
    text = (ROOT / "LICENSE").read_text()
    assert "Apache License" in text
    assert "Version 2.0, January 2004" in text
    assert "END OF TERMS AND CONDITIONS" in text


def test_citation_names_the_three_papers() -> None:
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert citation["cff-version"] == "1.2.0"
    assert citation["license"] == "Apache-2.0"
    assert {"message", "title", "authors"} <= set(citation)
    arxiv = [reference["identifiers"][0]["value"] for reference in citation["references"]]
    assert arxiv == ["arXiv:1902.09630", "arXiv:1903.00621", "arXiv:1904.02701"]
    assert all(reference["authors"] and reference["year"] == 2019 for reference in citation["references"])


def test_light_install_needs_no_torch() -> None:
    import tomllib

    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert not [line for line in project["dependencies"] if re.match(r"torch|detectron2|snakemake", line)]
