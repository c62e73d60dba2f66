"""Verdicts, tables, figures and one page from the finished runs."""


# What can be said of a table before the runs of those after it. It is printed and not kept: the mark is deleted as soon
# as all claims are judged.
rule interim:
    input:
        HERE.ground_truth,
        lambda wildcards: rule_values.judged(plan.runs_until(wildcards.table)),
    output:
        temp(touch(str(HERE.interim("{table}")))),
    log:
        HERE.log("interim/{table}"),
    priority: 300
    threads: 1
    params:
        tables=",".join(plan.tables),
    message:
        "interim verdicts of {wildcards.table}"
    shell:
        "{VERB} verdicts {WHERE} --tables {params.tables:q} --interim {wildcards.table:q} 2>&1 | tee {log:q}"


rule verdicts:
    input:
        HERE.ground_truth,
        rule_values.judged(plan.shown),
        [HERE.interim(table) for table in plan.interim],
    output:
        report(
            str(HERE.verdicts),
            caption="captions/verdicts.rst",
            category="all papers",
            labels={"what": "verdicts", "as": "JSON"},
        ),
    log:
        HERE.log("verdicts"),
    priority: 300
    params:
        tables=",".join(plan.tables),
        text=rule_values.text(plan),
        rules=rule_values.judging(),
        elsewhere=rule_values.elsewhere(plan),
        fingerprint=fingerprint(JUDGING),
    message:
        "judge the claims of {params.tables}"
    shell:
        "{VERB} verdicts {WHERE} --tables {params.tables:q} 2>&1 | tee {log:q}"


rule tables:
    input:
        lambda wildcards: [
            str(path)
            for run in plan.runs_of(wildcards.table)
            for path in (run.files.metrics, rule_values.made(run))
        ],
        lambda wildcards: str(HERE.timed) if plan.timed_in(wildcards.table) else [],
    output:
        report(
            str(HERE.table("{table}", "md")),
            caption="captions/table.rst",
            category=lambda wildcards: plan.paper_of(wildcards.table),
            labels={"what": "{table}", "as": "Markdown"},
        ),
        report(
            str(HERE.table("{table}", "csv")),
            caption="captions/table.rst",
            category=lambda wildcards: plan.paper_of(wildcards.table),
            labels={"what": "{table}", "as": "CSV"},
        ),
        HERE.table("{table}", "tex"),
    log:
        HERE.log("tables/{table}"),
    priority: 300
    params:
        text=rule_values.text(plan),
        elsewhere=rule_values.elsewhere(plan),
        fingerprint=fingerprint(RENDERING),
    message:
        "table {wildcards.table}"
    shell:
        "{VERB} tables {WHERE} --tables {wildcards.table:q} 2>&1 | tee {log:q}"


# What a paper's own figures are drawn from, as the paper's file declares it.
rule figures:
    input:
        lambda wildcards: rule_values.figure_inputs(
            plan, wildcards.paper, wildcards.name
        ),
    output:
        HERE.figure_data("{paper}", "{name}"),
    log:
        HERE.log("figures/{paper}/{name}"),
    threads: plan.protocol.threads
    resources:
        gpu=cluster.gpus(plan),
        mem_mb=lambda wildcards, attempt: cluster.memory(plan, attempt),
        runtime=lambda wildcards, attempt: cluster.reading(plan, attempt),
    params:
        fingerprint=fingerprint(FIGURES),
    shell:
        "{VERB} figures {WHERE} --paper {wildcards.paper:q} --name {wildcards.name:q} 2>&1 | tee {log:q}"


rule report:
    input:
        HERE.verdicts,
        plan.figure_data,
        [HERE.table(table, "md") for table in plan.tables],
        [run.files.trained for run in plan.trainings],
    output:
        report(
            str(HERE.report),
            caption="captions/page.rst",
            category="all papers",
            labels={"what": "the whole page", "as": "HTML"},
        ),
        report(
            directory(str(HERE.svg)),
            patterns=["{figure}.svg"],
            caption="captions/figure.rst",
            category=lambda wildcards: plan.paper_of(wildcards.figure),
            labels={"what": "{figure}", "as": "SVG"},
        ),
    log:
        HERE.log("report"),
    params:
        tables=",".join(plan.tables),
        text=rule_values.text(plan),
        fingerprint=fingerprint(RENDERING),
    message:
        "page and figures"
    shell:
        "{VERB} report {WHERE} --tables {params.tables:q} 2>&1 | tee {log:q}"
