"""The images on which the two rows of a claim differ most, where detections and image files are there."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from replication.catalog import Claim, Protocol
from replication.datasets.roots import data_root
from replication.evaluation.influence import leave_one_out
from replication.evaluation.runs import run_matches
from replication.formats.columns import Detections, Floats, GroundTruth
from replication.formats.detections import read_detections
from replication.formats.truth import read_ground_truth
from replication.report.cells import Comparison, Line
from replication.report.shown_images import METRIC, Shown, most_influential, show
from replication.results.layout import Layout
from replication.results.schemas import Data, read

EACH = 2
"""Images in favour of either row."""
BYTES = 2 * 2**20
"""Most bytes of embedded images of a page; claims whose images would go beyond are left out."""


@dataclass(frozen=True)
class ClaimImages:
    """A claim, the labels of its two rows, and the images."""

    id: str
    row: str
    baseline: str
    shown: tuple[Shown, ...]


def claim_images(comparisons: Sequence[Comparison], results: Path) -> list[ClaimImages]:
    """Of each primary claim in AP whose rows were measured, once for the same two variants.

    Empty where manifest, ground truth, detections or images are not there: a folder of numbers alone can be rendered as
    well. Whatever the claim's metric, images are ranked by ``METRIC``.
    """
    if not comparisons:
        return []
    protocol = comparisons[0].protocol
    layout = Layout(results, protocol.name)
    pairs = _pairs(comparisons)
    if not pairs or not layout.data.exists() or not layout.ground_truth.exists():
        return []
    folder = data_root() / read(layout.data, Data).splits["val"].folder
    scene = _Scene(protocol, layout, read_ground_truth(layout.ground_truth), folder)
    if not any((folder / name).is_file() for name in scene.truth.image_names):
        return []
    return list(_within(BYTES, (scene.images(claim, row, baseline) for claim, row, baseline in pairs)))


def _pairs(comparisons: Sequence[Comparison]) -> list[tuple[Claim, Line, Line]]:
    """Claims with the lines of their row and baseline."""
    found: dict[tuple[str, str], tuple[Claim, Line, Line]] = {}
    for one in comparisons:
        lines = {line.row.id: line for line in one.lines if _has_detections(line)}
        columns = {column.id: column for column in one.table.columns}
        for claim in one.paper.claims:
            if claim.table != one.table.id or not claim.primary or columns[claim.column].lower_is_better:
                continue
            if claim.row in lines and claim.baseline in lines:
                row, baseline = lines[claim.row], lines[claim.baseline]
                found.setdefault((row.runs[0].variant, baseline.runs[0].variant), (claim, row, baseline))
    return list(found.values())


def _has_detections(line: Line) -> bool:
    runs = line.runs
    return bool(runs) and not runs[0].class_agnostic and all(run.files.detections.exists() for run in runs)


@dataclass(frozen=True)
class _Scene:
    """The images of a protocol, and what each adds to the AP50 of each variant, mean over its runs."""

    protocol: Protocol
    layout: Layout
    truth: GroundTruth
    folder: Path
    known: dict[str, Floats] = field(default_factory=dict)

    def images(self, claim: Claim, row: Line, baseline: Line) -> ClaimImages:
        influence = self._influence(row) - self._influence(baseline)
        labels = row.row.label, baseline.row.label
        if labels[0] == labels[1]:
            labels = f"{row.row.label} ({row.row.id})", f"{baseline.row.label} ({baseline.row.id})"
        found = {label: self._first(line) for label, line in zip(labels[::-1], (baseline, row), strict=True)}
        places = most_influential(self.truth, influence, self.folder, EACH)
        shown = [show(self.truth, place, float(influence[place]), found, self.folder) for place in places]
        return ClaimImages(claim.id, *labels, tuple(one for one in shown if one is not None))

    def _influence(self, line: Line) -> Floats:
        variant = line.runs[0].variant
        if variant not in self.known:
            matches = [run_matches(run.files, self.layout, self.protocol) for run in line.runs]
            self.known[variant] = np.mean([leave_one_out(one, METRIC) for one in matches], axis=0)
        return self.known[variant]

    def _first(self, line: Line) -> Detections:
        return read_detections(line.runs[0].files.detections, self.truth)


def _within(limit: int, several: Iterator[ClaimImages]) -> Iterator[ClaimImages]:
    """Those with images, as long as all together have at most ``limit`` bytes; no claim's images are divided."""
    for one in several:
        limit -= sum(len(image.uri) for image in one.shown)
        if limit < 0:
            return
        if one.shown:
            yield one
