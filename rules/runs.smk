"""Runs: their training, detections, metrics and timing."""

TRAINED, TEST_TIME = (
    rule_values.made_here(plan, variant_pattern(plan.catalog, trained))
    for trained in (True, False)
)


# Declared is a mark alone. Snakemake deletes what a job has declared before it runs and after it fails: a training must
# resume from its checkpoints, and a job that starts late or twice must not delete what another has finished. The verb
# decides what is finished; `--wait` and `--replace` let it wait for such a job, and do what Snakemake's deletion did.
# For the same reason the parameters, not the files, say when a training is out of date; and they hold only what changes
# its result. Data or proposals that have changed since are refused by the verbs after it. The verbs after it declare
# their files: within minutes they give the same bytes again.
# A cluster sends SIGTERM to every process of a job. The training then writes a checkpoint, and says so: shell and `tee`
# have to outlive it.
rule train:
    input:
        ancient(str(HERE.data)),
        ancient(lambda wildcards: rule_values.proposals(plan, wildcards.variant)),
        ancient(rule_values.backbones(plan)),
    output:
        RUN.trained,
    log:
        HERE.log("train/{variant}-seed{seed}"),
    wildcard_constraints:
        variant=TRAINED,
    priority: lambda wildcards: rule_values.priority(plan, wildcards.variant)
    threads: plan.protocol.threads
    resources:
        # A number: in a job of several steps Snakemake takes texts only where all are the same.
        expected_minutes=lambda wildcards: cluster.training_minutes(
            plan, wildcards.variant, GPUS
        ),
        gpu=cluster.gpus(plan, GPUS),
        mem_mb=lambda wildcards, attempt: cluster.memory(plan, attempt, GPUS),
        runtime=lambda wildcards, attempt: cluster.training(
            plan, wildcards.variant, GPUS, attempt
        ),
    params:
        data=rule_values.data_settings(plan),
        fingerprint=lambda wildcards: rule_values.training(plan, wildcards.variant),
    message:
        "train {wildcards.variant}, seed {wildcards.seed}: about {resources.expected_minutes} min (0: not known)"
    shell:
        "trap : TERM; {VERB} train {WHERE} --variant {wildcards.variant:q} --seed {wildcards.seed:q} --gpus {GPUS}"
        " --wait --replace"
        " 2>&1 | (trap '' TERM; exec tee -a {log:q})"
        " && {{ {VERB} plan {WHERE} {CHOICE} --left {CORES} || true; }}"


# What Fast R-CNN is trained and tested on: written once, from one run of an RPN.
rule proposals:
    input:
        HERE.run("{variant}", PROPOSALS_SEED).trained,
    output:
        [HERE.proposals("{variant}", split).manifest for split in SPLITS],
        [HERE.proposals("{variant}", split).rows for split in SPLITS],
    log:
        HERE.log("proposals/{variant}"),
    priority: 500
    threads: plan.protocol.threads
    resources:
        gpu=cluster.gpus(plan),
        mem_mb=lambda wildcards, attempt: cluster.memory(plan, attempt),
        runtime=lambda wildcards, attempt: cluster.proposals(
            plan, wildcards.variant, attempt
        ),
    params:
        fingerprint=fingerprint(PROPOSALS),
    shell:
        "{VERB} proposals {WHERE} --variant {wildcards.variant:q} 2>&1 | tee {log:q}"


rule detect:
    input:
        lambda wildcards: rule_values.weights(plan, wildcards.variant, wildcards.seed),
        lambda wildcards: rule_values.proposals(plan, wildcards.variant),
    output:
        RUN.detections,
    log:
        HERE.log("detect/{variant}-seed{seed}"),
    wildcard_constraints:
        variant=TRAINED,
    priority: lambda wildcards: 100 + rule_values.priority(plan, wildcards.variant)
    threads: plan.protocol.threads
    resources:
        gpu=cluster.gpus(plan),
        mem_mb=lambda wildcards, attempt: cluster.memory(plan, attempt),
        runtime=lambda wildcards, attempt: cluster.detection(
            plan, wildcards.variant, attempt
        ),
    params:
        fingerprint=fingerprint(DETECTION),
    shell:
        "{VERB} detect {WHERE} --variant {wildcards.variant:q} --seed {wildcards.seed:q} 2>&1 | tee {log:q}"


# A test-time variant detects with the weights of another, and gets a provenance made from theirs.
use rule detect as detect_tta with:
    output:
        RUN.detections,
        RUN.provenance,
    wildcard_constraints:
        variant=TEST_TIME,
    params:
        fingerprint=fingerprint(DETECTION),
        settings=lambda wildcards: rule_values.settings(plan, wildcards.variant),


rule evaluate:
    input:
        RUN.detections,
        HERE.ground_truth,
    output:
        RUN.metrics,
    log:
        HERE.log("evaluate/{variant}-seed{seed}"),
    priority: 200
    resources:
        mem_mb=lambda wildcards, attempt: cluster.memory(plan, attempt),
        runtime=lambda wildcards, attempt: cluster.reading(plan, attempt),
    params:
        areas=rule_values.areas(plan),
        fingerprint=fingerprint(EVALUATION),
    shell:
        "{VERB} evaluate {WHERE} --variant {wildcards.variant:q} --seed {wildcards.seed:q} 2>&1 | tee {log:q}"


# Timing needs the machine to itself: it takes every core, so that no other job of the workflow runs with it, on
# whatever GPU, and on a cluster a whole node. Not the result files are declared but a mark: their folder is named after
# the device, and what was finished before an interruption must stay.
rule time:
    input:
        [run.files.trained for run in plan.timed_runs],
    output:
        touch(str(HERE.timed)),
    log:
        HERE.log("time"),
    priority: 250
    threads: CORES
    resources:
        gpu=cluster.gpus(plan),
        mem_mb=lambda wildcards, attempt: cluster.memory(plan, attempt),
        runtime=lambda wildcards, attempt: cluster.timing(plan, attempt),
        slurm_extra="--exclusive",
    params:
        variants=",".join(plan.timed),
        fingerprint=fingerprint(TIMING),
    shell:
        "{VERB} time {WHERE} --variants {params.variants:q} 2>&1 | tee {log:q}"
