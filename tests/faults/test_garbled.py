"""Result files that are missing, truncated or garbled: one message that names the file and what really helps."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from replication.catalog import load_catalog, load_judging, load_protocol
from replication.cli.main import main
from replication.errors import DataError, ReplicationError, ResultError
from replication.evaluation.runs import evaluate_run
from replication.export import archive as archive_room
from replication.report import samples, write_report
from replication.results import files
from replication.results.files import load_json, reading
from replication.results.run import Run
from replication.results.schemas import Provenance, read
from replication.verdicts import write_verdicts

ROOT = Path(__file__).resolve().parents[2]
RUN = "runs/faster_rcnn_R50_giou/seed0"
FAULTS: dict[str, Callable[[bytes], bytes]] = {
    "empty": lambda good: b"",
    "cut": lambda good: good[: len(good) // 2],
    "nul": lambda good: bytes(len(good)),
    "binary": lambda good: b"\xff\xfe\x00" + good,
    "list": lambda good: b"[]",
    "null": lambda good: b"null",
    "deep": lambda good: b"[" * 100_000,
    "version": lambda good: good.replace(b'"schema": "', b'"schema": "x', 1),
}


@pytest.fixture
def mini(tmp_path: Path) -> Path:
    """The repository's own results, which no longer count as an archive."""
    shutil.copytree(ROOT / "results" / "reference" / "mini", tmp_path / "results" / "mini")
    (tmp_path / "results" / "mini" / "archive.json").unlink()
    return tmp_path / "results" / "mini"


def verb(capsys: pytest.CaptureFixture[str], name: str, results: Path, *more: str) -> tuple[int, str]:
    code = main([name, "--protocol", "mini", "--results", str(results), *more])
    return code, capsys.readouterr().err


@pytest.mark.parametrize(
    ("file", "name", "remedy"),
    [
        (f"{RUN}/metrics.json", "tables", "evaluate the run again"),
        (f"{RUN}/provenance.json", "tables", "train the run again with --restart"),
        (f"{RUN}/curves.jsonl", "archive", "move it away, for a page without this curve"),
        ("data.json", "archive", "run `replication prepare` again"),
        ("verdicts.json", "archive", "again"),
    ],
)
def test_one_message_with_a_remedy(
    mini: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], file: str, name: str, remedy: str
):
    path = mini / file
    good = path.read_bytes()
    more = ["--tables", "giou-T5"] if name == "tables" else ["--out", str(tmp_path / "kept")]
    kinds = FAULTS if file != f"{RUN}/curves.jsonl" else {key: FAULTS[key] for key in ("cut", "nul", "list", "deep")}
    for kind, garble in kinds.items():
        path.write_bytes(garble(good))
        code, error = verb(capsys, name, mini.parent, *more)
        assert (code, error.count("error: "), len(error.splitlines())) == (2, 1, 1), (kind, error)
        assert str(path) in error, kind
        assert remedy in error, (kind, error)
        assert not (tmp_path / "kept").exists()
    path.write_bytes(good)
    assert verb(capsys, name, mini.parent, *more)[0] == 0


def test_a_folder_in_the_place_of_a_file_is_to_be_moved_away(tmp_path: Path):
    (tmp_path / "provenance.json").mkdir()
    with pytest.raises(ResultError, match=r"not readable \(Is a directory\); move it away, then train the run again"):
        read(tmp_path / "provenance.json", Provenance)


def test_verdicts_from_elsewhere_are_no_traceback(mini: Path):
    """A key that the page reads is missing, or of another type."""
    path, catalog, protocol = mini / "verdicts.json", load_catalog(), load_protocol("mini")
    document = json.loads(path.read_text())
    giou = next(entry for entry in document["verdicts"] if entry["table"] == "giou-T5")

    def render() -> None:
        path.write_text(json.dumps(document))
        write_report(catalog, protocol, mini.parent, ["giou-T5"])

    page = mini / "report.html"
    before = page.read_bytes()
    for mapping, key, value in (
        (document, "runs", None),
        (document, "verdicts", {"x": 1}),
        (giou, "row", "x"),
        (giou, "verdict", []),
        (giou, "estimates", None),
    ):
        good = mapping[key]
        mapping[key] = value
        with pytest.raises(ResultError, match=r"verdicts\.json: .*again"):
            render()
        mapping[key] = good
    assert page.read_bytes() == before


def test_what_is_read_is_blamed_and_messages_pass(tmp_path: Path):
    path = tmp_path / "truth.json"
    message = r"truth\.json: not as `replication prepare` writes it \(KeyError: 'x'\)"
    with pytest.raises(ResultError, match=message), reading(path, "prepare"):
        raise KeyError("x")
    with pytest.raises(DataError, match="own words"), reading(path, "prepare"):
        raise DataError("own words")


def test_an_image_of_the_samples_that_is_truncated(tmp_path: Path):
    path = tmp_path / "photo.jpg"
    Image.effect_noise((400, 300), 60).save(path)
    whole = samples.data_uri(path)
    assert whole is not None
    assert whole.startswith("data:image/jpeg")
    for content in (path.read_bytes()[:2000], b"", b"\x89PNG\r\n\x1a\n", b"GIF89a"):
        path.write_bytes(content)
        assert samples.data_uri(path) is None, "the page then shows another"


def test_the_message_says_what_to_run(tmp_path: Path):
    with pytest.raises(ResultError, match=r"x\.json: no such file; run `replication detect` again"):
        load_json(tmp_path / "x.json", "run `replication detect` again")


class Killed(BaseException):
    """What kill -9 is to a process: nothing after it is done."""


@pytest.mark.parametrize("step", range(4))
def test_killed_while_an_archive_is_replaced(mini: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: int):
    protocol, out = load_protocol("mini"), tmp_path / "kept"
    for folder in {*(mini / "runs").iterdir()} - {mini / "runs" / "faster_rcnn_R50"}:
        shutil.rmtree(folder)
    (mini / "verdicts.json").unlink()
    archive_room.archive(protocol, mini.parent, out)
    whole = {path.relative_to(out): path.read_bytes() for path in out.rglob("*") if path.is_file()}
    calls = 0

    def killing(act: Callable[..., Any]) -> Callable[..., Any]:
        def killed(path: Path, *arguments: Any, **options: Any) -> Any:
            nonlocal calls
            if Path(path).name in (".mini.replaced", ".mini.partial", "mini") and Path(path).parent == out:
                calls += 1
                if calls == step + 2:  # the first clears what was left
                    raise Killed
            return act(path, *arguments, **options)

        return killed

    with monkeypatch.context() as patch:
        patch.setattr(archive_room.shutil, "rmtree", killing(shutil.rmtree))
        patch.setattr(Path, "rename", killing(Path.rename))
        with pytest.raises(Killed):
            archive_room.archive(protocol, mini.parent, out)
    archive_room.archive(protocol, mini.parent, out)
    assert {path.relative_to(out): path.read_bytes() for path in out.rglob("*") if path.is_file()} == whole
    assert [path.name for path in out.iterdir()] == ["mini"]


def test_an_unwritable_folder_is_noticed_before_the_work(mini: Path, monkeypatch: pytest.MonkeyPatch):
    protocol, catalog = load_protocol("mini"), load_catalog()

    def read_only(**options: Any) -> None:
        raise OSError(30, "Read-only file system")

    def work(*arguments: Any, **options: Any) -> None:
        raise AssertionError("worked before it looked")

    monkeypatch.setattr(files.tempfile, "TemporaryFile", read_only)
    for place in (
        "replication.evaluation.runs.read_run",
        "replication.report.page._section",
        "replication.verdicts.document.judge",
    ):
        monkeypatch.setattr(place, work)

    def refused(act: Callable[[], Any]) -> None:
        with pytest.raises(ReplicationError, match="cannot write: Read-only file system"):
            act()

    run = Run(catalog.variants["faster_rcnn_R50_giou"], protocol, 0, mini.parent)
    refused(lambda: evaluate_run(run))
    refused(lambda: write_report(catalog, protocol, mini.parent, ["giou-T5"]))
    refused(lambda: write_verdicts(catalog, protocol, mini.parent, ["giou-T5"], load_judging()))
