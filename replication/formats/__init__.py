"""One reader a format, for training and for evaluation. No torch."""
