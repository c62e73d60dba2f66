"""Data: fetched where the protocol names a download, made or checked, and written down."""


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
        data=plan.data_state(),
        areas=plan.areas(),
    shell:
        "python -m replication prepare $REPLICATION_WHERE 2>&1 | tee {log}"
