"""What decides whether a finished result is still valid: the code and the settings that compute it, not comments."""

from __future__ import annotations

import ast
import functools
import hashlib
from pathlib import Path
from typing import Any

from replication.catalog import Protocol, Variant
from replication.catalog.variants import resolve
from replication.results.files import sha256_json

PACKAGE = Path(__file__).resolve().parents[1]

# Detectors' modules that a training does not run.
INFERENCE = ("detectors/multi_scale.py", "detectors/fsaf/inference.py", "detectors/yolov3/inference.py")

# Modules whose code changes what a training computes; what only checks, prints or renders is left out, "!" by name.
TRAINING = (
    "detectors/**/*.py",
    *(f"!{path}" for path in INFERENCE),
    "datasets/embedded*.py",
    "datasets/splits.py",
    "formats/coco.py",
    "formats/splits.py",
    "formats/voc.py",
    "training/augmentation.py",
    "training/config.py",
    "training/data.py",
    "training/optimizer.py",
    "training/passes.py",
    "training/proposals.py",
    "training/schedule.py",
    "training/trainer.py",
)
_INFERRED = (*(pattern for pattern in TRAINING if not pattern.startswith("!")), "inference/model.py")
DETECTION = (*_INFERRED, "inference/detect.py", "inference/levels.py")
PROPOSALS = (*_INFERRED, "inference/propose.py")
FIGURES = (*_INFERRED, "inference/figures.py")
EVALUATION = ("evaluation/*.py", "formats/*.py")
TIMING = (*_INFERRED, "timing/*.py")
JUDGING = ("evaluation/*.py", "formats/*.py", "verdicts/*.py", "catalog/*.py", "results/finished.py")
RENDERING = (
    *("report/**/*.py", "report/templates/*", "catalog/*.py", "results/finished.py"),
    *("timing/latency.py", "verdicts/output.py", "inference/levels.py"),
)

# Settings of a protocol that a training does not depend on; the data enter by their own hash.
NOT_TRAINED = {
    *("name", "title", "note", "benchmark", "data", "area_ranges", "tables", "seeds", "run_backbones"),
    *("judged_seeds", "workers", "device", "checkpoint_every", "batches"),
}


@functools.cache
def fingerprint(patterns: tuple[str, ...], package: Path = PACKAGE) -> str:
    """Twelve hex digits over all files that match; editing a comment or docstring keeps it."""
    digest = hashlib.sha256()
    left_out = {package / pattern[1:] for pattern in patterns if pattern.startswith("!")}
    for pattern in patterns:
        for path in sorted(set(package.glob(pattern)) - left_out):
            digest.update(path.relative_to(package).as_posix().encode())
            digest.update(_code(path))
    return digest.hexdigest()[:12]


def training_fingerprint(variant: Variant, protocol: Protocol) -> str:
    """Twelve hex digits that change when code, variant file or protocol change what a training computes.

    Of a test-time variant it is the training that makes its weights.
    """
    variant = variant.trained
    settings = protocol.model_dump(mode="json", exclude=NOT_TRAINED)
    # What the protocol says of other architectures and backbones is not this variant's concern.
    settings["overrides"] = [protocol.overrides.get(group) for group in protocol.groups(variant.meta_architecture)]
    settings["batch"] = protocol.batch_of(variant.meta_architecture)
    settings["iterations"] = protocol.iterations_of(variant.meta_architecture)
    settings["backbones"] = protocol.backbones.get(variant.backbone)
    return sha256_json([fingerprint(TRAINING), resolve(variant.path), settings])[:12]


def settings_fingerprint(variant: Variant) -> str:
    """Twelve hex digits of what a variant's file sets for the test, which is all that a test-time variant sets."""
    return sha256_json(resolve(variant.path).get("TEST"))[:12]


def _code(path: Path) -> bytes:
    """A Python file's syntax tree without comments, layout and docstrings; any other file as it is."""
    if path.suffix != ".py":
        return path.read_bytes()
    tree = ast.parse(path.read_text())
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        if isinstance(body, list) and body and isinstance(body[0], ast.Expr) and _is_text(body[0].value):
            del body[0]
    return repr(_plain(tree)).encode()


def _plain(node: Any) -> Any:
    """A syntax tree as nested lists that are the same for every Python version: empty fields are left out."""
    if isinstance(node, ast.AST):
        fields = [(name, _plain(value)) for name, value in ast.iter_fields(node) if value not in (None, [])]
        return [type(node).__name__, *fields]
    if isinstance(node, list):
        # Some versions put empty texts between the parts of an f-string.
        return [_plain(item) for item in node if not (isinstance(item, ast.Constant) and item.value == "")]
    return node


def _is_text(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and isinstance(node.value, str)
