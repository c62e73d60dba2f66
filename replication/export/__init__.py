"""What other places take: results in the forms of model zoos, detections in those of test servers. No torch."""

from replication.catalog.protocols import coco_set_name as set_name
from replication.export.entries import Entry, entries
from replication.export.metafile import metafile
from replication.export.model_index import model_index
from replication.export.submission import algorithm, check_submittable, submit_run, write_coco, write_voc
from replication.export.write import write_export

__all__ = [
    "Entry",
    "algorithm",
    "check_submittable",
    "entries",
    "metafile",
    "model_index",
    "set_name",
    "submit_run",
    "write_coco",
    "write_export",
    "write_voc",
]
