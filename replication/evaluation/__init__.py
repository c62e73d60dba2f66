"""From detections to AP: matches, evaluates, resamples, writes ``metrics.json``. No torch, no printing.

Compiled code is loaded when something is computed, not when this is imported.
"""

from replication.evaluation.bootstrap import bootstrap, point
from replication.evaluation.pair import Options, evaluate
from replication.results.metrics import METRICS

__all__ = ["METRICS", "Options", "bootstrap", "evaluate", "point"]
