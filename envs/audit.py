"""Known vulnerabilities of the locked dependencies, by pip-audit; without its database, what is locked.

A vulnerability is an error. A machine without pip-audit or without a way to its database is none: the locked versions
are printed then, to be looked up elsewhere.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

LOCKED = Path(__file__).resolve().parent / "requirements.txt"
TIMEOUT = 60  # seconds, also for one request
AUDIT = (sys.executable, "-m", "pip_audit", "--format", "json", "--progress-spinner", "off", "--timeout", "10")


def locked(path: Path = LOCKED) -> list[tuple[str, str]]:
    """Names and versions, in the order of the lock."""
    return re.findall(r"^([A-Za-z0-9_.-]+)==([^\s;\\]+)", path.read_text(), re.MULTILINE)


def audit(path: Path = LOCKED, command: Sequence[str] = AUDIT) -> tuple[list[str], str]:
    """The known vulnerabilities, a line each, and why they could not be looked up, which is empty where they were."""
    # Without resolving: the lock is complete, and nothing is downloaded.
    whole = [*command, "--disable-pip", "--no-deps", "--requirement", str(path)]
    try:
        done = subprocess.run(whole, capture_output=True, text=True, timeout=TIMEOUT, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        return [], f"{type(error).__name__}: pip-audit did not end"
    try:
        found = json.loads(done.stdout)["dependencies"]
    except (ValueError, KeyError, TypeError):
        return [], (done.stderr.strip().splitlines() or ["pip-audit said nothing"])[-1]
    skipped = [package["skip_reason"] for package in found if "skip_reason" in package]
    if len(skipped) == len(found):  # a mirror that serves packages, but no vulnerabilities
        return [], (skipped or ["pip-audit found no dependency"])[0]
    return [
        f"{package['name']} {package['version']}: {hole['id']}, mended in {', '.join(hole['fix_versions']) or 'none'}"
        for package in found
        for hole in package.get("vulns", [])
    ], ""


def main(path: Path = LOCKED, command: Sequence[str] = AUDIT) -> int:
    """Print what was found; 1 where a dependency is known to be vulnerable."""
    problems, reason = audit(path, command)
    packages = locked(path)
    if reason:
        print(f"audit: not compared with the database of vulnerabilities ({reason}); locked are:")
        print("\n".join(f"  {name} {version}" for name, version in packages))
        return 0
    print("\n".join(problems) if problems else "audit: no known vulnerability in what the lock holds for this machine")
    return int(bool(problems))


if __name__ == "__main__":
    sys.exit(main())
