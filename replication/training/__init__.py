"""One run, from config to checkpoint and detections.

Its modules need torch and Detectron2, so nothing is imported here.
"""
