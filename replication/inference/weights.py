"""A detector with weights that were not trained here: Darknet files of YOLOv3, on images of the user's."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from detectron2.config import CfgNode
from detectron2.modeling import build_model

from replication.catalog import Protocol, Variant
from replication.datasets.weights import is_darknet, weights_path
from replication.detectors.yolov3 import load_darknet
from replication.errors import ConfigError, WeightsError
from replication.formats.coco import read_image_info
from replication.formats.splits import training_split
from replication.inference.detect import detections
from replication.inference.model import outputs
from replication.results.run import Run
from replication.training.checks import check_settings
from replication.training.config import run_config
from replication.training.devices import devices, on_device, prepare_process


def detect_with_weights(
    variant: Variant, protocol: Protocol, weights: Path, images: Path, folder: Path
) -> list[dict[str, Any]]:
    """Run YOLOv3 with a Darknet file on the images of an image-info file, which lie in ``folder``.

    Returns COCO's result records. The file's classes are taken to be the categories of ``images`` in ascending order of
    their ids, as COCO's 80 are in the published ``yolov3.weights``. A SHA-256 in ``weights.sha256`` beside the file is
    checked. Raises ConfigError for another variant or kind of file, WeightsError when the file does not fit the variant
    and the number of categories, DataError when images are missing.
    """
    split = training_split(images.stem, read_image_info(images), folder)
    cfg = run_config(variant, protocol, 0, len(split.classes), Path("unused"))
    check_settings(cfg)
    with devices(protocol.device) as taken:
        prepare_process(protocol)
        cfg = on_device(cfg, taken[0])
        model = model_with_weights(cfg, weights)
        # Of a run that there is not, only the name is used.
        run = Run(variant, protocol, 0, Path("unused"))
        return [
            record
            for image_id, output in outputs(run, model, cfg, split, "detected on")
            for record in detections(output["instances"].to("cpu"), image_id, split.category_ids)
        ]


def model_with_weights(cfg: CfgNode, weights: Path) -> Any:
    """The model of a config with a Darknet file's weights, for inference; see ``detect_with_weights`` for errors."""
    if cfg.MODEL.META_ARCHITECTURE != "YOLOv3":
        raise ConfigError(
            f"--weights {weights}: a Darknet file goes with a YOLOv3 variant, this is {cfg.MODEL.META_ARCHITECTURE}; "
            "choose one of the yolov3_D53 variants"
        )
    if not is_darknet(weights):
        raise ConfigError(f"--weights {weights}: not named as a Darknet file; give one called *.weights")
    path = weights_path(str(weights))
    model = build_model(cfg).eval().to(memory_format=torch.channels_last)
    load_darknet(model, path, whole=True)
    if any((values < 0).any() for name, values in model.named_buffers() if name.endswith("running_var")):
        raise WeightsError(
            f"{path}: has negative running variances, so its numbers are in another order than Darknet's; give the "
            "file that Darknet wrote"
        )
    return model
