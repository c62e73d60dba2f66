"""From detections to AP: reads and checks files, matches, evaluates, resamples, writes ``metrics.json``. No torch.

Compiled code is loaded when something is computed, not when this is imported.
"""

from replication.evaluation.bootstrap import METRICS, Replicates, bootstrap, image_weights, point, weighted
from replication.evaluation.matching import CRITERIA, Criterion, Matches, cached_match, match
from replication.evaluation.output import format_evaluation
from replication.evaluation.pair import Options, evaluate
from replication.evaluation.proposals import proposal_recall
from replication.evaluation.runs import evaluate_run, read_run, run_matches
from replication.evaluation.summary import summary
from replication.formats.columns import Detections, GroundTruth, save_detections
from replication.formats.inputs import read_detections, read_ground_truth

__all__ = [
    "CRITERIA",
    "METRICS",
    "Criterion",
    "Detections",
    "GroundTruth",
    "Matches",
    "Options",
    "Replicates",
    "bootstrap",
    "cached_match",
    "evaluate",
    "evaluate_run",
    "format_evaluation",
    "image_weights",
    "match",
    "point",
    "proposal_recall",
    "read_detections",
    "read_ground_truth",
    "read_run",
    "run_matches",
    "save_detections",
    "summary",
    "weighted",
]
