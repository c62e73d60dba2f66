"""Several claims in one report: Holm's step-down procedure over one family of hypotheses.

Which claims make a family, ``judge`` says: of each paper the primary ones, and apart from them all others.
"""

from __future__ import annotations

import numpy as np

from replication.verdicts.intervals import Floats


def adjusted(p: Floats) -> Floats:
    """Holm's adjusted p (..., m): a claim stands at the family level alpha where it is at most alpha."""
    order = np.argsort(p, axis=-1, kind="stable")
    left = np.arange(p.shape[-1], 0, -1)
    stepped = np.maximum.accumulate(np.take_along_axis(p, order, axis=-1) * left, axis=-1)
    return _restore(np.minimum(stepped, 1.0), order)


def levels(p: Floats, alpha: float) -> Floats:
    """The level (..., m) at which the procedure finally tests each hypothesis.

    alpha/m for the smallest p, alpha/(m - 1) for the next, and so on up to the first that stands; it and all after it
    are tested at its level. An interval of that level excludes the null just where the adjusted p is at most alpha.
    """
    order = np.argsort(p, axis=-1, kind="stable")
    count = p.shape[-1]
    steps = alpha / np.arange(count, 0, -1)
    failed = np.take_along_axis(p, order, axis=-1) > steps
    first = np.where(failed.any(axis=-1), failed.argmax(axis=-1), count - 1)
    return _restore(steps[np.minimum(np.arange(count), first[..., None])], order)


def _restore(values: Floats, order: np.ndarray) -> Floats:
    """Sorted values back in the order of their hypotheses."""
    result = np.empty_like(values)
    np.put_along_axis(result, order, values, axis=-1)
    return result
