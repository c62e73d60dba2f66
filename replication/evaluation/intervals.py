"""Intervals from bootstrap replicates.

An absolute AP gets no percentile interval: in simulations at the size of COCO's val2017 it covers the expected AP of so
many images in 93% of cases, estimate +- 1.96 standard errors in 95%, and AP of ever more images in 62 and 78%.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from replication.formats.columns import Floats

NORMAL = 1.96
LEVEL = 0.95


def intervals(estimate: Floats, replicates: Floats) -> dict[str, Any] | None:
    """Interval of one run's metric: estimate +- 1.96 standard errors, with the bootstrap's bias beside it.

    It is for the expected value on a test set of this size; AP on so many images is biased upwards against AP on ever
    more, of which the bootstrap sees a part. None where the metric is undefined.
    """
    drawn = replicates[~np.isnan(replicates)]
    value = float(estimate[0])
    if np.isnan(value) or len(drawn) < 2:
        return None
    error = float(drawn.std(ddof=1))
    return {
        "estimate": value,
        "low": value - NORMAL * error,
        "high": value + NORMAL * error,
        "se": error,
        "bias": float(drawn.mean()) - value,
    }


def differences(one: Floats, other: Floats, drawn: Floats | None, units: int) -> dict[str, Any] | None:
    """Paired difference of two runs, first less second, with percentile and t intervals of 95%.

    ``drawn`` (B,) are the differences of paired replicates, ``units`` the number of images or clusters that were
    resampled; t has one degree of freedom less. Without replicates the estimate stands alone; None where a metric is
    undefined.
    """
    value = float(one[0] - other[0])
    if np.isnan(value):
        return None
    if drawn is None:
        return {"estimate": value}
    replicates = drawn[~np.isnan(drawn)]
    if len(replicates) < 2 or units < 2:
        return {"estimate": value}
    from scipy.special import stdtrit

    error = float(replicates.std(ddof=1))
    half = float(stdtrit(units - 1, (1 + LEVEL) / 2)) * error
    low, high = np.quantile(replicates, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return {
        "estimate": value,
        "se": error,
        "bias": float(replicates.mean()) - value,
        "percentile": [float(low), float(high)],
        "t": [value - half, value + half],
    }
