"""``metafile.yml`` of OpenMMLab's repositories, which is the model-index of Papers with Code.

The fields that it names are used as it names them; its metadata may have others besides.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import replication
from replication.catalog import Catalog, Protocol, Variant
from replication.export.entries import Entry, dataset_name
from replication.report.head import data_text
from replication.results.schemas import Provenance
from replication.timing.latency import Latency, conditions


def metafile(
    catalog: Catalog, entries: Sequence[Entry], latencies: Mapping[str, Latency], source: str | None = None
) -> dict[str, Any]:
    """The document: a collection for each entry's first paper. Metrics are means over the seeds, on 0-100."""
    papers = {paper.id: paper for entry in entries for paper, _ in entry.tables[:1]}
    return {
        "Collections": [
            {
                "Name": _short(paper.title),
                "Paper": {"URL": f"https://arxiv.org/abs/{paper.arxiv}", "Title": paper.title},
            }
            for paper in papers.values()
        ],
        "Models": [_model(catalog, entry, latencies.get(entry.variant), source) for entry in entries],
    }


def _model(catalog: Catalog, entry: Entry, latency: Latency | None, source: str | None) -> dict[str, Any]:
    tasks = dict.fromkeys(number.task for number in entry.numbers)
    return {
        "Name": entry.name,
        "In Collection": _short(entry.tables[0][0].title),
        **({"Config": f"configs/variants/{entry.variant}.yaml"} if entry.variant in catalog.variants else {}),
        "Metadata": _metadata(catalog, entry) | _cost(latency),
        "Results": [
            {
                "Task": task,
                "Dataset": dataset_name(entry.protocol),
                "Metrics": {number.label: number.mean for number in entry.numbers if number.task == task},
            }
            for task in tasks
        ],
        **({"Code": {"URL": source, "Version": replication.__version__}} if source else {}),
    }


def _architecture(variant: Variant, protocol: Protocol) -> list[str]:
    return [variant.meta_architecture, protocol.backbones.get(variant.backbone, variant.backbone)]


def _metadata(catalog: Catalog, entry: Entry) -> dict[str, Any]:
    variant, facts = catalog.variants.get(entry.variant), entry.runs[0].provenance
    spread = {number.label: number.sd for number in entry.numbers if number.sd is not None}
    return {
        "Training Data": data_text(entry.protocol),
        "Iterations": facts.iterations,
        "Batch Size": facts.batch,
        "Training Resources": _resources(facts),
        **({"Architecture": _architecture(variant, entry.protocol)} if variant is not None else {}),
        "Protocol": f"{entry.protocol.name}: {entry.protocol.title}",
        "Seeds": entry.seeds,
        **({"Standard Deviation": spread} if spread else {}),
        "Provenance": entry.provenance,
        "Published In": entry.published_in,
        **({"Note": entry.note} if entry.note else {}),
    }


def _cost(latency: Latency | None) -> dict[str, Any]:
    """Time, operations and parameters as the timing has them; nothing where the variant was not timed."""
    if latency is None:
        return {}
    document = latency.document
    method, device = document.method, document.device
    sizes = sorted(set(document.inputs.sizes))
    time = {
        "value": latency.total.median,
        "hardware": device.name if device.type == "cuda" else document.cpu,
        "backend": "PyTorch, torch.compile" if method.compiled else "PyTorch",
        "batch size": 1,
        "mode": method.precision.upper(),
        "resolution": " to ".join(f"({height}, {width})" for height, width in dict.fromkeys((sizes[0], sizes[-1]))),
        "conditions": conditions(document),
    }
    return {
        "FLOPs": document.flops.total,
        "Parameters": document.parameters,
        "inference time (ms/im)": [time],
    }


def _resources(facts: Provenance) -> str:
    device = facts.device
    name = device.name if device is not None and device.type == "cuda" else facts.cpu
    return f"{facts.processes}x {name or 'CPU'}"


def _short(title: str) -> str:
    """A paper's title up to its colon, as collections are called."""
    return title.partition(":")[0]
