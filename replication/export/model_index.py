"""``model-index``, the evaluation results in the head of a Hugging Face model card.

The fields are those of modelcard.md in huggingface/hub-docs; what it has none for stands in the two ``args``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import replication
from replication.export.entries import Entry, Number, Task, dataset_name, val_name
from replication.report.head import data_text

TASKS: dict[Task, str] = {"Object Detection": "object-detection", "Instance Segmentation": "image-segmentation"}
"""The Hub's task ids; it has no instance segmentation of its own."""


def model_index(entries: Sequence[Entry], source: str | None = None) -> dict[str, Any]:
    """The document. Values are means over the seeds, on 0-100; ``source`` is the address of the results."""
    return {"model-index": [{"name": entry.name, "results": _results(entry, source)} for entry in entries]}


def _results(entry: Entry, source: str | None) -> list[dict[str, Any]]:
    tasks = dict.fromkeys(number.task for number in entry.numbers)
    origin = {"source": {"name": f"detection-replication {replication.__version__}", "url": source}} if source else {}
    return [
        {
            "task": {"type": TASKS[task], "name": task},
            "dataset": _dataset(entry),
            "metrics": [_metric(entry, number) for number in entry.numbers if number.task == task],
            **origin,
        }
        for task in tasks
    ]


def _dataset(entry: Entry) -> dict[str, Any]:
    protocol = entry.protocol
    images, objects = entry.runs[0].image_set
    return {
        "type": str(protocol.benchmark) if protocol.published_scale else f"protocol-{protocol.name}",
        "name": dataset_name(protocol),
        "split": val_name(protocol),
        "args": {
            "protocol": f"{protocol.name}: {protocol.title}",
            "data": data_text(protocol),
            "images": images,
            "objects": objects,
            "runs": {"seeds": entry.seeds, **entry.provenance},
            "published_in": entry.published_in,
            **({"note": entry.note} if entry.note else {}),
        },
    }


def _metric(entry: Entry, number: Number) -> dict[str, Any]:
    spread = {"values": list(number.values), "sd": number.sd} if number.sd is not None else {}
    return {
        "type": number.metric,
        "value": number.mean,
        "name": number.label,
        "config": number.criterion,
        "args": {"scale": "0-100", "seeds": entry.seeds, **spread},
        "verified": False,  # only the Hub itself may set it
    }
