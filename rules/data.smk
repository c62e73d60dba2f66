"""Data and weights: downloaded where the protocol names a download, made or checked, and described."""


rule data:
    output:
        touch(str(HERE.download("{name}"))),
    log:
        HERE.download_log("{name}"),
    shell:
        "{VERB} data {wildcards.name:q} 2>&1 | tee {log:q}"


# Once, before any training: nodes of a cluster often have no network.
rule weights:
    output:
        touch(str(HERE.weights)),
    log:
        HERE.log("weights"),
    params:
        names=rule_values.backbone_names(plan),
    shell:
        "{VERB} weights {WHERE} 2>&1 | tee {log:q}"


rule prepare:
    input:
        [HERE.download(name) for name in rule_values.downloads(plan)],
    output:
        HERE.data,
        HERE.ground_truth,
    log:
        HERE.log("prepare"),
    resources:
        mem_mb=lambda wildcards, attempt: cluster.memory(plan, attempt),
        runtime=lambda wildcards, attempt: cluster.reading(plan, attempt),
    params:
        data=rule_values.data_state(plan),
        areas=rule_values.areas(plan),
    shell:
        "{VERB} prepare {WHERE} 2>&1 | tee {log:q}"
