"""What decides whether a finished result is still valid: the code and the settings that compute it, not comments.

Which modules compute a result is read from their imports. What they import but what cannot change a number is named
here, with its reason, and not followed any further.
"""

from __future__ import annotations

import ast
import functools
import hashlib
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from replication.catalog import Protocol, Variant
from replication.catalog.variants import resolve
from replication.results.files import sha256_file, sha256_json

PACKAGE = Path(__file__).resolve().parents[1]
_PARSING = threading.Lock()  # Python 3.11 may fail when two threads parse at once


@dataclass(frozen=True)
class Code:
    """What computes one kind of result: ``entries`` and every module of this package that they import.

    Modules are named without ``replication.``; ``package.*`` are those of a package that are found by name and not
    imported. ``left_out`` are patterns of modules that do not count, ``data`` globs of other files that do.
    """

    entries: tuple[str, ...]
    left_out: tuple[str, ...] = ()
    data: tuple[str, ...] = ()


# The words of errors.
ERRORS = ("errors", "formats.problems")
# And where and in which form files lie: the numbers in them stay.
FILES = (
    *ERRORS,
    *(f"results.{name}" for name in ("explanations", "files", "fingerprint", "layout", "run", "schemas", "schemas.*")),
)
# Settings enter by value, in ``training_fingerprint`` and the workflow's params. How long a training is by them
# (catalog.schedule) is computed, and counts.
SETTINGS = tuple(
    f"catalog.{name}" for name in ("judging", "listing", "load", "papers", "protocols", "records", "select", "variants")
)
# Locks, resuming, progress, and records of what ran. Where data and weights are downloaded to: they have hashes.
PROCESS = (
    *(f"training.{name}" for name in ("checkpoint", "curves", "devices", "identity", "provenance", "run")),
    *(f"datasets.{name}" for name in ("download", "fetch", "prepare", "roots", "unpack", "weights")),
    "detectors.losses.own",  # runs users' files, whose content enters the fingerprint of the runs that use them
)
# Refuses masks whose run-length codes do not fill their images, and changes none.
CHECKS = ("formats.rle_kernels",)
_NOT_COMPUTING = (*FILES, *SETTINGS, *PROCESS, *CHECKS)
# Modules of detectors that only a test runs.
INFERENCE = ("detectors.multi_scale", "detectors.fsaf.inference", "detectors.yolov3.inference")

TRAINING = Code(("training.trainer", "training.config", "datasets.splits", "detectors"), (*_NOT_COMPUTING, *INFERENCE))
DETECTION = Code(("inference.detect", "detectors"), _NOT_COMPUTING)
PROPOSALS = Code(("inference.propose", "detectors"), _NOT_COMPUTING)
FIGURES = Code(("inference.figures", "inference.papers.*", "detectors"), _NOT_COMPUTING)
# How times are printed is no part of how they are taken.
TIMING = Code(("timing.run", "detectors"), (*_NOT_COMPUTING, "catalog.units"))
# What the kernels are compiled from; how the library is found or built makes no number.
KERNELS = ("native/*.[ch]",)
BUILDING = ("formats.native_library",)
MATCHING = Code(("evaluation.matching",), (*FILES, *SETTINGS, *CHECKS, *BUILDING), KERNELS)
# The check against pycocotools, which is asked for by hand, finds faults and makes no numbers.
EVALUATION = Code(("evaluation.runs",), (*FILES, *SETTINGS, *CHECKS, *BUILDING, "evaluation.verify"), KERNELS)
JUDGING = Code(("verdicts.document",), (*FILES, *BUILDING), KERNELS)
# Numbers of one file, which comparisons keep.
COMPARING = Code(("verdicts.arm_reading",), (*FILES, *SETTINGS, *CHECKS, *BUILDING, "verdicts.arm_cache"), KERNELS)
RENDERING = Code(
    ("report.page", "report.tables", "report.papers.*"), (*ERRORS, *BUILDING), ("report/templates/*", *KERNELS)
)

REGISTERING = "detectors"
"""Importing this package enters its classes in Detectron2's registries, by which configs name them: whatever one of its
``__init__`` imports counts. Of other packages only the module counts that a name is imported from."""

# Settings of a protocol that a training does not depend on; the data enter by their own hash.
NOT_TRAINED = {
    *("name", "title", "note", "benchmark", "data", "area_ranges", "tables", "seeds", "run_backbones"),
    *("not_testable", "workers", "device", "checkpoint_every", "withdrawn", "mechanisms", "batches"),
}


@functools.cache
def fingerprint(code: Code, package: Path = PACKAGE) -> str:
    """Twelve hex digits over all that ``code`` names; editing a comment or docstring keeps it."""
    digest = hashlib.sha256()
    for name in members(code, package):
        digest.update(name.encode())
        digest.update(_parsed(_file(name, package).read_text()).code)
    for path in sorted(path for pattern in code.data for path in package.glob(pattern)):
        digest.update(path.relative_to(package).as_posix().encode())
        digest.update(path.read_bytes())
    return digest.hexdigest()[:12]


def members(code: Code, package: Path = PACKAGE) -> list[str]:
    """The modules that count, sorted."""
    found: set[str] = set()
    waiting = [name for entry in code.entries for name in _entry(entry, package)]
    while waiting:
        name = waiting.pop()
        if name not in found and not any(fnmatchcase(name, pattern) for pattern in code.left_out):
            found.add(name)
            waiting += _imported(name, package)
    return sorted(found)


def training_fingerprint(variant: Variant, protocol: Protocol) -> str:
    """Twelve hex digits that change when code, variant file or protocol change what a training computes.

    Of a test-time variant it is the training that makes its weights. The files of users' losses count as our code does.
    Of a command it is the command and the files of its code: nothing else here is known to change what it computes.
    """
    variant = variant.trained
    if variant.command:
        return command_fingerprint(variant)
    settings = protocol.model_dump(mode="json", exclude=NOT_TRAINED)
    # What the protocol says of other architectures and backbones is not this variant's concern.
    settings["overrides"] = [protocol.overrides.get(group) for group in protocol.groups(variant.meta_architecture)]
    settings["batch"] = protocol.batch_of(variant.meta_architecture)
    settings["iterations"] = protocol.iterations_of(variant.meta_architecture)
    settings["backbones"] = protocol.backbones.get(variant.backbone)
    own = [hashlib.sha256(_parsed(path.read_text()).code).hexdigest() for path in variant.losses]
    return sha256_json([fingerprint(TRAINING), resolve(variant.path), settings, *own])[:12]


def command_fingerprint(variant: Variant) -> str:
    """Twelve hex digits of a command and of the files of its code."""
    return sha256_json([variant.command, *(sha256_file(path) for path in variant.code)])[:12]


def settings_fingerprint(variant: Variant) -> str:
    """Twelve hex digits of what a variant's file sets for the test, which is all that a test-time variant sets."""
    return sha256_json(resolve(variant.path).get("TEST"))[:12]


@dataclass(frozen=True)
class _Parsed:
    """A module's syntax tree without comments, layout and docstrings, and the names of this package it imports.

    ``names`` are pairs of a module and a name in it, or an empty name for the whole module.
    """

    code: bytes
    names: tuple[tuple[str, str], ...]


@functools.cache
def _parsed(text: str) -> _Parsed:
    with _PARSING:
        tree = ast.parse(text)
    names = tuple(_names(tree))
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        if isinstance(body, list) and body and isinstance(body[0], ast.Expr) and _is_text(body[0].value):
            del body[0]
    return _Parsed(repr(_plain(tree)).encode(), names)


def _names(tree: ast.AST) -> Iterator[tuple[str, str]]:
    """What is imported of this package, inside of functions too; not what only a type checker imports."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING":
            continue
        if isinstance(node, ast.Import):
            yield from ((name, "") for alias in node.names if (name := _within(alias.name)))
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            module = _within(node.module)
            if module is not None:
                yield from ((module, alias.name) for alias in node.names)
        else:
            yield from _names(node)


def _within(module: str) -> str | None:
    """A module's name without ``replication.``, empty for the package itself; None outside of it."""
    first, _, rest = module.partition(".")
    return rest if first == PACKAGE.name else None


def _file(module: str, package: Path) -> Path:
    """Where a module or a package's ``__init__`` lies."""
    path = package.joinpath(*module.split(".")) if module else package
    return path / "__init__.py" if path.is_dir() else path.with_suffix(".py")


def _entry(name: str, package: Path) -> list[str]:
    """The modules that an entry names."""
    folder, star, _ = name.partition(".*")
    if not star:
        return [name]
    return [f"{folder}.{path.stem}" for path in _file(folder, package).parent.glob("*.py") if path.stem != "__init__"]


def _imported(module: str, package: Path) -> Iterator[str]:
    for source, name in _parsed(_file(module, package).read_text()).names:
        yield from _defining(source, name, package)


def _defining(module: str, name: str, package: Path) -> Iterator[str]:
    """The module that a name imported from ``module`` is defined in, through the ``__init__`` of packages."""
    inner = f"{module}.{name}".strip(".")
    if name and _file(inner, package).is_file():
        yield inner
        return
    path = _file(module, package)
    if path.name != "__init__.py" or module.partition(".")[0] == REGISTERING:
        yield module
        return
    passed_on = [source for source, own in _parsed(path.read_text()).names if own == name]
    for source in passed_on:
        yield from _defining(source, name, package)
    if name and not passed_on and module:
        yield module


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
