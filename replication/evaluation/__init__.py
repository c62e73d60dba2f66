"""From detections to AP: matches, evaluates, resamples, writes ``metrics.json``. No torch, no printing.

Compiled code is loaded when something is computed, not when this is imported.
"""

from replication.evaluation.bootstrap import bootstrap, point
from replication.evaluation.pair import Options, evaluate
from replication.evaluation.runs import evaluate_run, read_run, run_matches
from replication.results.metrics import METRICS

__all__ = ["METRICS", "Options", "bootstrap", "evaluate", "evaluate_run", "point", "read_run", "run_matches"]
