"""Downloads at their true lengths, from a server on this machine whose connection breaks at 90%.

The archives are those of the publishers in length and number of files; all but a few bytes of them are zeros, so the
server's files are sparse.
"""

from __future__ import annotations

import io
import tarfile
import threading
import zipfile
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from replication.datasets import download as room
from replication.datasets.download import DATA_SETS, Archive, Content, download, is_complete
from replication.datasets.fetch import fetch
from replication.results.files import sha256_file

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]
PIECE = 1 << 20
BREAK = 0.9  # of a file, where the first connection for it ends


class Handler(BaseHTTPRequestHandler):
    """Serves a folder with ranges. The first answer for a file ends at 90% of it."""

    def __init__(self, *words: Any, folder: Path, asked: list[tuple[str, int]]) -> None:
        self.folder, self.asked = folder, asked
        super().__init__(*words)

    def do_GET(self) -> None:
        """Send what is asked for, or what comes before the break."""
        path = self.folder / self.path.rsplit("/", 1)[-1]
        size, start = path.stat().st_size, int(self.headers.get("Range", "bytes=0-")[6:].rstrip("-"))
        first = all(name != path.name for name, _ in self.asked)
        self.asked.append((path.name, start))
        self.send_response(206 if start else 200)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{size - 1}/{size}")
        self.send_header("Content-Length", str(size - start))
        self.end_headers()
        left = (int(BREAK * size) if first else size) - start
        with path.open("rb") as file:
            file.seek(start)
            while left > 0 and (piece := file.read(min(PIECE, left))):
                self.wfile.write(piece)
                left -= len(piece)
        self.close_connection = True

    def log_message(self, *_: Any) -> None:
        """Nothing."""


@pytest.fixture
def asked() -> list[tuple[str, int]]:
    return []


@pytest.fixture
def server(tmp_path: Path, asked: list[tuple[str, int]]) -> Iterator[str]:
    (tmp_path / "served").mkdir()
    handler = partial(Handler, folder=tmp_path / "served", asked=asked)
    running = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=running.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{running.server_address[1]}"
    running.shutdown()
    running.server_close()


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(room, "fetch", partial(fetch, wait=0.01))


class Zeros(io.RawIOBase):
    """So many zero bytes."""

    def __init__(self, count: int) -> None:
        self.left = count

    def read(self, size: int = -1) -> bytes:
        """The next ones."""
        taken = self.left if size < 0 else min(size, self.left)
        self.left -= taken
        return bytes(taken)


def names(archive: Archive, content: Content) -> list[str]:
    """Paths in the archive of the files that it must hold."""
    base = archive.inside if content.listed else str(Path(archive.inside).parent)
    if content.suffix.startswith(".") or content.listed:
        return [f"{base}/{content.folder}/{number:06d}{content.suffix}" for number in range(content.count)]
    return [f"{base}/{content.folder}/{content.suffix}"]


def members(archive: Archive) -> dict[str, bytes]:
    """All files of the archive but the one that fills it up."""
    found = {name.removeprefix("./"): b"x" for content in archive.contents for name in names(archive, content)}
    for content in archive.contents:
        if content.listed:
            ids = "".join(f"{number:06d}\n" for number in range(content.count))
            found[f"{archive.inside}/{content.listed}"] = ids.encode()
    return found


def write(archive: Archive, path: Path) -> None:
    """An archive of exactly the true length, not compressed."""
    if path.suffix == ".zip":
        _write_zip(archive, path)
    else:
        _write_tar(archive, path)
    assert path.stat().st_size == archive.size


def _write_zip(archive: Archive, path: Path) -> None:
    filler = f"{archive.inside}/filler"
    with zipfile.ZipFile(path, "w") as file:
        for name, content in members(archive).items():
            file.writestr(name, content)
        directory = sum(46 + len(name) for name in [*file.namelist(), filler]) + 22
        assert file.fp is not None
        room_left = archive.size - file.fp.tell() - directory - 30 - len(filler)
        with file.open(zipfile.ZipInfo(filler), "w") as out:
            for start in range(0, room_left, PIECE):
                out.write(bytes(min(PIECE, room_left - start)))


def _write_tar(archive: Archive, path: Path) -> None:
    with tarfile.open(path, "w", format=tarfile.USTAR_FORMAT) as file:
        for name, content in members(archive).items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            file.addfile(entry, io.BytesIO(content))
        entry = tarfile.TarInfo(f"{archive.inside}/filler")
        entry.size = archive.size - file.offset - 3 * tarfile.BLOCKSIZE  # its header, and two blocks at the end
        entry.size -= entry.size % tarfile.BLOCKSIZE
        file.addfile(entry, Zeros(entry.size))
    with path.open("r+b") as out:
        out.truncate(archive.size)  # tarfile fills up to its record size


ARCHIVES = [(name, number) for name, archives in DATA_SETS.items() for number in range(len(archives))]


@pytest.mark.parametrize(("name", "number"), [pair for pair in ARCHIVES if pair != ("coco2017", 2)])
def test_a_broken_connection_is_resumed_verified_and_unpacked(
    name: str, number: int, server: str, asked: list[tuple[str, int]], tmp_path: Path
) -> None:
    official = DATA_SETS[name][number]
    packed = tmp_path / "served" / official.name
    write(official, packed)
    archive = replace(official, url=f"{server}/{official.name}", sha256=sha256_file(packed))
    download(name, tmp_path / "data", records={name: (archive,)})
    assert is_complete(official, tmp_path / "data")
    first, second = asked  # what was on its way when the connection broke may be lost with it
    assert first == (official.name, 0)
    assert second[0] == official.name
    assert 0.95 * BREAK * official.size < second[1] <= BREAK * official.size
    assert not (tmp_path / "data/archives" / official.name).exists()


def test_train2017_goes_on_at_90_percent_of_its_length(
    server: str, asked: list[tuple[str, int]], tmp_path: Path
) -> None:
    """18 of 19 GB came with an earlier call: those lie there as a sparse file, the rest is sent and all is verified."""
    official = DATA_SETS["coco2017"][2]
    served, target = tmp_path / "served" / official.name, tmp_path / official.name
    part = target.with_name(f"{target.name}.part")
    come = int(0.9 * official.size)
    for path, length in ((served, official.size), (part, come)):
        with path.open("wb") as file:
            file.truncate(length)
    asked.append((official.name, -1))  # the connection that broke
    fetch(f"{server}/{official.name}", target, size=official.size, sha256=sha256_file(served))
    assert asked[1:] == [(official.name, come)]
    assert target.stat().st_size == official.size
