"""Features of a frozen backbone from disk are those that it computes, bit for bit; no others are ever handed out."""

from __future__ import annotations

import multiprocessing
import os
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import pytest
import torch
from torch import Tensor

from replication.datasets.weights import weights_path
from replication.detectors import EfficientNetLite
from replication.detectors import efficientnet_lite as module
from replication.errors import ConfigError

NAMES = ("res3", "res4", "res5")
ROOM = 2**30


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


def backbone(folder: Path | None = None, limit: int = ROOM, names: tuple[str, ...] = NAMES) -> EfficientNetLite:
    made = EfficientNetLite("efficientnet_lite0", 5, weights_path("efficientnet_lite0"))
    made = made.to(memory_format=torch.channels_last)
    if folder is not None:
        made.keep(folder, limit, names)
    return made


def images(count: int = 3, size: tuple[int, int] = (64, 96), seed: int = 0) -> Tensor:
    return torch.randn(count, 3, *size, generator=torch.Generator().manual_seed(seed))


def files(folder: Path) -> list[Path]:
    return sorted(folder.glob("*/*"))


def refuse(_: Tensor) -> dict[str, Tensor]:
    raise AssertionError("computed what is there")


@pytest.mark.parametrize("size", [(64, 96), (50, 75), (256, 320)])
def test_kept_features_are_the_computed_ones_bit_for_bit(tmp_path: Path, size: tuple[int, int]) -> None:
    """In values, shapes and memory layout, whether computed with others, alone, or read."""
    given = images(size=size)
    wanted = backbone()(given)
    first, again = backbone(tmp_path), backbone(tmp_path)
    filled = first(given)
    again._compute = refuse  # type: ignore[method-assign]
    for found in (filled, again(given)):
        assert list(found) == list(NAMES)
        for name, value in found.items():
            assert torch.equal(value, wanted[name])
            assert value.stride() == wanted[name].stride()
            assert not value.requires_grad
    assert len(files(tmp_path)) == 3


def test_on_several_threads_what_is_read_is_what_was_computed(tmp_path: Path) -> None:
    """There a batch may round otherwise than an image alone, which is what counts then."""
    torch.set_num_threads(2)
    try:
        given = images(8, (128, 160))
        filled, read = backbone(tmp_path)(given), backbone(tmp_path)(given)
        alone = [backbone()(image[None]) for image in given]
    finally:
        torch.set_num_threads(1)
    for name in NAMES:
        assert torch.equal(filled[name], read[name])
        assert torch.equal(filled[name], torch.cat([one[name] for one in alone]))


def test_another_order_and_other_neighbours_find_the_same(tmp_path: Path) -> None:
    given = images(4)
    backbone(tmp_path)(given)
    again = backbone(tmp_path)
    again._compute = refuse  # type: ignore[method-assign]
    for name, value in again(given[[3, 1]]).items():
        assert torch.equal(value, backbone()(given)[name][[3, 1]])


def test_what_changes_the_numbers_is_looked_up_elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another image, weights, outputs, code or number of threads never finds the first one's file."""
    given = images(1)
    one = backbone(tmp_path)
    one(given)
    nudged = given.clone()
    nudged[0, 0, 0, 0] += 1e-6
    one(nudged)
    assert len(files(tmp_path)) == 2
    state = one.state_dict()
    state["stem.0.weight"] = state["stem.0.weight"] * 1.01
    one.load_state_dict(state)  # into the very same backbone
    changed = one(given)
    assert not torch.equal(changed["res5"], backbone()(given)["res5"])
    assert len(files(tmp_path)) == 3
    backbone(tmp_path, names=("res2", "res5"))(given)
    assert len(files(tmp_path)) == 4
    code = tmp_path.parent / "edited.py"
    code.write_text("another padding")
    monkeypatch.setattr(module, "__file__", str(code))
    backbone(tmp_path)(given)
    assert len(files(tmp_path)) == 5
    torch.set_num_threads(2)
    backbone(tmp_path)(given)
    torch.set_num_threads(1)
    assert len(files(tmp_path)) == 6


@pytest.mark.parametrize("damage", ["cut", "zeros", "flipped", "empty"])
def test_a_damaged_file_is_computed_and_written_again(tmp_path: Path, damage: str) -> None:
    given = images(1)
    wanted = backbone(tmp_path)(given)
    (path,) = files(tmp_path)
    good = path.read_bytes()
    flipped = bytes([good[0] ^ 1]) + good[1:]
    path.write_bytes({"cut": good[:-100], "zeros": bytes(len(good)), "flipped": flipped, "empty": b""}[damage])
    found = backbone(tmp_path)(given)
    assert all(torch.equal(found[name], wanted[name]) for name in NAMES)
    assert path.read_bytes() == good


def test_the_folder_never_outgrows_its_limit(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    given = images(4)
    backbone(tmp_path / "size")(given[:1])
    each = files(tmp_path / "size")[0].stat().st_size
    full = backbone(tmp_path / "full", limit=2 * each)
    found = full(given)
    assert len(files(tmp_path / "full")) == 2
    assert all(torch.equal(found[name], backbone()(given)[name]) for name in NAMES)
    assert caplog.text.count("the most allowed") == 1
    backbone(tmp_path / "full", limit=2 * each)(images(1, seed=9))  # what is there counts for the next process
    assert len(files(tmp_path / "full")) == 2


def test_a_folder_that_cannot_be_written_costs_time_only(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "file").write_text("")
    found = backbone(tmp_path / "file")(images())
    assert torch.equal(found["res5"], backbone()(images())["res5"])
    assert caplog.text.count("cannot be written") == 1


def test_what_a_killed_process_left_is_removed_and_what_another_writes_is_not(tmp_path: Path) -> None:
    backbone(tmp_path)(images(1))
    folder = files(tmp_path)[0].parent
    old, new = folder / ".a.1.part", folder / ".b.2.part"
    for path in (old, new):
        path.write_bytes(b"half")
    os.utime(old, (time.time() - 7200,) * 2)
    backbone(tmp_path)(images(1))
    assert not old.exists()
    assert new.exists()


def _fill(folder: Path, seed: int) -> list[Tensor]:
    torch.set_num_threads(1)
    one, given = backbone(folder), images(12, seed=0)
    order = torch.randperm(12, generator=torch.Generator().manual_seed(seed))
    return [one(given[order])["res5"][order.argsort()]]


def test_two_processes_fill_one_folder(tmp_path: Path) -> None:
    """At the same time and in different orders: all files are whole, none is left over, both get the same numbers."""
    with ProcessPoolExecutor(2, multiprocessing.get_context("spawn")) as pool:
        (one,), (other,) = pool.map(_fill, [tmp_path, tmp_path], [1, 2])
    assert torch.equal(one, other)
    assert torch.equal(one, backbone()(images(12))["res5"])
    assert [path.suffix for path in files(tmp_path)] == [".f32"] * 12


@pytest.mark.parametrize("frozen", [0, 3, 4])
def test_a_backbone_that_is_trained_is_refused(tmp_path: Path, frozen: int) -> None:
    trained = EfficientNetLite("efficientnet_lite0", frozen)
    with pytest.raises(ConfigError, match=r"FEATURES: 'cached' needs .* MODEL\.BACKBONE\.FREEZE_AT to 5"):
        trained.keep(tmp_path, ROOM, NAMES)


def test_half_precision_is_computed(tmp_path: Path) -> None:
    one = backbone(tmp_path).to(torch.bfloat16)
    assert one(images(1).to(torch.bfloat16))["res5"].dtype == torch.bfloat16
    assert not files(tmp_path)
