"""RO-Crate 1.1 with the profile Process Run Crate 0.5: the runs of a protocol as actions, their files with hashes.

The fields are those of w3id.org/ro/crate/1.1 and w3id.org/ro/wfrun/process/0.5; ``sha256`` is a term of the latter's
context. Detections and weights are left out, as of an archive.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from replication.export.claims import NO_RESULT
from replication.export.recorded import recorded_data
from replication.results.finished import FinishedRun
from replication.results.layout import Layout

METADATA = "ro-crate-metadata.json"
CONTEXT = ["https://w3id.org/ro/crate/1.1/context", "https://w3id.org/ro/terms/workflow-run/context"]
CRATE = "https://w3id.org/ro/crate/1.1"
PROFILE = "https://w3id.org/ro/wfrun/process/0.5"
FORMATS = {
    ".json": "application/json",
    ".jsonl": "application/jsonl",
    ".html": "text/html",
    ".svg": "image/svg+xml",
    ".md": "text/markdown",
    ".csv": "text/csv",
    ".tex": "application/x-tex",
}
PARAMETERS = ("data_hash", "config_hash", "training_fingerprint", "iterations", "batch", "lr", "weights_sha256")
"""Fields of the provenance that are given as parameters of the action."""

Entity = dict[str, Any]


def ro_crate(
    layout: Layout,
    runs: Sequence[FinishedRun],
    entries: Sequence[Mapping[str, Any]],
    files: Mapping[Path, bytes],
    published: str,
    license_url: str | None = None,
) -> dict[str, Any]:
    """The metadata of a crate of ``files``, by their path in it; ``published`` is a date, ISO 8601.

    ``entries`` are those of ``verdicts.json``, of which those without a result are named as such. No licence is stated
    but that of ``license_url``.
    """
    paths = {path.as_posix(): content for path, content in files.items()}
    actions = [_action(layout, run, paths) for run in runs]
    tools = {tool["@id"]: tool for tool in map(_tool, runs)}
    parameters = {one["@id"]: one for run in runs for one in _parameters(run)}
    licence = _licence(license_url)
    root = {
        "@id": "./",
        "@type": "Dataset",
        "name": f"Results of protocol {layout.protocol}",
        "description": f"{_runs_text(layout, runs)} {_verdicts_text(entries)}",
        "datePublished": published,
        "license": _to(licence),
        "conformsTo": {"@id": PROFILE},
        "hasPart": [{"@id": path} for path in paths],
        "mentions": list(map(_to, actions)),
    }
    graph = [
        {"@id": METADATA, "@type": "CreativeWork", "about": _to(root), "conformsTo": {"@id": CRATE}},
        root,
        {"@id": PROFILE, "@type": "CreativeWork", "name": "Process Run Crate", "version": "0.5"},
        licence,
        *tools.values(),
        *actions,
        *parameters.values(),
        *(_file(path, content) for path, content in paths.items()),
    ]
    return {"@context": CONTEXT, "@graph": graph}


def _to(entity: Entity) -> Entity:
    return {"@id": entity["@id"]}


def _licence(url: str | None) -> Entity:
    if url:
        return {"@id": url, "@type": "CreativeWork", "name": url}
    text = "Who made these results has not stated a licence."
    return {"@id": "#no-licence", "@type": "CreativeWork", "name": "No licence stated", "description": text}


def _runs_text(layout: Layout, runs: Sequence[FinishedRun]) -> str:
    return f"{len(runs)} runs of {len({run.variant for run in runs})} variants, {recorded_data(layout, runs)}."


def _verdicts_text(entries: Sequence[Mapping[str, Any]]) -> str:
    """Counts of the primary verdicts, and every claim of which no result is stated, with its reason."""
    if not entries:
        return "No claim has been judged."
    counts = Counter(entry["verdict"] for entry in entries if entry["primary"])
    silent = [entry for entry in entries if entry["verdict"] in NO_RESULT]
    text = f"Primary claims: {', '.join(f'{number} {verdict}' for verdict, number in counts.items())}."
    named = "; ".join(
        f"{one['id']}: {one['verdict']} ({one['reason'].rstrip('. ') or 'no reason recorded'})" for one in silent
    )
    return text + (f" No results are, whatever numbers the files have of them: {named}." if silent else "")


def _action(layout: Layout, run: FinishedRun, paths: Mapping[str, bytes]) -> Entity:
    """A run: training, test and evaluation. Its time is that of the training, the only one that is recorded."""
    made, name = run.provenance, f"{run.variant} seed {run.seed}"
    folder = run.files.folder.relative_to(layout.folder).as_posix()
    data = layout.data.relative_to(layout.folder).as_posix()
    facts = {"startTime": made.started, "endTime": made.finished}
    text = f"{run.origin}; its code, settings and schedule are unknown" if run.origin else "trained, tested, evaluated"
    where = made.device.name if made.device is not None and made.device.type == "cuda" else made.cpu
    return {
        "@id": f"#run-{run.variant}-seed{run.seed}",
        "@type": "CreateAction",
        "name": name,
        "description": f"{name}: {text}{f', on {where}' if where else ''}",
        **{key: value for key, value in facts.items() if value},
        "actionStatus": "http://schema.org/CompletedActionStatus",
        "instrument": _to(_tool(run)),
        "object": [*([{"@id": data}] if data in paths else []), *map(_to, _parameters(run))],
        "result": [{"@id": path} for path in paths if path.startswith(f"{folder}/")],
    }


def _tool(run: FinishedRun) -> Entity:
    """What ran: this project at a commit; a command; or what is said of a run that was made elsewhere."""
    made = run.provenance
    if made.elsewhere is not None:
        who = made.elsewhere.made_by or "unknown software"
        source = f"{made.elsewhere.source}, SHA-256 {made.elsewhere.source_sha256}"
        return _application(who, f"made elsewhere; gave {source}, imported by {made.elsewhere.importer}")
    version = f"{made.commit or 'unknown commit'}{' with uncommitted changes' if made.dirty else ''}"
    if made.command:
        return _application(made.command, "a command of the variant", version)
    return _application("detection-replication", "trains, tests and evaluates detectors", version)


def _application(name: str, description: str, version: str = "") -> Entity:
    return {
        "@id": f"#software-{hashlib.sha256(f'{name} {description} {version}'.encode()).hexdigest()[:12]}",
        "@type": "SoftwareApplication",
        "name": name,
        "description": description,
        **({"softwareVersion": version} if version else {}),
    }


def _parameters(run: FinishedRun) -> Iterator[Entity]:
    """Variant, seed, and what the provenance records, as name and value; the same value of all runs stands once."""
    known = {name: getattr(run.provenance, name) for name in PARAMETERS}
    for name, value in {"variant": run.variant, "seed": run.seed, **known}.items():
        if value is not None:
            yield {"@id": f"#{name}-{value}", "@type": "PropertyValue", "name": name, "value": value}


def _file(path: str, content: bytes) -> Entity:
    suffix = PurePosixPath(path).suffix
    return {
        "@id": path,
        "@type": "File",
        "name": path,
        "contentSize": str(len(content)),
        "sha256": hashlib.sha256(content).hexdigest(),
        **({"encodingFormat": FORMATS[suffix]} if suffix in FORMATS else {}),
    }
