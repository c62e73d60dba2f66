"""How many more images a comparison needs: the variance of a difference as the test set grows."""

from __future__ import annotations

import math

from replication.verdicts.intervals import Terms
from replication.verdicts.power import power

MOST = 1000
"""Times the present images, above which no number is named."""


def images_needed(terms: Terms, images: int, effect: float, alpha: float, wanted: float) -> int | None:
    """Images with which ``effect`` above the cut is found with probability ``wanted``, by as many runs as there are.

    What images do falls with their number, also the part of it that is in the spread of runs. None where even a
    thousand times the images are too few, or there is no such effect.
    """
    if terms.image is None or effect <= 0 or _power(terms, MOST, effect, alpha) < wanted:
        return None
    low, high = 1.0 / images, float(MOST)
    while (high - low) * images > 0.5:
        middle = (low + high) / 2
        low, high = (low, middle) if _power(terms, middle, effect, alpha) >= wanted else (middle, high)
    return max(1, math.ceil(high * images - 0.5))


def needs(seeds: int | None, images: int | None, runs: int, present: int, effect: float) -> list[str]:
    """What an inconclusive comparison needs to find ``effect``, in words; nothing where it expects none.

    ``seeds`` and ``images`` are what would do by itself, ``runs`` and ``present`` what is there. Nothing, too, where
    these would have done with the wanted probability.
    """
    enough = (seeds is not None and seeds <= runs) or (images is not None and images <= present)
    if effect <= 0 or enough:
        return []
    options = ["more seeds"] * (seeds is not None) + ["more test images"] * (images is not None)
    return [f"needs {' or '.join(options) or 'more seeds and more test images: neither alone is enough'}"]


def _power(terms: Terms, times: float, effect: float, alpha: float) -> float:
    """Power on ``times`` as many images."""
    assert terms.image is not None
    assert terms.interaction is not None
    image, common, seed = float(terms.image), float(terms.interaction), float(terms.seed)
    common = min(common, seed, image)
    grown = seed - common + common / times
    variance = max(image / times, grown, (image - common) / times + grown)
    if variance == 0:
        return 1.0
    df = float(terms.seed_df) * (variance / grown) ** 2 if grown > 0 else math.inf
    return float(power(effect, variance, df, alpha))
