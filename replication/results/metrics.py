"""The names of average precision in ``metrics.json``, and of what each of them is the mean."""

from __future__ import annotations

METRICS = ("AP", "AP50", "AP75", "APs", "APm", "APl")
AREA_OF = {"AP": "all", "AP50": "all", "AP75": "all", "APs": "small", "APm": "medium", "APl": "large"}
THRESHOLD_OF = {"AP50": 0.5, "AP75": 0.75}
"""The one overlap of a metric; all others are means over all thresholds."""
