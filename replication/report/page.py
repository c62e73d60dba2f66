"""One self-contained HTML page: overview, tables, training curves, sample detections, deviations, provenance."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from replication.catalog import Catalog, Paper, Protocol, mechanisms, select
from replication.errors import ConfigError
from replication.report.accuracy_latency import draw_picture
from replication.report.cells import Comparison, Line, compare_all
from replication.report.claim_images import BYTES, EACH, claim_images
from replication.report.curves import draw_curves
from replication.report.drawing import Drawing, data_uri
from replication.report.filters import duration, filters
from replication.report.glossary import glossary
from replication.report.head import (
    NOT_COMPARABLE,
    PUBLISHED_ELSEWHERE,
    Head,
    backbone_name,
    data_text,
    elsewhere_text,
    head,
    latency_text,
    ran_on,
    training_text,
)
from replication.report.html import html_environment
from replication.report.mechanisms import Measured, measured
from replication.report.mistakes import KINDS, MISTAKES_CAPTION, draw_mistakes
from replication.report.outcomes import outcome_drawings
from replication.report.papers import paper_drawings
from replication.report.samples import FEW, MIN_SCORE, Photo, samples
from replication.report.shown_images import METRIC
from replication.report.shown_images import MIN_SCORE as IMAGES_SCORE
from replication.report.tables import latex, markdown, tidy_csv, varies
from replication.report.verdicts import Verdicts, read_verdicts
from replication.results.files import check_writable, reading, write_text
from replication.results.finished import FinishedRun
from replication.results.layout import Layout
from replication.timing.latency import cost_line

_FORMS = {
    "csv": ("CSV", "text/csv"),
    "md": ("Markdown", "text/markdown"),
    "tex": ("LaTeX", "application/x-tex"),
}
_FIGURES = {
    "latency": (
        draw_picture,
        "AP against latency, one line per method through its backbones. Bars are 95% intervals: of AP the t interval "
        "of the mean over a row's own runs, of latency that of the median over rounds; a single run has none. The "
        "panels were timed on different machines: compare their shapes, not their positions.",
    ),
    "curves": (
        draw_curves,
        "Training, running mean over a twentieth of the curve. A line is the mean of a variant's seeds, a band their "
        "range.",
    ),
    "mistakes": (draw_mistakes, MISTAKES_CAPTION),
}


@dataclass(frozen=True)
class Download:
    """A file that the page carries within itself."""

    file: str
    label: str
    uri: str


@dataclass(frozen=True)
class Section:
    """What the page shows of one table."""

    comparison: Comparison
    head: Head
    drawings: tuple[Drawing, ...]
    downloads: tuple[Download, ...]
    mechanisms: tuple[str, ...] = ()
    measured: tuple[Measured, ...] = ()
    outcomes: tuple[Drawing, ...] = ()

    @property
    def times(self) -> list[dict[str, str]]:
        """Cost of the timed variants: inference, then a training step, with ratios to the baseline row."""
        rows = {line.row.id: line.row for line in self.comparison.lines}
        timed = {name: self.comparison.latencies.get(row.variant or "") for name, row in rows.items()}
        return [cost_line(own, timed.get(rows[name].baseline or "")) for name, own in timed.items() if own]

    @property
    def curves_kept(self) -> bool:
        """Whether a row's runs all have what curves and confusions are drawn from."""
        return any(drawing.name.endswith("_precision") for drawing in self.outcomes)

    @property
    def conditions(self) -> str:
        """How the times were measured."""
        return "; ".join(filter(None, (latency_text(self.comparison), training_text(self.comparison))))

    def shown_backbone(self, line: Line) -> str:
        """What a row ran on where a stand-in took the place of the paper's, or the rows differ; else nothing."""
        backbone, protocol = line.row.backbone, self.comparison.protocol
        if line.runs and not line.row.cited and backbone in protocol.backbones:
            return ran_on(protocol, backbone)
        return backbone if varies(self.comparison, "backbone") else ""

    @property
    def schedules(self) -> bool:
        """Whether the rows differ in schedule."""
        return varies(self.comparison, "schedule")


def write_report(catalog: Catalog, protocol: Protocol, results: Path, table_ids: Sequence[str]) -> Path:
    """Write ``results/<protocol>/report.html`` and ``figures/svg``; the same bytes for the same results.

    Those of an archive go beside it (``Layout.rendered``): its own files are listed with their hashes. Raises
    ConfigError for an unknown table, ResultError for runs that must not be compared.
    """
    layout = Layout(results, protocol.name)
    comparisons = compare_all(catalog, table_ids, protocol, results)
    out = layout.rendered
    check_writable(out.svg)
    check_writable(out.folder)
    extra: dict[str, list[Drawing]] = {}
    for paper in {comparison.paper.id: comparison.paper for comparison in comparisons}.values():
        extra |= paper_drawings(paper, comparisons, protocol, results)
    sections = [_section(catalog, comparison, extra[comparison.table.id]) for comparison in comparisons]
    verdicts = read_verdicts(catalog, protocol, results, comparisons)
    with reading(layout.verdicts, "verdicts") if verdicts else contextlib.nullcontext():
        html = render_page(catalog, protocol, results, sections, verdicts)
    shown = [drawing for section in sections for drawing in (*section.drawings, *section.outcomes)]
    shown += verdicts.forests.values() if verdicts else ()
    figures = {out.figure(drawing.name): drawing for drawing in shown}
    for old in set(out.svg.glob(out.figure("*").name)) - set(figures):
        old.unlink()
    for path, drawing in figures.items():
        write_text(path, drawing.svg)
    write_text(out.report, html)
    return out.report


def render_page(
    catalog: Catalog, protocol: Protocol, results: Path, sections: Sequence[Section], verdicts: Verdicts | None = None
) -> str:
    """The page as text."""
    comparisons = [section.comparison for section in sections]
    runs = {run.files: run for comparison in comparisons for run in comparison.runs}
    photo_table, photos = _photos(comparisons, results)
    environment = html_environment()
    environment.filters |= filters(protocol)
    return environment.get_template("page.html.jinja").render(
        verdicts=verdicts,
        protocol=protocol,
        elsewhere=PUBLISHED_ELSEWHERE,
        glossary=glossary({one["verdict"] for one in verdicts.entries} if verdicts else ()),
        warning="" if protocol.published_scale else NOT_COMPARABLE,
        overview=_overview(catalog, protocol, comparisons, list(runs.values())),
        papers=_by_paper(sections),
        kinds=KINDS if any(run.mistakes for run in runs.values()) else {},
        photos=photos,
        photo_table=photo_table,
        few=FEW,
        min_score=MIN_SCORE,
        claim_images=claim_images(comparisons, results),
        each=EACH,
        metric=METRIC,
        images_score=IMAGES_SCORE,
        images_mib=BYTES // 2**20,
        runs=list(runs.values()),
    )


def _section(catalog: Catalog, comparison: Comparison, extra: Sequence[Drawing]) -> Section:
    text = head(catalog, comparison)
    table = comparison.table.id
    drawn = ((kind, draw(comparison), caption) for kind, (draw, caption) in _FIGURES.items())
    drawings = [Drawing(f"{table}_{kind}", svg, caption) for kind, svg, caption in drawn if svg is not None]
    drawings += extra
    forms = {"csv": tidy_csv(comparison), "md": markdown(comparison, text), "tex": latex(comparison, text)}
    downloads = [_download(table, form, content) for form, content in forms.items()]
    explained = mechanisms(catalog, comparison.protocol).get(table, ())
    outcomes = tuple(outcome_drawings(comparison))
    return Section(comparison, text, tuple(drawings), tuple(downloads), explained, measured(comparison), outcomes)


def _download(name: str, form: str, content: str) -> Download:
    label, mime = _FORMS[form]
    return Download(f"{name}.{form}", label, data_uri(mime, content))


def _by_paper(sections: Sequence[Section]) -> list[tuple[Paper, list[Section]]]:
    """Papers in the order in which their first table was asked for."""
    papers = {section.comparison.paper.id: section.comparison.paper for section in sections}
    return [
        (paper, [section for section in sections if section.comparison.paper.id == name])
        for name, paper in papers.items()
    ]


def _overview(
    catalog: Catalog, protocol: Protocol, comparisons: Sequence[Comparison], runs: Sequence[FinishedRun]
) -> list[tuple[str, str]]:
    """Name and text of the facts at the top."""
    counts = [sum(one.variant == run.variant for one in runs) for run in runs]
    planned = _planned(catalog, protocol, comparisons, protocol.seeds)
    done = planned & {(run.variant, run.seed) for run in runs}
    # A test-time variant's run is of a training that another may have shown already.
    trainings = {(run.weights_of, run.seed): run.provenance.seconds or 0.0 for run in runs}
    facts = [
        ("Runs finished", f"{len(done)} of {len(planned)}" + _extra(len(runs) - len(done))),
        ("Seeds per variant", _span(counts)),
        ("Made elsewhere", elsewhere_text(runs)),
        ("Training time, all runs", duration(sum(trainings.values()))),
        ("Device", "; ".join(dict.fromkeys(map(device, runs)))),
        ("Data", data_text(protocol)),
        ("Stand-ins", "; ".join(f"{backbone_name(ours)} for {theirs}" for theirs, ours in protocol.backbones.items())),
        (
            "Last run",
            max((run.provenance.finished or "" for run in runs), default="").replace("T", " ")[:16],
        ),
    ]
    return [(name, text) for name, text in facts if text]


def _planned(
    catalog: Catalog, protocol: Protocol, comparisons: Sequence[Comparison], seeds: int
) -> set[tuple[str, int]]:
    """Variant and seed of the runs that the tables need; empty when none of their rows can be run yet."""
    try:
        runs = select(catalog, protocol, [one.table.id for one in comparisons], seeds)
    except ConfigError:
        return set()
    return {(variant.name, seed) for variant, seed in runs}


def _extra(count: int) -> str:
    return f", and {count} more" if count > 0 else ""


def _span(counts: Sequence[int]) -> str:
    if not counts:
        return ""
    return str(min(counts)) if min(counts) == max(counts) else f"{min(counts)} to {max(counts)}"


def device(run: FinishedRun) -> str:
    """The GPU's name, or the processor with the threads that one training used."""
    made = run.provenance
    if run.origin:
        return "unknown of runs made elsewhere"
    if made.device is not None and made.device.type == "cuda":
        count = made.device.count
        return f"{f'{count} x ' if count > 1 else ''}{made.device.name}"
    return f"{made.cpu or 'CPU'}, {made.threads} thread{'' if made.threads == 1 else 's'} per training"


def _photos(comparisons: Sequence[Comparison], results: Path) -> tuple[str, list[Photo]]:
    """Of the first table that has them, and which that is."""
    candidates = ((one.table.id, samples(one, results)) for one in comparisons)
    return next(((table, photos) for table, photos in candidates if photos), ("", []))
