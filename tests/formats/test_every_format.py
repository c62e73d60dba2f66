"""One data set in every format: the same numbers, the same training records, and one rule for every oddity."""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from support.small_data import (
    CLASSES,
    NAMES,
    OBJECTS,
    RESULTS,
    TRUTHS,
    coco_results,
    data_of,
    write_coco,
    write_images,
    write_results_json,
    write_results_voc,
    write_results_yolo,
    write_voc,
    write_yolo,
)

from replication import cli
from replication.catalog.protocols import Protocol
from replication.datasets import data_hash, ground_truth, load_split
from replication.datasets.splits import annotation_files
from replication.doctor.contents import contents
from replication.errors import DataError, ReplicationError, ResultError
from replication.evaluation import Options, evaluate
from replication.formats.detections import read_detections
from replication.formats.npz_results import save_detections
from replication.formats.truth import read_ground_truth


def protocol(kind: str, root: Path) -> Protocol:
    fields = {"name": "own", "title": "t", "batch": 1, "tables": ("giou-T5",), "checkpoint_every": 1}
    return Protocol.model_validate(fields | {"data": data_of(kind, root)})


def run(folder: Path, truth: str, results: str, **options: Any) -> dict[str, Any]:
    return evaluate(RESULTS[results](folder / "found"), TRUTHS[truth](folder / "truth"), Options(**options))


@pytest.mark.parametrize("results", RESULTS)
@pytest.mark.parametrize("truth", TRUTHS)
def test_every_pair_of_formats_gives_the_same_number(tmp_path: Path, truth: str, results: str) -> None:
    """Mugs: a false detection first, so precision 1/2 and 2/3 at recall 1/2 and 1, envelope 2/3. Plates: both found."""
    if truth != "coco" and results in ("json", "mmdetection"):  # whose image ids are those of one COCO file
        with pytest.raises(ResultError, match=r"detections\[0\]: image_id 11 is not in the ground truth"):
            run(tmp_path, truth, results)
        return
    found = run(tmp_path, truth, results)
    assert found["per_class"]["mug"]["AP50"] == pytest.approx(200 / 3)
    assert found["per_class"]["plate"]["AP50"] == pytest.approx(100)
    assert [found["per_class"][name][key] for name in CLASSES for key in ("objects", "detections")] == [2, 3, 2, 2]
    mapped = "mapped through file_name" in " ".join(found["warnings"])
    assert mapped == (results == "ultralytics")


@pytest.mark.parametrize("truth", TRUTHS)
def test_every_format_is_data_for_training(tmp_path: Path, truth: str) -> None:
    TRUTHS[truth](tmp_path)
    own = protocol(truth, tmp_path)
    for split in ("train", "val"):
        loaded = load_split(own, split)
        assert loaded.classes == CLASSES
        boxes = [
            (place, found["category_id"], found["bbox"])
            for place, record in enumerate(loaded.records)
            for found in record["annotations"]
        ]
        expected = [(image, label, [x, y, x + w, y + h]) for image, label, (x, y, w, h) in OBJECTS]
        assert [box[:2] for box in boxes] == [box[:2] for box in expected]
        np.testing.assert_allclose([box[2] for box in boxes], [box[2] for box in expected], atol=1e-9)
        assert all(Path(record["file_name"]).is_file() for record in loaded.records)
    names = [Path(image["file_name"]).stem for image in ground_truth(loaded)["images"]]
    assert names == list(NAMES)
    findings = [finding for finding in contents(own, deep=False)[0] if finding.level == "error"]
    assert findings == []


@pytest.mark.parametrize("truth", TRUTHS)
def test_the_hash_of_the_data_follows_every_annotation(tmp_path: Path, truth: str) -> None:
    TRUTHS[truth](tmp_path)
    own = protocol(truth, tmp_path)
    files = annotation_files(own)
    before = data_hash(own)
    labels = [file for file in files if file.suffix in (".json", ".xml") or file.stem in NAMES]
    assert labels
    for file in labels:
        content = file.read_bytes()
        file.write_bytes(content + b"\n")
        assert data_hash(own) != before
        file.write_bytes(content)
    assert data_hash(own) == before


def test_columns_and_results_of_every_format_are_the_same(tmp_path: Path) -> None:
    truth = read_ground_truth(write_coco(tmp_path / "truth"))
    found = {name: read_detections(write(tmp_path / name), truth) for name, write in RESULTS.items()}
    save_detections(tmp_path / "columns.npz", found["json"], truth)
    found["npz"] = read_detections(tmp_path / "columns.npz", truth)
    expected = rows(found.pop("json"))
    for name, other in found.items():
        np.testing.assert_allclose(rows(other), expected, atol=1e-9, err_msg=name)


def rows(found: Any) -> np.ndarray:
    columns = np.column_stack([found.images, found.labels, found.scores, found.boxes, found.box_areas])
    return columns[np.lexsort(columns.T[::-1])]


# What an oddity ends in, whoever reads it: the numbers of the plain data set, others with a warning, or an error.
Edit = Callable[[Path], None]


def in_coco(change: Callable[[dict[str, Any]], Any]) -> Edit:
    def edit(root: Path) -> None:
        document = json.loads((root / "gt.json").read_text())
        change(document)
        (root / "gt.json").write_text(json.dumps(document))

    return edit


def each(field: str, **values: Any) -> Edit:
    return in_coco(lambda document: [entry.update(values) for entry in document[field]])


def ids(field: str, convert: Callable[[int], Any], *references: str) -> Edit:
    def change(document: dict[str, Any]) -> None:
        for entry in document[field]:
            entry["id"] = convert(entry["id"])
        for entry in document["annotations"]:
            for reference in references:
                entry[reference] = convert(entry[reference])

    return in_coco(change)


def replaced(pattern: str, *texts: tuple[str, str]) -> Edit:
    def edit(root: Path) -> None:
        files = sorted(root.glob(pattern))
        assert files
        for file in files:
            text = file.read_text()
            for old, new in texts:
                assert old in text or len(files) > 1
                text = text.replace(old, new)
            file.write_text(text)

    return edit


def difficult(text: str) -> Edit:
    return replaced("Annotations/*.xml", ("<difficult>0</difficult>", text))


def encoded(encoding: str) -> Edit:
    def edit(root: Path) -> None:
        for file in (root / "Annotations").iterdir():
            text = f'<?xml version="1.0" encoding="{encoding}"?>\n' + file.read_text()
            file.write_bytes(text.replace("<pose>Unspecified", "<pose>\u4e2d\u6587").encode(encoding))

    return edit


def listed(convert: Callable[[str], str], encoding: str = "utf-8") -> Edit:
    def edit(root: Path) -> None:
        path = root / "ImageSets/Main/val.txt"
        path.write_text("".join(convert(name) for name in NAMES), encoding)

    return edit


def images_as(suffix: str, folder: str = "JPEGImages") -> Edit:
    def edit(root: Path) -> None:
        for file in list((root / folder).iterdir()):
            Image.open(file).save(file.with_suffix(suffix), lossless=True)
            file.unlink()

    return edit


def renamed_nfd(root: Path) -> None:
    document = json.loads((root / "gt.json").read_text())
    for entry in document["images"]:
        name = "caf\u00e9_" + entry["file_name"]
        (root / "images" / entry["file_name"]).rename(root / "images" / unicodedata.normalize("NFD", name))
        entry["file_name"] = name
    (root / "gt.json").write_text(json.dumps(document))


def deep_images(mode: str) -> Edit:
    def edit(root: Path) -> None:
        document = json.loads((root / "gt.json").read_text())
        for entry in document["images"]:
            entry["file_name"] = Path(entry["file_name"]).stem + ".tif"
            Image.new(mode, (80, 64), 1).save(root / "images" / entry["file_name"])
        (root / "gt.json").write_text(json.dumps(document))

    return edit


SAME = ""
ODDITIES: dict[str, tuple[str, Edit, str]] = {
    **{f"iscrowd {value!r}": ("coco", each("annotations", iscrowd=value), SAME)
       for value in (None, False, 0.0, "0", "false", "FALSE", "", "null")},
    **{f"ignore {value!r}": ("coco", each("annotations", ignore=value), SAME) for value in (None, "0", "False", False)},
    **{f"{key} {value!r}": ("coco", each("annotations", **{key: value}), f"error {key} is ")
       for key in ("iscrowd", "ignore", "difficult") for value in (2, -1, "no", "2", [0], 0.5)},
    "no iscrowd": ("coco", in_coco(lambda d: [entry.pop("iscrowd") for entry in d["annotations"]]), SAME),
    "no area": ("coco", in_coco(lambda d: [entry.pop("area") for entry in d["annotations"]]), SAME),
    "image ids as text": ("coco text", ids("images", lambda n: f"cam-{n}", "image_id"), SAME),
    "image ids as floats": ("coco", ids("images", float, "image_id"), SAME),
    "class ids as floats": ("coco", ids("categories", float, "category_id"), SAME),
    "references as floats": ("coco", in_coco(lambda d: [e.update(image_id=float(e["image_id"])) for e in
                                                        d["annotations"]]), SAME),
    "references as text": ("coco", in_coco(lambda d: d["annotations"][1].update(image_id="11")),
                           "error image_id is '11', which is text; ids of images are whole numbers"),
    "fraction": ("coco", in_coco(lambda d: d["annotations"][1].update(category_id=1.5)), "error category_id is 1.5"),
    "id true": ("coco", in_coco(lambda d: d["annotations"][1].update(category_id=True)), "error category_id is True"),
    "annotation id 0": ("coco", ids("annotations", lambda n: n - 1), SAME),
    "annotation ids as text": ("coco", ids("annotations", lambda n: f"a{n}"), SAME),
    "two categories of one name": ("coco", in_coco(lambda d: d["categories"].insert(0, {"id": 0, "name": "mug"})),
                                   "warning name 'mug' occurs twice; the category of id 0 is called 'mug (id 0)'"),
    "names that are numbers": ("coco", in_coco(lambda d: d["categories"][0].update(name=7)), "classes 7"),
    "unlisted class": ("coco", in_coco(lambda d: d["annotations"][0].update(category_id=7)),
                       "error category_id 7 is not among the categories 1, 2"),
    "sizes as floats": ("coco", each("images", width=80.0, height=64.0), SAME),
    "sizes of -1": ("coco", each("images", width=-1, height=-1), SAME),
    "sizes null": ("coco", each("images", width=None, height=None), SAME),
    "sizes as text": ("coco", each("images", width="80"), "error width is '80' (text), expected a whole number"),
    "negative box": ("coco", in_coco(lambda d: d["annotations"][0].update(bbox=[9, 9, -4, 4])),
                     "error has negative width or height"),
    "byte order mark": ("coco", lambda root: (root / "gt.json").write_text((root / "gt.json").read_text(), "utf-8-sig"),
                        SAME),
    "backslashes": ("coco", lambda root: in_coco(lambda d: [e.update(file_name=f"images\\{e['file_name']}")
                    for e in d["images"]])(root) or (root / "images/images").symlink_to(root / "images"), SAME),
    "absolute names": ("coco", lambda root: in_coco(lambda d: [e.update(file_name=f"{root}/images/{e['file_name']}")
                       for e in d["images"]])(root), SAME),
    "absolute names of another machine": ("coco", lambda root: in_coco(lambda d: [e.update(
        file_name=f"C:\\data\\{e['file_name']}") for e in d["images"]])(root), SAME),
    "NFD on disk": ("coco", renamed_nfd, SAME),
    **{f"VOC difficult {text!r}": ("voc", difficult(text), SAME) for text in (
        "", "<difficult/>", "<difficult> 0 </difficult>", "<difficult>false</difficult>",
        "<difficult>False</difficult>",        "<difficult>null</difficult>")},
    "VOC difficult Unspecified": ("voc", difficult("<difficult>Unspecified</difficult>"),
                                  "warning 4 objects have difficult 'Unspecified', which is read as 0"),
    **{f"VOC difficult {text}": ("voc", difficult(f"<difficult>{text}</difficult>"), "error difficult is ")
       for text in ("2", "maybe", "yes", "-1", "nan")},
    "VOC gb2312": ("voc", encoded("gb2312"), SAME),
    "VOC utf-16": ("voc", encoded("utf-16"), SAME),
    "VOC shift_jis": ("voc", encoded("shift_jis"), SAME),
    "VOC unknown encoding": ("voc", replaced("Annotations/*.xml", ("<annotation>",
                             '<?xml version="1.0" encoding="klingon"?><annotation>')), "error unknown encoding"),
    "VOC entities": ("voc", replaced("Annotations/*.xml", ("<annotation>",
                     '<!DOCTYPE a [<!ENTITY b "c">]><annotation>')), "error declares entities"),
    "VOC list with mark": ("voc", listed(lambda name: f"{name}\n", "utf-8-sig"), SAME),
    "VOC list with suffixes": ("voc", listed(lambda name: f"{name}.jpg -1\n"), SAME),
    "VOC list with folders": ("voc", listed(lambda name: f"JPEGImages/{name}.jpg\n"), SAME),
    "VOC list with flags": ("voc", listed(lambda name: f"  {name}   1 \r\n"), SAME),
    "VOC list with a stranger": ("voc", listed(lambda name: f"{name}x\n"), "error missing, but shelf_11x is listed"),
    "VOC size 0": ("voc", replaced("Annotations/*.xml", (">80<", ">0<"), (">64<", ">0<")), SAME),
    "VOC size -1": ("voc", replaced("Annotations/*.xml", (">80<", ">-1<")), SAME),
    "VOC size 80.0": ("voc", replaced("Annotations/*.xml", (">80<", ">80.0<")), SAME),
    "VOC size of text": ("voc", replaced("Annotations/*.xml", (">80<", ">wide<")), "error size/width is 'wide'"),
    **{f"VOC images {suffix}": ("voc", images_as(suffix), SAME) 
       for suffix in (".tif", ".webp", ".png", ".bmp", ".JPEG")},
    "YOLO mark": ("yolo", lambda root: [f.write_text(f.read_text(), "utf-8-sig")
                  for f in (root / "labels/val").iterdir()], SAME),
    "YOLO class as 0.0": ("yolo", lambda root: [f.write_text(re.sub(r"(?m)^(\d) ", r"\1.0 ", f.read_text()))
                          for f in (root / "labels/val").iterdir()], SAME),
    "YOLO pixels": ("yolo", replaced("labels/val/shelf_11.txt", ("0 0.25", "0 20")), "error 20 is not from 0 to 1"),
    "YOLO class 2": ("yolo", replaced("labels/val/shelf_11.txt", ("0 0.25", "2 0.25")), "error class 2 is not among"),
    "YOLO confidence": ("yolo", lambda root: (root / "labels/val/shelf_11.txt").write_text("0 .2 .2 .1 .1 .9"),
                        "error as detections with a confidence"),
    "YOLO names as a list": ("yolo", lambda root: (root / "data.yaml").write_text(
        "train: images/val\nval: [images/val]\nnames: [mug, plate]\n"), SAME),
    "YOLO of another machine": ("yolo", lambda root: (root / "data.yaml").write_text(
        "path: /nowhere/data\ntrain: ../images/val\nval: ../images/val\nnames: [mug, plate]\n"), SAME),
    "YOLO nc": ("yolo", replaced("data.yaml", ("nc: 2", "nc: 3")), "error nc: is 3, but names has 2"),
    "YOLO images .webp": ("yolo", images_as(".webp", "images/val"), SAME),
}  # fmt: skip


@pytest.mark.parametrize("name", ODDITIES)
def test_an_oddity_has_one_outcome_for_evaluation_doctor_and_training(
    name: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    form, edit, outcome = ODDITIES[name]
    kind = form.split()[0]
    path = TRUTHS[kind](tmp_path / "truth")
    edit(tmp_path / "truth")
    own = protocol(kind, tmp_path / "truth")
    if outcome.startswith("error"):
        message = re.escape(outcome.removeprefix("error "))
        with pytest.raises(DataError, match=message):
            evaluate(RESULTS["voc"](tmp_path / "found"), path)
        for split in ("train", "val"):
            with pytest.raises(ReplicationError, match=message):
                load_split(own, split)
        assert any(re.search(message, finding.message) for finding in contents(own, deep=False)[0])
        return
    classes = [outcome.split()[1], "plate"] if outcome.startswith("classes") else list(CLASSES)
    found = tmp_path / "found"
    if form == "coco":
        write_results_json(found)
        result = evaluate(found / "coco_instances_results.json", path)
    elif form == "coco text":
        records = [one | {"image_id": f"cam-{one['image_id']}"} for one in coco_results()]
        (tmp_path / "text.json").write_text(json.dumps(records))
        result = evaluate(tmp_path / "text.json", path)
    else:
        result = evaluate(write_results_voc(found), path)
    aps = [result["per_class"][one]["AP50"] for one in classes]
    assert aps == [pytest.approx(200 / 3), pytest.approx(100)]
    split = load_split(own, "val")
    assert sum(len(record["annotations"]) for record in split.records) == len(OBJECTS)
    assert {(record["height"], record["width"]) for record in split.records} == {(64, 80)}
    findings = contents(own, deep=False)[0]
    assert not [finding for finding in findings if finding.level == "error"]
    texts = [*result["warnings"], *caplog.messages, *(finding.message for finding in findings)]
    warning = outcome.removeprefix("warning ") if outcome.startswith("warning") else None
    if warning:
        for place in (result["warnings"], caplog.messages, [finding.message for finding in findings]):
            assert any(warning in text for text in place)
    else:
        assert [text for text in texts if "in train and in val" not in text and "all images intact" not in text] == []


@pytest.mark.parametrize("mode", ["F", "I;16", "I"])
def test_images_of_more_than_8_bits_are_refused_by_training_and_doctor(tmp_path: Path, mode: str) -> None:
    write_coco(tmp_path)
    deep_images(mode)(tmp_path)
    own = protocol("coco", tmp_path)
    with pytest.raises(DataError, match=r"shelf_11\.tif: pixels are of .*convert the image to 8 bits"):
        load_split(own, "train")
    wrong = [finding for finding in contents(own, deep=False)[0] if finding.level == "error"]
    assert len(wrong) == 2 * len(NAMES)
    assert all(f"(mode {mode}" in finding.message for finding in wrong)


RESULT_ODDITIES: dict[str, tuple[Callable[[list[dict[str, Any]]], Any], str]] = {
    "ids as floats": (lambda r: [one.update(image_id=float(one["image_id"])) for one in r], SAME),
    "class ids as floats": (lambda r: [one.update(category_id=float(one["category_id"])) for one in r], SAME),
    "ids as text": (lambda r: r[1].update(image_id="11"), "error detections[1]: image_id is '11', which is text"),
    "class id as text": (lambda r: r[1].update(category_id="1"), "error detections[1]: category_id is '1', which is"),
    "file names": (lambda r: r[1].update(image_id="shelf_11.jpg"), "warning image ids, such as 'shelf_11.jpg', are"),
    "no file name": (lambda r: r[1].update(image_id="shelf_9"), "error and is not the file_name of one image"),
    "foreign class": (lambda r: r.append(r[0] | {"category_id": 62}), "warning category_id 62 (1 detections)"),
    "classes from 0": (lambda r: r.append(r[0] | {"category_id": 0}), "warning are these classes numbered from 0"),
    "no width": (lambda r: r.append(r[0] | {"bbox": [1, 1, 0, 5], "score": 0.01}), "SAME, one more mug"),
    "negative": (lambda r: r[0].update(bbox=[1, 1, -2, 5]), "error detections[0]: bbox [1.0, 1.0, -2.0, 5.0] has neg"),
    "polygons": (
        lambda r: [one.update(segmentation=[[1, 1, 2, 1, 2, 2]]) for one in r],
        "warning not a compressed RLE",
    ),
    "empty masks": (lambda r: [one.update(segmentation=[]) for one in r], "warning 5 of 5 records have a segmentation"),
    "no masks": (lambda r: [one.update(segmentation=None) for one in r], SAME),
    "score as text": (lambda r: r[2].update(score="0.5"), "error detections[2]: score is '0.5' (text), expected a fin"),
    "unknown image": (
        lambda r: r[2].update(image_id=99),
        "error detections[2]: image_id 99 is not in the",
    ),
}


@pytest.mark.parametrize("name", RESULT_ODDITIES)
def test_an_oddity_of_results_has_one_outcome(name: str, tmp_path: Path) -> None:
    edit, outcome = RESULT_ODDITIES[name]
    records = coco_results()
    edit(records)
    truth = write_coco(tmp_path)
    (tmp_path / "dt.json").write_text(json.dumps(records))
    if outcome.startswith("error"):
        with pytest.raises(ResultError, match=re.escape(outcome.removeprefix("error "))):
            evaluate(tmp_path / "dt.json", truth)
        return
    result = evaluate(tmp_path / "dt.json", truth, Options(verify="file name" not in name))
    assert result["metrics"]["AP50"] == pytest.approx((200 / 3 + 100) / 2)
    if outcome.startswith("warning"):
        assert any(outcome.removeprefix("warning ") in text for text in result["warnings"])
    else:
        assert result["warnings"] == []
    if "verified" in result:
        assert result["verified"]["boxes"]["difference"] < 1e-12


def test_flags_as_text_that_say_yes_are_heeded(tmp_path: Path) -> None:
    for value in (1, 1.0, True, "1", "true", "TRUE"):
        truth = write_coco(tmp_path)
        in_coco(lambda d, value=value: d["annotations"][3].update(iscrowd=value))(tmp_path)
        assert read_ground_truth(truth).crowds.tolist() == [False, False, False, True]
    write_voc(tmp_path / "voc")
    path = tmp_path / "voc/Annotations/shelf_13.xml"
    for text in ("1", "True", "true"):
        path.write_text(re.sub("<difficult>.*?<", f"<difficult>{text}<", path.read_text()))
        assert read_ground_truth(tmp_path / "voc/ImageSets/Main/val.txt").difficult.tolist() == [False] * 3 + [True]


def test_verification_names_what_pycocotools_reads_otherwise(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """It runs pycocotools as installed, so 'ignore' and an id of 0 give other numbers, and are named for it."""
    found = str(write_results_json(tmp_path / "found"))
    for edit, reason in (
        (in_coco(lambda d: d["annotations"][3].update(ignore=1)), "'ignore' of 1 objects is honoured here"),
        (in_coco(lambda d: d["annotations"][0].update(id=0)), "an annotation has id 0"),
        (in_coco(lambda d: [e.update(iscrowd="0") for e in d["annotations"]]), "of 4 objects is text"),
        (in_coco(lambda d: [e.update(iscrowd=False) for e in d["annotations"]]), None),
        (in_coco(lambda d: [e.pop("area") for e in d["annotations"]]), "pycocotools cannot evaluate these files"),
    ):
        truth = write_coco(tmp_path / "truth")
        edit(tmp_path / "truth")
        assert cli.main(["evaluate", found, str(truth), "--verify"]) == 0
        out = capsys.readouterr().out
        assert ("equal to pycocotools" in out) == (reason is None)
        assert reason is None or reason in out


def test_evaluate_warns_of_what_explains_an_ap_of_0(tmp_path: Path) -> None:
    truth = write_coco(tmp_path)
    cases = {
        "there is no detection at all": [],
        "classes with objects, but without any detection, have an AP of 0: plate (2 objects)": [
            one for one in coco_results() if one["category_id"] == 1
        ],
        "look like fractions of the image from 0 to 1": [
            one | {"bbox": [value / 80 for value in one["bbox"]]} for one in coco_results()
        ],
    }
    for warning, records in cases.items():
        (tmp_path / "dt.json").write_text(json.dumps(records))
        assert any(warning in text for text in evaluate(tmp_path / "dt.json", truth)["warnings"])


def test_a_class_without_a_result_file_is_named(tmp_path: Path) -> None:
    truth = write_voc(tmp_path / "truth")
    found = write_results_voc(tmp_path / "found")
    (found / "comp4_det_val_plate.txt").unlink()
    warnings = evaluate(found, truth)["warnings"]
    assert any("no result file for plate (2 objects): their AP is 0" in text for text in warnings)


def test_a_class_with_a_slash_is_read_from_its_subfolder(tmp_path: Path) -> None:
    truth = write_voc(tmp_path / "truth")
    replaced("Annotations/*.xml", ("<name>plate", "<name>n/a"))(tmp_path / "truth")
    found = write_results_voc(tmp_path / "found")
    (found / "comp4_det_val_n").mkdir()
    (found / "comp4_det_val_plate.txt").rename(found / "comp4_det_val_n" / "a.txt")
    result = evaluate(found, truth)
    assert result["per_class"]["n/a"]["AP50"] == pytest.approx(100)
    assert result["warnings"] == []


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("0 .5 .5 .1 .1", "has 5 numbers and no confidence"),
        ("0 .5 .5 .1 .1 .9 1", "has 7 fields"),
        ("0 .5 .5 .1 .1 1.5", "1.5 is not from 0 to 1"),
        ("5 .5 .5 .1 .1 .5", "class 5 is not among the 2 classes"),
        ("0 .5 .5 x .1 .5", "could not convert string to float: 'x'"),
        ("0 .5 .5 nan .1 .5", "nan is not from 0 to 1"),
    ],
)
def test_wrong_lines_of_yolo_detections(tmp_path: Path, line: str, message: str) -> None:
    truth = read_ground_truth(write_yolo(tmp_path / "truth"))
    found = write_results_yolo(tmp_path / "found")
    (found / "labels/shelf_12.txt").write_text(line)
    with pytest.raises(ResultError, match=rf"shelf_12\.txt, line 1: .*{re.escape(message)}"):
        read_detections(found, truth)


def test_yolo_needs_its_images_and_classes(tmp_path: Path) -> None:
    write_yolo(tmp_path)
    (tmp_path / "images/val/shelf_12.jpg").write_bytes(b"cut")
    with pytest.raises(DataError, match=r"shelf_12\.jpg: cannot be opened to learn its size"):
        read_ground_truth(tmp_path / "data.yaml")
    (tmp_path / "data.yaml").write_text("val: images/none\nnames: [mug, plate]\n")
    with pytest.raises(DataError, match="no such folder of images"):
        read_ground_truth(tmp_path / "data.yaml")
    (tmp_path / "data.yaml").write_text("val: images/val\n")
    with pytest.raises(DataError, match=r"data\.yaml: names: is None"):
        read_ground_truth(tmp_path / "data.yaml")


def test_segments_of_yolo_become_boxes_with_masks(tmp_path: Path) -> None:
    write_yolo(tmp_path)
    for name in NAMES:
        (tmp_path / f"labels/val/{name}.txt").write_text("1 .25 .25 .75 .25 .75 .5 .25 .5\n")
    truth = read_ground_truth(tmp_path / "data.yaml")
    assert truth.boxes[0].tolist() == [20, 16, 60, 32]
    record = load_split(protocol("yolo", tmp_path), "train").records[0]
    assert record["annotations"][0]["segmentation"] == [[20, 16, 60, 16, 60, 32, 20, 32]]


def test_a_folder_of_voc_with_lists_asks_which(tmp_path: Path) -> None:
    write_voc(tmp_path)
    with pytest.raises(DataError, match=r"has image lists \(val\.txt\) in ImageSets/Main; give the one"):
        read_ground_truth(tmp_path)
    write_images(tmp_path / "none")
    with pytest.raises(DataError, match="neither a folder of VOC"):
        read_ground_truth(tmp_path / "none")


def test_boxes_without_area_in_the_ground_truth_equal_pycocotools(tmp_path: Path) -> None:
    truth = write_coco(tmp_path)
    in_coco(lambda d: d["annotations"][3].update(bbox=[5, 5, 0, 9], area=0))(tmp_path)
    result = evaluate(write_results_json(tmp_path / "found"), truth, Options(verify=True))
    assert result["verified"]["boxes"]["difference"] < 1e-12
    assert any("1 objects have boxes without area" in text for text in result["warnings"])
    assert sum(len(record["annotations"]) for record in load_split(protocol("coco", tmp_path), "train").records) == 3


def test_names_of_classes_beside_yolo_detections_are_heeded(tmp_path: Path) -> None:
    """In another order than the ground truth's, and with one that it lacks."""
    truth = write_yolo(tmp_path / "truth")
    found = write_results_yolo(tmp_path / "found")
    plain = evaluate(found, truth)
    (found / "classes.txt").write_text("bowl\nplate\nmug\n")
    for file in (found / "labels").glob("shelf*.txt"):
        file.write_text(
            re.sub(r"(?m)^(\d)", lambda match: "21"[int(match[1])], file.read_text()) + "0 .5 .5 .1 .1 .5\n"
        )
    named = evaluate(found, truth)
    assert named["per_class"] == plain["per_class"]
    assert any(
        "of classes not in the ground truth: category_id 'bowl' (3 detections)" in text for text in named["warnings"]
    )
