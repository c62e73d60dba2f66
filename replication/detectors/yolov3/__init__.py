"""YOLOv3 (arXiv 1804.02767) with squared-error, IoU or GIoU box loss (GIoU, tables 1 to 3)."""

from replication.detectors.yolov3.config import add_yolov3_config
from replication.detectors.yolov3.darknet53 import Darknet53
from replication.detectors.yolov3.meta_arch import YOLOv3
from replication.detectors.yolov3.weights import load_darknet, save_darknet

__all__ = ["Darknet53", "YOLOv3", "add_yolov3_config", "load_darknet", "save_darknet"]
