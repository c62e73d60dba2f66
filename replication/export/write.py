"""Writes the results of a protocol in the form of a model zoo."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import yaml

from replication.catalog import Catalog, Protocol
from replication.export.entries import entries
from replication.export.metafile import metafile
from replication.export.model_index import model_index
from replication.results.files import write_text
from replication.results.layout import Layout
from replication.timing.latency import latencies

Form = Literal["model-index", "metafile"]
FILES: dict[Form, str] = {"model-index": "model-index.yaml", "metafile": "metafile.yml"}


class _Plain(yaml.SafeDumper):
    """Everything spelled out where it stands, without references to other places."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def write_export(
    catalog: Catalog,
    protocol: Protocol,
    results: Path,
    tables: Sequence[str],
    form: Form,
    source: str | None = None,
    out: Path | None = None,
) -> Path:
    """Write the finished runs of ``tables`` in a form; returns the path, ``results/<protocol>/export/...`` or ``out``.

    Raises what ``entries`` does.
    """
    chosen = entries(catalog, protocol, results, tables)
    if form == "model-index":
        document = model_index(chosen, source)
    else:
        timed = latencies(protocol, results, [entry.variant for entry in chosen])
        document = metafile(catalog, chosen, timed, source)
    path = out or Layout(results, protocol.name).export / FILES[form]
    write_text(path, yaml.dump(document, Dumper=_Plain, sort_keys=False, allow_unicode=True, width=110))
    return path
