"""From detections to AP: reads and checks COCO-format files, evaluates, writes ``metrics.json``. No torch."""

from replication.evaluation.coco import METRICS, evaluate
from replication.evaluation.output import format_evaluation, metrics_document, write_metrics
from replication.evaluation.runs import evaluate_run

__all__ = ["METRICS", "evaluate", "evaluate_run", "format_evaluation", "metrics_document", "write_metrics"]
