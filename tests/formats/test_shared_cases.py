"""Inputs that users reported, in the folder beside the checkout where there is one: each ends as it is right."""

from __future__ import annotations

import json
import logging
import shutil
from pathlib import Path

import pytest

from replication import cli

CASES = Path(__file__).resolve().parents[2].parent / "shared" / "cases"
AP = pytest.approx(43.267, abs=1e-3)
# Of COCO files: AP, or words of the error; and words of a warning.
EVALUATED: dict[str, tuple[object, str]] = {
    "e01_iscrowd_text": (pytest.approx(42.335, abs=1e-3), ""),  # one of the flags is "1"
    "e01c_iscrowd_false_text": (AP, ""),
    "e02_string_image_ids": (AP, ""),
    "e03_float_ids_in_results": (AP, ""),
    "e03b_float_category_in_gt": (AP, ""),
    "e04_zero_width_detection": (pytest.approx(38.081, abs=1e-3), ""),
    "e05_results_segmentation_empty": (AP, "boxes alone are evaluated"),
    "e05b_results_polygons": (AP, "boxes alone are evaluated"),
    "e07_annotation_id_zero": (AP, ""),
    "e08_duplicate_category_name": (AP, "name 'mug' occurs twice"),
    "e09_other_class_in_results": (AP, "category_id 62"),
    "e16_object_of_unlisted_class": ("category_id 7 is not among the categories 1, 3", ""),
    "e22_ignore_flag": (pytest.approx(47.825, abs=1e-3), "'ignore' of 3 objects is honoured"),
    "e29_ignore_text": (AP, ""),
}
# Of data for training: what stops prepare, else nothing; and what the doctor shows.
PREPARED: dict[str, tuple[str, str]] = {
    "c01b_backslash_subfolder": ("", ""),
    "c03_unicode_nfd_on_disk": ("", ""),
    "c04e_tiff_float": ("mode F", "mode F"),
    "c06_iscrowd_null": ("", ""),
    "c07_category_float": ("", ""),
    "c07b_image_id_text": ("write it without quotes", "write it without quotes"),
    "c08_size_minus_one": ("", ""),
    "c08c_size_float": ("", ""),
    "c09b_list_of_empty": ("", "8 of 8 training objects have no mask"),
    "c10b_roboflow_same_name": ("", "the category of id 0 is called 'mug (id 0)'"),
    "c10c_numeric_names": ("", ""),
    "c13_val_empty": ("no image of the val split has an object", "no image of the val split has an object"),
    "c16_val_lacks_a_category": ("different categories", "different categories"),
    "c16b_val_other_order": ("different categories", "different categories"),
    "v02b_difficult_unspecified": ("", "difficult 'Unspecified', which is read as 0"),
    "v06_bom_in_list": ("", ""),
    "v06e_vott_suffix_and_flags": ("", ""),
    "v12_tif_images": ("", ""),
}
VOC = (
    "v02b_difficult_unspecified", "v03_dots_in_names", "v04_spaces_in_names", "v05_gb2312_xml", "v06_bom_in_list",
    "v06e_vott_suffix_and_flags", "v07_zero_size", "v13_class_with_slash",
)  # fmt: skip
TORCH_FREE = "replication.doctor.variants._can_build"


@pytest.fixture
def case(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A copy of a case's folder, made the working folder and the root of the data."""
    name: str = request.param
    if not (CASES / name).is_dir():
        pytest.skip("the folder of shared cases is not here")
    folder = Path(shutil.copytree(CASES / name, tmp_path / name))
    for file in folder.rglob("*"):
        if file.suffix in (".json", ".txt", ".yaml"):
            file.write_bytes(file.read_bytes().replace(b"@HERE@", str(folder).encode()))
    monkeypatch.chdir(folder)
    monkeypatch.setenv("DETECTRON2_DATASETS", str(folder))
    monkeypatch.setattr(TORCH_FREE, lambda: False)
    return name


@pytest.mark.parametrize("case", EVALUATED, indirect=True)
def test_evaluation(case: str, capsys: pytest.CaptureFixture[str]) -> None:
    right, warning = EVALUATED[case]
    code = cli.main(["evaluate", "dt.json", "gt.json", "--format", "json", "--verify"])
    out, err = capsys.readouterr()
    if isinstance(right, str):
        assert code == 2
        assert right in err
        return
    assert code == 0
    document = json.loads(out)
    assert document["metrics"]["AP"] == right
    assert warning in err
    verified = document["verified"]["boxes"]
    if "reasons" not in verified:
        assert verified["difference"] < 1e-12


@pytest.mark.parametrize("case", VOC, indirect=True)
def test_voc_results(case: str, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["det", "ImageSets/Main/val.txt", "--criterion", "voc07", "--format", "json"]
    assert cli.main(["evaluate", *arguments]) == 0
    out, err = capsys.readouterr()
    assert json.loads(out)["metrics"]["AP50"] == pytest.approx(100)
    assert ("warning" in err) == (case == "v02b_difficult_unspecified")


@pytest.mark.parametrize("case", PREPARED, indirect=True)
def test_prepare_and_doctor(case: str, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture) -> None:
    stops, shown = PREPARED[case]
    caplog.set_level(logging.WARNING)
    assert cli.main(["prepare", "--protocol", "my.yaml", "--results", "OUT"]) == (2 if stops else 0)
    assert stops in capsys.readouterr().err
    cli.main(["doctor", "--protocol", "my.yaml", "--results", "OUT"])
    out = capsys.readouterr().out
    assert shown in out
    data = [line for line in out.splitlines() if line.split()[1:2] in (["data"], ["variants"])]
    assert bool(data) == bool(shown)
