"""Which way imports may go, held over the import graph of the package: read from the source, nothing is imported."""

from __future__ import annotations

import ast
import itertools
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

PACKAGE = "replication"
ROOT = Path(__file__).parents[1]

# From the ground up. A room may import from the layers below it and, in its own layer, from rooms named before it.
# `timing.latency` is the part of timing that reads its results.
LAYERS: tuple[tuple[str, ...], ...] = (
    ("errors",),
    ("catalog", "formats"),
    ("results",),
    ("evaluation", "datasets", "doctor"),
    ("planning", "verdicts", "timing.latency"),
    ("report", "export"),
)
# What runs detectors stands apart: nothing above imports it but the command line.
RUNNING: dict[str, tuple[str, ...]] = {
    "detectors": ("errors",),
    "training": ("errors", "catalog", "formats", "results", "datasets", "detectors"),
    "inference": ("errors", "catalog", "formats", "results", "datasets", "detectors", "training"),
    "timing": (
        *("errors", "catalog", "formats", "results", "datasets", "detectors", "training", "inference"),
        "timing.latency",
    ),
}
# But as its functions run: the doctor builds the model of each variant, where torch is there, and tries one that is
# asked for.
LATE: dict[str, tuple[str, ...]] = {"doctor": ("training", "inference")}
ANYTHING = ("", "__main__", "api", "cli")  # the public face ("" is replication/__init__.py) and the command line
TORCH_FREE = ("catalog", "formats", "results", "planning", "evaluation", "verdicts", "report", "export", *ANYTHING)
TORCH = {"torch", "torchvision", "detectron2", "fvcore"}


class Import(NamedTuple):
    """``module`` imports ``name``, a module or something in one; ``late`` when a function does so as it runs."""

    module: str
    name: str
    line: int
    late: bool


def module_name(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def statements(tree: ast.AST, late: bool = False) -> Iterator[tuple[ast.stmt, bool]]:
    """Every import statement but those for type checkers only."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            for other in node.orelse:
                yield from statements(ast.Module([other], []), late)
            continue
        if isinstance(node, ast.Import | ast.ImportFrom):
            yield node, late
        yield from statements(node, late or isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda))


def imports(module: str, source: str) -> Iterator[Import]:
    for node, late in statements(ast.parse(source)):
        if isinstance(node, ast.Import):
            names = [one.name for one in node.names]
        else:
            assert isinstance(node, ast.ImportFrom)
            assert node.level == 0, f"{module}, line {node.lineno}: relative imports are not used here"
            names = [f"{node.module}.{one.name}" for one in node.names]
        yield from (Import(module, name, node.lineno, late) for name in names)


@pytest.fixture(scope="module")
def graph() -> dict[str, list[Import]]:
    """The imports of each module of the package."""
    paths = sorted((ROOT / PACKAGE).rglob("*.py"))
    return {module_name(path): list(imports(module_name(path), path.read_text())) for path in paths}


def target(name: str, modules: Iterable[str]) -> str | None:
    """The module of the package that an imported name is or lies in."""
    while name and name not in modules:
        name = name.rpartition(".")[0]
    return name or None


def room(module: str) -> str:
    inside = module.removeprefix(PACKAGE).removeprefix(".")
    rooms = {*(name for layer in LAYERS for name in layer), *RUNNING, *ANYTHING}
    while inside and inside not in rooms:
        inside = inside.rpartition(".")[0]
    if not inside and module != PACKAGE:
        pytest.fail(f"{module}: no room of that name; say in LAYERS or RUNNING what it may import")
    return inside


def allowed(importer: str, late: bool = False) -> set[str]:
    if late:
        return {*allowed(importer), *LATE.get(importer, ())}
    if importer in RUNNING:
        return {*RUNNING[importer], importer, ""}
    height = next(n for n, layer in enumerate(LAYERS) if importer in layer)
    layer = LAYERS[height]
    below = {name for lower in LAYERS[:height] for name in lower}
    return below | {*layer[: layer.index(importer) + 1], ""}


def wrong_way(graph: dict[str, list[Import]]) -> list[Import]:
    """Imports of a room that the importer may not know; of the package's face all may take the version alone."""
    found = []
    for one in (one for some in graph.values() for one in some):
        into = target(one.name, graph)
        if into is None or room(one.module) in ANYTHING:
            continue
        face = into == PACKAGE and one.name not in (PACKAGE, f"{PACKAGE}.__version__")
        if face or room(into) not in allowed(room(one.module), one.late):
            found.append(one)
    return found


def test_imports_go_one_way(graph: dict[str, list[Import]]) -> None:
    messages = [
        f"{one.module}, line {one.line}: imports {one.name}; {room(one.module)} may import only "
        + ", ".join(sorted(allowed(room(one.module), one.late) - {""}))
        for one in wrong_way(graph)
    ]
    assert not messages, "\n".join(messages)


def test_no_torch_where_finished_runs_are_judged(graph: dict[str, list[Import]]) -> None:
    messages = []
    for module in graph:
        chain = way_to_torch(graph, module) if room(module) in TORCH_FREE else None
        if chain is not None:
            messages.append(" -> ".join(chain))
    assert not messages, "\n".join(messages)


def way_to_torch(graph: dict[str, list[Import]], module: str) -> list[str] | None:
    """The shortest chain of imports from a module to torch, of those that run when it is imported."""
    chains = [[module]]
    seen = {module}
    for chain in chains:
        last = chain[-1]
        if last.partition(".")[0] in TORCH:
            return chain
        for name in loaded_with(graph, last):
            if name not in seen:
                seen.add(name)
                chains.append([*chain, name])
    return None


def loaded_with(graph: dict[str, list[Import]], module: str) -> list[str]:
    """What Python loads for a module: the packages it lies in, and what it imports outside of functions."""
    names = [module.rpartition(".")[0]] if "." in module and module in graph else []
    for one in graph.get(module, []):
        if not one.late:
            names.append(target(one.name, graph) or one.name)
    return names


def test_what_the_reading_of_imports_finds() -> None:
    source = """
import a.b
from c import d
if TYPE_CHECKING:
    from never import e
else:
    import f
try:
    import g
except ImportError:
    pass
class One:
    import h
    def later(self):
        from i import j, k
"""
    found = {one.name: one.late for one in imports("m", source)}
    early = dict.fromkeys(["a.b", "c.d", "f", "g", "h"], False)
    assert found == early | {"i.j": True, "i.k": True}


@pytest.mark.parametrize(
    ("importer", "name", "right"),
    [
        ("replication.verdicts.judge", "replication.evaluation.match", True),
        ("replication.evaluation.pair", "replication.__version__", True),
        ("replication.evaluation.pair", "replication.evaluate", False),
        ("replication.export.write", "replication.report.tables.table", True),
        ("replication.cli", "replication.timing.run.time", True),
        ("replication.timing.run", "replication.timing.latency.Latency", True),
        ("replication.report.tables", "replication.timing.latency.Latency", True),
        ("replication.report.tables", "replication.timing.run.time", False),
        ("replication.timing.latency", "replication.timing.run.time", False),
        ("replication.evaluation.pair", "replication.verdicts.judge", False),
        ("replication.report.tables", "replication.export.write", False),
        ("replication.detectors.fsaf", "replication.catalog", False),
        ("replication.catalog", "replication.cli", False),
    ],
)
def test_both_ways_are_told_apart(importer: str, name: str, right: bool) -> None:
    made: dict[str, list[Import]] = {name.rpartition(".")[0]: [], "replication.catalog": [], "replication.cli": []}
    made[importer] = [Import(importer, name, 1, False)]
    assert (not wrong_way(made)) == right


@pytest.mark.parametrize(
    ("importer", "late", "right"), [("doctor", True, True), ("doctor", False, False), ("datasets", True, False)]
)
def test_the_doctor_alone_reaches_training_and_only_as_it_runs(importer: str, late: bool, right: bool) -> None:
    name = "replication.training.config"
    made = {f"replication.{importer}.one": [Import(f"replication.{importer}.one", name, 1, late)], name: []}
    assert (not wrong_way(made)) == right


def test_torch_is_found_through_other_modules() -> None:
    chain = ["replication.report.page", "replication.verdicts", "replication.training.run", "torch.nn"]
    made = {one: [Import(one, other, 1, False)] for one, other in itertools.pairwise(chain)}
    assert way_to_torch(made, chain[0]) == chain
    made[chain[1]] = [made[chain[1]][0]._replace(late=True)]
    assert way_to_torch(made, chain[0]) is None
