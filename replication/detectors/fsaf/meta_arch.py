"""The detector: RetinaNet, FSAF's anchor-free branch, or both on shared towers."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from detectron2.config import configurable
from detectron2.modeling import META_ARCH_REGISTRY
from detectron2.modeling.meta_arch.dense_detector import permute_to_N_HWA_K
from detectron2.modeling.meta_arch.retinanet import RetinaNetHead
from detectron2.structures import ImageList, Instances
from detectron2.utils.events import get_event_storage
from torch import Tensor, nn

from replication.detectors.fsaf.cells import (
    CellRule,
    Level,
    Objects,
    TargetAssigner,
    decode,
    levels_of,
    locations,
    pad_objects,
)
from replication.detectors.fsaf.config import check_fsaf_config
from replication.detectors.fsaf.inference import Limits, detect_together
from replication.detectors.fsaf.losses import HeuristicSelection, OnlineSelection, anchor_free_loss
from replication.detectors.retinanet import ReplicationRetinaNet


class FSAFHead(nn.Module):
    """Two towers, run once, under the output layers of the branches that are asked for (FSAF, section 3.1).

    Built around a RetinaNetHead, whose towers and, with ``anchor_based``, output layers it takes over under their
    own names, so that a RetinaNet checkpoint fits and, from one seed, all shared layers start alike.
    """

    def __init__(
        self, retinanet: RetinaNetHead, *, branches: Sequence[str], num_classes: int, prior_prob: float, box_bias: float
    ) -> None:
        """The anchor-free layers get weights of sigma 0.01, the class bias of ``prior_prob``, and ``box_bias``."""
        super().__init__()
        self.cls_subnet, self.bbox_subnet = retinanet.cls_subnet, retinanet.bbox_subnet
        self.branches = tuple(branches)
        if "anchor_based" in branches:
            self.cls_score, self.bbox_pred = retinanet.cls_score, retinanet.bbox_pred
        if "anchor_free" in branches:
            channels = retinanet.cls_score.in_channels
            self.af_cls_score = _output(channels, num_classes, -math.log((1 - prior_prob) / prior_prob))
            self.af_bbox_pred = _output(channels, 4, box_bias)

    def forward(self, features: list[Tensor]) -> list[list[Tensor]]:
        """Maps of all levels, by kind, from features (N, C, Hi, Wi).

        First the anchor-based class logits (N, A K, Hi, Wi) and deltas (N, A 4, Hi, Wi), then the anchor-free class
        logits (N, K, Hi, Wi) and distances (N, 4, Hi, Wi), which are not negative; without a branch without its two.
        """
        levels: list[list[Tensor]] = []
        for feature in features:
            cls, bbox = self.cls_subnet(feature), self.bbox_subnet(feature)
            outputs: list[Tensor] = []
            if "anchor_based" in self.branches:
                outputs += [self.cls_score(cls), self.bbox_pred(bbox)]
            if "anchor_free" in self.branches:
                outputs += [self.af_cls_score(cls), self.af_bbox_pred(bbox).relu()]
            levels.append(outputs)
        return [list(maps) for maps in zip(*levels, strict=True)]


def _output(channels: int, filters: int, bias: float) -> nn.Conv2d:
    layer = nn.Conv2d(channels, filters, kernel_size=3, padding=1)
    nn.init.normal_(layer.weight, std=0.01)
    assert layer.bias is not None
    nn.init.constant_(layer.bias, bias)
    return layer


@META_ARCH_REGISTRY.register()
class FSAF(ReplicationRetinaNet):
    """FSAF (arXiv 1903.00621) with the branches that MODEL.FSAF.BRANCHES names.

    The anchor-based branch alone is Detectron2's RetinaNet bit for bit. All configurations of one seed start from
    the same weights in backbone, towers and anchor-based layers. The joint loss is L_ab + 0.5 (L_cls + L_reg).
    """

    @configurable  # type: ignore[untyped-decorator]
    def __init__(
        self,
        *,
        strides: Sequence[int],
        selection: HeuristicSelection | OnlineSelection,
        target_assigner: TargetAssigner,
        box_scale: float,
        loss_weight: float,
        **kwargs: Any,
    ) -> None:
        """See RetinaNet for ``kwargs``; ``head`` is an FSAFHead, ``strides`` are those of its levels in pixels."""
        super().__init__(**kwargs)
        self.strides = tuple(strides)
        self.selection, self.target_assigner = selection, target_assigner
        self.box_scale, self.loss_weight = box_scale, loss_weight
        self.anchor_based = "anchor_based" in self.head.branches
        self.anchor_free = "anchor_free" in self.head.branches

    @classmethod
    def from_config(cls, cfg: Any) -> dict[str, Any]:
        """RetinaNet's parts, the head wrapped. Raises ConfigError for a wrong value in MODEL.FSAF."""
        check_fsaf_config(cfg)
        parts: dict[str, Any] = super().from_config(cfg)
        node, retinanet = cfg.MODEL.FSAF, cfg.MODEL.RETINANET
        shapes = parts["backbone"].output_shape()
        strides = [shapes[name].stride for name in retinanet.IN_FEATURES]
        cells = CellRule(node.CELLS, node.CELL_OFFSET)
        head = FSAFHead(
            parts["head"],
            branches=node.BRANCHES,
            num_classes=retinanet.NUM_CLASSES,
            prior_prob=retinanet.PRIOR_PROB,
            box_bias=node.BOX_BIAS,
        )
        assigner = TargetAssigner(
            num_classes=retinanet.NUM_CLASSES,
            cells=cells,
            effective_fraction=node.EFFECTIVE_FRACTION,
            ignored_fraction=node.IGNORED_FRACTION,
            ignore_adjacent_levels=node.IGNORE_ADJACENT_LEVELS,
            ignore_other_levels=node.OTHER_LEVELS == "ignored",
        )
        own = {"box_scale": node.BOX_SCALE, "loss_weight": node.LOSS_WEIGHT, "strides": strides}
        selection = _selection(cfg, cells, strides)
        return {**parts, **own, "head": head, "target_assigner": assigner, "selection": selection}

    def forward_training(
        self, images: ImageList, features: list[Tensor], predictions: list[list[Tensor]], gt_instances: list[Instances]
    ) -> dict[str, Tensor]:
        """RetinaNet's ``loss_cls`` and ``loss_box_reg``, the anchor-free ``loss_af_cls`` and ``loss_af_box_reg``.

        Logs the mean IoU of effective cells, as ``iou`` where it is the only branch, else as ``af_iou``.
        """
        losses: dict[str, Tensor] = {}
        if self.anchor_based:
            losses |= super().forward_training(images, features, predictions[:2], gt_instances)
        if self.anchor_free:
            losses |= self._anchor_free_losses(predictions[-2:], gt_instances)
        return losses

    def forward_inference(
        self, images: ImageList, features: list[Tensor], predictions: list[list[Tensor]]
    ) -> list[Instances]:
        """Both branches' candidates, through one NMS. No level selection here."""
        if not self.anchor_free:
            plain: list[Instances] = super().forward_inference(images, features, predictions)
            return plain
        anchors = self.anchor_generator(features) if self.anchor_based else []
        limits = Limits(
            self.test_score_thresh, self.test_topk_candidates, self.test_nms_thresh, self.max_detections_per_image
        )
        at = locations(levels_of(features, self.strides), self.target_assigner.cells.offset, features[0].device)
        return detect_together(
            predictions,
            [each.tensor for each in anchors],
            at,
            self.box_scale,
            self.num_classes,
            self.box2box_transform,
            limits,
            images.image_sizes,
        )

    @torch.no_grad()
    def select_levels(self, batched_inputs: list[dict[str, Any]]) -> list[Tensor]:
        """Index of the level that each object of each image would be trained on now, in the order of ``instances``.

        Raises RuntimeError for a model without the anchor-free branch.
        """
        if not self.anchor_free:
            raise RuntimeError("a model without the anchor-free branch selects no levels")
        images = self.preprocess_image(batched_inputs)
        features = self.backbone(images.tensor)
        predictions = self.head([features[name] for name in self.head_in_features])
        instances = [each["instances"].to(self.device) for each in batched_inputs]
        objects = pad_objects(instances)
        logits, boxes, levels = self._flatten(predictions[-2:])
        selected = self._select(objects, logits, boxes, levels)
        in_order = torch.zeros_like(selected).scatter_(1, objects.order, selected)
        return [row[: len(each)] for row, each in zip(in_order, instances, strict=True)]

    def _anchor_free_losses(self, predictions: list[list[Tensor]], gt_instances: list[Instances]) -> dict[str, Tensor]:
        objects = pad_objects(gt_instances)
        logits, boxes, levels = self._flatten(predictions)
        with torch.autocast(self.device.type, enabled=False):
            selected = self._select(objects, logits.detach(), boxes.detach(), levels)
            targets = self.target_assigner(objects, selected, levels)
            loss = anchor_free_loss(logits, boxes, targets, self.focal_loss_alpha, self.focal_loss_gamma)
        self._log(loss.cells, loss.iou, len(gt_instances))
        return {"loss_af_cls": self.loss_weight * loss.cls, "loss_af_box_reg": self.loss_weight * loss.box_reg}

    def _flatten(self, predictions: list[list[Tensor]]) -> tuple[Tensor, Tensor, list[Level]]:
        """Logits (N, R, K), boxes (N, R, 4) XYXY in pixels, both in float32, and the levels of the anchor-free maps."""
        logits, distances = predictions
        levels = levels_of(logits, self.strides)
        at = locations(levels, self.target_assigner.cells.offset, logits[0].device)
        flat_logits = torch.cat([permute_to_N_HWA_K(each, self.num_classes) for each in logits], dim=1).float()
        flat = torch.cat([permute_to_N_HWA_K(each, 4) for each in distances], dim=1).float()
        return flat_logits, decode(flat, at, self.box_scale), levels

    def _select(self, objects: Objects, logits: Tensor, boxes: Tensor, levels: list[Level]) -> Tensor:
        if isinstance(self.selection, HeuristicSelection):
            return self.selection(objects)
        return self.selection(objects, logits, boxes, levels)

    def _log(self, cells: Tensor, mean_iou: Tensor, images: int) -> None:
        storage = get_event_storage()
        number, value = torch.stack([cells.to(mean_iou.dtype), mean_iou]).tolist()  # together: one wait for the GPU
        storage.put_scalar("num_effective_cells", number / images)
        if number:
            storage.put_scalar("af_iou" if self.anchor_based else "iou", value)


def _selection(cfg: Any, cells: CellRule, strides: Sequence[int]) -> HeuristicSelection | OnlineSelection:
    node, retinanet = cfg.MODEL.FSAF, cfg.MODEL.RETINANET
    if node.LEVEL_SELECTION == "heuristic":
        # Level l has stride 2^l.
        lowest, highest = (stride.bit_length() - 1 for stride in (strides[0], strides[-1]))
        return HeuristicSelection(node.HEURISTIC_LEVEL, node.HEURISTIC_SIZE, lowest, highest)
    return OnlineSelection(
        cells=cells,
        effective_fraction=node.EFFECTIVE_FRACTION,
        alpha=retinanet.FOCAL_LOSS_ALPHA,
        gamma=retinanet.FOCAL_LOSS_GAMMA,
        all_classes=node.SELECTION_CLASSES == "all",
    )
