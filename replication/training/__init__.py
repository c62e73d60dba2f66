"""One run, from config to ``model_final.pth``. Its modules need torch and Detectron2: import them by name."""
