"""A protocol's settings for an architecture hold for those that extend it."""

from __future__ import annotations

import pytest

from replication.catalog import Protocol, load_catalog, load_protocol
from replication.catalog.schedule import training_iterations
from replication.errors import ConfigError
from replication.results.fingerprint import training_fingerprint

SMOKE = load_protocol("smoke")


def changed(**update: object) -> Protocol:
    return Protocol.model_validate({**SMOKE.model_dump(), **update})


def test_groups_from_the_general_to_the_own() -> None:
    assert SMOKE.groups("GeneralizedRCNN") == ["all", "GeneralizedRCNN"]
    assert SMOKE.groups("ReplicationRetinaNet") == ["all", "ReplicationRetinaNet"]
    assert SMOKE.groups("FSAF") == ["all", "ReplicationRetinaNet", "FSAF"]
    assert SMOKE.groups("RetinaNet") == ["all", "RetinaNet"]


def test_iterations_are_its_own_or_those_of_what_it_extends() -> None:
    assert changed(iterations={"ReplicationRetinaNet": 7}).iterations_of("FSAF") == 7
    assert changed(iterations={"ReplicationRetinaNet": 7, "FSAF": 9}).iterations_of("FSAF") == 9
    assert changed(iterations={"ReplicationRetinaNet": 7, "FSAF": 9}).iterations_of("ReplicationRetinaNet") == 7
    assert changed(iterations=None).iterations_of("FSAF") is None
    for wrong in ("ReplicationRetinaNet", "GeneralizedRCNN"):
        with pytest.raises(ConfigError, match=f"protocol smoke: iterations: no entry for {wrong}; known: FSAF"):
            changed(iterations={"FSAF": 9}).iterations_of(wrong)


def test_a_batch_of_its_own_changes_its_own_fingerprint_alone() -> None:
    protocol = changed(batches={"ReplicationRetinaNet": 4})
    assert [protocol.batch_of(name) for name in ("FSAF", "ReplicationRetinaNet", "YOLOv3")] == [4, 4, SMOKE.batch]
    variants = load_catalog().variants
    for name, same in (("retinanet_R50", False), ("fsaf_R50", False), ("faster_rcnn_R50", True)):
        marks = [training_fingerprint(variants[name], each) for each in (SMOKE, protocol)]
        assert (marks[0] == marks[1]) is same, name
    with pytest.raises(ValueError, match="'FASF' is not a meta-architecture here"):
        changed(batches={"FASF": 4})


def test_lengths_of_trainings() -> None:
    """R-CNN's scale with the 1x schedule, YOLOv3's are what the protocol says; without either the linear rule holds."""
    variants = load_catalog().variants
    long, yolo = variants["faster_rcnn_R101_2x"], variants["yolov3_D53_voc_iou"]
    protocol = changed(iterations={"GeneralizedRCNN": 900, "YOLOv3": 70})
    assert training_iterations(long, protocol) == round(long.iterations / 100)
    assert [training_iterations(one, protocol) for one in (yolo, variants["yolov3_D53_iou"])] == [70, 70]
    free = changed(iterations=None, batch=8, batches={"YOLOv3": 32})
    assert (training_iterations(long, free), training_iterations(yolo, free)) == (2 * long.iterations, 100_000)


def test_unknown_groups_are_refused() -> None:
    with pytest.raises(ValueError, match=r"'FASF' is not a meta-architecture here; known: Gen.*, FSAF, YOLOv3, all"):
        changed(overrides={"FASF": {}})


def test_what_a_training_depends_on() -> None:
    """FSAF's fingerprint moves with RetinaNet's settings and its own, RetinaNet's not with FSAF's."""
    variants = load_catalog().variants
    fsaf, retinanet = variants["fsaf_R50_joint"], variants["retinanet_R50"]
    own = {**SMOKE.overrides, "FSAF": {**SMOKE.overrides["FSAF"], "MODEL.FSAF.BOX_SCALE": 2.0}}
    towers = {**SMOKE.overrides, "ReplicationRetinaNet": {"MODEL.RETINANET.NUM_CONVS": 3}}
    marks = {
        (name, variant.name): training_fingerprint(variant, protocol)
        for name, protocol in (("as is", SMOKE), ("own", changed(overrides=own)), ("towers", changed(overrides=towers)))
        for variant in (fsaf, retinanet)
    }
    assert marks["own", fsaf.name] != marks["as is", fsaf.name] != marks["towers", fsaf.name]
    assert marks["own", retinanet.name] == marks["as is", retinanet.name] != marks["towers", retinanet.name]
