"""Outputs of a trained run: detections, proposals, levels. Its modules need torch and Detectron2: import by name."""
