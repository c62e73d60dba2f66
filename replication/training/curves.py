"""Training curves (``curves.jsonl``) and progress lines with the time that is left."""

from __future__ import annotations

import contextlib
import json
import os
import sys
import time
from pathlib import Path
from typing import Any

from detectron2.engine import HookBase

from replication.results.files import write_text

SKIPPED = ("data_time",)


class Curves(HookBase):  # type: ignore[misc]
    """Writes one JSON object every ``every`` iterations: means of all scalars since the last one, and the rate.

    Keys: ``iteration`` (count of finished iterations), ``lr``, ``s_per_iter`` (seconds), every loss, ``iou``. A mean is
    over the iterations that have the scalar: one without a positive box has no ``iou``.
    A resumed run goes on with the lines that its checkpoint holds.
    """

    def __init__(self, final: Path, every: int) -> None:
        """``final`` is where the finished curve will lie."""
        # Not there before the end: a workflow deletes declared outputs before it starts a job again.
        self.path, self.final, self.every = final.with_name(f".{final.name}"), final, every
        self.lines: list[str] = []
        self.sums: dict[str, float] = {}
        self.counts: dict[str, int] = {}
        self.timed = 0

    def state_dict(self) -> dict[str, Any]:
        """The lines so far and the window under way, for checkpoints."""
        return {"lines": list(self.lines), "sums": dict(self.sums), "counts": dict(self.counts)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on with a checkpoint's lines and window."""
        self.lines, self.sums = list(state["lines"]), dict(state["sums"])
        # Checkpoints of earlier versions count iterations alone.
        self.counts = dict(state["counts"]) if "counts" in state else dict.fromkeys(self.sums, state["count"])

    def before_train(self) -> None:
        """Start the clock; a file that an interrupted process left is replaced, whatever it holds."""
        self._write(self.path)
        self.started = time.perf_counter()

    def after_step(self) -> None:
        """Add this iteration's scalars; at the end of a window write their means."""
        for key, (value, iteration) in self.trainer.storage.latest().items():
            if iteration == self.trainer.iter and key not in SKIPPED:
                self.sums[key] = self.sums.get(key, 0.0) + float(value)
                self.counts[key] = self.counts.get(key, 0) + 1
        self.timed += 1
        done = self.trainer.iter + 1
        if done % self.every and done != self.trainer.max_iter:
            return
        now = time.perf_counter()
        line: dict[str, Any] = {"iteration": done}
        line |= {key: round(total / self.counts[key], 6) for key, total in sorted(self.sums.items())}
        line["s_per_iter"] = round((now - self.started) / self.timed, 4)
        self.lines.append(json.dumps(line))
        self._write(self.path)
        self.sums, self.counts, self.timed, self.started = {}, {}, 0, now

    def finish(self) -> None:
        """Publish the curve under its final name."""
        self._write(self.final)

    def _write(self, path: Path) -> None:
        write_text(path, "".join(f"{line}\n" for line in self.lines))


class Progress(HookBase):  # type: ignore[misc]
    """A line on stderr every ``seconds``: iterations, total loss, mean IoU, seconds per iteration, time left."""

    def __init__(self, label: str, seconds: float = 15.0) -> None:
        self.label, self.seconds = label, seconds
        self.last = 0.0

    def before_train(self) -> None:
        """Start the clock."""
        self.started = time.perf_counter()

    def after_step(self) -> None:
        """Print when it is time."""
        now = time.perf_counter()
        done, total = self.trainer.iter + 1, self.trainer.max_iter
        if now - self.last < self.seconds and done != total:
            return
        self.last = now
        rate = (now - self.started) / (done - self.trainer.start_iter)
        latest = self.trainer.storage.latest()
        loss = latest["total_loss"][0]
        iou = f" IoU {latest['iou'][0]:.2f}" if "iou" in latest else ""
        left = time.strftime("%H:%M:%S", time.gmtime(rate * (total - done)))
        say(f"{self.label}: {done}/{total} loss {loss:.3f}{iou} {rate:.2f} s/iter, {left} left")


def say(line: str) -> None:
    """One whole line on stderr, so that lines of jobs side by side do not mix."""
    with contextlib.suppress(BrokenPipeError):
        os.write(sys.stderr.fileno(), f"{line}\n".encode())
