"""What only a GPU can show, in one command of at most eight minutes.

    make device-check [OUT=DIR]        (on the machine: python envs/device_check.py [--out DIR] [--dry-run])

Parts, the dearest to do without first: tests marked cuda; times of FSAF's table 2 and of training steps, in float32 and
TF32; whether a resumed training ends in the same bytes; YOLOv3; the other architectures; the smoke workflow with two
trainings side by side. A part that fails or runs out of its time leaves what it has, and the next one starts. Needs
Python with torch, and no network: wheels that are missing are taken from ``bundle/`` (make bundle). ``--dry-run`` does
the same on a CPU with the smallest models, so that a fault of this script is found before a GPU is at hand.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib.util
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
SECONDS = 470  # of all parts; the rest of the eight minutes is for reading and writing
DRY_PATIENCE = 6  # a CPU's time to that of a GPU's machine
TABLE = "fsaf-T2"
YOLO = ("yolov3_D53_giou",)
OTHERS = (
    *("faster_rcnn_R50_giou", "faster_rcnn_R101", "faster_rcnn_X101", "mask_rcnn_R50_giou"),
    *("libra_rcnn_R50", "libra_retinanet_R50"),
)
SMALL = ("retinanet_R50", "fsaf_R50")
TAIL = 2000  # characters of a part's output that are kept beside its state


@dataclass(frozen=True)
class Part:
    """A command and the seconds that it may take."""

    name: str
    seconds: int
    command: tuple[str, ...]


@dataclass(frozen=True)
class Outcome:
    """What became of a part: ``done``, ``failed``, ``out of time`` or ``not started``."""

    name: str
    state: str
    seconds: float
    output: str


def parts(out: Path, dry: bool) -> list[Part]:
    """All parts in their order. A dry run has the same, of the smallest models on the CPU."""
    python = (sys.executable, "-m")
    chosen = ("-m", "not slow", "-k", "cpu and (box_losses or test_fsaf)") if dry else ("-m", "cuda")
    tests = (*python, "pytest", "-q", "tests/device", *chosen, f"--junitxml={out}/tests.xml")
    resume = (sys.executable, "envs/device_resume.py", "--out", f"{out}/resume.json")
    workflow = ("snakemake", "--cores", "2" if dry else "16", "--config", "protocol=smoke")
    options = ("tables=giou-T5", f"results={out}/made/workflow", "backbones=R-50")
    planned = [
        Part("tests", 100, tests),
        Part("fsaf-T2 fp32", 90, _timing(out, "fp32", "fp32", (), "800x1333", dry)),
        Part("fsaf-T2 tf32", 70, _timing(out, "tf32", "tf32", (), "800x1333", dry)),
        Part("resume", 40, resume if not dry else (*resume, "--device", "cpu")),
        Part("yolov3", 30, _timing(out, "yolov3", "fp32", YOLO, "608x608", dry)),
        Part("others", 70, _timing(out, "others", "fp32", OTHERS, "800x1333", dry)),
        Part("workflow", 70, (*python, *workflow, *options)),
    ]
    return [replace(part, seconds=DRY_PATIENCE * part.seconds) for part in planned] if dry else planned


def _timing(out: Path, folder: str, precision: str, names: Sequence[str], size: str, dry: bool) -> tuple[str, ...]:
    """``replication time`` at batch 1, interleaved; without names, table 2's nine detectors."""
    protocol, device, rounds, images = ("smoke", "cpu", "1", "1") if dry else ("paper", "cuda", "6", "4")
    variants = ",".join(SMALL if dry else names or table_variants())
    return (
        *(sys.executable, "-m", "replication", "time", "--protocol", protocol, "--variants", variants),
        *("--weights", "random", "--device", device, "--size", "64x80" if dry else size),
        *("--precision", "fp32" if dry else precision, "--rounds", rounds, "--images", images),
        *("--warmup", "1", "--training-steps", "1", "--out", f"{out}/made/{folder}", "--results", f"{out}/made/none"),
    )


def table_variants() -> list[str]:
    """The nine detectors of FSAF's table 2."""
    from replication.catalog import load_catalog

    return [str(row.variant) for row in load_catalog().table(TABLE).rows]


def run(
    planned: Sequence[Part], log: Path, seconds: float = SECONDS, clock: Callable[[], float] = time.monotonic
) -> list[Outcome]:
    """Run parts one after another, each within its own time and what is left of ``seconds``."""
    started, outcomes = clock(), []
    for part in planned:
        left = min(part.seconds, seconds - (clock() - started))
        outcome = _run(part, left, log) if left > 1 else Outcome(part.name, "not started", 0.0, "no time was left")
        print(f"{outcome.name}: {outcome.state}, {outcome.seconds:.0f} s", flush=True)
        outcomes.append(outcome)
    return outcomes


def _run(part: Part, seconds: float, log: Path) -> Outcome:
    """In a process group of its own, all of which is ended when the time is over."""
    begun, first = time.monotonic(), log.stat().st_size if log.exists() else 0
    with log.open("ab") as file:
        process = subprocess.Popen(part.command, cwd=ROOT, stdout=file, stderr=file, start_new_session=True)
        try:
            state = "done" if process.wait(seconds) == 0 else "failed"
        except subprocess.TimeoutExpired:
            state = "out of time"
        finally:
            _end(process)
    with log.open("rb") as file:
        file.seek(first)
        output = file.read().decode(errors="replace")
    return Outcome(part.name, state, round(time.monotonic() - begun, 1), output[-TAIL:])


def _end(process: subprocess.Popen[bytes]) -> None:
    with contextlib.suppress(ProcessLookupError):  # all of it has ended
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def timings(out: Path) -> dict[str, list[dict[str, Any]]]:
    """The documents of ``replication time`` by part; those of finished variants are there even if its time ran out."""
    folders = sorted(path for path in (out / "made").glob("*") if any(path.glob("*.json")))
    return {folder.name: [json.loads(path.read_text()) for path in sorted(folder.glob("*.json"))] for folder in folders}


def costs(documents: Mapping[str, Sequence[Mapping[str, Any]]]) -> dict[str, Any]:
    """Training steps in the form of ``configs/costs.yaml``, with peak memory: one GPU's share of two images."""
    found: dict[str, Any] = {}
    for name in ("fp32", "yolov3", "others"):
        for one in documents.get(name, ()):
            if one.get("training"):
                device, step = one["device"]["name"], one["training"]["ms_per_step"]["median"] / 1000
                images = one["training"]["images"]
                source = f"device-check {one['session']['started'][:10]}, float32, {images} images, no communication"
                memory = one["training"]["peak_memory"]
                found[one["variant"]] = {
                    "s_per_iter": round(step, 4), "processes": 8, "device": f"8 x {device}", "source": source,
                    "peak_memory": memory,
                }  # fmt: skip
    return found


def costs_yaml(found: Mapping[str, Mapping[str, Any]]) -> str:
    """The file; peak memory as comments, since a plan does not read it."""
    lines = [
        "# Seconds per iteration of `paper` on 8 GPUs, measured on one of them with its share of the batch.",
        "costs:",
    ]
    lines += ["  paper:"] if found else ["  {}"]
    for name, cost in sorted(found.items()):
        fields = {key: value for key, value in cost.items() if key != "peak_memory"}
        lines.append(f"    {name}: {json.dumps(fields)}  # peak memory {json.dumps(cost['peak_memory'])}")
    return "\n".join(lines) + "\n"


def page(outcomes: Sequence[Outcome], documents: Mapping[str, Sequence[Mapping[str, Any]]], machine: str) -> str:
    """What was found, for people: the state of every part, and table 2's ratios beside the paper's."""
    lines = [f"# Device check: {machine}", "", "| part | state | s |", "| --- | --- | --- |"]
    lines += [f"| {one.name} | {one.state} | {one.seconds:.0f} |" for one in outcomes]
    for precision in ("fp32", "tf32"):
        times = {one["variant"]: one["ms_per_image"]["total"]["median"] for one in documents.get(precision, ())}
        lines += ["", f"## FSAF, table 2, {precision}, batch 1", "", "| variant | ms per image | ratio | paper |"]
        lines += ["| --- | --- | --- | --- |", *_ratios(times)]
    return "\n".join(lines) + "\n"


def _ratios(times: Mapping[str, float]) -> list[str]:
    """To the RetinaNet of the same backbone."""
    from replication.catalog import load_catalog

    rows = load_catalog().table(TABLE).rows
    published = {row.variant: (row.backbone, row.published["runtime_ms_per_image"]) for row in rows}
    lines = []
    for name, (backbone, printed) in published.items():
        base = next(one for one, (other, _) in published.items() if other == backbone)
        if name in times and base in times:
            ratio, paper = times[name] / times[base], printed / published[base][1]
            lines.append(f"| {name} | {times[name]:.1f} | {ratio:.3f} | {paper:.3f} |")
    return lines


def install(bundle: Path) -> None:
    """Install what is missing from the bundle of wheels; SystemExit where there is none."""
    if importlib.util.find_spec("detectron2") and importlib.util.find_spec("replication"):
        return
    if not (bundle / "requirements.txt").is_file():
        raise SystemExit(
            f"{bundle}: no wheels here and Detectron2 is not installed; run `make bundle` where there is a network, "
            "and bring the folder here"
        )
    offline = ("--no-index", "--find-links", str(bundle), "-r", str(bundle / "requirements.txt"))
    subprocess.run([sys.executable, "-m", "pip", "install", "-q", "--break-system-packages", *offline], check=True)
    importlib.invalidate_caches()


def provenance(dry: bool) -> dict[str, Any]:
    """What the numbers were made by and on; asked in a process of its own, so that this one holds no GPU."""
    device = "cpu" if dry else "cuda:0"
    code = (
        "import json, torch; from replication.training.provenance import environment, now; "
        f"print(json.dumps(environment(torch.device('{device}')) | {{'made': now()}}))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"device check: {done.stderr.strip().splitlines()[-1]}; it needs a GPU, or --dry-run")
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def collect(out: Path, outcomes: Sequence[Outcome], made_by: Mapping[str, Any]) -> None:
    """Write what was found as a few files: the page, the parts with provenance, all times, the costs."""
    documents = timings(out)
    (out / "device_check.json").write_text(
        json.dumps(
            {"schema": "device-check/1", "provenance": made_by, "parts": [asdict(one) for one in outcomes]}, indent=1
        )
    )
    (out / "latency.json").write_text(json.dumps(documents, indent=1))
    (out / "costs.yaml").write_text(costs_yaml(costs(documents)))
    (out / "page.md").write_text(page(outcomes, documents, made_by["device"]["name"]))


def main(words: Sequence[str] | None = None) -> int:
    """Run all parts; 0 when all are done, else 1."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("results/device_check"))
    parser.add_argument("--bundle", type=Path, default=ROOT / "bundle")
    parser.add_argument("--dry-run", action="store_true")
    arguments = parser.parse_args(words)
    out = arguments.out.absolute()
    (out / "made").mkdir(parents=True, exist_ok=True)
    begun = time.monotonic()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))  # so that a part ends, and is written down
    install(arguments.bundle)
    made_by = provenance(arguments.dry_run)
    outcomes: list[Outcome] = []
    try:
        seconds = SECONDS * (DRY_PATIENCE if arguments.dry_run else 1)
        outcomes += run(parts(out, arguments.dry_run), out / "log.txt", seconds - (time.monotonic() - begun))
    finally:
        collect(out, outcomes, made_by)
    return 0 if all(one.state == "done" for one in outcomes) else 1


if __name__ == "__main__":
    raise SystemExit(main())
