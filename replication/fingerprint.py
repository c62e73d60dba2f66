"""What decides whether a finished result is still valid: the code that computes it, not its comments."""

from __future__ import annotations

import ast
import functools
import hashlib
from pathlib import Path

PACKAGE = Path(__file__).resolve().parent

# Modules whose code changes what a training computes. What only checks, prints or renders is left out.
TRAINING = (
    "detectors/**/*.py",
    "datasets/embedded*.py",
    "datasets/coco.py",
    "datasets/voc.py",
    "datasets/splits.py",
    "training/config.py",
    "training/data.py",
    "training/trainer.py",
    "training/optimizer.py",
)
DETECTION = (*TRAINING, "training/detect.py")
EVALUATION = ("evaluation/*.py",)
RENDERING = ("report/*.py", "report/templates/*", "catalog/*.py")


def _code(path: Path) -> bytes:
    """A Python file's syntax tree without comments, layout and docstrings; any other file as it is."""
    if path.suffix != ".py":
        return path.read_bytes()
    tree = ast.parse(path.read_text())
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        if isinstance(body, list) and body and isinstance(body[0], ast.Expr) and _is_text(body[0].value):
            del body[0]
    return ast.dump(tree).encode()


def _is_text(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and isinstance(node.value, str)


@functools.cache
def fingerprint(patterns: tuple[str, ...], package: Path = PACKAGE) -> str:
    """Twelve hex digits over all files that match; editing a comment or docstring keeps it."""
    digest = hashlib.sha256()
    for pattern in patterns:
        for path in sorted(package.glob(pattern)):
            digest.update(path.relative_to(package).as_posix().encode())
            digest.update(_code(path))
    return digest.hexdigest()[:12]
