"""A paper with one table, and the image replicates of its runs."""

from __future__ import annotations

import copy

import numpy as np

from replication.verdicts.evidence import Resampled


def few_images(run, column):
    """Replicates (200,) around the run's number: an image effect of the variant, and one of the run."""
    if column.lower_is_better:
        return None
    own = np.random.default_rng([len(run.variant), run.seed, 7]).normal(0, 0.05, 200)
    shared = np.random.default_rng([len(run.variant), 1]).normal(0, 0.05, 200)
    replicates = run.value(column) + own + shared
    return Resampled(replicates, run.value(column) + 1, replicates + 1, (3, 5))


COLUMNS = [
    {"id": "AP", "head": "AP", "metric": "AP", "criterion": "iou"},
    {"id": "AP75", "head": "AP75", "metric": "AP75", "criterion": "iou"},
    {"id": "ms", "head": "ms", "metric": "ms_per_image", "criterion": None, "unit": "ms"},
]
ROWS = {"real": (2.0, 3), "null": (0.0, 3), "worse": (-2.0, 3), "once": (3.0, 1), "gone": (0.0, 0)}
"""Rows over the row ``base``: true gain in AP, and number of runs."""


def row(name, numbers, **more):
    published = dict(zip(("AP", "AP75", "ms"), numbers, strict=True))
    return {"id": name, "label": name, "backbone": "R-50", "variant": name, "published": published} | more


def claim(name, gain, column="AP", **more):
    entry = {"id": f"{name}-{column}", "table": "boxes-T1", "row": name, "baseline": "base", "column": column}
    return entry | {"gain": gain, "primary": column == "AP"} | more


PAPER = {
    "id": "boxes", "title": "Boxes", "arxiv": "0000.00000", "venue": "nowhere", "deviations": [],
    "tables": [
        {
            "id": "boxes-T1", "caption": "c", "dataset": "d", "benchmark": "coco", "split": "val", "unit": "fraction",
            "criterion": "IoU", "source": ["s"], "seen_via": ["v"], "columns": COLUMNS, "baseline": "base",
            "rows": [
                row("base", [0.360, 0.380, 100]),
                row("real", [0.380, 0.400, 120]),
                row("null", [0.380, 0.400, 100]),
                row("worse", [0.370, 0.390, 100]),
                row("once", [0.390, 0.410, 100]),
                row("gone", [0.370, 0.390, 100]),
                row("big", [0.400, 0.420, 100], backbone="X-101-64x4d"),
                row("planned", [0.400, 0.420, 100]),
            ],
        }
    ],
    "claims": [
        claim("real", 0.020, stated="5.56% relative improvement"), claim("real", 0.020, "AP75"),
        claim("real", 20.0, "ms", primary=False), claim("null", 0.020), claim("worse", 0.010), claim("once", 0.030),
        claim("gone", 0.010), claim("big", 0.040), claim("planned", 0.040),
    ],
}  # fmt: skip


def renamed_paper(paper_id):
    """The same paper under another id, its tables and claims named after it."""
    renamed = copy.deepcopy(PAPER) | {"id": paper_id}
    for table in renamed["tables"]:
        table["id"] = table["id"].replace("boxes", paper_id)
    for one in renamed["claims"]:
        one |= {"id": f"{paper_id}-{one['id']}", "table": one["table"].replace("boxes", paper_id)}
    return renamed
