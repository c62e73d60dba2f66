"""Where the stages change, seen from inside the models, and that they add up."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from detectron2.config import CfgNode
from detectron2.modeling import build_model
from torch import nn

from replication.errors import ConfigError
from replication.timing.latency import STAGES
from replication.timing.stages import COVERS, CpuClock, Stopwatch, dissect, watched
from replication.timing.subjects import Subject


def test_stages_add_up_to_the_whole(clock: Any):
    watch = Stopwatch(clock)
    watch.start()  # 1
    clock.ticks += 4
    watch.switch("postprocessing")  # 6
    watch.switch("model")  # 7
    clock.ticks += 2
    watch.switch("postprocessing")  # 10
    clock.ticks += 9
    spent = watch.stop()  # 20
    assert spent == {"model": 5000.0 + 3000.0, "postprocessing": 1000.0 + 10000.0}
    assert sum(spent.values()) == 1000.0 * (20 - 1)
    assert clock.synchronised == 2


def test_a_pass_that_never_switches_is_all_model(clock: Any):
    watch = Stopwatch(clock)
    watch.start()
    assert watch.stop() == {"model": 1000.0, "postprocessing": 0.0}


def test_the_real_clock_counts_milliseconds():
    clock = CpuClock()
    assert clock.ms(2.0, 2.5) == 500.0
    assert clock.ms(clock.now(), clock.now()) >= 0


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> Callable[[Subject], list[tuple[str, str]]]:
    """Runs a subject and tells in which stage each interesting function was called."""
    from detectron2.modeling import meta_arch, proposal_generator
    from detectron2.modeling.meta_arch import dense_detector, rcnn, retinanet
    from detectron2.modeling.roi_heads import fast_rcnn

    from replication.detectors.fsaf import inference
    from replication.detectors.yolov3 import inference as yolo_inference
    from replication.detectors.yolov3 import meta_arch as yolo

    places = {
        "dense NMS": (retinanet, "batched_nms"),
        "joint NMS": (inference, "batched_nms"),
        "dense rescaling": (dense_detector, "detector_postprocess"),
        "proposal NMS": (proposal_generator.proposal_utils, "batched_nms"),
        "box NMS": (fast_rcnn, "batched_nms"),
        "rescaling": (rcnn, "detector_postprocess"),
        "letterboxing": (yolo, "letterbox"),
        "decoding and NMS": (yolo, "detect"),
        "YOLOv3's NMS": (yolo_inference, "batched_nms"),
        "YOLOv3's rescaling": (yolo, "detector_postprocess"),
    }
    assert meta_arch is not None

    def run(subject: Subject) -> list[tuple[str, str]]:
        calls: list[tuple[str, str]] = []
        watch = Stopwatch(CpuClock())

        def spy(name: str, function: Any) -> Any:
            def called(*arguments: Any, **named: Any) -> Any:
                calls.append((name, watch._marks[-1][0]))
                return function(*arguments, **named)

            return called

        for name, (module, attribute) in places.items():
            monkeypatch.setattr(module, attribute, spy(name, getattr(module, attribute)))
        for name in ("backbone", "head", "roi_heads.box_head", "roi_heads.mask_head"):
            part = subject.model
            for attribute in name.split("."):
                part = getattr(part, attribute, None)
            if isinstance(part, nn.Module):
                part.register_forward_pre_hook(lambda *_, name=name: calls.append((name, watch._marks[-1][0])))
        with watched(subject.anatomy, watch):
            watch.start()
            subject.run(subject.inputs[0])
            watch.stop()
        return calls

    return run


def test_dense_detector(subject: Callable[..., Subject], seen: Callable[[Subject], list[tuple[str, str]]]):
    assert seen(subject("retinanet_R50")) == [
        ("backbone", "model"),
        ("head", "model"),
        ("dense NMS", "postprocessing"),
        ("dense rescaling", "postprocessing"),
    ]


@pytest.mark.parametrize("name", ["fsaf_R50", "fsaf_R50_joint"])
def test_fsaf(subject: Callable[..., Subject], seen: Callable[[Subject], list[tuple[str, str]]], name: str):
    assert seen(subject(name)) == [
        ("backbone", "model"),
        ("head", "model"),
        ("joint NMS", "postprocessing"),
        ("dense rescaling", "postprocessing"),
    ]


def test_yolov3(subject: Callable[..., Subject], seen: Callable[[Subject], list[tuple[str, str]]]):
    assert seen(subject("yolov3_D53_giou")) == [
        ("letterboxing", "model"),
        ("backbone", "model"),
        ("head", "model"),
        ("decoding and NMS", "postprocessing"),
        ("YOLOv3's NMS", "postprocessing"),
        ("YOLOv3's rescaling", "postprocessing"),
    ]


def test_rcnn(subject: Callable[..., Subject], seen: Callable[[Subject], list[tuple[str, str]]]):
    assert seen(subject("faster_rcnn_R50_giou")) == [
        ("backbone", "model"),
        ("proposal NMS", "model"),
        ("roi_heads.box_head", "model"),
        ("box NMS", "postprocessing"),
        ("rescaling", "postprocessing"),
    ]


def test_rcnn_with_masks(subject: Callable[..., Subject], seen: Callable[[Subject], list[tuple[str, str]]]):
    assert seen(subject("mask_rcnn_R50_giou")) == [
        ("backbone", "model"),
        ("proposal NMS", "model"),
        ("roi_heads.box_head", "model"),
        ("box NMS", "postprocessing"),
        ("roi_heads.mask_head", "model"),
        ("rescaling", "postprocessing"),
    ]


def test_watching_leaves_no_hook_and_changes_nothing(subject: Callable[..., Subject], clock: Any):
    one = subject("mask_rcnn_R50_giou")
    before = one.run(one.inputs[0])[0]["instances"]
    with watched(one.anatomy, Stopwatch(clock)):
        inside = one.run(one.inputs[0])[0]["instances"]
    assert torch.equal(before.pred_boxes.tensor, inside.pred_boxes.tensor)
    assert torch.equal(before.pred_masks, inside.pred_masks)
    # A pass, of which the last start is none: hooks that stayed would append to it.
    assert clock.ticks == 3
    one.run(one.inputs[0])
    assert clock.ticks == 3


def test_class_layers_are_found_by_their_prior(config: Callable[[str], CfgNode]):
    cfg = config("retinanet_R50")
    model = build_model(cfg)
    assert list(dissect(model, cfg.MODEL.RETINANET.PRIOR_PROB).class_layers) == ["head.cls_score"]
    with pytest.raises(ConfigError, match=r"prior 0\.2: which layers give class scores is not known"):
        dissect(model, 0.2)


def test_an_unknown_architecture_is_named():
    with pytest.raises(ConfigError, match="Linear: its stages are not known"):
        dissect(nn.Linear(1, 1), 0.01)


def test_proposals_of_a_file_are_not_timed(config: Callable[[str], CfgNode]):
    cfg = config("faster_rcnn_R50")
    cfg.defrost()
    cfg.MODEL.PROPOSAL_GENERATOR.NAME = "PrecomputedProposals"
    with pytest.raises(ConfigError, match="proposals come from a file"):
        dissect(build_model(cfg), 0.01)


def test_every_stage_is_described():
    assert all(set(covers) == set(STAGES) for covers in COVERS.values())
