"""Crates of toy results, held against what RO-Crate 1.1 and Process Run Crate 0.5 require, and against their files."""

from __future__ import annotations

import hashlib
import json
import re
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from replication import cli
from replication.catalog import load_protocol
from replication.catalog.protocols import Exclusion
from replication.errors import ResultError
from replication.export.folders import write_ro_crate
from replication.results.files import write_json
from replication.verdicts import SCHEMA

VARIANT = "faster_rcnn_R50_giou"
MINI = load_protocol("mini").model_copy(update={"withdrawn": (), "not_testable": ()})
CLAIM = "giou-T5-giou-over-smooth_l1-AP_iou"


@pytest.fixture
def results(add_run, tmp_path) -> Path:
    """Two runs, the data's description, and a table."""
    times = {"started": "2026-01-02T03:04:05+00:00", "finished": "2026-01-02T04:04:05+00:00"}
    for seed in (0, 1):
        add_run("mini", VARIANT, seed, 40.0 + seed, provenance=times | {"dirty": seed == 1})
    write_json(tmp_path / "mini" / "data.json", "data/1", {"data_hash": "d"})
    (tmp_path / "mini" / "tables").mkdir()
    (tmp_path / "mini" / "tables" / "giou-T5.csv").write_text("a,b\n")
    return tmp_path


def crate(catalog, results: Path, protocol=MINI, **options: Any) -> dict[str, dict[str, Any]]:
    """The entities of a crate by their id, after ``check``."""
    (path,) = write_ro_crate(catalog, protocol, results, **options)
    check(path)
    return {one["@id"]: one for one in json.loads(path.read_text())["@graph"]}


def check(path: Path) -> None:
    """What the two specifications require, and that the crate is whole."""
    document = json.loads(path.read_text())
    assert document["@context"][0] == "https://w3id.org/ro/crate/1.1/context"
    graph = document["@graph"]
    entities = {one["@id"]: one for one in graph}
    assert len(entities) == len(graph)
    assert all(one["@type"] for one in graph)
    descriptor, root = entities["ro-crate-metadata.json"], entities["./"]
    assert (path.name, descriptor["@type"], descriptor["about"]) == (descriptor["@id"], "CreativeWork", {"@id": "./"})
    assert descriptor["conformsTo"] == {"@id": "https://w3id.org/ro/crate/1.1"}
    assert root["@type"] == "Dataset"
    assert all(root[key] for key in ("name", "description", "license"))
    date.fromisoformat(root["datePublished"])
    profile = entities[root["conformsTo"]["@id"]]
    assert re.fullmatch(r"https://w3id\.org/ro/wfrun/process/[\d.]+", profile["@id"])
    assert profile["@type"] == "CreativeWork"
    assert profile["name"]
    assert profile["@id"].endswith(profile["version"])
    for reference in references(graph):
        assert reference in entities or reference == descriptor["conformsTo"]["@id"]
    actions = [one for one in graph if one["@type"] == "CreateAction"]
    assert {one["@id"] for one in actions} == {one["@id"] for one in root["mentions"]}
    for action in actions:
        assert entities[action["instrument"]["@id"]]["@type"] == "SoftwareApplication"
        assert action["actionStatus"] == "http://schema.org/CompletedActionStatus"
        assert action["result"]
    check_files(path.parent, [one for one in graph if one["@type"] == "File"], root)


def check_files(folder: Path, files: list[dict[str, Any]], root: dict[str, Any]) -> None:
    here = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
    assert {one["@id"] for one in files} | {"ro-crate-metadata.json"} == here
    assert {one["@id"] for one in root["hasPart"]} == {one["@id"] for one in files}
    for one in files:
        content = (folder / one["@id"]).read_bytes()
        assert (one["sha256"], one["contentSize"]) == (hashlib.sha256(content).hexdigest(), str(len(content)))


def references(value: Any) -> list[str]:
    """The ids that entities refer to."""
    found: list[str] = []
    for entity in value:
        for field in (field for key, field in entity.items() if not key.startswith("@")):
            found += [one["@id"] for one in (field if isinstance(field, list) else [field]) if isinstance(one, dict)]
    return found


def test_runs_are_actions_with_their_provenance(catalog, results):
    entities = crate(catalog, results)
    action = entities[f"#run-{VARIANT}-seed0"]
    assert (action["startTime"], action["endTime"]) == ("2026-01-02T03:04:05+00:00", "2026-01-02T04:04:05+00:00")
    values = {entities[one["@id"]].get("name"): entities[one["@id"]].get("value") for one in action["object"]}
    assert (values["variant"], values["seed"], values["data_hash"], values["iterations"]) == (VARIANT, 0, "d", 550)
    assert {"@id": "data.json"} in action["object"]
    folder = f"runs/{VARIANT}/seed0"
    assert {one["@id"] for one in action["result"]} == {f"{folder}/metrics.json", f"{folder}/provenance.json"}
    tools = [entities[entities[f"#run-{VARIANT}-seed{seed}"]["instrument"]["@id"]] for seed in (0, 1)]
    assert [tool["softwareVersion"] for tool in tools] == ["abc", "abc with uncommitted changes"]
    assert entities["./"]["description"].startswith("2 runs of 1 variants, tested on 300 images with 1,238 objects.")


def test_a_run_that_was_made_elsewhere_is_not_of_this_software(catalog, results, add_run):
    origin = {
        "made_by": "another tool", "source": "dets.json", "source_sha256": "s", "imported": "2026-02-03",
        "importer": "i",
    }  # fmt: skip
    add_run("mini", VARIANT, 2, 41.0, provenance={"elsewhere": origin})
    entities = crate(catalog, results)
    action = entities[f"#run-{VARIANT}-seed2"]
    tool = entities[action["instrument"]["@id"]]
    assert tool["name"] == "another tool"
    assert "softwareVersion" not in tool
    assert tool["description"] == "made elsewhere; gave dets.json, SHA-256 s, imported by i"
    assert "made elsewhere (another tool); its code, settings and schedule are unknown" in action["description"]


def test_verdicts_without_a_result_are_named_as_such(catalog, results):
    entry = {"id": CLAIM, "primary": True, "verdict": "gain", "reason": "", "qualifiers": []}
    other = entry | {"id": "giou-T5-iou-over-smooth_l1-AP_iou", "verdict": "withheld", "reason": "controls failed."}
    judged = [
        {
            "variant": VARIANT,
            "seed": seed,
            "metrics_sha256": hashlib.sha256(
                (results / "mini" / "runs" / VARIANT / f"seed{seed}" / "metrics.json").read_bytes()
            ).hexdigest(),
        }
        for seed in (0, 1)
    ]
    write_json(results / "mini" / "verdicts.json", SCHEMA, {"runs": judged, "verdicts": [entry, other]})
    text = crate(catalog, results)["./"]["description"]
    assert "Primary claims: 1 gain, 1 withheld. No results are" in text
    assert text.endswith(f"{other['id']}: withheld (controls failed).")
    withdrawn = (Exclusion(claims=(CLAIM,), reason="wrong runs"),)
    text = crate(catalog, results, MINI.model_copy(update={"withdrawn": withdrawn}))["./"]["description"]
    assert "Primary claims: 1 withdrawn, 1 withheld." in text
    assert f"{CLAIM}: withdrawn (wrong runs)" in text


def test_no_licence_is_stated_but_a_given_one(catalog, results):
    assert crate(catalog, results)["#no-licence"]["name"] == "No licence stated"
    url = "https://spdx.org/licenses/CC-BY-4.0"
    assert crate(catalog, results, license_url=url)["./"]["license"] == {"@id": url}


def test_a_crate_is_replaced_whole_and_nothing_else_is(catalog, results, tmp_path, capsys):
    folder = results / "mini" / "export" / "ro-crate"
    where = ["--results", str(results)]
    assert cli.main(["export", "--format", "ro-crate", *where]) == 0
    assert capsys.readouterr().out == f"{folder / 'ro-crate-metadata.json'}\n"
    (results / "mini" / "tables" / "giou-T5.csv").unlink()
    entities = crate(catalog, results)
    assert "tables/giou-T5.csv" not in entities
    assert [path.name for path in folder.parent.iterdir()] == ["ro-crate"]
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "notes.txt").write_text("mine")
    with pytest.raises(ResultError, match="is there and is no crate, so it is not replaced"):
        write_ro_crate(catalog, MINI, results, out=mine)
    assert [path.name for path in mine.iterdir()] == ["notes.txt"]


def test_what_cannot_be_a_crate(catalog, results, tmp_path):
    with pytest.raises(ResultError, match="no finished run; run the workflow first"):
        write_ro_crate(catalog, load_protocol("smoke"), results)
    table = results / "mini" / "tables" / "giou-T5.csv"
    table.write_text(f"from {results.resolve()}\n")
    with pytest.raises(ResultError, match=r"giou-T5\.csv: names .*, a folder of this machine"):
        write_ro_crate(catalog, MINI, results)
    assert not (results / "mini" / "export").exists()
