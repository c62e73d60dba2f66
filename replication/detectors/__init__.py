"""What the papers invented, as Detectron2 components. Importing this package enters them in the registries."""

from replication.detectors.config import add_replication_config
from replication.detectors.efficientnet_lite import EfficientNetLite, use_backbone

__all__ = ["EfficientNetLite", "add_replication_config", "use_backbone"]
