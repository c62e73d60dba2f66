"""The state of machines that are not this one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from replication.timing.machine import GPU_FIELDS, busy, gpu_state, state

ANSWER = "Some GPU, 580.1, P0, 1410, 2619, 1980, 2619, 61, 402.11, 700.00, 97, {mask}"


@pytest.fixture
def nvidia_smi(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    def make(answer: str, code: int = 0) -> Path:
        script = tmp_path / "nvidia-smi"
        script.write_text(f'#!/bin/sh\necho "$@" > {tmp_path}/asked\necho "{answer}"\nexit {code}\n')
        script.chmod(0o755)
        monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
        return tmp_path / "asked"

    return make


def test_a_throttled_gpu(nvidia_smi: Any):
    asked = nvidia_smi(ANSWER.format(mask="0x0000000000000044"))
    found = gpu_state("GPU-1234")
    assert (found["name"], found["clocks.sm"], found["temperature.gpu"]) == ("Some GPU", "1410", "61")
    assert found["throttled"] == ["software power cap", "hardware thermal slowdown"]
    assert "--id=GPU-1234" in asked.read_text()
    assert ",".join(GPU_FIELDS) in asked.read_text()


def test_a_gpu_at_rest(nvidia_smi: Any):
    nvidia_smi(ANSWER.format(mask="0x0000000000000001"))
    assert gpu_state("GPU-1")["throttled"] == []
    nvidia_smi(ANSWER.format(mask="[N/A]"))
    assert gpu_state("GPU-1")["throttled"] is None


@pytest.mark.parametrize(("answer", "code"), [("No devices were found", 0), ("", 0), (ANSWER, 9)])
def test_an_answer_that_is_none_is_told(nvidia_smi: Any, answer: str, code: int):
    nvidia_smi(answer, code)
    assert gpu_state("GPU-1")["error"].startswith("nvidia-smi: ")


def test_no_nvidia_smi(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert "nvidia-smi" in gpu_state("GPU-1")["error"]


def test_cpu_clocks(tmp_path: Path):
    cpuinfo = tmp_path / "cpuinfo"
    cpuinfo.write_text("processor\t: 0\ncpu MHz\t\t: 2596.132\n\nprocessor\t: 1\ncpu MHz\t\t: 1200.5\n")
    found = state(torch.device("cpu"), cpuinfo)
    assert found["cpu_mhz"] == [2596.132, 1200.5]
    assert found["gpu"] is None
    assert len(found["load_average"]) == 3
    assert state(torch.device("cpu"), tmp_path / "none")["cpu_mhz"] is None


@pytest.mark.parametrize(
    ("load", "gpu", "signs"),
    [
        (0.9, None, ""),
        (1.51, None, "load average 1.51"),
        (0.0, {"throttled": ["software power cap"]}, "GPU slowed by software power cap"),
        (3.0, {"error": "nvidia-smi: none"}, "load average 3.0"),
    ],
)
def test_what_is_told_of_a_busy_machine(load: float, gpu: Any, signs: str):
    assert busy({"load_average": [load, 0, 0], "gpu": gpu}, threads=1) == signs
    assert busy({"load_average": None, "gpu": None}, threads=1) == ""
