"""The nodes of Libra R-CNN's parts: SAMPLER in MODEL.ROI_HEADS and MODEL.RPN, BALANCED_PYRAMID and PAFPN."""

from __future__ import annotations

from typing import Any

from detectron2.config import CfgNode


def add_libra_config(cfg: Any) -> None:
    """Add them with all parts switched off, and DATASETS.PROPOSALS_FROM for training on fixed proposals, in place."""
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
    # released: Xavier's weights for every convolution, as the authors' code; identity: the non-local block's output
    # convolution starts at 0, so that a training starts from the pyramid without refinement
    cfg.MODEL.BALANCED_PYRAMID.INIT = "released"
    # Read where it is build_pafpn_backbone.
    cfg.MODEL.PAFPN = CfgNode()
    cfg.MODEL.PAFPN.BUILDER = "build_resnet_fpn_backbone"
    # Where MODEL.LOAD_PROPOSALS is true: the variant, an RPN, whose proposals are loaded.
    cfg.DATASETS.PROPOSALS_FROM = ""
