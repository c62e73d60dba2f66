"""``snakemake --lint`` for a workflow whose rules all run in one environment, ``.venv``, which ``make`` makes.

Snakemake wants a conda environment or container a rule and has no switch for that one check; all others count.
"""

from __future__ import annotations

import subprocess
import sys

ONE_ENVIRONMENT = "Specify a conda environment or container for each rule."


def main() -> int:
    """Print what is found, but for the check above; 1 when there is anything."""
    done = subprocess.run(["snakemake", "--lint"], capture_output=True, text=True)
    text = done.stdout + done.stderr
    if "Lints for" not in text:
        print(text)
        return done.returncode
    place, found = "", []
    for line in text.splitlines():
        if line.startswith("Lints for"):
            place = line
        elif line.startswith("    * ") and ONE_ENVIRONMENT not in line:
            found.append(f"{place} {line.strip()}")
    print("\n".join(found) or "snakemake --lint: nothing found")
    return int(bool(found))


if __name__ == "__main__":
    sys.exit(main())
