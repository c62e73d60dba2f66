"""What the papers invented, as Detectron2 components. Importing this package enters them in the registries."""

from replication.detectors.box_head import BoxPredictor, ReplicationROIHeads
from replication.detectors.config import add_replication_config
from replication.detectors.efficientnet_lite import EfficientNetLite, use_backbone
from replication.detectors.fsaf import FSAF
from replication.detectors.libra import BalancedPyramid, BottomUpPath
from replication.detectors.retinanet import ReplicationRetinaNet
from replication.detectors.rpn import ReplicationRPN
from replication.detectors.yolov3 import Darknet53, YOLOv3

__all__ = [
    "FSAF",
    "BalancedPyramid",
    "BottomUpPath",
    "BoxPredictor",
    "Darknet53",
    "EfficientNetLite",
    "ReplicationROIHeads",
    "ReplicationRPN",
    "ReplicationRetinaNet",
    "YOLOv3",
    "add_replication_config",
    "use_backbone",
]
