"""One message for every file that is not as it must be: which file, which field, what to do."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from replication.errors import ResultError
from replication.results import schemas
from replication.results.files import load_json
from replication.results.schemas import Data, Document, Latency, Levels, Metrics, Proposals, Provenance, read, write

REFERENCE = Path(__file__).resolve().parents[2] / "results" / "reference"
METRICS: dict[str, Any] = {
    "protocol": "mini",
    "variant": "a",
    "seed": 0,
    "metrics": {"AP": 40.0, "AP50": 60, "APs": None},
    "giou_metrics": {"AP": 39.0},
    "mistakes": {"missed": {"count": 3, "gain": -0.5}},
}


def put(tmp_path: Path, kind: type[Document], content: dict[str, Any]) -> Path:
    path = tmp_path / "x.json"
    path.write_text(json.dumps({"schema": kind.SCHEMA, **content}))
    return path


def test_what_is_written_is_what_is_read(tmp_path: Path):
    write(tmp_path / "x.json", Metrics, METRICS | {"area_ranges": {"small": (0, 9)}, "of a newer version": [1]})
    assert load_json(tmp_path / "x.json")["of a newer version"] == [1]
    metrics = read(tmp_path / "x.json", Metrics)
    assert metrics.metrics == METRICS["metrics"]
    assert metrics.area_ranges == {"small": (0.0, 9.0)}
    assert metrics.mistakes == {"missed": schemas.Mistake(gain=-0.5, count=3)}
    assert (metrics.mask_metrics, metrics.images, metrics.criterion) == (None, None, None)


def test_what_could_not_be_read_is_not_written(tmp_path: Path):
    with pytest.raises(ValueError, match=r"x\.json: metrics\.AP is 400\.0, expected"):
        write(tmp_path / "x.json", Metrics, METRICS | {"metrics": {"AP": 400.0}})
    with pytest.raises(ValueError, match="JSON"):
        write(tmp_path / "x.json", Metrics, METRICS | {"of a newer version": float("nan")})
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"metrics": None}, "metrics is None, expected `object`, got `null`"),
        ({"metrics": {"AP": 250.0}}, r"metrics\.AP is 250\.0, expected `float` <= 100\.0"),
        ({"metrics": {"AP": 1.0, "AP75": -1}}, r"metrics\.AP75 is -1, expected `float` >= 0\.0"),
        ({"metrics": {"AP": "40"}}, r"metrics\.AP is '40', expected `float | null`, got `str`"),
        ({"metrics": {"AP": True}}, r"metrics\.AP is True, expected"),
        ({"metrics": {"AP": float("nan")}}, r"metrics\.AP is nan, expected"),
        ({"giou_metrics": {"AP": float("inf")}}, r"giou_metrics\.AP is inf, expected"),
        ({"mistakes": {"both": {"count": 1}}}, r"mistakes\.both\.gain is missing"),
        ({"mistakes": {"missed": {"gain": 1}, "both": {"gain": 101}}}, r"mistakes\.both\.gain is 101, expected"),
        ({"area_ranges": {"small": [0, "x"]}}, r"area_ranges\.small\[1\] is 'x', expected"),
        ({"area_ranges": {"small": [0, float("inf")]}}, r"area_ranges\.small\[1\] is inf, expected a finite number"),
        ({"seed": 0.5}, r"seed is 0\.5, expected `int`"),
    ],
)
def test_a_wrong_field_is_named(tmp_path: Path, change: dict[str, Any], message: str):
    path = put(tmp_path, Metrics, METRICS | change)
    with pytest.raises(ResultError, match=rf"x\.json: {message}.*; evaluate the run again$"):
        read(path, Metrics)


def test_a_missing_field_is_named(tmp_path: Path):
    path = put(tmp_path, Metrics, {key: value for key, value in METRICS.items() if key != "giou_metrics"})
    with pytest.raises(ResultError, match=r"x\.json: giou_metrics is missing; evaluate the run again$"):
        read(path, Metrics)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "not readable as JSON"),
        ("[]", "schema is None, expected 'metrics/1'"),
        ('"x"', "schema is None"),
        (
            '{"schema": "metrics/2"}',
            "schema is 'metrics/2', expected 'metrics/1', as another version makes it",
        ),
        ('{"schema": ["metrics/1"]}', "schema is "),
    ],
)
def test_other_files_are_refused(tmp_path: Path, content: str, message: str):
    (tmp_path / "x.json").write_text(content)
    with pytest.raises(ResultError, match=rf"x\.json: {message}"):
        read(tmp_path / "x.json", Metrics)


LEVELS = {"levels": [3, 4], "objects": [[9.5, 3]], "heuristic_level": 5, "heuristic_size": 224}


@pytest.mark.parametrize(
    ("kind", "content", "message"),
    [
        (Levels, LEVELS | {"objects": [[9.5, 3], [9.5, 7]]}, r"objects: \[9\.5, 7\] is not a pair of side and level"),
        (Levels, LEVELS | {"objects": [[-1, 3]]}, r"objects\[0\]\[0\] is -1, expected"),
        (Data, {"data_hash": "d", "classes": ["a"]}, "category_ids: 0 for 1 classes"),
        (
            Proposals,
            {"data_hash": "d", "sha256": "s", "image_ids": [1], "counts": [1, 2]},
            "counts: 2 for 1 image_ids",
        ),
        (Provenance, {"config_hash": "c", "data_hash": "d"}, "fingerprint is missing"),
        (
            Provenance,
            {"config_hash": "c", "data_hash": "d", "fingerprint": "f", "packages": {"torch": 2}},
            r"packages\.torch is 2, expected `str`",
        ),
    ],
)
def test_rules_over_several_fields(tmp_path: Path, kind: type[Document], content: dict[str, Any], message: str):
    with pytest.raises(ResultError, match=rf"x\.json: {message}"):
        read(put(tmp_path, kind, content), kind)


def each(pattern: str) -> list[Path]:
    found = sorted(REFERENCE.glob(pattern))
    assert found, pattern
    return found


@pytest.mark.parametrize(
    ("pattern", "kind"),
    [
        ("*/data.json", Data),
        ("*/archive.json", schemas.Archive),
        ("*/runs/*/seed*/metrics.json", Metrics),
        ("*/runs/*/seed*/provenance.json", Provenance),
        ("*/runs/*/seed*/levels.json", Levels),
        ("*/latency/*/*.json", Latency),
    ],
)
def test_every_file_of_the_committed_archive_is_read(pattern: str, kind: type[Document]):
    for path in each(pattern):
        assert load_json(path)["schema"] == read(path, kind).SCHEMA


def places(content: Any, path: tuple[str | int, ...] = ()) -> list[tuple[str | int, ...]]:
    """Every place in a document."""
    inner = (
        content.items() if isinstance(content, dict) else enumerate(content[:2]) if isinstance(content, list) else ()
    )
    return [path] * bool(path) + [place for key, value in inner for place in places(value, (*path, key))]


def spoilt(content: Any, place: tuple[str | int, ...], value: Any) -> Any:
    changed = content.copy()
    changed[place[0]] = value if len(place) == 1 else spoilt(content[place[0]], place[1:], value)
    return changed


def refusal(path: Path, kind: type[Document]) -> str:
    """The message; empty when the file is read."""
    try:
        read(path, kind)
    except ResultError as error:
        return str(error)
    return ""


@pytest.mark.parametrize("value", [None, "", [], {}, -1, 1e999, [None], {"": None}, True])
@pytest.mark.parametrize(
    ("pattern", "kind"),
    [
        ("*/runs/*/seed0/metrics.json", Metrics),
        ("*/runs/*/seed0/provenance.json", Provenance),
        ("*/latency/*/*.json", Latency),
        ("*/data.json", Data),
    ],
)
def test_whatever_is_spoilt_is_one_message_or_none(tmp_path: Path, pattern: str, kind: type[Document], value: Any):
    """Any value in any place is either read or refused in words that name the file."""
    content = load_json(each(pattern)[0])
    for place in places(content):
        path = put(tmp_path, kind, spoilt(content, place, value))
        words = refusal(path, kind)
        assert words == "" or (words.startswith(f"{path}: ") and words.endswith(kind.REMEDY)), place


def test_schemas_stand_once():
    own = Path(schemas.__file__).parent
    tags = [kind.SCHEMA for kind in vars(schemas).values() if isinstance(kind, Callable) and hasattr(kind, "SCHEMA")]  # type: ignore[arg-type]
    assert len(tags) == 9
    for path in own.parents[1].rglob("*.py"):
        if own not in path.parents:
            assert not [tag for tag in tags if f'"{tag}"' in path.read_text()], path
