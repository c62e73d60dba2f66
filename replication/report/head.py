"""The head of a table: what was published, what was measured, what may be compared, which claims are taken out."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from replication.catalog import Catalog, Protocol, Table, not_testable, withdrawn
from replication.report.cells import Comparison
from replication.results.finished import FinishedRun
from replication.timing.latency import conditions, training_conditions

NOT_COMPARABLE = (
    "Absolute measured values are NOT comparable with the published ones: data, scale and schedule differ. "
    "Only the sign and the relative size of the gains are."
)
OTHER_SPLIT = (
    "Published on {split}, whose annotations are withheld; measured on {measured}: absolute values differ by the split."
)
IN_PARENTHESES = "In parentheses: difference to the baseline row, published to published and measured to measured."
RATIOS = (
    "In parentheses: difference to the baseline row, published to published and measured to measured; of latency the "
    "ratio. Only the ratio can be compared, since milliseconds depend on the machine."
)


PUBLISHED_ELSEWHERE = "Published elsewhere"


@dataclass(frozen=True)
class Head:
    """``facts`` are name and text; ``warning`` says what must not be compared, empty when all may.

    ``withdrawn`` says which verdicts are withdrawn and why, a sentence per reason, ``untestable`` which claims the
    protocol cannot test.
    """

    title: str
    facts: tuple[tuple[str, str], ...]
    warning: str
    withdrawn: tuple[str, ...] = ()
    untestable: tuple[str, ...] = ()


def head(catalog: Catalog, comparison: Comparison) -> Head:
    """The head of one table."""
    table, paper, protocol = comparison.table, comparison.paper, comparison.protocol
    published = ", ".join(
        part
        for part in (f"{table.dataset} {table.split}", table.backbone, table.schedule, f"unit {table.unit}")
        if part
    )
    notes = _texts("Verdicts withdrawn on", withdrawn(catalog, protocol), comparison)
    untestable = _texts("Not testable here:", not_testable(catalog, protocol), comparison)
    facts = [
        ("Withdrawn", " ".join(notes)),
        ("Not testable here", " ".join(untestable)),
        ("Paper", f"{paper.title} ({paper.venue}, arXiv {paper.arxiv})"),
        ("Published", "nothing: a table beyond the paper, which claims none of it" if table.beyond else published),
        ("Criterion", table.criterion),
        ("Measured", f"protocol {protocol.name}: {protocol.title}"),
        ("Data", data_text(protocol)),
        ("Scale", scale_text(catalog, comparison)),
        ("Backbones", backbone_text(comparison)),
        ("Made elsewhere", elsewhere_text(comparison.runs)),
        ("Settings", settings_text(catalog, comparison)),
        ("Protocol note", protocol.note.strip()),
        ("Table note", table.note.strip()),
        (PUBLISHED_ELSEWHERE, context_text(table)),
        ("Latency", latency_text(comparison)),
        ("Reading", RATIOS if table.shows_latency else IN_PARENTHESES),
    ]
    kept = tuple((name, " ".join(text.split())) for name, text in facts if text)
    return Head(f"{table.id}: {table.caption}", kept, warning(table, protocol), notes, untestable)


def context_text(table: Table) -> str:
    """Others' numbers for the table's detector with their sources, as context; empty where there are none."""
    if not table.elsewhere:
        return ""
    entries = []
    for one in table.elsewhere:
        values = ", ".join(f"{metric} {value}" for metric, value in one.values.items())
        entries.append(f"{one.who}, {one.settings}: {values} ({'; '.join(filter(None, (one.source, one.note)))})")
    return "For context, in percent; by other code, neither this paper's nor measured here. " + "; ".join(entries) + "."


def _texts(words: str, reasons: Mapping[str, str], comparison: Comparison) -> tuple[str, ...]:
    """The claims of the table that the protocol takes out, a sentence per reason, which is by claim id."""
    table = comparison.table
    claims: dict[str, dict[str, None]] = {}
    for claim in comparison.paper.claims:
        if claim.table == table.id and claim.id in reasons:
            compared = f"{table.row(claim.row).label} over {table.row(claim.baseline).label}"
            claims.setdefault(reasons[claim.id], {})[compared] = None
    return tuple(f"{words} {'; '.join(names)}. Reason: {reason}" for reason, names in claims.items())


def warning(table: Table, protocol: Protocol) -> str:
    """What must not be compared of a table and what is measured under a protocol; empty when all may."""
    if not protocol.published_scale:
        return NOT_COMPARABLE
    if table.test_server:
        return OTHER_SPLIT.format(split=table.split, measured=split_text(protocol))
    return ""


def split_text(protocol: Protocol) -> str:
    """The validation split by its file or list name."""
    return protocol.data.name_of("val")


def data_text(protocol: Protocol) -> str:
    """The training and validation data in words."""
    return protocol.data.describe()


def scale_text(catalog: Catalog, comparison: Comparison) -> str:
    """Iterations and batch of the runs, with the iterations of the papers' scale."""
    scales: dict[str, None] = {}
    for run in (run for run in comparison.runs if not run.origin):
        facts = run.provenance
        own = catalog.variants[run.variant].iterations if run.variant in catalog.variants else None
        text = f"{_thousands(facts.iterations)} iterations at batch {_thousands(facts.batch)}"
        if own is not None and own != facts.iterations:
            text += f" (papers' scale: {_thousands(own)})"
        scales[text] = None
    if any(run.origin for run in comparison.runs):
        scales["unknown of the runs made elsewhere"] = None
    return "; ".join(scales) or f"batch {comparison.protocol.batch}; no run finished yet"


def elsewhere_text(runs: Iterable[FinishedRun]) -> str:
    """Which runs were made elsewhere, and by what; empty where none was."""
    groups: dict[tuple[str, str], list[str]] = {}
    for run in runs:
        if (made := run.provenance.elsewhere) is not None:
            by = f" by {made.made_by}" if made.made_by else ""
            groups.setdefault((run.variant, by), []).append(str(run.seed))
    texts = [f"{name} seed {', '.join(seeds)}{by}" for (name, by), seeds in groups.items()]
    return f"{'; '.join(texts)}. Their code, settings and schedule are unknown" if texts else ""


def _thousands(value: Any) -> str:
    return f"{value:,}" if isinstance(value, int) else "an unrecorded number of"


def backbone_text(comparison: Comparison) -> str:
    """Which backbone stands for which of the paper's, for those in the table."""
    used = dict.fromkeys(line.row.backbone for line in comparison.lines if not line.row.cited)
    stand_ins = comparison.protocol.backbones
    return "; ".join(f"{stand_ins[name]} stands for {name}" for name in used if name in stand_ins)


def ran_on(protocol: Protocol, backbone: str) -> str:
    """What a row is run with, e.g. ``EfficientNet-Lite0 for R-50``; the paper's own where none stands in."""
    stand_in = protocol.backbones.get(backbone)
    return f"{backbone_name(stand_in)} for {backbone}" if stand_in else backbone


def backbone_name(name: str) -> str:
    """A stand-in as its authors write it."""
    return name.replace("efficientnet_lite", "EfficientNet-Lite")


def latency_text(comparison: Comparison) -> str:
    """How the times were measured, once for each way in which they were."""
    return "; ".join(dict.fromkeys(conditions(one.document) for one in comparison.latencies.values()))


def training_text(comparison: Comparison) -> str:
    """How training steps were measured, once for each way; empty where none were."""
    ways = dict.fromkeys(training_conditions(one.document) for one in comparison.latencies.values())
    return "; ".join(filter(None, ways))


def settings_text(catalog: Catalog, comparison: Comparison) -> str:
    """Every config key that the protocol sets over the variants' own files, for the table's architectures."""
    architectures = {
        catalog.variants[line.row.variant].meta_architecture
        for line in comparison.lines
        if line.row.variant in catalog.variants
    }
    used = {"all", *(group for name in architectures for group in comparison.protocol.groups(name))}
    groups = [group for group in comparison.protocol.overrides if group in used]
    settings = [
        f"{key}={_plain(value)}" for group in groups for key, value in comparison.protocol.overrides[group].items()
    ]
    return ", ".join(settings)


def _plain(value: Any) -> str:
    return f"({','.join(map(_plain, value))})" if isinstance(value, list | tuple) else str(value)
