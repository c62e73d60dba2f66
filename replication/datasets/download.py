"""COCO 2017, VOC 2007 and VOC 2012 from their official addresses into the ``DETECTRON2_DATASETS`` layout.

Everything can be interrupted anywhere: the next call goes on where the last one stopped.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock, Timeout

from replication.datasets.fetch import fetch, free_bytes
from replication.datasets.roots import data_root
from replication.datasets.unpack import unpack
from replication.errors import ConfigError, DataError


@dataclass(frozen=True)
class Content:
    """What an unpacked archive must hold: ``count`` files in ``folder`` whose names end in ``suffix``.

    Paths are relative to the data set's folder. With ``listed``, a text file of ids, only files named
    <id>``suffix`` count: two archives can share a folder.
    """

    folder: str
    suffix: str
    count: int
    listed: str | None = None


@dataclass(frozen=True)
class Archive:
    """One archive: address, exact size in bytes, SHA-256, the folder in it that is wanted and where that goes.

    ``inside`` is a path in the archive, ``target`` one under the data root. ``growth`` is unpacked over packed
    size, rounded up, for the check of the disk.
    """

    url: str
    size: int
    sha256: str
    inside: str
    target: str
    contents: tuple[Content, ...]
    growth: float = 1.1

    @property
    def name(self) -> str:
        """The file's name, the last part of its address."""
        return self.url.rsplit("/", 1)[-1]


# The bucket behind images.cocodataset.org, a name for which its server has no certificate.
COCO = "https://s3.amazonaws.com/images.cocodataset.org"
VOC = "https://host.robots.ox.ac.uk/pascal/VOC"


def _coco_images(split: str, size: int, sha256: str, count: int) -> Archive:
    return Archive(
        url=f"{COCO}/zips/{split}.zip",
        size=size,
        sha256=sha256,
        inside=split,
        target=f"coco/{split}",
        contents=(Content(split, ".jpg", count),),
    )


def _voc(path: str, year: int, split: str, size: int, sha256: str, count: int) -> Archive:
    ids = f"ImageSets/Main/{split}.txt"
    return Archive(
        url=f"{VOC}/{path}",
        size=size,
        sha256=sha256,
        inside=f"VOCdevkit/VOC{year}",
        target=f"VOC{year}",
        contents=(Content("JPEGImages", ".jpg", count, ids), Content("Annotations", ".xml", count, ids)),
    )


# SHA-256 and sizes: TensorFlow Datasets pins them for all six (its url_checksums/coco2017.txt and voc.txt).
# Counts: cocodataset.org (118287 and 5000 images), and "Database statistics" of the VOC 2007 and VOC 2012 pages.
DATA_SETS: dict[str, tuple[Archive, ...]] = {
    "coco2017": (
        Archive(
            url=f"{COCO}/annotations/annotations_trainval2017.zip",
            size=252_907_541,
            sha256="113a836d90195ee1f884e704da6304dfaaecff1f023f49b6ca93c4aaae470268",
            inside="annotations",
            target="coco/annotations",
            contents=(
                Content("annotations", "instances_train2017.json", 1),
                Content("annotations", "instances_val2017.json", 1),
            ),
            growth=4.0,  # six JSON files compress to less than a third
        ),
        _coco_images("val2017", 815_585_330, "4f7e2ccb2866ec5041993c9cf2a952bbed69647b115d0f74da7ce8f4bef82f05", 5000),
        _coco_images(
            "train2017", 19_336_861_798, "69a8bb58ea5f8f99d24875f21416de2e9ded3178e903f1f7603e283b9e06d929", 118_287
        ),
    ),
    "voc2007": (
        _voc(
            "voc2007/VOCtrainval_06-Nov-2007.tar",
            2007,
            "trainval",
            460_032_000,
            "7d8cd951101b0957ddfd7a530bdc8a94f06121cfc1e511bb5937e973020c7508",
            5011,
        ),
        _voc(
            "voc2007/VOCtest_06-Nov-2007.tar",
            2007,
            "test",
            451_020_800,
            "6836888e2e01dca84577a849d339fa4f73e1e4f135d312430c4856b5609b4892",
            4952,
        ),
    ),
    "voc2012": (
        _voc(
            "voc2012/VOCtrainval_11-May-2012.tar",
            2012,
            "trainval",
            1_999_639_040,
            "e14f763270cf193d0b5f74b169f44157a4b0c6efa708f4dd0ff78ee691763bcb",
            11_540,
        ),
    ),
}


def download(
    name: str,
    root: Path | None = None,
    mirror: str | None = None,
    records: Mapping[str, tuple[Archive, ...]] = DATA_SETS,
) -> Path:
    """Download, verify and unpack data set ``name`` under ``root``; returns its folder. Complete data is left alone.

    ``root`` is the data root by default (``$DETECTRON2_DATASETS``, else ``datasets``). ``mirror`` is an address under
    which the same archives lie by their file names. An archive that already lies in ``root``/archives is verified
    and used; archives are removed once unpacked. Raises ConfigError for an unknown name and DataError, in one line,
    for everything else: no network, wrong checksum, no disk space, damaged archive, folder in use.
    """
    if name not in records:
        raise ConfigError(f"data set {name!r}: unknown; known are {', '.join(sorted(records))}")
    root = data_root() if root is None else root
    missing = [archive for archive in records[name] if not is_complete(archive, root)]
    folder = root / Path(records[name][0].target).parts[0]
    if not missing:
        return folder
    archives = root / "archives"
    try:
        archives.mkdir(parents=True, exist_ok=True)
        with FileLock(archives / ".lock", timeout=0):
            _check_space(missing, archives)
            for archive in missing:
                _get(archive, root, mirror)
    except Timeout:
        raise DataError(f"{archives}: another download runs in this folder; wait for it or stop it") from None
    except OSError as error:
        raise DataError(
            f"{root}: cannot write: {error.strerror or error}; free disk space or choose another folder with --root"
        ) from error
    return folder


def is_complete(archive: Archive, root: Path) -> bool:
    """Whether everything that ``archive`` brings lies under ``root``, by the number and names of its files."""
    base = root / Path(archive.target).parts[0]
    return all(count_files(content, base) >= content.count for content in archive.contents)


def count_files(content: Content, base: Path) -> int:
    """How many of the files that ``content`` describes lie in the data set's folder ``base``."""
    folder = base / content.folder
    if not folder.is_dir():
        return 0
    names = {path.name for path in folder.iterdir() if path.name.endswith(content.suffix)}
    if content.listed is None:
        return len(names)
    listed = base / content.listed
    ids = listed.read_text().split() if listed.is_file() else []
    return sum(f"{line}{content.suffix}" in names for line in ids)


def _check_space(missing: list[Archive], archives: Path) -> None:
    # Archives are removed one by one after unpacking: needed is everything unpacked plus the largest archive left.
    unpacked = sum(int(archive.size * archive.growth) for archive in missing)
    packed = max(archive.size - _present(archive, archives) for archive in missing)
    needed, free = unpacked + packed, free_bytes(archives)
    if needed > free:
        raise DataError(
            f"{archives.parent}: {needed / 1e9:.1f} GB needed to download and unpack, {free / 1e9:.1f} GB free; "
            "free disk space or choose another folder with --root"
        )


def _present(archive: Archive, archives: Path) -> int:
    files = (archives / archive.name, archives / f"{archive.name}.part")
    return max((file.stat().st_size for file in files if file.is_file()), default=0)


def _get(archive: Archive, root: Path, mirror: str | None) -> None:
    packed = root / "archives" / archive.name
    url = archive.url if mirror is None else f"{mirror.rstrip('/')}/{archive.name}"
    fetch(url, packed, size=archive.size, sha256=archive.sha256)
    target = (
        root / archive.target
    ).resolve()  # may be a link to another disk: unpack there, so that moving is a rename
    scratch = target.parent / f".{archive.name}.unpacking"
    shutil.rmtree(scratch, ignore_errors=True)  # left by a call that was killed
    try:
        unpack(packed, scratch)
        if not (scratch / archive.inside).is_dir():
            raise DataError(f"{packed}: holds no folder {archive.inside!r}; not the official archive")
        _merge(scratch / archive.inside, target)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    if not is_complete(archive, root):
        raise DataError(f"{target}: files are missing after unpacking {packed}; remove both and run again")
    packed.unlink()


def _merge(source: Path, target: Path) -> None:
    """Move everything in ``source`` to ``target``: at once when that is new, else file by file."""
    target.parent.mkdir(parents=True, exist_ok=True)
    if not target.exists():
        source.rename(target)
        return
    for path in source.rglob("*"):
        if not path.is_dir():
            place = target / path.relative_to(source)
            place.parent.mkdir(parents=True, exist_ok=True)
            path.replace(place)
