"""Latency in ms per image, by stage: `latency` reads and compares result files without torch, `run` measures."""
