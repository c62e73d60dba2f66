"""What runs a trained model: detections, proposals, selected levels."""
