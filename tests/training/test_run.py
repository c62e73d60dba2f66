from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from detectron2.utils import comm
from filelock import FileLock

from replication.catalog import Protocol, load_catalog
from replication.datasets import load_split
from replication.errors import ConfigError, LockedError, ReplicationError, ResultError, TrainingError
from replication.inference.detect import detect
from replication.results.files import read_json
from replication.results.run import Run
from replication.training import devices as device_room
from replication.training.checkpoint import write_checkpoint
from replication.training.config import run_config
from replication.training.data import training_records
from replication.training.identity import identity
from replication.training.run import _fit_on_rank, train


def changed(job: Run, **update: object) -> Run:
    protocol = Protocol.model_validate({**job.protocol.model_dump(), **update})
    return Run(job.variant, protocol, job.seed, job.results)


def with_override(job: Run, key: str, value: object) -> Run:
    overrides = {group: dict(keys) for group, keys in job.protocol.overrides.items()}
    overrides["all"][key] = value
    return changed(job, overrides=overrides)


def elsewhere(job: Run, name: str) -> Run:
    return Run(job.variant, job.protocol, job.seed, job.results / name)


def weights(job: Run) -> dict[str, torch.Tensor]:
    state: dict[str, torch.Tensor] = torch.load(job.files.model, weights_only=True)["model"]
    return state


def same(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[key], b[key]) for key in a)


def curve(job: Run) -> list[dict[str, float]]:
    lines = [json.loads(line) for line in (job.folder / "curves.jsonl").read_text().splitlines()]
    return [{key: value for key, value in line.items() if key != "s_per_iter"} for line in lines]


def command(job: Run, verb: str, protocol: Path) -> list[str]:
    where = ["--protocol", str(protocol), "--results", str(job.results)]
    return [sys.executable, "-m", "replication", verb, *where, "--variant", job.variant.name]


def written(job: Run, folder: Path) -> Path:
    """The job's protocol as a file for the command line."""
    path = folder / "protocol.yaml"
    path.write_text(json.dumps(job.protocol.model_dump(mode="json")))
    return path


def own(job: Run) -> Run:
    """Under a name that is no shipped protocol's, so that its file can be passed on the command line."""
    return changed(job, name="own")


def test_a_run_leaves_model_curves_config_and_provenance(job: Run):
    train(job)
    detections = json.loads(detect(job).read_text())
    lines = curve(job)
    assert [line["iteration"] for line in lines] == list(range(1, 7))
    assert {"total_loss", "loss_cls", "loss_box_reg", "loss_rpn_cls", "iou", "lr"} <= lines[-1].keys()
    made = read_json(job.folder / "provenance.json", "provenance/1")
    assert (made["variant"], made["seed"], made["iterations"], made["resumed_at"]) == (job.variant.name, 0, 6, [])
    assert made["packages"]["torch"] == torch.__version__.partition("+")[0]
    assert sorted(path.name for path in job.folder.glob("*.pth")) == ["model_final.pth"]
    assert (job.folder / "config.yaml").read_text().count("efficientnet_lite0")
    assert all(set(one) == {"image_id", "category_id", "bbox", "score"} for one in detections)
    assert all(width >= 0 and height >= 0 for _, _, width, height in (one["bbox"] for one in detections))


def test_same_seed_same_bytes_and_another_seed_is_another_run(job: Run):
    first, second = elsewhere(job, "a"), elsewhere(job, "b")
    third = Run(job.variant, job.protocol, 1, job.results / "c")
    for one in (first, second, third):
        train(one)
        detect(one)
    assert same(weights(first), weights(second))
    assert curve(first) == curve(second)
    assert (first.folder / "detections.json").read_bytes() == (second.folder / "detections.json").read_bytes()
    assert not same(weights(first), weights(third))


@pytest.mark.parametrize("name", ["mask_rcnn_R50_giou", "retinanet_R50", "fsaf_R50_joint", "yolov3_D53_giou"])
def test_a_run_killed_half_way_ends_like_an_uninterrupted_one(job: Run, tmp_path: Path, name: str):
    job = own(changed(Run(load_catalog().variants[name], job.protocol, 0, job.results), checkpoint_every=2))
    whole, killed = elsewhere(job, "whole"), elsewhere(job, "killed")
    protocol = written(job, tmp_path)
    subprocess.run(command(whole, "train", protocol), check=True)
    process = subprocess.Popen(command(killed, "train", protocol), stderr=subprocess.DEVNULL)
    while not (killed.folder / "checkpoint_0000004.pth").exists():
        assert process.poll() is None, "finished before it could be killed"
        time.sleep(0.002)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not (killed.files.model).exists()
    subprocess.run(command(killed, "train", protocol), check=True)
    assert read_json(killed.folder / "provenance.json", "provenance/1")["resumed_at"] in ([2], [4])
    assert curve(whole) == curve(killed)
    assert same(weights(whole), weights(killed))


def _one_of_two(rank: int, meeting: str, job: Run, *what: Any) -> None:
    torch.distributed.init_process_group("gloo", init_method=meeting, world_size=2, rank=rank)
    comm._LOCAL_PROCESS_GROUP = torch.distributed.new_group([0, 1])
    _fit_on_rank(job, *what, kind="cpu")


def test_two_processes_share_a_training(job: Run):
    """On a CPU, where Detectron2's launcher starts none; on GPUs only the way gradients travel is another."""
    one, two = elsewhere(job, "one"), elsewhere(job, "two")
    train(one)
    records = training_records(load_split(two.protocol, "train").records)
    cfg = run_config(two.variant, two.protocol, two.seed, 10, two.folder)
    two.folder.mkdir(parents=True)
    meeting = f"file://{two.folder}/meeting"
    torch.multiprocessing.spawn(_one_of_two, nprocs=2, args=(meeting, two, cfg, records, identity(two)))
    made = read_json(two.folder / "provenance.json", "provenance/1")
    assert (made["processes"], made["batch"], made["iterations"]) == (2, 2, 6)
    first, other = curve(one), curve(two)
    assert [line["iteration"] for line in first] == [line["iteration"] for line in other]
    # The first losses are those of the same images and weights, but for what is sampled of their boxes.
    assert other[0]["loss_rpn_cls"] == pytest.approx(first[0]["loss_rpn_cls"], rel=0.05)
    assert not same(weights(one), weights(two))


def test_a_finished_run_is_left_alone_and_other_settings_are_refused(job: Run):
    final = train(job)
    stamp = final.stat().st_mtime_ns
    assert train(job).stat().st_mtime_ns == stamp
    other = with_override(job, "SOLVER.BASE_LR", 0.002)
    with pytest.raises(ResultError, match=r"training_fingerprint is .* now it is .*--restart"):
        train(other)
    with pytest.raises(ResultError, match="train it again"):
        detect(other)
    assert train(other, restart=True).stat().st_mtime_ns > stamp


def test_a_finished_run_of_other_data_is_refused(job: Run):
    train(job)
    other = changed(job, data={**job.protocol.data.model_dump(), "seed": 8})
    with pytest.raises(ResultError, match=r"data_hash is .* now it is "):
        train(other)


def test_seeds_of_a_variant_share_their_hashes(job: Run):
    made = []
    for seed in (0, 1):
        train(Run(job.variant, job.protocol, seed, job.results))
        folder = Run(job.variant, job.protocol, seed, job.results).folder
        made.append(read_json(folder / "provenance.json", "provenance/1"))
    for key in ("config_hash", "data_hash", "fingerprint", "training_fingerprint", "weights_sha256"):
        assert made[0][key] == made[1][key], key


def test_an_unfinished_run_of_other_settings_is_discarded_with_a_word(job: Run, capfd: pytest.CaptureFixture[str]):
    job.folder.mkdir(parents=True)
    write_checkpoint({"model": {}, "training_fingerprint": "other"}, job.folder / "checkpoint_0000002.pth")
    train(job)
    assert "checkpoint_0000002.pth belongs to other code, settings or data" in capfd.readouterr().err


def test_a_broken_checkpoint_is_named_and_the_run_starts_again(job: Run, capfd: pytest.CaptureFixture[str]):
    job.folder.mkdir(parents=True)
    (job.folder / "checkpoint_0000002.pth").write_bytes(b"half a file")
    (job.folder / ".checkpoint_0000004.pth.x1y2").write_bytes(b"what a killed process was writing")
    train(job)
    assert "checkpoint_0000002.pth: not verified" in capfd.readouterr().err
    assert sorted(path.name for path in job.folder.glob("*.pth*")) == ["model_final.pth", "model_final.pth.sha256"]
    assert not list(job.folder.glob(".*.pth*"))


def test_a_loss_that_is_not_finite_stops_with_what_to_do(job: Run, capfd: pytest.CaptureFixture[str]):
    wild = with_override(with_override(job, "SOLVER.BASE_LR", 1e30), "SOLVER.WARMUP_ITERS", 0)
    with pytest.raises(TrainingError, match=r"(infinite or NaN|contain Inf/NaN).*learning rate.*Lower SOLVER.BASE_LR"):
        train(wild)
    assert "Traceback" not in capfd.readouterr().err
    assert not (wild.files.model).exists()


def test_two_trainings_in_one_folder(job: Run):
    job.folder.mkdir(parents=True)
    with FileLock(job.folder / ".lock"), pytest.raises(LockedError, match="another process is working on this run"):
        train(job)


def test_a_training_that_waits_takes_what_the_other_has_finished(job: Run, capfd: pytest.CaptureFixture[str]):
    job.folder.mkdir(parents=True)
    command = [sys.executable, "-m", "replication", "train", "--protocol", "smoke", "--results", str(job.results)]
    other = subprocess.Popen([*command, "--variant", job.variant.name], stderr=subprocess.DEVNULL)
    while not (job.folder / ".lock.json").exists() and other.poll() is None:
        time.sleep(0.1)
    train(job, wait=True)
    assert other.wait() == 0
    error = capfd.readouterr().err
    assert f"another process is working on this run (process {other.pid} on" in error
    assert "already trained" in error


def test_what_replaces_a_finished_run_and_what_leaves_it_alone(job: Run, capfd: pytest.CaptureFixture[str]):
    train(job)
    made = job.files.model.stat()
    job.files.trained.unlink()  # as the workflow does with what it declares
    train(job, replace=True)
    left = job.files.model.stat()  # its access time may differ: it was read
    assert (left.st_ino, left.st_mtime_ns) == (made.st_ino, made.st_mtime_ns)
    assert job.files.trained.exists()
    other = changed(job, data={**job.protocol.data.model_dump(), "seed": 8})
    with pytest.raises(ResultError, match=r"holds a finished run whose .*--restart"):
        train(other)
    assert job.files.trained.exists()
    train(other, replace=True)
    assert job.files.model.stat().st_mtime_ns > made.st_mtime_ns
    assert "the finished training of other code, settings or data is discarded" in capfd.readouterr().err
    job.files.provenance.write_text("{")
    with pytest.raises(ResultError, match=r"unknown what made .*--restart"):
        train(other, replace=True)


def test_a_results_folder_that_cannot_be_written(job: Run, tmp_path: Path):
    (tmp_path / "file").write_text("")
    blocked = Run(job.variant, job.protocol, 0, tmp_path / "file")
    with pytest.raises(ReplicationError, match="cannot write"):
        train(blocked)


def test_a_full_disk_names_the_file_and_keeps_what_was_there(tmp_path: Path):
    path = tmp_path / "checkpoint.pth"
    write_checkpoint({"model": 1}, path)
    before = path.read_bytes()
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, limits[1]))
    try:
        with pytest.raises(TrainingError, match=r"checkpoint\.pth: cannot write the checkpoint.*Free disk space"):
            write_checkpoint({"model": torch.zeros(1_000_000)}, path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, handler)
    assert path.read_bytes() == before
    assert sorted(file.name for file in tmp_path.iterdir()) == ["checkpoint.pth", "checkpoint.pth.sha256"]


def test_ctrl_c_says_that_work_is_kept(job: Run, tmp_path: Path):
    long = changed(own(job), iterations={"GeneralizedRCNN": 5000, "ReplicationRetinaNet": 5000}, checkpoint_every=1)
    process = subprocess.Popen(
        command(long, "train", written(long, tmp_path)),
        stderr=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        # Jobs that a shell starts in the background ignore it, and their children with them.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    while not list(long.folder.glob("checkpoint_*.pth")):
        assert process.poll() is None, process.stderr.read() if process.stderr else ""
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    _, error = process.communicate(timeout=60)
    assert process.returncode == 130
    assert error.strip().splitlines()[-1].startswith("interrupted: what is finished is kept")
    assert "Traceback" not in error
    assert list(long.folder.glob("checkpoint_*.pth"))


def test_masks_need_masks(job: Run, monkeypatch: pytest.MonkeyPatch):
    from replication.datasets import load_split
    from replication.training import run

    def without_masks(protocol: Protocol, name: str) -> object:
        split = load_split(protocol, name)  # type: ignore[arg-type]
        for record in split.records:
            for annotation in record["annotations"]:
                annotation.pop("segmentation", None)
        return split

    monkeypatch.setattr(run, "load_split", without_masks)
    masks = Run(load_catalog().variants["mask_rcnn_R50_giou"], job.protocol, 0, job.results)
    with pytest.raises(ConfigError, match="mask_rcnn_R50_giou learns masks"):
        train(masks)


def test_detect_needs_a_trained_run(job: Run):
    with pytest.raises(ResultError, match="train the run first"):
        detect(job)


def test_devices_refuses_what_is_not_there():
    if torch.cuda.is_available():
        pytest.skip("this machine has a GPU")
    with pytest.raises(TrainingError, match="torch sees no GPU"), device_room.devices("cuda"):
        pass
    with pytest.raises(TrainingError, match="--gpus 2"), device_room.devices("auto", 2):
        pass


def test_each_training_takes_a_gpu_of_its_own(monkeypatch: pytest.MonkeyPatch):
    """Two GPUs as torch would show them; the locks are real."""

    class Properties:
        def __init__(self, index: int) -> None:
            self.uuid = f"test-{os.getpid()}-{index}"

    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "get_device_properties", Properties)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,7")
    with device_room.devices("auto") as one, device_room.devices("auto") as other:
        assert (one[0].index, other[0].index) == (0, 1)
        assert device_room.visible_names(other) == ["7"]
    with device_room.devices("cuda", 2) as both:
        assert device_room.visible_names(both) == ["4", "7"]
