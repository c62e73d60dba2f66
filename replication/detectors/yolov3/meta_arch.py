"""The detector."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from detectron2.config import configurable
from detectron2.modeling import META_ARCH_REGISTRY, build_backbone
from detectron2.modeling.postprocessing import detector_postprocess
from detectron2.structures import Instances
from detectron2.utils.events import get_event_storage
from torch import Tensor, nn

from replication.detectors.constants import row_of
from replication.detectors.yolov3.config import check_features, check_yolov3_config
from replication.detectors.yolov3.grid import Grid, flatten
from replication.detectors.yolov3.head import BOX_CHANNELS, YOLOv3Head
from replication.detectors.yolov3.inference import Limits, detect, remove_letterbox
from replication.detectors.yolov3.letterbox import letterbox, margins, square_side
from replication.detectors.yolov3.losses import BoxLoss, Losses, yolo_losses
from replication.detectors.yolov3.targets import Objects, assign

LOGGED_IMAGES = 4  # images of one forward pass in the authors' runs, to which the logged class loss is scaled


@META_ARCH_REGISTRY.register()
class YOLOv3(nn.Module):
    """YOLOv3 (arXiv 1804.02767) with the box losses of GIoU's tables 1 to 3.

    Input: Detectron2's list of dicts with ``image`` (C, H, W) and, in training, ``instances``. Every image is placed
    in the middle of one grey square, whose side is the batch's longest, rounded up to the coarsest stride.
    """

    anchors: Tensor
    pixel_mean: Tensor
    pixel_std: Tensor

    @configurable  # type: ignore[untyped-decorator]
    def __init__(
        self,
        *,
        backbone: nn.Module,
        head: YOLOv3Head,
        in_features: Sequence[str],
        strides: Sequence[int],
        anchors: Sequence[Sequence[float]],
        box_loss: BoxLoss,
        ignore_thresh: float,
        limits: Limits,
        pixel_mean: Sequence[float],
        pixel_std: Sequence[float],
    ) -> None:
        """``in_features`` and ``strides`` are coarse to fine; ``anchors`` (width, height) in pixels, small to large."""
        super().__init__()
        self.backbone, self.head = backbone, head
        self.in_features, self.strides = tuple(in_features), tuple(strides)
        self.box_loss, self.ignore_thresh, self.limits = box_loss, ignore_thresh, limits
        self.register_buffer("anchors", torch.tensor(anchors, dtype=torch.float32), persistent=False)
        self.register_buffer("pixel_mean", torch.tensor(pixel_mean).view(-1, 1, 1), persistent=False)
        self.register_buffer("pixel_std", torch.tensor(pixel_std).view(-1, 1, 1), persistent=False)

    @classmethod
    def from_config(cls, cfg: Any) -> dict[str, Any]:
        """Arguments of ``__init__`` from MODEL.YOLOV3. Raises ConfigError for values that do not fit each other."""
        check_yolov3_config(cfg)
        node, backbone = cfg.MODEL.YOLOV3, build_backbone(cfg)
        shapes = backbone.output_shape()
        check_features(node, {name: shape.stride for name, shape in shapes.items()})
        head = YOLOv3Head(
            [shapes[name].channels for name in node.IN_FEATURES],
            node.WIDTHS,
            node.NUM_CLASSES,
            node.BN_MOMENTUM,
            node.OUTPUT_SCALE,
            node.OBJECTNESS_BIAS,
            node.CLASS_BIAS,
        )
        return {
            "backbone": backbone,
            "head": head,
            "in_features": node.IN_FEATURES,
            "strides": node.STRIDES,
            "anchors": node.ANCHORS,
            "box_loss": BoxLoss.from_config(cfg),
            "ignore_thresh": node.IGNORE_THRESH,
            "limits": Limits(node.SCORE_THRESH_TEST, node.NMS_THRESH_TEST),
            "pixel_mean": cfg.MODEL.PIXEL_MEAN,
            "pixel_std": cfg.MODEL.PIXEL_STD,
        }

    @property
    def device(self) -> torch.device:
        """Where the model lies."""
        return self.anchors.device

    def forward(self, batched_inputs: list[dict[str, Any]]) -> Any:
        """In training the losses ``loss_obj``, ``loss_cls``, ``loss_box``; else one dict with ``instances`` an image.

        Detections are in pixels of the original image (``height`` x ``width`` of the input's dict).
        """
        images = [each["image"].to(self.device) for each in batched_inputs]
        sizes = [tuple(each.shape[-2:]) for each in images]
        side = square_side(sizes, self.strides[0])
        raw, grid = self.predict(letterbox(images, side, self.pixel_mean, self.pixel_std))
        if self.training:
            instances = [each["instances"].to(self.device) for each in batched_inputs]
            with torch.autocast(self.device.type, enabled=False):
                return self._losses(raw, grid, instances, sizes, side)
        return [
            {"instances": self._detections(one, grid, size, side, each)}
            for one, size, each in zip(raw, sizes, batched_inputs, strict=True)
        ]

    def predict(self, pixels: Tensor) -> tuple[Tensor, Grid]:
        """Raw outputs (N, R, 5 + K) in float32 of a normalised batch (N, C, H, W), and their grid."""
        features = self.backbone(pixels)
        outputs = self.head([features[name] for name in self.in_features])
        return flatten(outputs, BOX_CHANNELS + self.head.num_classes).float(), self.grid(outputs)

    def grid(self, outputs: Sequence[Tensor]) -> Grid:
        """The grid of the head's maps."""
        return Grid.of(outputs, self.strides, self.anchors)

    def _losses(
        self, raw: Tensor, grid: Grid, instances: list[Instances], sizes: list[tuple[int, int]], side: int
    ) -> dict[str, Tensor]:
        boxes = [
            one.gt_boxes.tensor + row_of(margins(size, side) * 2, one.gt_boxes.tensor)
            for one, size in zip(instances, sizes, strict=True)
        ]
        objects = Objects.of(boxes, [one.gt_classes for one in instances], (side, side))
        targets = assign(objects, grid.decode(raw.detach()), grid, self.head.num_classes, self.ignore_thresh)
        losses = yolo_losses(raw, objects, targets, grid, self.box_loss, (side, side))
        self._log(losses, len(raw))
        return {"loss_obj": losses.obj, "loss_cls": losses.cls, "loss_box": losses.box}

    def _log(self, losses: Losses, images: int) -> None:
        """``iou`` and ``class_loss`` of GIoU's figure 3: means over the levels that have an object."""
        lines = torch.stack([losses.overlap, losses.deltas, losses.count]).T.tolist()  # one wait for the GPU
        entries = [(overlap, deltas) for overlap, deltas, count in lines if count]
        if entries:
            storage, number = get_event_storage(), len(entries)
            storage.put_scalar("iou", sum(overlap for overlap, _ in entries) / number)
            storage.put_scalar("class_loss", sum(deltas for _, deltas in entries) / number * LOGGED_IMAGES / images)

    def _detections(
        self, raw: Tensor, grid: Grid, size: tuple[int, int], side: int, given: dict[str, Any]
    ) -> Instances:
        found = remove_letterbox(detect(raw, grid, self.limits, size), side)
        instances: Instances = detector_postprocess(found, given.get("height", size[0]), given.get("width", size[1]))
        return instances
