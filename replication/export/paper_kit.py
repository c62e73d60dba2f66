"""What a paper needs of a protocol's results: a table of the claims, a methods paragraph, and a sentence per claim."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from replication.catalog import Protocol
from replication.export.claims import NO_RESULT, Statement, statement
from replication.report.tables import escape_latex
from replication.results.finished import FinishedRun

HEADS = ("Claim", "Metric", "Published", "Measured", "Interval", "Runs", "Verdict")
NOTHING = "--"


def statements(document: Mapping[str, Any], entries: Sequence[Mapping[str, Any]]) -> list[Statement]:
    """All claims in words, the primary ones first; ``document`` is that of ``verdicts.json``."""
    made = [statement(entry, 1 - document["rules"]["alpha"]) for entry in entries]
    return sorted(made, key=lambda one: not one.primary)


def claims_table(document: Mapping[str, Any], stated: Sequence[Statement], protocol: Protocol) -> str:
    """A booktabs ``table`` float of the primary claims; dashes stand where no result may be stated."""
    lines = [" & ".join(map(escape_latex, _cells(one))) + r" \\" for one in stated if one.primary]
    level = f"{100 * (1 - document['rules']['alpha']):g}%"
    caption = (
        f"Claimed gains under protocol {protocol.name}: {protocol.title}. {document['head']} Intervals are at {level} "
        "each; verdicts are after Holm's correction. A dash: no result is stated."
    )
    return (
        "% \\usepackage{booktabs,graphicx}\n"
        "\\begin{table}\n\\centering\n"
        f"\\caption{{{escape_latex(caption)}}}\n\\label{{tab:claims-{protocol.name}}}\n"
        f"\\resizebox{{\\linewidth}}{{!}}{{%\n\\begin{{tabular}}{{llrrrll}}\n\\toprule\n{' & '.join(HEADS)} \\\\\n"
        + "\\midrule\n"
        + "\n".join(lines)
        + "\n\\bottomrule\n\\end{tabular}}\n\\end{table}\n"
    )


def _cells(one: Statement) -> tuple[str, ...]:
    shown = (one.subject, one.metric, one.published, one.measured, one.interval, one.runs, one.verdict)
    return tuple(text or NOTHING for text in shown)


def sentences(stated: Sequence[Statement]) -> str:
    """An ``itemize`` with a sentence per claim, primary ones first; each is preceded by the claim's id."""
    items = [f"% {one.claim}\n\\item {escape_latex(one.sentence)}" for one in stated]
    return "\\begin{itemize}\n" + "\n".join(items) + "\n\\end{itemize}\n"


def methods(
    document: Mapping[str, Any],
    stated: Sequence[Statement],
    protocol: Protocol,
    runs: Sequence[FinishedRun],
    data: str,
) -> str:
    """One paragraph: what was run, on which ``data``, what was judged and how, and all that limits it."""
    parts = [_what_ran(document, protocol, runs, data), document["head"], _how(document), *document["rules"]["plan"]]
    parts += [_controls(document["controls"]), _counts(stated), _limits(document)]
    hashes = ", ".join([f"protocol {document['plan']['protocol'][:12]}", *_papers(document)])
    parts.append(f"SHA-256 of the plan at judging: {hashes}.")
    return escape_latex(" ".join(filter(None, parts))) + "\n"


def _papers(document: Mapping[str, Any]) -> list[str]:
    return [f"{paper} {digest[:12]}" for paper, digest in document["plan"]["papers"].items()]


def _what_ran(document: Mapping[str, Any], protocol: Protocol, runs: Sequence[FinishedRun], data: str) -> str:
    variants = Counter(run.variant for run in runs)
    seeds = sorted(set(variants.values()))
    each = f"{seeds[0]}" if len(seeds) == 1 else f"{seeds[0]} to {seeds[-1]}"
    elsewhere = sum(bool(run.origin) for run in runs)
    stands = "; ".join(f"{ours} stands for {theirs}" for theirs, ours in protocol.backbones.items())
    return " ".join(
        filter(
            None,
            [
                f"Protocol {protocol.name} ({protocol.title}) was used for {', '.join(document['tables'])}: "
                f"{len(variants)} variants with {each} seeds each, {document['seeds_registered']} registered.",
                f"The runs were {data}.",
                f"Backbones: {stands}." if stands else "",
                f"{elsewhere} of the {len(runs)} runs were made elsewhere." if elsewhere else "",
            ],
        )
    )


def _how(document: Mapping[str, Any]) -> str:
    rules = document["rules"]
    wanted = document["estimands"][rules["estimand"]]
    return (
        f"A gain is a paired difference of two variants over at least {rules['min_runs']} seeds each; its interval at "
        f"{100 * (1 - rules['alpha']):g}% is meant to hold for {wanted}, with {rules['replicates']:,} bootstrap "
        "resamples of the test images where detections are there."
    )


def _controls(controls: Mapping[str, Any]) -> str:
    return _sentence(f"Controls: {controls['reason']}")


def _counts(stated: Sequence[Statement]) -> str:
    """How many primary claims have which verdict, those apart of which no result is stated."""
    counts = Counter(one.verdict.partition(",")[0] for one in stated if one.primary)
    results = [f"{number} {verdict}" for verdict, number in counts.items() if verdict not in NO_RESULT]
    others = [f"{number} {verdict}" for verdict, number in counts.items() if verdict in NO_RESULT]
    text = f"Primary claims: {', '.join(results) or 'none with a result'}"
    return _sentence(text + (f"; no result is stated of {', '.join(others)}" if others else ""))


def _limits(document: Mapping[str, Any]) -> str:
    known = {entry["id"] for entry in document["verdicts"]}
    notes = [_without_ids(note, known) for note in document["notes"]]
    return f"Limits: {'; '.join(notes)}." if notes else ""


def _without_ids(note: str, known: Collection[str]) -> str:
    """A note on several claims with their number in place of their ids."""
    before, colon, rest = note.partition(": ")
    named = before.split(", ")
    return f"{len(named)} claims: {rest}" if colon and len(named) > 1 and set(named) <= set(known) else note


def _sentence(text: str) -> str:
    return f"{text[:1].upper()}{text[1:].rstrip('.')}."
