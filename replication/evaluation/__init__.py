"""From detections to AP: reads and checks COCO-format files, evaluates, writes ``metrics.json``. No torch."""

from replication.evaluation.coco import METRICS, evaluate
from replication.evaluation.output import format_evaluation, metrics_document, write_metrics

__all__ = ["METRICS", "evaluate", "format_evaluation", "metrics_document", "write_metrics"]
