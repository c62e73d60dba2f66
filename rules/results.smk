"""Verdicts, tables, figures and one page from the finished runs."""


rule judge:
    input:
        f"{HERE}/ground_truth.json",
        [
            f"{run.folder(plan.results)}/{name}"
            for run in plan.shown
            for name in ("metrics.json", "provenance.json", "detections.json")
        ],
    output:
        report(
            f"{HERE}/verdicts.json",
            caption="captions/verdicts.rst",
            category="all papers",
            labels={"what": "verdicts", "as": "JSON"},
        ),
    log:
        f"{HERE}/logs/judge.log",
    priority: 300
    params:
        tables=",".join(plan.tables),
        text=plan.text(),
        rules=plan.judging(),
        fingerprint=fingerprint(JUDGING),
    shell:
        "python -m replication verdicts $REPLICATION_WHERE --tables {params.tables} 2>&1 | tee {log}"


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
        report(
            f"{HERE}/tables/{{table}}.md",
            caption="captions/table.rst",
            category=lambda wildcards: plan.paper_of(wildcards.table),
            labels={"what": "{table}", "as": "Markdown"},
        ),
        report(
            f"{HERE}/tables/{{table}}.csv",
            caption="captions/table.rst",
            category=lambda wildcards: plan.paper_of(wildcards.table),
            labels={"what": "{table}", "as": "CSV"},
        ),
        f"{HERE}/tables/{{table}}.tex",
    log:
        f"{HERE}/logs/tables/{{table}}.log",
    priority: 300
    params:
        text=plan.text(),
        fingerprint=fingerprint(RENDERING),
    shell:
        "python -m replication tables $REPLICATION_WHERE --tables {wildcards.table} 2>&1 | tee {log}"


# What a paper's own figures are drawn from, as the paper's file declares it.
rule figure_data:
    input:
        lambda wildcards: plan.figure_inputs(wildcards.paper, wildcards.name),
    output:
        f"{HERE}/figures/data/{{paper}}/{{name}}.json",
    log:
        f"{HERE}/logs/figures/{{paper}}/{{name}}.log",
    threads: plan.protocol.threads
    params:
        fingerprint=fingerprint(FIGURES),
    shell:
        "python -m replication figures $REPLICATION_WHERE --paper {wildcards.paper} --name {wildcards.name} 2>&1 | tee {log}"


rule report:
    input:
        f"{HERE}/verdicts.json",
        plan.figure_data,
        expand(f"{HERE}/tables/{{table}}.md", table=plan.tables),
        [f"{run.folder(plan.results)}/curves.jsonl" for run in plan.trainings],
    output:
        report(
            f"{HERE}/report.html",
            caption="captions/page.rst",
            category="all papers",
            labels={"what": "the whole page", "as": "HTML"},
        ),
        report(
            directory(f"{HERE}/figures/svg"),
            patterns=["{figure}.svg"],
            caption="captions/figure.rst",
            category=lambda wildcards: plan.paper_of(wildcards.figure),
            labels={"what": "{figure}", "as": "SVG"},
        ),
    log:
        f"{HERE}/logs/report.log",
    params:
        tables=",".join(plan.tables),
        text=plan.text(),
        fingerprint=fingerprint(RENDERING),
    shell:
        "python -m replication report $REPLICATION_WHERE --tables {params.tables} 2>&1 | tee {log}"
