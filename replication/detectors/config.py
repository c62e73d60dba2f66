"""Config keys that this package adds to Detectron2's."""

from __future__ import annotations

from typing import Any

from detectron2.config import CfgNode

from replication.detectors.fsaf.config import add_fsaf_config
from replication.detectors.yolov3.config import add_yolov3_config


def add_replication_config(cfg: Any) -> None:
    """Add the nodes of this package's components to ``cfg`` (a fresh ``get_cfg()``), in place."""
    cfg.MODEL.EFFICIENTNET_LITE = CfgNode()
    # efficientnet_lite0, efficientnet_lite1 or efficientnet_lite2
    cfg.MODEL.EFFICIENTNET_LITE.NAME = "efficientnet_lite0"
    # State dict of the ImageNet classifier, its hash verified by who sets it; empty for random weights.
    cfg.MODEL.EFFICIENTNET_LITE.WEIGHTS = ""
    add_fsaf_config(cfg)
    add_yolov3_config(cfg)
    _add_libra_config(cfg)


def _add_libra_config(cfg: Any) -> None:
    # Read where BBOX_REG_LOSS_TYPE of the same node is balanced_l1.
    for node in (cfg.MODEL.ROI_BOX_HEAD, cfg.MODEL.RETINANET, cfg.MODEL.RPN):
        node.BALANCED_L1 = CfgNode()
        node.BALANCED_L1.ALPHA = 0.5
        node.BALANCED_L1.GAMMA = 1.5
        # paper: BETA is 1; released: any BETA, inside the logarithm only, as the authors' code has it
        node.BALANCED_L1.FORM = "paper"
        node.BALANCED_L1.BETA = 1.0
    # Sampling of RoIs and, in ReplicationRPN, of anchors.
    for node in (cfg.MODEL.ROI_HEADS, cfg.MODEL.RPN):
        node.SAMPLER = CfgNode()
        # random, or iou_balanced: an equal share of the negatives from each of NUM_BINS bins of their IoU
        node.SAMPLER.NEGATIVES = "random"
        # random, or gt_balanced: an equal share of the positives for each ground truth
        node.SAMPLER.POSITIVES = "random"
        node.SAMPLER.NUM_BINS = 3
        # paper: bins over the negatives' range; released: over [0, largest IoU of all candidates], as the authors' code
        node.SAMPLER.FORM = "paper"
    # Read where MODEL.BACKBONE.NAME, or the BUILDER of the wrapper around, is build_balanced_pyramid_backbone.
    cfg.MODEL.BALANCED_PYRAMID = CfgNode()
    cfg.MODEL.BALANCED_PYRAMID.BUILDER = "build_resnet_fpn_backbone"
    cfg.MODEL.BALANCED_PYRAMID.REFINEMENT = "non_local"  # or conv, or none
    # Read where it is build_pafpn_backbone.
    cfg.MODEL.PAFPN = CfgNode()
    cfg.MODEL.PAFPN.BUILDER = "build_resnet_fpn_backbone"
    # Where MODEL.LOAD_PROPOSALS is true: the variant, an RPN, whose proposals are loaded.
    cfg.DATASETS.PROPOSALS_FROM = ""
