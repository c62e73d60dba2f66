"""Levels that supervise objects of each size, and how many anchors or cells an object has (RetinaNet, FSAF)."""

from __future__ import annotations

from collections import Counter
from typing import Any

import torch
from detectron2.config import CfgNode
from detectron2.structures import Boxes, pairwise_iou
from torch import Tensor

from replication.catalog import AreaRanges
from replication.detectors import FSAF
from replication.detectors.fsaf.cells import levels_of, pad_objects
from replication.detectors.fsaf.losses import HeuristicSelection
from replication.detectors.retinanet import ReplicationRetinaNet
from replication.inference.mechanisms.tally import SIZES, Means, Measure, Shares, sizes_of


class Dense:
    """The branches of a RetinaNet or an FSAF, by size of object."""

    def __init__(self, model: Any, cfg: CfgNode, areas: AreaRanges) -> None:
        self.model, self.areas = model, areas
        shapes = model.backbone.output_shape()
        self.numbers = [shapes[name].stride.bit_length() - 1 for name in model.head_in_features]
        node = cfg.MODEL.FSAF
        self.rule = HeuristicSelection(node.HEURISTIC_LEVEL, node.HEURISTIC_SIZE, self.numbers[0], self.numbers[-1])
        self.free = isinstance(model, FSAF) and model.anchor_free
        self.based = not isinstance(model, FSAF) or model.anchor_based
        self.chosen, self.by_rule, self.agreement, self.anchor_levels = Shares(), Shares(), Shares(), Shares()
        self.supervision = Means()

    @classmethod
    def of(cls, model: Any, cfg: CfgNode, areas: AreaRanges) -> Dense | None:
        """None for another architecture."""
        return cls(model, cfg, areas) if isinstance(model, ReplicationRetinaNet) else None

    def look(self, item: dict[str, Any]) -> None:
        """See ``Probe``."""
        sizes = sizes_of(item, self.areas)
        images = self.model.preprocess_image([item])
        features = self.model.backbone(images.tensor)
        maps = [features[name] for name in self.model.head_in_features]
        if self.free:
            self._look_at_cells(item, maps, sizes)
        if self.based:
            self._look_at_anchors(item, maps, sizes)

    def _look_at_cells(self, item: dict[str, Any], maps: list[Tensor], sizes: list[str]) -> None:
        model = self.model
        objects = pad_objects([item["instances"].to(model.device)])
        own = torch.argsort(objects.order[0])  # padded objects are sorted by area; back to the annotations' order
        chosen = model.select_levels([item])[0].tolist()
        ruled = self.rule(objects)[0][own].tolist()
        effective = model.target_assigner
        levels = levels_of(maps, model.strides)
        cells = [
            effective.cells.mask(objects.boxes, effective.effective_fraction, each)[0].sum(1)[own] for each in levels
        ]
        for index, size in enumerate(sizes):
            self.chosen.add(size, [self._name(chosen[index])])
            self.by_rule.add(size, [self._name(ruled[index])])
            self.agreement.add("chosen as by rule", ["same" if chosen[index] == ruled[index] else "other"])
            self.supervision.add("effective cells", size, float(cells[chosen[index]][index]))

    def _look_at_anchors(self, item: dict[str, Any], maps: list[Tensor], sizes: list[str]) -> None:
        anchors = self.model.anchor_generator(maps)
        overlaps = pairwise_iou(item["instances"].gt_boxes.to(self.model.device), Boxes.cat(anchors))
        matches, labels = self.model.anchor_matcher(overlaps)
        level = torch.cat([torch.full((len(each),), index) for index, each in enumerate(anchors)])
        positive = (labels == 1).cpu()
        owners = matches.cpu()[positive].tolist()
        for owner, index in zip(owners, level[positive].tolist(), strict=True):
            self.anchor_levels.add(sizes[owner], [self._name(index)])
        counts = Counter(owners)
        for index, size in enumerate(sizes):
            self.supervision.add("positive anchors", size, counts[index])

    def _name(self, index: int) -> str:
        return f"P{self.numbers[index]}"

    def measures(self) -> list[Measure]:
        """See ``Probe``."""
        levels = [f"P{number}" for number in self.numbers]
        for shares in (self.chosen, self.by_rule, self.anchor_levels):
            shares.counts = _in_order(shares.counts)
        return [
            *self.chosen.measure("levels", "levels that supervise the anchor-free branch, by size of object", levels),
            *self.by_rule.measure("levels_by_rule", "levels that the rule gives, by size of object", levels),
            *self.agreement.measure("agreement", "levels chosen as the rule gives them", ["same"]),
            *self.anchor_levels.measure("anchor_levels", "positive anchors by level, by size of object", levels),
            *self.supervision.measure("per_object", "positives per object, by size of object"),
        ]


def _in_order(counts: Any) -> Any:
    return {size: counts[size] for size in SIZES if size in counts}
