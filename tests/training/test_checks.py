"""Settings of YOLOv3 and its augmentation that cannot be meant: refused by trainings, by doctor and by detections."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from replication.catalog import Protocol, Variant, load_catalog
from replication.doctor.variants import check_variants
from replication.errors import ConfigError, WeightsError
from replication.inference.weights import detect_with_weights
from replication.results.fingerprint import DETECTION, TRAINING, members
from replication.results.run import Run
from replication.training.checks import check_settings
from replication.training.config import run_config
from replication.training.run import train

CATALOG = load_catalog()
YOLO = CATALOG.variants["yolov3_D53_giou"]
OTHER = CATALOG.variants["retinanet_R50"]
ANCHORS = [[10, 13], [16, 30], [33, 23], [30, 61], [62, 45], [59, 119], [116, 90], [156, 198], [373, 326]]
WRONG = [
    ({"MODEL.YOLOV3.ANCHORS": ANCHORS[::-1]}, r"ANCHORS: .*are 54308\.7, 3880\.33, .*; list small ones first"),
    ({"MODEL.YOLOV3.ANCHORS": [[20, 20]] * 9}, r"ANCHORS: .*are 400, 400, 400; list small ones first"),
    ({"MODEL.YOLOV3.ANCHORS": [10, 13, 16, 30, 33, 23, 30, 61, 62]}, "ANCHORS: entry 0: 10: expected a positive width"),
    ({"MODEL.YOLOV3.ANCHORS": [*ANCHORS[:8], ["373", "326"]]}, "ANCHORS: entry 8: .*'373'.*: expected a positive"),
    ({"MODEL.YOLOV3.ANCHORS": [*ANCHORS[:8], [373, float("nan")]]}, "ANCHORS: entry 8: .*nan.*: expected a positive"),
    ({"MODEL.YOLOV3.ANCHORS": [[w / 608, h / 608] for w, h in ANCHORS]}, "ANCHORS: entry 0: .*expected pixels"),
    ({"MODEL.YOLOV3.ANCHORS": None}, "MODEL.YOLOV3.ANCHORS: has no value"),
    ({"MODEL.YOLOV3.STRIDES": []}, r"STRIDES: \[\]: expected whole numbers"),
    ({"MODEL.YOLOV3.STRIDES": ["32", "16", "8"]}, "STRIDES: .*: expected whole numbers"),
    ({"MODEL.YOLOV3.STRIDES": [32, 16, 4]}, r"STRIDES: \[32, 16, 4\]: .*halve from one to the next"),
    ({"MODEL.YOLOV3.WIDTHS": [96.0, 64, 48]}, r"WIDTHS: \[96\.0, 64, 48\]: expected whole numbers of channels"),
    ({"MODEL.YOLOV3.IGNORE_THRESH": None}, "MODEL.YOLOV3.IGNORE_THRESH: has no value"),
    ({"MODEL.YOLOV3.BBOX_REG_LOSS_WEIGHT": float("inf")}, "BBOX_REG_LOSS_WEIGHT: inf: expected a finite number"),
    ({"MODEL.YOLOV3.OBJECTNESS_BIAS": float("nan")}, "OBJECTNESS_BIAS: nan: expected a finite number"),
    ({"MODEL.BACKBONE.FREEZE_AT": -1}, "MODEL.BACKBONE.FREEZE_AT: -1: expected a number of stages; 0 freezes none"),
    ({"INPUT.MIN_SIZE_TRAIN": []}, r"INPUT.MIN_SIZE_TRAIN: \[\]: expected whole numbers of pixels"),
    ({"INPUT.MIN_SIZE_TRAIN": ["256"]}, r"INPUT.MIN_SIZE_TRAIN: \['256'\]: expected whole numbers of pixels"),
    ({"INPUT.MIN_SIZE_TEST": -32}, r"INPUT.MIN_SIZE_TEST: \[-32\]: expected whole numbers of pixels"),
    ({"INPUT.DARKNET.EVERY": 0}, "DARKNET.EVERY: 0: expected a number of iterations, 1 or more"),
    ({"INPUT.DARKNET.EVERY": None}, "INPUT.DARKNET.EVERY: has no value"),
    ({"INPUT.DARKNET.LAST": -1}, "DARKNET.LAST: -1: expected a number of iterations, 0 or more"),
    ({"INPUT.DARKNET.JITTER": 0.5}, "DARKNET.JITTER: 0.5: expected a number from 0 to less than 0.5"),
    ({"INPUT.DARKNET.HUE": 1.0}, "DARKNET.HUE: 1.0: expected a part of the circle"),
    ({"INPUT.DARKNET.SATURATION": 0.5}, "DARKNET.SATURATION: 0.5: expected a finite number from 1"),
    ({"INPUT.DARKNET.EXPOSURE": float("inf")}, "DARKNET.EXPOSURE: inf: expected a finite number from 1"),
    ({"INPUT.DARKNET.EXPOSURE": float("nan")}, "DARKNET.EXPOSURE: nan: expected a finite number from 1"),
    ({"INPUT.DARKNET.MAX_OBJECTS": 0}, "DARKNET.MAX_OBJECTS: 0: expected 1 or more"),
    ({"INPUT.DARKNET.SIDES": [320.0, 608.0]}, r"DARKNET.SIDES: \[320\.0, 608\.0\]: expected whole numbers of pixels"),
    ({"INPUT.DARKNET.SIDES": ["320"]}, r"DARKNET.SIDES: \['320'\]: expected whole numbers of pixels"),
    ({"INPUT.RANDOM_FLIP": "vertical"}, "INPUT.RANDOM_FLIP: vertical: .*choose horizontal or none"),
    ({"INPUT.CROP.ENABLED": True}, "INPUT.CROP.ENABLED: true: INPUT.DARKNET crops by itself"),
]


def changed(protocol: Protocol, change: dict[str, Any]) -> Protocol:
    """The protocol with other settings of YOLOv3, the augmentation on."""
    own = {"INPUT.DARKNET.ENABLED": True} | change
    return protocol.model_copy(
        update={"overrides": protocol.overrides | {"YOLOv3": protocol.overrides.get("YOLOv3", {}) | own}}
    )


def settings(variant: Variant, protocol: Protocol) -> Any:
    return run_config(variant, protocol, 0, 10, Path("unused"))


@pytest.mark.parametrize(("change", "message"), WRONG)
def test_what_cannot_be_meant_is_refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        check_settings(settings(YOLO, changed(CATALOG.protocols["smoke"], change)))
    assert "\n" not in str(caught.value)


def test_what_is_just_allowed_passes() -> None:
    allowed = {"INPUT.DARKNET.JITTER": 0.4995, "INPUT.DARKNET.HUE": 0.6, "INPUT.DARKNET.LAST": 0}
    check_settings(settings(YOLO, changed(CATALOG.protocols["smoke"], allowed)))


def test_settings_that_are_not_used_are_not_asked() -> None:
    smoke = CATALOG.protocols["smoke"]
    check_settings(settings(YOLO, changed(smoke, {"INPUT.DARKNET.ENABLED": False, "INPUT.DARKNET.EVERY": 0})))
    everywhere = smoke.overrides | {"all": smoke.overrides["all"] | {"MODEL.YOLOV3.ANCHORS": ANCHORS[::-1]}}
    check_settings(settings(OTHER, smoke.model_copy(update={"overrides": everywhere})))


def test_the_augmentation_is_asked_for_other_detectors_too() -> None:
    smoke = CATALOG.protocols["smoke"]
    on = {"INPUT.DARKNET.ENABLED": True, "INPUT.DARKNET.EVERY": -1}
    everywhere = smoke.overrides | {"all": smoke.overrides["all"] | on}
    with pytest.raises(ConfigError, match=r"DARKNET\.EVERY: -1: expected"):
        check_settings(settings(OTHER, smoke.model_copy(update={"overrides": everywhere})))


TRAINERS = [one for one in CATALOG.protocols.values() if one.iterations is None or "YOLOv3" in one.iterations]


@pytest.mark.parametrize("protocol", TRAINERS, ids=lambda protocol: protocol.name)
def test_the_settings_of_every_protocol_pass(protocol: Protocol) -> None:
    variants = [one for one in CATALOG.variants.values() if one.meta_architecture == "YOLOv3" and not one.command]
    assert variants
    for variant in variants:
        check_settings(settings(variant, protocol))


def test_a_training_stops_before_it_writes_anything(job: Run) -> None:
    run = Run(YOLO, changed(job.protocol, {"MODEL.YOLOV3.ANCHORS": ANCHORS[::-1]}), 0, job.results)
    with pytest.raises(ConfigError, match="list small ones first"):
        train(run)
    assert not run.folder.exists()


def test_doctor_names_the_setting() -> None:
    protocol = changed(CATALOG.protocols["smoke"], {"INPUT.DARKNET.EVERY": 0})
    protocol = protocol.model_copy(update={"tables": ["giou-T2"], "run_backbones": ["D-53"]})
    findings = check_variants(CATALOG, protocol, {})
    assert {finding.level for finding in findings} == {"error"}
    assert any("INPUT.DARKNET.EVERY: 0" in finding.message for finding in findings)


@pytest.mark.parametrize("length", [0, 15, 16, 20])
def test_a_weights_file_without_weights_is_named(tmp_path: Path, length: int) -> None:
    path = tmp_path / "yolov3.weights"
    path.write_bytes(bytes(20)[:length])
    images = tmp_path / "images.json"
    entry = {"id": 1, "file_name": "a.png", "width": 9, "height": 9}
    images.write_text(json.dumps({"images": [entry], "categories": [{"id": 1, "name": "a"}]}))
    Image.new("RGB", (9, 9)).save(tmp_path / "a.png")
    with pytest.raises(WeightsError, match=rf"yolov3\.weights: {length} bytes are a header at most, without weights"):
        detect_with_weights(YOLO, CATALOG.protocols["paper"], path, images, tmp_path)


def test_a_refusal_makes_no_trained_run_stale() -> None:
    assert "training.checks" not in members(TRAINING) + members(DETECTION)
