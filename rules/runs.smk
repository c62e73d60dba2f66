"""Runs: trained, their detections, what they are worth and how long they take."""

TRAINED, TESTED_ANEW = (
    variant_pattern(plan.catalog, trained) for trained in (True, False)
)


# Checkpoints lie undeclared beside the outputs: Snakemake deletes what a failed job declared, and a training must
# resume from them. For the same reason the parameters, not the files, say when a training is out of date; and they
# hold only what changes its result. Data or proposals that have changed since are refused by the verbs after it.
rule train:
    input:
        ancient(f"{HERE}/data.json"),
        ancient(lambda wildcards: plan.proposals(wildcards.variant)),
    output:
        f"{RUN}/model_final.pth",
        f"{RUN}/curves.jsonl",
        f"{RUN}/provenance.json",
    log:
        f"{HERE}/logs/train/{{variant}}-seed{{seed}}.log",
    wildcard_constraints:
        variant=TRAINED,
    priority: lambda wildcards: plan.priority(wildcards.variant)
    threads: plan.protocol.threads
    resources:
        expected_minutes=lambda wildcards: plan.minutes(wildcards.variant),
    params:
        data=plan.data_settings(),
        fingerprint=lambda wildcards: plan.training_fingerprint(wildcards.variant),
    message:
        "train {wildcards.variant}, seed {wildcards.seed}: about {resources.expected_minutes} min"
    shell:
        "python -m replication train $REPLICATION_WHERE --variant {wildcards.variant} --seed {wildcards.seed}"
        " --gpus $REPLICATION_GPUS 2>&1 | tee -a {log}"
        " && {{ python -m replication plan $REPLICATION_WHERE $REPLICATION_PLAN || true; }}"


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
        fingerprint=fingerprint(PROPOSALS),
    shell:
        "python -m replication proposals $REPLICATION_WHERE --variant {wildcards.variant} 2>&1 | tee {log}"


rule detect:
    input:
        lambda wildcards: plan.weights(wildcards.variant, int(wildcards.seed)),
        lambda wildcards: plan.proposals(wildcards.variant),
    output:
        f"{RUN}/detections.json",
    log:
        f"{HERE}/logs/detect/{{variant}}-seed{{seed}}.log",
    wildcard_constraints:
        variant=TRAINED,
    priority: lambda wildcards: 100 + plan.priority(wildcards.variant)
    threads: plan.protocol.threads
    params:
        fingerprint=fingerprint(DETECTION),
    shell:
        "python -m replication detect $REPLICATION_WHERE --variant {wildcards.variant} --seed {wildcards.seed}"
        " 2>&1 | tee {log}"


# A test-time variant detects with the weights of another, whose provenance it takes over.
use rule detect as detect_anew with:
    output:
        f"{RUN}/detections.json",
        f"{RUN}/provenance.json",
    wildcard_constraints:
        variant=TESTED_ANEW,
    params:
        fingerprint=fingerprint(DETECTION),
        settings=lambda wildcards: plan.settings_fingerprint(wildcards.variant),


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
        areas=plan.areas(),
        fingerprint=fingerprint(EVALUATION),
    shell:
        "python -m replication evaluate $REPLICATION_WHERE --variant {wildcards.variant} --seed {wildcards.seed}"
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
    threads: CORES
    params:
        variants=",".join(plan.timed),
        fingerprint=fingerprint(TIMING),
    shell:
        "python -m replication time $REPLICATION_WHERE --variants {params.variants} 2>&1 | tee {log}"
