"""One file over HTTP: resumed, retried, verified."""

from __future__ import annotations

import re
import shutil
import sys
import time
from pathlib import Path

import requests
from tqdm import tqdm

from replication.errors import DataError
from replication.results.files import sha256_file

ATTEMPTS = 5  # in a row without one new byte
WAIT = 1.0  # seconds before the second attempt, doubled before each further one
TIMEOUT = (10, 60)  # seconds to connect, and between two pieces
CHUNK = 1 << 20
PASSING = {408, 425, 429, 500, 502, 503, 504}  # HTTP states worth another attempt


class _Passing(Exception):
    """A fault that another attempt may not see."""


def fetch(
    url: str, target: Path, *, size: int | None = None, sha256: str | None = None, wait: float = WAIT, note: str = ""
) -> Path:
    """Download ``url`` to ``target`` unless it is there, and verify ``size`` in bytes and ``sha256`` where given.

    What has arrived is kept in ``target``.part and continued by an HTTP Range request, in this call or the next;
    a server without ranges starts again. Raises DataError, one line that ends with ``note``, when the server cannot
    be reached or refuses, when the disk is full, and when the content is wrong: that file is then removed.
    """
    if not target.exists():
        part = target.with_name(f"{target.name}.part")
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            _download(url, part, size, wait, note)
            _verify(url, part, size, sha256)
            part.replace(target)
        except requests.RequestException as error:
            raise DataError(f"{url}: cannot be downloaded: {_reason(error)}{note}") from error
        except OSError as error:
            raise DataError(
                f"{part}: cannot write: {error.strerror or error}; free disk space or choose another folder, "
                "then run again: what has arrived is kept"
            ) from error
    else:
        _verify(url, target, size, sha256)
    return target


def free_bytes(folder: Path) -> int:
    """Free space of the disk that ``folder``, or its nearest existing parent, lies on."""
    existing = next(path for path in (folder.absolute(), *folder.absolute().parents) if path.exists())
    return shutil.disk_usage(existing).free


def _download(url: str, part: Path, size: int | None, wait: float, note: str) -> None:
    failures = 0
    with requests.Session() as session:
        while True:
            before = _length(part)
            try:
                return _stream(session, url, part, size)
            except _Passing as error:
                failures = 1 if _length(part) > before else failures + 1
                if failures == ATTEMPTS:
                    kept = f"; {_length(part) / 1e6:.1f} MB are kept, run again to continue" if part.exists() else ""
                    raise DataError(
                        f"{url}: cannot be downloaded ({error}, {ATTEMPTS} attempts){kept}{note or '; no network?'}"
                    ) from error
                time.sleep(wait * 2 ** (failures - 1))


def _stream(session: requests.Session, url: str, part: Path, size: int | None) -> None:
    """One request for what ``part`` lacks; returns when all of the file is there."""
    start = _length(part)
    if size is not None and start >= size:
        return
    headers = {"Accept-Encoding": "identity"} | ({"Range": f"bytes={start}-"} if start else {})
    try:
        with session.get(url, headers=headers, stream=True, timeout=TIMEOUT) as response:
            if response.status_code == 416:  # nothing beyond `start`: complete, or not this file
                if response.headers.get("Content-Range") == f"bytes */{start}":
                    return
                part.unlink()
                raise _Passing("the server has less than what was downloaded before")
            if response.status_code in PASSING:
                raise _Passing(f"HTTP {response.status_code}")
            response.raise_for_status()
            if url.startswith("https:") and not response.url.startswith("https:"):
                raise DataError(f"{url}: the server passes on to {response.url}, which is not https; use a --mirror")
            resumed = response.status_code == 206 and _range_start(response) == start
            if start and response.status_code == 206 and not resumed:
                part.unlink()
                raise _Passing("the server sent another range than asked for")
            _write(response, part, start if resumed else 0, size)
    except (requests.ConnectionError, requests.Timeout, requests.exceptions.ChunkedEncodingError) as error:
        raise _Passing(_reason(error)) from error
    if size is not None and _length(part) < size:
        raise _Passing("the connection broke off")


def _write(response: requests.Response, part: Path, start: int, size: int | None) -> None:
    length = response.headers.get("Content-Length")
    total = start + int(length) if length and length.isdigit() else size
    with (
        open(part, "ab" if start else "wb") as file,
        tqdm(
            total=total,
            initial=start,
            desc=part.stem,
            unit="B",
            unit_scale=True,
            unit_divisor=1000,
            mininterval=0.5 if sys.stderr.isatty() else 30,
        ) as progress,
    ):
        for piece in response.iter_content(CHUNK):
            file.write(piece)
            progress.update(len(piece))


def _verify(url: str, path: Path, size: int | None, sha256: str | None) -> None:
    found = _length(path)
    if size is not None and found != size:
        path.unlink()
        raise DataError(f"{url}: {found} bytes instead of {size}; removed, run again (or use another mirror)")
    if sha256 is not None:
        digest = sha256_file(path)
        if digest != sha256:
            path.unlink()
            raise DataError(
                f"{url}: SHA-256 is {digest}, expected {sha256}; removed, run again (or use another mirror)"
            )


def _length(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _range_start(response: requests.Response) -> int | None:
    match = re.match(r"bytes (\d+)-", response.headers.get("Content-Range", ""))
    return int(match.group(1)) if match else None


def _reason(error: Exception) -> str:
    """The innermost words of a requests error, which nests the system's message several layers deep."""
    text = str(error)
    inner = re.findall(r"\[Errno -?\d+\] ([^'\")]+)", text)
    if inner:
        return str(inner[-1])
    if isinstance(error, requests.Timeout):
        return "timed out"
    return text.splitlines()[0][:200] if text else type(error).__name__
