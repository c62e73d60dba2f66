"""Published and measured numbers: data -> train -> detect -> evaluate, time -> judge -> tables -> report.

snakemake --cores all                                    the protocol `mini`
snakemake --cores all --config protocol=paper            the papers' own
snakemake --cores all --config tables=giou-T5 seeds=5    fewer tables, more seeds per variant
snakemake --cores all --config configs=DIR               also papers, variants and protocols of your own
Every rule is one verb of `replication`; what would run, and why: `replication plan`.
"""

import atexit
import contextlib
import shlex
import sys

from snakemake.utils import min_version

from replication.catalog.variants import PROPOSALS_SEED
from replication.errors import ReplicationError
from replication.formats.splits import SPLITS
from replication.planning import cluster, rule_values
from replication.planning.workflow import choice, from_workflow, variant_pattern, where
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
from replication.results.lease import lease

min_version("9.25")

try:
    plan = from_workflow(config)
except ReplicationError as error:
    sys.exit(f"error: {error}")


# How and where a step runs: interpreter, folder, number of GPUs. These are no `params`, since Snakemake runs a step
# again whose params have changed, and a moved results folder or another GPU retrains nothing. A rule's `shell` takes
# them as global variables, which Snakemake does not compare. They are quoted for a shell here, once.
VERB = f"{shlex.quote(sys.executable)} -m replication"
WHERE = where(config)
CHOICE = choice(config)
GPUS = config.get("gpus", 1)
# All of this machine's. Where no job runs on it (--dry-run, a cluster) those of a training: the process that submits a
# job must ask for as many as the job, which sees the cores of its node, then takes.
LOCAL_CORES = None if workflow.remote_exec else workflow.resource_settings.cores
CORES = LOCAL_CORES or plan.protocol.threads

HERE = plan.layout
RUN = HERE.run("{variant}", "{seed}")


if workflow.is_main_process:
    rule_values.forget_deleted(plan)

# Held until this process ends, however it ends; the jobs of a cluster are none of its processes and run no hooks.
owned = contextlib.ExitStack()


onstart:
    try:
        owned.enter_context(lease(HERE.lock, "these results"))
    except ReplicationError as error:
        sys.exit(f"error: {error}")


onsuccess:
    owned.close()
    if HERE.report.exists():
        from replication.report import headlines

        lines = headlines(plan.catalog, plan.protocol, plan.results, plan.tables)
        # After Snakemake's own last words.
        atexit.register(print, f"The page: {HERE.report}", *lines, sep="\n")


onerror:
    owned.close()


report: "rules/captions/workflow.rst"


wildcard_constraints:
    variant="[A-Za-z0-9_]+",
    seed="[0-9]+",


# Steps of seconds, and those that need the network, stay on the machine that submits the others to a cluster.
localrules:
    all,
    data,
    weights,
    interim,
    verdicts,
    tables,
    report,


rule all:
    input:
        HERE.report,
        HERE.svg,


include: "rules/data.smk"
include: "rules/runs.smk"
include: "rules/results.smk"
