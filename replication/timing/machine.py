"""The machine and the state it is in: what a reader needs to tell a slow detector from a busy or throttled machine."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import Any

import torch

from replication.training.provenance import now

GPU_FIELDS = (
    "name", "driver_version", "pstate", "clocks.sm", "clocks.mem", "clocks.max.sm", "clocks.max.mem",
    "temperature.gpu", "power.draw", "power.limit", "utilization.gpu", "clocks_throttle_reasons.active",
)  # fmt: skip

# Bits of NVML's nvmlClocksThrottleReasons that mean: slower than the clocks could be.
THROTTLE = {
    0x04: "software power cap", 0x08: "hardware slowdown", 0x20: "software thermal slowdown",
    0x40: "hardware thermal slowdown", 0x80: "power brake",
}  # fmt: skip


def state(device: torch.device, cpuinfo: Path = Path("/proc/cpuinfo")) -> dict[str, Any]:
    """Clocks, load and, on a GPU, what nvidia-smi tells; what cannot be read is null or named in ``error``."""
    return {
        "time": now(),
        "load_average": [round(value, 2) for value in os.getloadavg()] if hasattr(os, "getloadavg") else None,
        "cpu_mhz": _cpu_mhz(cpuinfo),
        "gpu": _gpu(device) if device.type == "cuda" else None,
    }


def busy(before: dict[str, Any], threads: int) -> str:
    """What makes the machine unfit to be timed on, in words; empty when nothing is seen."""
    signs = []
    load = (before["load_average"] or [0.0])[0]
    if load > threads + 0.5:
        signs.append(f"load average {load}")
    gpu = before["gpu"] or {}
    if gpu.get("throttled"):
        signs.append(f"GPU slowed by {', '.join(gpu['throttled'])}")
    return "; ".join(signs)


def _cpu_mhz(cpuinfo: Path) -> list[float] | None:
    try:
        lines = cpuinfo.read_text().splitlines()
    except OSError:
        return None
    return [float(line.partition(":")[2]) for line in lines if line.startswith("cpu MHz")] or None


def _gpu(device: torch.device) -> dict[str, Any]:
    identity = torch.cuda.get_device_properties(device).uuid
    return gpu_state(f"GPU-{identity}")


def gpu_state(identity: str) -> dict[str, Any]:
    """nvidia-smi's fields of one GPU by name, and ``throttled``: what holds its clocks down."""
    command = ["nvidia-smi", f"--id={identity}", f"--query-gpu={','.join(GPU_FIELDS)}", "--format=csv,noheader,nounits"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=30)
    except (OSError, subprocess.SubprocessError) as error:
        return {"error": f"nvidia-smi: {error}"}
    values = [value.strip() for value in done.stdout.strip().split(",")]
    if len(values) != len(GPU_FIELDS):
        return {"error": f"nvidia-smi: unexpected answer {done.stdout.strip()!r}"}
    fields: dict[str, Any] = dict(zip(GPU_FIELDS, values, strict=True))
    return fields | {"throttled": _throttled(fields["clocks_throttle_reasons.active"])}


def _throttled(mask: str) -> list[str] | None:
    try:
        bits = int(mask, 16)
    except ValueError:
        return None
    return [name for bit, name in THROTTLE.items() if bits & bit]
