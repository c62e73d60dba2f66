"""``snakemake --lint`` for a workflow whose rules all run in one environment, ``.venv``, which ``make`` makes.

Two checks do not count, for which Snakemake has no switch: that each rule has a conda environment or container, and
that what a shell command uses stands in the rule's params. The constants below say where and how a step runs; as params
they would make Snakemake run every step again when the results folder moves or the number of GPUs changes.
"""

from __future__ import annotations

import subprocess
import sys

ONE_ENVIRONMENT = "Specify a conda environment or container for each rule."
CONSTANTS = ("VERB", "WHERE", "CHOICE", "GPUS", "CORES")
WORKFLOW = "workflow/Snakefile"  # which includes the Snakefile and all rules
NOT_COUNTED = (
    ONE_ENVIRONMENT,
    *(f"Shell command directly uses variable {name} from outside of the rule" for name in CONSTANTS),
)


def main() -> int:
    """Print what is found, but for the checks above; 1 when there is anything."""
    done = subprocess.run(["snakemake", "--lint", "-s", WORKFLOW], capture_output=True, text=True)
    text = done.stdout + done.stderr
    if "Lints for" not in text:
        print(text)
        return done.returncode
    place, found = "", []
    for line in text.splitlines():
        if line.startswith("Lints for"):
            place = line
        elif line.startswith("    * ") and not any(text in line for text in NOT_COUNTED):
            found.append(f"{place} {line.strip()}")
    print("\n".join(found) or "snakemake --lint: nothing found")
    return int(bool(found))


if __name__ == "__main__":
    sys.exit(main())
