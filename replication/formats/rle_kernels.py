"""Check of compressed run-length codes, which pycocotools decodes without looking where they end."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from replication.formats.columns import Ints
from replication.formats.compiled import compiled
from replication.formats.native import Kernel

LONGEST = 7  # characters of one count: 5 bits each, more than 32 bits in all


def pixels(counts: Sequence[str]) -> Ints:
    """Pixels that each code covers (N,), background and mask; -1 where a code does not decode."""
    codes = [code.encode() for code in counts]
    ends = np.cumsum([0] + [len(code) for code in codes], dtype=np.int64)
    covered = np.empty(len(ends) - 1, np.int64)
    PIXELS(np.frombuffer(b"".join(codes), np.uint8), ends, covered)
    return covered


def _pixels(text: NDArray[np.uint8], ends: Ints, covered: Ints) -> None:
    """The loop for numba; ``native/sweep.c`` has the same."""
    for code in range(len(covered)):
        place, total, number = ends[code], 0, 0
        last = before_last = 0
        while place < ends[code + 1] and total >= 0:
            value, length, more = 0, 0, True
            while more and place < ends[code + 1] and length < LONGEST:
                bits: Any = np.int64(text[place]) - 48
                if bits < 0 or bits > 63:
                    break
                value |= (bits & 31) << (5 * length)
                more = (bits & 32) != 0
                place, length = place + 1, length + 1
                if not more and bits & 16:
                    value -= 1 << (5 * length)
            # From the fourth on, a count is written as its difference to the one before the last.
            run = value + before_last if number > 2 else value
            total = -1 if more or run < 0 else total + run
            before_last, last, number = last, run, number + 1
        covered[code] = total


@functools.cache
def _by_numba() -> Callable[..., Any]:
    return compiled(_pixels)


PIXELS = Kernel("pixels", "u1[] i8[] i8[]!", _by_numba)
