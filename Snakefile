"""Measured beside published: data -> train -> detect -> evaluate, time -> judge -> tables -> report.

snakemake --cores all                                    the protocol `mini`
snakemake --cores all --config protocol=paper            the papers' own
snakemake --cores all --config tables=giou-T5 seeds=3    fewer tables, more seeds per variant
snakemake --cores all --config configs=DIR               also papers, variants and protocols of your own
Every rule is one verb of `replication`; what would run, and why: `replication plan`.
"""

import os
import sys
from pathlib import Path

from snakemake.utils import min_version

from replication.catalog.variants import PROPOSALS_SEED
from replication.errors import ReplicationError
from replication.results.fingerprint import (
    DETECTION,
    EVALUATION,
    FIGURES,
    JUDGING,
    PROPOSALS,
    RENDERING,
    TIMING,
    fingerprint,
)
from replication.planning.plan import FIGURES_FROM
from replication.planning.workflow import (
    choice,
    from_workflow,
    variant_pattern,
    where,
)

min_version("9.25")

try:
    plan = from_workflow(config)
except ReplicationError as error:
    sys.exit(f"error: {error}")


# The verbs run with the interpreter that runs the workflow, whatever `python` is elsewhere.
os.environ["PATH"] = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
# How and where a step runs is no parameter of it: another folder's name or number of GPUs retrains nothing.
os.environ["REPLICATION_WHERE"] = where(config)
os.environ["REPLICATION_GPUS"] = str(config.get("gpus", 1))
# None where no job is run: --report, --dry-run.
CORES = workflow.resource_settings.cores or 1
os.environ["REPLICATION_PLAN"] = f"{choice(config)} --left {CORES}"


report: "rules/captions/workflow.rst"


envvars:
    "PATH",
    "REPLICATION_WHERE",
    "REPLICATION_GPUS",
    "REPLICATION_PLAN",


HERE = f"{plan.results}/{plan.protocol.name}"
RUN = f"{HERE}/runs/{{variant}}/seed{{seed}}"


wildcard_constraints:
    variant="[A-Za-z0-9_]+",
    seed="[0-9]+",


localrules:
    all,


rule all:
    input:
        f"{HERE}/report.html",
        f"{HERE}/figures/svg",


include: "rules/data.smk"
include: "rules/runs.smk"
include: "rules/results.smk"
