"""The VOC reader on whole data sets, generated and real, and on every kind of bad file."""

from __future__ import annotations

import logging
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest
from PIL import Image
from support.photographs import VocFolder

from replication.catalog.protocols import VocSplit
from replication.errors import DataError
from replication.formats.splits import Split, training_split
from replication.formats.voc import annotation_files, read_voc

TRAIN = [VocSplit(split="train")]


def entry(name: str = "cat", box: tuple[object, ...] = (1, 1, 20, 10), extra: str = "") -> str:
    corners = "".join(f"<{k}>{v}</{k}>" for k, v in zip(("xmin", "ymin", "xmax", "ymax"), box, strict=True))
    return f"<object><name>{name}</name>{extra}<bndbox>{corners}</bndbox></object>"


SIZE = "<size><width>60</width><height>40</height><depth>3</depth></size>"


def write(root: Path, objects: str, size: str = SIZE, listed: str = "a\n") -> Path:
    for folder in ("Annotations", "JPEGImages", "ImageSets/Main"):
        (root / folder).mkdir(parents=True, exist_ok=True)
    (root / "Annotations" / "a.xml").write_text(f"<annotation>{size}{objects}</annotation>")
    Image.new("RGB", (60, 40)).save(root / "JPEGImages" / "a.jpg")
    (root / "ImageSets" / "Main" / "train.txt").write_text(listed)
    return root


def read(root: Path, difficult: bool = True) -> Split:
    return split_of(root, TRAIN, ("cat", "dog"), difficult)


def split_of(root: Path, parts: list[VocSplit], classes: tuple[str, ...], difficult: bool = True) -> Split:
    return training_split("train", read_voc(root, parts, classes), root, "ignore" if difficult else "drop")


def voc_classes(root: Path, parts: list[VocSplit]) -> tuple[str, ...]:
    return tuple(category.name for category in read_voc(root, parts).categories)


def test_boxes_become_zero_based(tmp_path: Path) -> None:
    split = read(write(tmp_path, entry(box=(1, 1, 60, 40)) + entry("dog", ("5.5", 7, 5.5, 7))))
    record = split.records[0]
    assert (record["height"], record["width"], record["image_id"]) == (40, 60, 1)
    assert [found["bbox"] for found in record["annotations"]] == [[0, 0, 60, 40], [4.5, 6, 5.5, 7]]  # one pixel: real
    assert [found["category_id"] for found in record["annotations"]] == [0, 1]
    assert [found["area"] for found in record["annotations"]] == [2400, 1]
    assert split.category_ids == (1, 2)


def test_difficult_objects_are_left_out_or_marked(tmp_path: Path) -> None:
    write(tmp_path, entry(extra="<difficult>1</difficult>") + entry("dog", extra="<difficult>0</difficult>"))
    assert [found["category_id"] for found in read(tmp_path, difficult=False).records[0]["annotations"]] == [1]
    marked = read(tmp_path, difficult=True).records[0]["annotations"]
    assert [(found.get("difficult"), found.get("ignore"), found["iscrowd"]) for found in marked] == [
        (1, 1, 0),
        (None, None, 0),
    ]


@pytest.mark.parametrize("column", ["", " -1", "  1", " 0", "\t1"])
def test_the_column_of_class_lists_is_ignored(column: str, tmp_path: Path) -> None:
    assert len(read(write(tmp_path, entry(), listed=f"a{column}\n\n")).records) == 1


def test_a_name_that_ends_like_a_column_is_a_name(tmp_path: Path) -> None:
    write(tmp_path, entry(), listed="a 1\n")
    (tmp_path / "Annotations" / "a.xml").rename(tmp_path / "Annotations" / "a 1.xml")
    (tmp_path / "JPEGImages" / "a.jpg").rename(tmp_path / "JPEGImages" / "a 1.jpg")
    assert read(tmp_path).records[0]["file_name"].endswith("a 1.jpg")


@pytest.mark.parametrize("size", ["", "<size><width>0</width><height>0</height></size>"])
def test_a_missing_size_is_read_from_the_image(size: str, tmp_path: Path) -> None:
    record = read(write(tmp_path, entry(), size=size)).records[0]
    assert (record["height"], record["width"]) == (40, 60)


def test_png_images_are_found(tmp_path: Path) -> None:
    write(tmp_path, entry())
    (tmp_path / "JPEGImages" / "a.jpg").rename(tmp_path / "JPEGImages" / "a.PNG")
    assert read(tmp_path).records[0]["file_name"] == str(tmp_path / "JPEGImages" / "a.PNG")


def test_boxes_over_the_border_are_clipped_with_a_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    write(tmp_path, entry(box=(-9, 1, 70, 10)) + entry(box=(0, 0, 61, 41)))
    with caplog.at_level(logging.WARNING):
        boxes = [found["bbox"] for found in read(tmp_path).records[0]["annotations"]]
    assert boxes == [[0, 0, 60, 10], [-1, -1, 61, 41]]  # a 0-based writer's boxes stay
    assert "1 boxes extend beyond their image" in caplog.text


@pytest.mark.parametrize(
    ("objects", "message"),
    [
        (entry(box=(20, 1, 10, 9)), r"a\.xml: object 0 \(cat\): bndbox is empty"),
        (entry(box=("nan", 1, 10, 9)), r"a\.xml: object 0 \(cat\): bndbox has a value that is not a finite number"),
        (entry(box=(100, 1, 110, 9)), r"image .*a\.jpg\): bbox .* lies wholly outside its image of 60x40"),
        (entry(box=("x", 1, 10, 9)), r"a\.xml: object 0 \(cat\): bndbox must have four numbers"),
        ("<object><name>cat</name></object>", r"a\.xml: object 0 \(cat\): bndbox must have four numbers"),
        (entry("cow"), r"a\.xml: class 'cow' is not among cat, dog"),
        (entry(""), r"a\.xml: object 0 \(\): has no <name>"),
        (entry(extra="<difficult>maybe</difficult>"), r"difficult is 'maybe' \(text\), expected 0 or 1"),
        ("<object>", r"a\.xml: not readable as XML, perhaps cut off"),
    ],
)
def test_bad_annotations_are_told_with_file_and_object(objects: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=message):
        read(write(tmp_path, objects))


def test_a_size_that_is_no_number_is_told(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"a\.xml: size/width is 'wide', expected a whole number"):
        read(write(tmp_path, entry(), size="<size><width>wide</width><height>4</height></size>"))


def test_an_unreadable_image_without_a_size_is_told(tmp_path: Path) -> None:
    write(tmp_path, entry(), size="")
    (tmp_path / "JPEGImages" / "a.jpg").write_bytes(b"\xff\xd8 cut off")
    with pytest.raises(DataError, match=r"a\.jpg\): cannot be opened to learn its size"):
        read(tmp_path)


def test_missing_files_are_told(tmp_path: Path) -> None:
    write(tmp_path, entry(), listed="a\nb\n")
    with pytest.raises(DataError, match=r"b\.xml: missing, but b is listed in .*train\.txt"):
        read(tmp_path)
    with pytest.raises(DataError, match=r"b\.xml: missing"):
        annotation_files(tmp_path, TRAIN[0])
    (tmp_path / "Annotations" / "b.xml").write_text((tmp_path / "Annotations" / "a.xml").read_text())
    with pytest.raises(DataError, match=r"b\.jpg: missing image"):
        read(tmp_path)
    with pytest.raises(DataError, match=r"Main/test\.txt: no such image list"):
        read_voc(tmp_path, [VocSplit(split="test")], ("cat",))


@pytest.mark.parametrize(
    ("listed", "message"), [("\n", "the list is empty"), ("a\na\n", "1 images are listed twice, first a")]
)
def test_bad_lists_are_told(listed: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=rf"train\.txt: {message}"):
        read(write(tmp_path, entry(), listed=listed))


def test_classes_are_collected_and_sorted(tmp_path: Path) -> None:
    assert voc_classes(write(tmp_path, entry("dog") + entry("ant") + entry("dog")), TRAIN) == ("ant", "dog")
    assert voc_classes(write(tmp_path, ""), TRAIN) == ()


def test_every_split_is_read_whole(voc_photographs: VocFolder) -> None:
    """Boxes of a single pixel included."""
    root, classes = voc_photographs.root, voc_photographs.classes
    for split, images in voc_photographs.images.items():
        part = [VocSplit(split=split)]
        assert voc_classes(root, part) == classes
        read_split = split_of(root, part, classes)
        assert len(read_split.records) == images
        assert sum(len(one["annotations"]) for one in read_split.records) == voc_photographs.objects[split]


def test_voc_2007_and_2012_together(voc_devkit: Path) -> None:
    root = voc_devkit
    parts = [VocSplit(folder="VOC2012", split="mini_train"), VocSplit(folder="VOC2007", split="trainval")]
    classes = voc_classes(root, parts)
    kept, dropped = (split_of(root, parts, classes, difficult) for difficult in (True, False))
    assert [record["image_id"] for record in kept.records] == list(range(1, len(kept.records) + 1))
    assert {Path(record["file_name"]).parts[-3] for record in kept.records} == {"VOC2007", "VOC2012"}
    marked = [found for record in kept.records for found in record["annotations"] if found.get("difficult")]
    left = sum(len(record["annotations"]) for record in dropped.records)
    assert len(marked) > 5
    assert left == sum(len(record["annotations"]) for record in kept.records) - len(marked)
    tree = ElementTree.parse(annotation_files(root, parts[0])[0])
    corners = [
        [float(node.findtext(f"bndbox/{k}")) for k in ("xmin", "ymin", "xmax", "ymax")]
        for node in tree.findall("object")
    ]
    assert [found["bbox"] for found in kept.records[0]["annotations"]] == [
        [a - 1, b - 1, c, d] for a, b, c, d in corners
    ]
