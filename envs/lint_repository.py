"""What no other linter sees of the files that git tracks: places they must not name, and numbers without a source."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
# Spelled in two halves, so that this file does not find itself.
PLACES = {
    "names a package registry": re.compile(
        "|".join(["py" + r"pi\.org", "pythonho" + r"sted\.org", "download" + r"\.pytorch\.org"])
    ),
    "names a place of one machine": re.compile(
        r"(?<![\w.<{/-])/(?:ro" + r"ot|ho" + r"me|wo" + r"rk|Us" + r"ers|opt/py" + r"pi)/[\w.-]+"
    ),
}
LOCKS = ("uv.lock", "poetry.lock", "Pipfile.lock")  # they hold addresses
LARGEST = 6 * 2**20  # bytes
# Keys of a base variant whose digits are part of a name, and keys whose group has its source at its first line.
NO_NUMBER = ("VERSION:", "PROPOSALS_FROM:", "FEATURES:", "NAME:", "_BASE_:", "DEPTH:", "LOSS_TYPE:")
GROUPED = ("MIN_SIZE", "MAX_SIZE")


def tracked(root: Path) -> list[Path]:
    """What git tracks; nothing, with a line that says so, where ``root`` is no checkout."""
    if not (root / ".git").exists():
        print("repository: not a git checkout, so only the configs are looked at")
        return []
    listing = subprocess.run(["git", "-C", str(root), "ls-files", "-z"], capture_output=True, text=True, check=True)
    return [root / name for name in listing.stdout.split("\0") if name and (root / name).is_file()]


def problems_of_file(path: Path) -> Iterator[str]:
    """Lock files with addresses, large files, and texts that name a registry or somebody's folder."""
    if path.name in LOCKS:
        yield "is a lock with addresses"
    if path.stat().st_size > LARGEST:
        yield f"is larger than {LARGEST} bytes"
    content = path.read_bytes()
    if b"\0" in content[:8192]:
        return
    text = content.decode(errors="replace")
    for problem, pattern in PLACES.items():
        yield from (f"{problem}: {match[0]}" for match in pattern.finditer(text))


def unsourced_numbers(text: str) -> Iterator[str]:
    """Lines of a base variant that set a number, without a comment on them or above."""
    lines = text.splitlines()
    for above, line in zip(["", *lines], lines, strict=False):
        value = line.split("#")[0].partition(":")[2]
        is_number = any(letter.isdigit() for letter in value) and not any(key in line for key in NO_NUMBER)
        told = "#" in line or above.strip().startswith("#") or any(key in line for key in GROUPED)
        if is_number and not told:
            yield line.strip()


def unreasoned_rules(text: str) -> Iterator[str]:
    """Rules of judging without a comment; one whose name says all needs none."""
    for line in text.splitlines():
        key = line.partition(":")[0]
        if re.match(r"\w+:", line) and "#" not in line and key not in ("plan", "bootstrap_seed", "practical_size"):
            yield line


def main(root: Path = ROOT) -> int:
    """Print each problem; 1 when there is any."""
    found = [f"{path.relative_to(root)} {problem}" for path in tracked(root) for problem in problems_of_file(path)]
    for path in sorted((root / "configs" / "variants").glob("Base-*.yaml")):
        found += [
            f"{path.relative_to(root)}: no source beside `{line}`" for line in unsourced_numbers(path.read_text())
        ]
    rules = root / "configs" / "verdicts.yaml"
    found += [f"{rules.relative_to(root)}: no reason beside `{line}`" for line in unreasoned_rules(rules.read_text())]
    print("\n".join(found) or "repository: nothing found")
    return int(bool(found))


if __name__ == "__main__":
    sys.exit(main())
