"""Downloads against a local HTTP server that misbehaves in the ways real ones do."""

from __future__ import annotations

import hashlib
import io
import re
import tarfile
import threading
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import requests

from replication.datasets import fetch as fetch_module
from replication.datasets.download import DATA_SETS, Archive, Content, download, is_complete
from replication.datasets.fetch import ATTEMPTS, fetch
from replication.errors import ConfigError, DataError

MiB = 1 << 20


@dataclass
class Server:
    """Files by path; ``break_after`` bytes of each body the connection is cut, ``breaks`` times."""

    files: dict[str, bytes] = field(default_factory=dict)
    break_after: int = 0
    breaks: int = 0
    ranges: bool = True
    status: list[int] = field(default_factory=list)
    wrong_range: bool = False
    requests: list[tuple[str, str | None]] = field(default_factory=list)
    url: str = ""


class Handler(BaseHTTPRequestHandler):
    server: LocalServer

    def do_GET(self) -> None:
        state = self.server.state
        asked = self.headers.get("Range")
        state.requests.append((self.path, asked))
        if state.status:
            return self._empty(state.status.pop(0))
        if self.path not in state.files:
            return self._empty(404)
        body, start = state.files[self.path], 0
        if asked and state.ranges:
            start = int(asked.removeprefix("bytes=").removesuffix("-"))
            if start >= len(body):
                return self._empty(416, {"Content-Range": f"bytes */{len(body)}"})
        self._body(state, body, 0 if state.wrong_range else start, partial=bool(asked) and state.ranges)

    def _empty(self, status: int, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for key, value in (headers or {}).items():
            self.send_header(key, value)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def _body(self, state: Server, body: bytes, start: int, partial: bool) -> None:
        rest = body[start:]
        self.send_response(206 if partial else 200)
        if partial:
            self.send_header("Content-Range", f"bytes {start}-{len(body) - 1}/{len(body)}")
        self.send_header("Content-Length", str(len(rest)))
        self.end_headers()
        if state.breaks:
            state.breaks -= 1
            self.wfile.write(rest[: state.break_after])
            self.wfile.flush()
            self.close_connection = True
            return
        self.wfile.write(rest)

    def log_message(self, *args: object) -> None:
        pass


class LocalServer(ThreadingHTTPServer):
    daemon_threads = True
    state: Server


@pytest.fixture
def server() -> Iterator[Server]:
    http = LocalServer(("127.0.0.1", 0), Handler)
    http.state = Server(url=f"http://127.0.0.1:{http.server_address[1]}")
    thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    yield http.state
    http.shutdown()
    http.server_close()


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """No waiting between attempts."""
    monkeypatch.setattr(fetch_module.time, "sleep", lambda seconds: None)


def zip_bytes(files: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as file:
        for name, content in files.items():
            file.writestr(name, content)
    return buffer.getvalue()


def tar_bytes(files: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as file:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            file.addfile(member, io.BytesIO(content))
    return buffer.getvalue()


def served(server: Server, record: Archive, body: bytes) -> Archive:
    """``record`` with the address, size and SHA-256 of ``body`` on the local server."""
    server.files[f"/{record.name}"] = body
    return replace(record, url=f"{server.url}/{record.name}", size=len(body), sha256=hashlib.sha256(body).hexdigest())


def tiny_coco(server: Server) -> dict[str, tuple[Archive, ...]]:
    """Archives of COCO's layout with three and two images."""
    annotations, val, train = DATA_SETS["coco2017"]
    json = {f"annotations/{kind}_{s}2017.json": b"{}" for kind in ("instances", "captions") for s in ("train", "val")}
    images = {
        split: {f"{split}/{i:012d}.jpg": bytes([i]) * 5000 for i in range(n)}
        for split, n in (("train2017", 3), ("val2017", 2))
    }
    return {
        "coco2017": (
            served(server, annotations, zip_bytes(json)),
            served(server, replace(val, contents=(Content("val2017", ".jpg", 2),)), zip_bytes(images["val2017"])),
            served(server, replace(train, contents=(Content("train2017", ".jpg", 3),)), zip_bytes(images["train2017"])),
        )
    }


def voc_files(year: int, split: str, ids: list[str]) -> dict[str, bytes]:
    base = f"VOCdevkit/VOC{year}"
    return (
        {f"{base}/JPEGImages/{i}.jpg": i.encode() for i in ids}
        | {f"{base}/Annotations/{i}.xml": b"<annotation/>" for i in ids}
        | {f"{base}/ImageSets/Main/{split}.txt": "\n".join(ids).encode()}
    )


def tiny_voc2007(server: Server) -> dict[str, tuple[Archive, ...]]:
    records = []
    for record, split, ids in zip(DATA_SETS["voc2007"], ("trainval", "test"), (["1", "2"], ["3"]), strict=True):
        contents = tuple(replace(content, count=len(ids)) for content in record.contents)
        records.append(served(server, replace(record, contents=contents), tar_bytes(voc_files(2007, split, ids))))
    return {"voc2007": tuple(records)}


def test_coco_lands_in_detectron2_layout(server: Server, tmp_path: Path) -> None:
    records = tiny_coco(server)
    folder = download("coco2017", tmp_path, records=records)
    assert folder == tmp_path / "coco"
    assert sorted(path.name for path in folder.iterdir()) == ["annotations", "train2017", "val2017"]
    assert len(list((folder / "train2017").iterdir())) == 3
    assert (folder / "annotations/instances_val2017.json").read_bytes() == b"{}"
    assert [path.name for path in (tmp_path / "archives").iterdir() if path.name != ".lock"] == []


def test_both_voc2007_archives_share_one_folder_without_prefix(server: Server, tmp_path: Path) -> None:
    folder = download("voc2007", tmp_path, records=tiny_voc2007(server))
    assert folder == tmp_path / "VOC2007"
    assert sorted(path.name for path in (folder / "JPEGImages").iterdir()) == ["1.jpg", "2.jpg", "3.jpg"]
    assert (folder / "ImageSets/Main/trainval.txt").exists()
    assert (folder / "ImageSets/Main/test.txt").exists()
    assert not (tmp_path / "VOCdevkit").exists()


def test_complete_data_is_left_alone(server: Server, tmp_path: Path) -> None:
    records = tiny_coco(server)
    download("coco2017", tmp_path, records=records)
    asked = len(server.requests)
    download("coco2017", tmp_path, records=records)
    assert len(server.requests) == asked


def test_only_what_is_missing_is_downloaded(server: Server, tmp_path: Path) -> None:
    records = tiny_coco(server)
    download("coco2017", tmp_path, records=records)
    (tmp_path / "coco/val2017/000000000000.jpg").unlink()
    server.requests.clear()
    download("coco2017", tmp_path, records=records)
    assert [path for path, _ in server.requests] == ["/val2017.zip"]
    assert (tmp_path / "coco/val2017/000000000000.jpg").exists()


def test_connection_that_breaks_off_is_resumed(server: Server, tmp_path: Path) -> None:
    body = bytes(range(256)) * 20_000
    server.files["/f"] = body
    server.break_after, server.breaks = 2 * MiB, 2
    fetch(f"{server.url}/f", tmp_path / "f", size=len(body), sha256=hashlib.sha256(body).hexdigest())
    assert (tmp_path / "f").read_bytes() == body
    assert [asked for _, asked in server.requests] == [None, f"bytes={2 * MiB}-", f"bytes={4 * MiB}-"]


def test_next_call_continues_where_the_last_stopped(server: Server, tmp_path: Path) -> None:
    body = bytes(range(256)) * 20_000
    server.files["/f"] = body
    (tmp_path / "f.part").write_bytes(body[:1_000_000])
    fetch(f"{server.url}/f", tmp_path / "f", size=len(body), sha256=hashlib.sha256(body).hexdigest())
    assert server.requests == [("/f", "bytes=1000000-")]
    assert (tmp_path / "f").read_bytes() == body
    assert not (tmp_path / "f.part").exists()


def test_part_that_is_already_whole_needs_no_more_bytes(server: Server, tmp_path: Path) -> None:
    server.files["/f"] = b"abc"
    (tmp_path / "f.part").write_bytes(b"abc")
    fetch(f"{server.url}/f", tmp_path / "f")  # size unknown: the server's 416 says that nothing is missing
    assert server.requests == [("/f", "bytes=3-")]
    assert (tmp_path / "f").read_bytes() == b"abc"


def test_part_longer_than_the_file_starts_again(server: Server, tmp_path: Path) -> None:
    server.files["/f"] = b"abc"
    (tmp_path / "f.part").write_bytes(b"other file")
    fetch(f"{server.url}/f", tmp_path / "f")
    assert (tmp_path / "f").read_bytes() == b"abc"


def test_server_without_ranges_starts_again(server: Server, tmp_path: Path) -> None:
    body = bytes(range(256)) * 20_000
    server.files["/f"] = body
    server.ranges, server.break_after, server.breaks = False, 2 * MiB, 1
    fetch(f"{server.url}/f", tmp_path / "f", size=len(body), sha256=hashlib.sha256(body).hexdigest())
    assert (tmp_path / "f").read_bytes() == body


def test_server_that_sends_another_range_is_not_believed(server: Server, tmp_path: Path) -> None:
    server.files["/f"] = b"abcdef"
    server.wrong_range = True
    (tmp_path / "f.part").write_bytes(b"abc")
    fetch(f"{server.url}/f", tmp_path / "f", size=6)
    assert (tmp_path / "f").read_bytes() == b"abcdef"


def test_gives_up_after_attempts_without_progress_and_keeps_what_came(server: Server, tmp_path: Path) -> None:
    server.files["/f"] = b"x" * 3 * MiB
    server.break_after, server.breaks = MiB, 1
    server.status = []
    (tmp_path / "f.part").write_bytes(b"x" * MiB)
    server.status = [503] * ATTEMPTS
    with pytest.raises(DataError, match=r"HTTP 503, 5 attempts.*1\.0 MB are kept, run again") as caught:
        fetch(f"{server.url}/f", tmp_path / "f", size=3 * MiB)
    assert "\n" not in str(caught.value)
    assert (tmp_path / "f.part").stat().st_size == MiB
    fetch(f"{server.url}/f", tmp_path / "f", size=3 * MiB)
    assert (tmp_path / "f").stat().st_size == 3 * MiB


def test_passing_server_error_is_retried(server: Server, tmp_path: Path) -> None:
    server.files["/f"] = b"abc"
    server.status = [500, 429]
    assert fetch(f"{server.url}/f", tmp_path / "f").read_bytes() == b"abc"


def test_not_found_is_one_line_at_once(server: Server, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="404") as caught:
        fetch(f"{server.url}/absent", tmp_path / "f")
    assert len(server.requests) == 1
    assert "\n" not in str(caught.value)


def test_no_network_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"cannot be downloaded \(Connection refused") as caught:
        fetch("http://127.0.0.1:9/train2017.zip", tmp_path / "f")
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 200


@pytest.mark.parametrize("good", [{"size": 3}, {"size": 6, "sha256": hashlib.sha256(b"abcdef").hexdigest()}])
def test_wrong_content_is_removed(server: Server, tmp_path: Path, good: dict[str, object]) -> None:
    server.files["/f"] = b"abcdeX"
    with pytest.raises(DataError, match="removed, run again"):
        fetch(f"{server.url}/f", tmp_path / "f", **good)  # type: ignore[arg-type]
    assert list(tmp_path.iterdir()) == []


def test_wrong_archive_beside_is_removed_and_said(server: Server, tmp_path: Path) -> None:
    records = tiny_coco(server)
    (tmp_path / "archives").mkdir()
    (tmp_path / "archives/val2017.zip").write_bytes(b"not it")
    with pytest.raises(DataError, match=r"val2017.zip: 6 bytes instead of"):
        download("coco2017", tmp_path, records=records)
    download("coco2017", tmp_path, records=records)
    assert is_complete(records["coco2017"][1], tmp_path)


def test_archive_beside_is_used_without_network(server: Server, tmp_path: Path) -> None:
    records = tiny_voc2007(server)
    (tmp_path / "archives").mkdir()
    for record in records["voc2007"]:
        (tmp_path / "archives" / record.name).write_bytes(server.files[f"/{record.name}"])
    download("voc2007", tmp_path, records=records)
    assert server.requests == []


def test_mirror_serves_the_same_file_names(server: Server, tmp_path: Path) -> None:
    records = {
        "voc2007": tuple(replace(r, url=f"http://127.0.0.1:9/{r.name}") for r in tiny_voc2007(server)["voc2007"])
    }
    download("voc2007", tmp_path, mirror=f"{server.url}/", records=records)
    assert is_complete(records["voc2007"][0], tmp_path)


def test_killed_while_unpacking_is_done_again(server: Server, tmp_path: Path) -> None:
    records = tiny_voc2007(server)
    left = tmp_path / f".{records['voc2007'][0].name}.unpacking" / "VOCdevkit"
    left.mkdir(parents=True)
    (left / "half").write_bytes(b"x")
    half = tmp_path / "VOC2007/JPEGImages"  # and while moving
    half.mkdir(parents=True)
    (half / "1.jpg").write_bytes(b"1")
    download("voc2007", tmp_path, records=records)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["VOC2007", "archives"]
    assert is_complete(records["voc2007"][0], tmp_path)


def test_interrupted_download_continues(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    records = tiny_coco(server)

    def interrupt(*args: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("replication.datasets.unpack._check_space", interrupt)
        with pytest.raises(KeyboardInterrupt):
            download("coco2017", tmp_path, records=records)
    assert (tmp_path / "archives/annotations_trainval2017.zip").exists()
    download("coco2017", tmp_path, records=records)
    assert sum(path == "/annotations_trainval2017.zip" for path, _ in server.requests) == 1


def test_data_folder_on_another_disk_through_a_link(server: Server, tmp_path: Path) -> None:
    root, disk = tmp_path / "root", tmp_path / "disk"
    root.mkdir()
    disk.mkdir()
    (root / "coco").symlink_to(disk)
    download("coco2017", root, records=tiny_coco(server))
    assert (disk / "val2017").is_dir()


@pytest.mark.parametrize("name", ["../outside.jpg", "/outside.jpg", "val2017/../../outside.jpg"])
def test_zip_member_outside_is_refused(server: Server, tmp_path: Path, name: str) -> None:
    _, val, _ = DATA_SETS["coco2017"]
    record = served(server, val, zip_bytes({"val2017/1.jpg": b"1", name: b"x"}))
    with pytest.raises(DataError, match="unsafe member"):
        download("coco2017", tmp_path / "root", records={"coco2017": (record,)})
    assert not list(tmp_path.rglob("outside.jpg"))


def test_zip_link_is_refused(server: Server, tmp_path: Path) -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as file:
        link = zipfile.ZipInfo("val2017/link")
        link.external_attr = 0o120777 << 16
        file.writestr(link, "/etc/passwd")
    record = served(server, DATA_SETS["coco2017"][1], buffer.getvalue())
    with pytest.raises(DataError, match="unsafe member"):
        download("coco2017", tmp_path, records={"coco2017": (record,)})


def test_tar_member_outside_is_refused(server: Server, tmp_path: Path) -> None:
    record = served(server, DATA_SETS["voc2012"][0], tar_bytes({"VOCdevkit/VOC2012/../../../outside": b"x"}))
    with pytest.raises(DataError, match="unsafe member"):
        download("voc2012", tmp_path / "root", records={"voc2012": (record,)})
    assert not list(tmp_path.rglob("outside"))


@pytest.mark.parametrize(("name", "index"), [("coco2017", 1), ("voc2012", 0)])
def test_damaged_archive_is_said(server: Server, tmp_path: Path, name: str, index: int) -> None:
    record = served(server, DATA_SETS[name][index], b"PK\x03\x04 but no archive" * 100)
    with pytest.raises(DataError, match="damaged archive"):
        download(name, tmp_path, records={name: (record,)})


def test_archive_of_another_layout_is_said(server: Server, tmp_path: Path) -> None:
    record = served(server, DATA_SETS["coco2017"][1], zip_bytes({"other/1.jpg": b"1"}))
    with pytest.raises(DataError, match="holds no folder 'val2017'"):
        download("coco2017", tmp_path, records={"coco2017": (record,)})


def test_archive_with_missing_files_is_said(server: Server, tmp_path: Path) -> None:
    record = served(server, DATA_SETS["coco2017"][1], zip_bytes({"val2017/1.jpg": b"1"}))
    with pytest.raises(DataError, match="files are missing after unpacking"):
        download("coco2017", tmp_path, records={"coco2017": (record,)})


def test_full_disk_is_said_before_anything_is_downloaded(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("replication.datasets.download.free_bytes", lambda folder: 30_000_000_000)
    with pytest.raises(DataError, match=r"4\d\.\d GB needed to download and unpack, 30\.0 GB free"):
        download("coco2017", tmp_path)
    assert server.requests == []


def test_disk_that_fills_up_while_downloading_is_said(server: Server, tmp_path: Path) -> None:
    server.files["/f"] = b"x" * 3 * MiB
    (tmp_path / "f.part").symlink_to("/dev/full")
    with pytest.raises(DataError, match=r"f\.part: cannot write: No space left on device; .* what has arrived is kept"):
        fetch(f"{server.url}/f", tmp_path / "f", size=3 * MiB)


def test_folder_in_use_is_said(server: Server, tmp_path: Path) -> None:
    from filelock import FileLock

    (tmp_path / "archives").mkdir()
    with FileLock(tmp_path / "archives/.lock"), pytest.raises(DataError, match="another download runs"):
        download("voc2007", tmp_path, records=tiny_voc2007(server))


def test_folder_that_cannot_be_made_is_said(server: Server, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match="cannot write"):
        download("voc2007", tmp_path / "file", records=tiny_voc2007(server))


def test_unknown_name_lists_the_known() -> None:
    with pytest.raises(ConfigError, match="known are coco2017, voc2007, voc2012"):
        download("coco2099")


def test_every_archive_has_an_address_of_its_publisher_and_a_hash() -> None:
    for archive in (archive for archives in DATA_SETS.values() for archive in archives):
        assert archive.url.startswith(
            ("https://s3.amazonaws.com/images.cocodataset.org/", "https://host.robots.ox.ac.uk/")
        )
        assert re.fullmatch(r"[0-9a-f]{64}", archive.sha256)


def test_a_server_that_passes_on_to_http_is_refused(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.files["/f"] = b"abcdef"
    plain = requests.Session.get
    monkeypatch.setattr(requests.Session, "get", lambda self, url, **more: plain(self, f"{server.url}/f", **more))
    with pytest.raises(DataError, match=r"passes on to http://127.*, which is not https"):
        fetch("https://example.org/f", tmp_path / "f")
    assert list(tmp_path.iterdir()) == []
