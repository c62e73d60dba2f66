"""The annotation files that a protocol's data come from."""

from __future__ import annotations

from pathlib import Path

from replication.catalog.protocols import CocoData, Protocol, VocData
from replication.datasets.splits import located


def annotation_files(protocol: Protocol) -> list[Path]:
    """Those that are there: COCO JSON files, or VOC's lists and XML files; none for the embedded set, which is made."""
    data = protocol.data
    if isinstance(data, CocoData):
        files = [located(split.annotations) for split in (*data.train, *data.val)]
    elif isinstance(data, VocData):
        folders = {located(data.root) / split.folder for split in (*data.train, *data.val)}
        files = [file for folder in sorted(folders) for file in sorted((folder / "Annotations").glob("*.xml"))]
        files += [
            located(data.root) / split.folder / "ImageSets" / "Main" / f"{split.split}.txt"
            for split in (*data.train, *data.val)
        ]
    else:
        files = []
    return [file for file in files if file.is_file()]
