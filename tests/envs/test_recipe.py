"""The recipe of the detectron2 wheel, on a small archive of the same shape."""

from __future__ import annotations

import email
import hashlib
import io
import sys
import tarfile
import types
import zipfile
from pathlib import Path

import backend
import index_settings
import pytest

TRANSFORM = "detectron2/data/transforms/transform.py"


def make_archive(folder: Path, transform: str = "interp = Image.LINEAR\n") -> Path:
    path = folder / "pb1-detectron2-0.6.tar.gz"
    files = {
        TRANSFORM: transform,
        "detectron2/__init__.py": '__version__ = "0.6"\n',
        "setup.py": "raise SystemExit('never run')\n",
        "tests/test_x.py": "",
    }
    with tarfile.open(path, "w:gz") as tar:
        for name, text in files.items():
            member = tarfile.TarInfo(f"pb1-detectron2-0.6/{name}")
            member.size = len(text)
            tar.addfile(member, io.BytesIO(text.encode()))
    return path


@pytest.fixture
def archive(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = make_archive(tmp_path)
    monkeypatch.setattr(backend, "SHA256", hashlib.sha256(path.read_bytes()).hexdigest())
    monkeypatch.setenv("DETECTRON2_SDIST", str(path))
    monkeypatch.setenv("SOURCE_DATE_EPOCH", backend.EPOCH)
    return path


@pytest.fixture
def wheel(archive: Path, tmp_path: Path) -> zipfile.ZipFile:
    return zipfile.ZipFile(tmp_path / backend.build_wheel(str(tmp_path)))


def test_wheel_holds_the_package_edited_and_nothing_else(wheel: zipfile.ZipFile) -> None:
    names = {name for name in wheel.namelist() if not name.startswith("detectron2-0.6.dist-info/")}
    assert names == {TRANSFORM, "detectron2/__init__.py", "detectron2/_C.py"}
    assert wheel.read(TRANSFORM) == b"interp = Image.BILINEAR\n"


def test_wheel_is_the_same_bytes_each_time(archive: Path, tmp_path: Path) -> None:
    digests = set()
    for name in ("first", "second"):
        folder = tmp_path / name
        folder.mkdir()
        digests.add(hashlib.sha256((folder / backend.build_wheel(str(folder))).read_bytes()).hexdigest())
    assert len(digests) == 1


def test_metadata_names_what_detectron2_needs_but_no_torch(wheel: zipfile.ZipFile) -> None:
    metadata = email.message_from_bytes(wheel.read("detectron2-0.6.dist-info/METADATA"))
    assert (metadata["Name"], metadata["Version"]) == ("detectron2", "0.6")
    needs = metadata.get_all("Requires-Dist") or []
    assert "fvcore<0.1.6,>=0.1.5" in needs or "fvcore>=0.1.5,<0.1.6" in needs
    assert not [line for line in needs if line.startswith("torch")]


def test_record_lists_every_file_with_its_hash(wheel: zipfile.ZipFile) -> None:
    record = wheel.read("detectron2-0.6.dist-info/RECORD").decode().splitlines()
    hashed = {line.split(",")[0] for line in record if line.split(",")[1].startswith("sha256=")}
    assert hashed == {name for name in wheel.namelist() if not name.endswith("/RECORD")}


def test_another_archive_is_refused(archive: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backend, "SHA256", "0" * 64)
    with pytest.raises(SystemExit, match=r"pb1-detectron2-0\.6\.tar\.gz: SHA-256 is .* expected 0000.*refusing"):
        backend.build_wheel(str(tmp_path))
    assert not list(tmp_path.glob("*.whl"))


def test_missing_archive_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DETECTRON2_SDIST", str(tmp_path / "absent.tar.gz"))
    with pytest.raises(SystemExit, match=r"absent\.tar\.gz is not a file"):
        backend.build_wheel(str(tmp_path))


@pytest.mark.parametrize("text", ["interp = Image.BICUBIC\n", ""])
def test_a_missing_edit_stops_the_build(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    path = make_archive(tmp_path, text)
    monkeypatch.setattr(backend, "SHA256", hashlib.sha256(path.read_bytes()).hexdigest())
    monkeypatch.setenv("DETECTRON2_SDIST", str(path))
    with pytest.raises(SystemExit, match=r"transform\.py: the text to edit is not there: 'Image\.LINEAR'"):
        backend.build_wheel(str(tmp_path))


def test_stub_says_what_is_missing(wheel: zipfile.ZipFile) -> None:
    stub = types.ModuleType("_C")
    exec(wheel.read("detectron2/_C.py").decode(), stub.__dict__)
    with pytest.raises(ImportError, match=r"detectron2\._C\.deform_conv_forward needs .* upstream repository"):
        _ = stub.deform_conv_forward
    assert not hasattr(stub, "__path__")  # or it would look like a package
    assert stub.has_cuda() is False


def test_failed_download_says_how_to_go_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DETECTRON2_SDIST", raising=False)
    empty = tmp_path / "links"
    empty.mkdir()
    monkeypatch.setattr(backend, "pip_settings", lambda: {"find-links": [str(empty)], "no-index": ["true"]})
    for name in ("UV_DEFAULT_INDEX", "UV_INDEX_URL", "UV_INDEX", "UV_NO_INDEX"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(SystemExit, match=r"could not download pb1-detectron2==0\.6 .*(?s:.*)set DETECTRON2_SDIST"):
        backend.build_wheel(str(tmp_path))


def test_pip_listing_is_read_with_pips_precedence() -> None:
    listing = "\n".join(
        [
            ":env:.index-url='https://env.example/simple'",
            "global.extra-index-url='https://a.example/simple\\nhttps://b.example/simple'",
            "global.index-url='https://file.example/simple'",
            "install.find-links='/wheels'",
            "list.format='columns'",
        ]
    )
    assert index_settings.parse_settings(listing) == {
        "index-url": ["https://env.example/simple"],
        "extra-index-url": ["https://a.example/simple", "https://b.example/simple"],
        "find-links": ["/wheels"],
    }


def test_settings_are_handed_to_uv_and_unearth(monkeypatch: pytest.MonkeyPatch) -> None:
    names = [name for name, _ in index_settings.UV_NAMES.values()]
    for name in [*names, "UV_INDEX_URL", "UV_INDEX", "UV_NO_INDEX"]:
        monkeypatch.delenv(name, raising=False)
    settings = {"index-url": ["https://mirror.example/simple"], "find-links": ["/a", "/b"], "cert": ["/ca.pem"]}
    assert index_settings.uv_environment(settings) == {
        "UV_DEFAULT_INDEX": "https://mirror.example/simple",
        "UV_FIND_LINKS": "/a,/b",
        "SSL_CERT_FILE": "/ca.pem",
    }
    links = ["--find-link", "/a", "--find-link", "/b"]
    assert index_settings.unearth_attempts(settings) == [["--index-url", "https://mirror.example/simple", *links]]
    assert index_settings.unearth_attempts({}) == [[]]
    extra = {"extra-index-url": ["https://more.example/simple"]}
    assert index_settings.unearth_attempts(extra) == [["--index-url", "https://more.example/simple"], []]
    assert index_settings.unearth_attempts({"find-links": ["/a"], "no-index": ["true"]}) == [["--find-link", "/a"]]
    monkeypatch.setenv("UV_DEFAULT_INDEX", "https://own.example/simple")
    assert "UV_DEFAULT_INDEX" not in index_settings.uv_environment(settings)
    assert index_settings.unearth_attempts(settings)[0][:2] == ["--index-url", "https://own.example/simple"]


def test_pips_own_settings_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIP_INDEX_URL", "https://mirror.example/simple")
    assert index_settings.pip_settings(sys.executable)["index-url"] == ["https://mirror.example/simple"]
