"""Measured beside published: data -> train -> detect -> evaluate, time -> tables -> report.

snakemake --cores all                                    the protocol `mini`
snakemake --cores all --config protocol=paper            the papers' own
snakemake --cores all --config tables=giou-T5 seeds=3    fewer tables, more runs a variant
Every rule is one verb of `python -m replication`; what would run, and why: `python -m replication plan`.
"""

import os
import sys
from pathlib import Path

from snakemake.utils import min_version

from replication.catalog.variants import PROPOSALS_SEED
from replication.errors import ReplicationError
from replication.fingerprint import (
    DETECTION,
    EVALUATION,
    FIGURES,
    RENDERING,
    TIMING,
    fingerprint,
)
from replication.plan import DEFAULT_PROTOCOL, FIGURES_FROM, from_workflow

min_version("9.25")

try:
    plan = from_workflow(config)
except ReplicationError as error:
    sys.exit(f"error: {error}")


envvars:
    "PATH",


# The verbs run with the interpreter that runs the workflow, whatever `python` is elsewhere.
os.environ["PATH"] = f"{Path(sys.executable).parent}:{os.environ['PATH']}"

HERE = f"{plan.results}/{plan.protocol.name}"
RUN = f"{HERE}/runs/{{variant}}/seed{{seed}}"
WHERE = (
    f"--protocol {config.get('protocol', DEFAULT_PROTOCOL)} --results {plan.results}"
)


wildcard_constraints:
    variant="[A-Za-z0-9_]+",
    seed="[0-9]+",


localrules:
    all,


rule all:
    input:
        f"{HERE}/report.html",


rule download:
    output:
        touch(f"{plan.results}/downloads/{{name}}.done"),
    log:
        f"{plan.results}/downloads/{{name}}.log",
    retries: 2
    shell:
        "python -m replication data {wildcards.name} 2>&1 | tee {log}"


rule prepare:
    input:
        expand(f"{plan.results}/downloads/{{name}}.done", name=plan.downloads),
    output:
        f"{HERE}/data.json",
        f"{HERE}/ground_truth.json",
    log:
        f"{HERE}/logs/prepare.log",
    params:
        where=WHERE,
        data=plan.data_state(),
        areas=plan.areas(),
    shell:
        "python -m replication prepare {params.where} 2>&1 | tee {log}"


# Checkpoints lie undeclared beside the outputs: Snakemake deletes what a failed job declared, and a training must
# resume from them. For the same reason the parameters, not the files, say when a training is out of date.
rule train:
    input:
        ancient(f"{HERE}/data.json"),
        lambda wildcards: plan.proposals(wildcards.variant),
    output:
        f"{RUN}/model_final.pth",
        f"{RUN}/curves.jsonl",
        f"{RUN}/provenance.json",
    log:
        f"{HERE}/logs/train/{{variant}}-seed{{seed}}.log",
    priority: lambda wildcards: plan.priority(wildcards.variant)
    threads: plan.protocol.threads
    resources:
        expected_minutes=lambda wildcards: plan.minutes(wildcards.variant),
    params:
        where=WHERE,
        data=plan.data_state(),
        fingerprint=lambda wildcards: plan.training_fingerprint(wildcards.variant),
        gpus=config.get("gpus", 1),
    message:
        "train {wildcards.variant}, seed {wildcards.seed}: about {resources.expected_minutes} min"
    shell:
        "python -m replication train {params.where} --variant {wildcards.variant} --seed {wildcards.seed}"
        " --gpus {params.gpus} 2>&1 | tee -a {log}"


# What Fast R-CNN is trained and tested on: written once, from one run of an RPN.
rule proposals:
    input:
        f"{HERE}/runs/{{variant}}/seed{PROPOSALS_SEED}/model_final.pth",
        f"{HERE}/runs/{{variant}}/seed{PROPOSALS_SEED}/provenance.json",
    output:
        expand(
            f"{HERE}/proposals/{{{{variant}}}}/{{split}}.json", split=["train", "val"]
        ),
        expand(
            f"{HERE}/proposals/{{{{variant}}}}/{{split}}.f32", split=["train", "val"]
        ),
    log:
        f"{HERE}/logs/proposals/{{variant}}.log",
    priority: 500
    threads: plan.protocol.threads
    params:
        where=WHERE,
        fingerprint=fingerprint(DETECTION),
    shell:
        "python -m replication proposals {params.where} --variant {wildcards.variant} 2>&1 | tee {log}"


rule detect:
    input:
        f"{RUN}/model_final.pth",
        f"{RUN}/provenance.json",
        lambda wildcards: plan.proposals(wildcards.variant),
    output:
        f"{RUN}/detections.json",
    log:
        f"{HERE}/logs/detect/{{variant}}-seed{{seed}}.log",
    priority: lambda wildcards: 100 + plan.priority(wildcards.variant)
    threads: plan.protocol.threads
    params:
        where=WHERE,
        fingerprint=fingerprint(DETECTION),
    shell:
        "python -m replication detect {params.where} --variant {wildcards.variant} --seed {wildcards.seed}"
        " 2>&1 | tee {log}"


rule evaluate:
    input:
        f"{RUN}/detections.json",
        f"{HERE}/ground_truth.json",
    output:
        f"{RUN}/metrics.json",
    log:
        f"{HERE}/logs/evaluate/{{variant}}-seed{{seed}}.log",
    priority: 200
    params:
        where=WHERE,
        areas=plan.areas(),
        fingerprint=fingerprint(EVALUATION),
    shell:
        "python -m replication evaluate {params.where} --variant {wildcards.variant} --seed {wildcards.seed}"
        " 2>&1 | tee {log}"


# A time is worth nothing beside other work: it takes every core, so no other job of the workflow runs with it, on
# whatever GPU. Not the result files are declared but a mark: their folder is named after the device, and what was
# finished before an interruption must stay.
rule time:
    input:
        [f"{folder}/model_final.pth" for folder in plan.timed_folders],
    output:
        touch(f"{HERE}/latency/timed.done"),
    log:
        f"{HERE}/logs/time.log",
    priority: 250
    threads: lambda wildcards: workflow.cores
    params:
        where=WHERE,
        variants=",".join(plan.timed),
        fingerprint=fingerprint(TIMING),
    shell:
        "python -m replication time {params.where} --variants {params.variants} 2>&1 | tee {log}"


rule table:
    input:
        lambda wildcards: [
            f"{run.folder(plan.results)}/{name}"
            for run in plan.runs_of(wildcards.table)
            for name in ("metrics.json", "provenance.json")
        ],
        lambda wildcards: (
            f"{HERE}/latency/timed.done" if plan.timed_in(wildcards.table) else []
        ),
    output:
        expand(f"{HERE}/tables/{{{{table}}}}.{{kind}}", kind=["md", "csv", "tex"]),
    log:
        f"{HERE}/logs/tables/{{table}}.log",
    priority: 300
    params:
        where=WHERE,
        text=plan.text(),
        fingerprint=fingerprint(RENDERING),
    shell:
        "python -m replication tables {params.where} --tables {wildcards.table} 2>&1 | tee {log}"


# What Libra R-CNN's figures 3 and 5 are drawn from.
rule figures:
    input:
        f"{HERE}/runs/{FIGURES_FROM}/seed0/model_final.pth",
        f"{HERE}/runs/{FIGURES_FROM}/seed0/provenance.json",
    output:
        f"{HERE}/figures/libra_sampling.json",
        f"{HERE}/figures/libra_balanced_l1.json",
    log:
        f"{HERE}/logs/figures.log",
    threads: plan.protocol.threads
    params:
        where=WHERE,
        variant=FIGURES_FROM,
        fingerprint=fingerprint(FIGURES),
    shell:
        "python -m replication figures {params.where} --variant {params.variant} 2>&1 | tee {log}"


rule report:
    input:
        plan.figure_data,
        expand(f"{HERE}/tables/{{table}}.md", table=plan.tables),
        [f"{run.folder(plan.results)}/curves.jsonl" for run in plan.runs],
    output:
        f"{HERE}/report.html",
    log:
        f"{HERE}/logs/report.log",
    params:
        where=WHERE,
        tables=",".join(plan.tables),
        text=plan.text(),
        fingerprint=fingerprint(RENDERING),
    shell:
        "python -m replication report {params.where} --tables {params.tables} 2>&1 | tee {log}"
