"""Multi-scale and flipped testing of dense detectors: RetinaNet and what extends it."""

from __future__ import annotations

from typing import Any

import torch
from detectron2.layers import batched_nms
from detectron2.modeling import DatasetMapperTTA
from detectron2.modeling.meta_arch.dense_detector import DenseDetector
from detectron2.structures import Boxes, Instances

from replication.errors import ConfigError


class DenseDetectorWithTTA:
    """A detector that looks at each image at all of TEST.AUG.MIN_SIZES and, with FLIP, mirrored too.

    The detections of all views, each after its own NMS, are mapped back and go through one more NMS of the same
    threshold, of which the best TEST.DETECTIONS_PER_IMAGE are kept. Detectron2 does the same for its R-CNNs.
    """

    def __init__(self, cfg: Any, model: Any) -> None:
        """``model`` is a DenseDetector in eval mode; ConfigError for any other."""
        if not isinstance(model, DenseDetector):
            raise ConfigError(
                f"TEST.AUG.ENABLED: test-time augmentation is for RetinaNet and FSAF, not {type(model).__name__}"
            )
        self.model: Any = model
        self.views = DatasetMapperTTA(cfg)

    def __call__(self, batched_inputs: list[dict[str, Any]]) -> list[dict[str, Instances]]:
        """Same as the model's, but each ``image`` (C, H, W) must be of the original size, ``height`` x ``width``."""
        return [{"instances": self._merged(each)} for each in batched_inputs]

    def _merged(self, image: dict[str, Any]) -> Instances:
        found = Instances.cat([self._detect(view, image["height"], image["width"]) for view in self.views(image)])
        boxes, scores, classes = found.pred_boxes.tensor, found.scores, found.pred_classes
        keep = batched_nms(boxes, scores, classes, self.model.test_nms_thresh)
        best: Instances = found[keep[: self.model.max_detections_per_image]]
        return best

    def _detect(self, view: dict[str, Any], height: int, width: int) -> Instances:
        """Detections of one view, in pixels of the original image."""
        seen = {"image": view["image"], "height": view["image"].shape[1], "width": view["image"].shape[2]}
        instances = self.model([seen])[0]["instances"]
        boxes = view["transforms"].inverse().apply_box(instances.pred_boxes.tensor.cpu().numpy())
        mapped = Boxes(torch.as_tensor(boxes, dtype=torch.float32, device=instances.scores.device))
        mapped.clip((height, width))
        return Instances((height, width), **{**instances.get_fields(), "pred_boxes": mapped})
