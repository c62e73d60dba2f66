"""The folder in which YOLOv3's loss weight is chosen: it loads, and trains apart from what it tests on."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import tune_yolov3

from replication.catalog import CONFIGS, load_catalog, load_protocol
from replication.catalog.variants import resolve


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DETECTRON2_DATASETS", str(tmp_path_factory.mktemp("data")))
        mini = load_protocol("mini")
        small = mini.model_copy(update={"data": mini.data.model_copy(update={"train": 10, "val": 2})})
        made = tmp_path_factory.mktemp("tuning")
        tune_yolov3.write(small, made, [0.5, 2.0])
        return made


def test_variants_differ_in_loss_and_weight_alone(folder: Path) -> None:
    catalog = load_catalog(CONFIGS, folder)
    found = {}
    for row in catalog.table(tune_yolov3.TABLE).rows:
        settings = resolve(catalog.variants[row.variant].path)
        node = settings["MODEL"]["YOLOV3"]
        found[row.id] = (node.pop("BBOX_REG_LOSS_TYPE"), node.pop("BBOX_REG_LOSS_WEIGHT"))
        found.setdefault("rest", settings)
        assert settings == found["rest"]
    del found["rest"]
    assert found == {
        "mse": ("mse", 2.0),
        "yolov3_D53_iou_w0_5": ("iou", 0.5), "yolov3_D53_iou_w2": ("iou", 2.0),
        "yolov3_D53_giou_w0_5": ("giou", 0.5), "yolov3_D53_giou_w2": ("giou", 2.0),
    }  # fmt: skip


def test_images_to_choose_on_are_training_images_that_do_not_train(folder: Path) -> None:
    parts = {name: json.loads((folder / "data" / f"{name}.json").read_text()) for name in ("train", "val")}
    names = {name: [image["file_name"] for image in part["images"]] for name, part in parts.items()}
    assert (len(names["train"]), len(names["val"])) == (8, 2)
    assert not set(names["train"]) & set(names["val"])
    protocol = load_protocol(str(folder / "protocols" / "mini_tuning.yaml"))
    for name, part in parts.items():
        ids = {image["id"] for image in part["images"]}
        assert part["annotations"]
        assert {one["image_id"] for one in part["annotations"]} <= ids
        (source,) = getattr(protocol.data, name)
        assert all((Path(source.images) / file).is_file() for file in names[name])
        assert Path(source.images).name == "train"
    assert "never" not in protocol.note
    assert protocol.tables == (tune_yolov3.TABLE,)
