"""Names of users' files, variants, protocols and classes stay words: no path, markup, formula or shell in them."""

from __future__ import annotations

import io
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pytest

from replication.catalog import Protocol, load_catalog, load_protocol
from replication.catalog.papers import read_paper
from replication.catalog.variants import read_variant
from replication.cli.main import main
from replication.datasets.unpack import unpack
from replication.errors import ConfigError, DataError, ResultError
from replication.export.submission import write_voc
from replication.formats.columns import Detections, GroundTruth
from replication.report.tables import _inline, _no_formula, escape_latex

NASTY = ["../x", "a/../../x", "/etc/x", "a b", "$(touch x)", "<script>", "x\n", ".hidden", "", "é", "{seed}"]


@pytest.mark.parametrize("name", NASTY)
def test_names_that_could_be_something_else_are_refused_in_configs(tmp_path: Path, name: str):
    paper, protocol = tmp_path / "paper.yaml", tmp_path / "protocol.yaml"
    built_in = Path(load_catalog().folders[0])
    text = (built_in / "papers" / "giou.yaml").read_text()
    paper.write_text(text.replace("- id: giou-T5\n", f"- id: {name!r}\n", 1))
    with pytest.raises(ConfigError, match=r"id: String should match pattern"):
        read_paper(paper)
    text = (built_in / "protocols" / "smoke.yaml").read_text()
    protocol.write_text(text.replace("name: smoke", f"name: {name!r}", 1))
    with pytest.raises(ConfigError, match="name: String should match pattern"):
        load_protocol(str(protocol))


@pytest.mark.parametrize("stem", ["a b", "$(touch x)", "a-b", "é", "a'b", "{seed}"])
def test_the_file_of_a_variant_is_named_by_plain_letters(tmp_path: Path, stem: str):
    path = tmp_path / f"{stem}.yaml"
    path.write_text("_BASE_: faster_rcnn_R50.yaml\n")
    with pytest.raises(ConfigError, match="name: String should match pattern"):
        read_variant(path)


@pytest.mark.parametrize("verb", ["train", "detect", "evaluate", "proposals", "submission"])
@pytest.mark.parametrize("name", ["../../x", "/etc/passwd", "x/../faster_rcnn_R50"])
def test_a_variant_is_a_name_and_no_path(tmp_path: Path, capsys: pytest.CaptureFixture[str], verb: str, name: str):
    code = main([verb, "--protocol", "smoke", "--results", str(tmp_path / "results"), "--variant", name])
    assert code == 2
    assert f"variant {name!r} is not built" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_what_a_spreadsheet_would_run_is_shown_instead():
    for text in ("=1+1", "+ a part", "-2", "@SUM(A1)", "\t=1", "\r=1"):
        assert _no_formula(text) == f"'{text}"
    assert _no_formula(-2.5) == -2.5
    assert _no_formula("a=1") == "a=1"


def test_markup_is_shown_as_it_is():
    assert _inline("<img src=x> [a](javascript:x)") == r"\<img src=x> [a]\(javascript:x)"
    assert escape_latex(r"\input{/etc/passwd} $x$ %") == (r"\textbackslash{}input\{/etc/passwd\} \$x\$ \%")


def truth_of(names: tuple[str, ...], image: str) -> GroundTruth:
    whole, real, flags = np.zeros(0, np.int64), np.zeros(0), np.zeros(0, np.bool_)
    return GroundTruth(
        image_ids=np.array([1]), sizes=np.full((1, 2), 64.0), class_ids=np.arange(1, len(names) + 1), class_names=names,
        images=whole, labels=whole, boxes=np.zeros((0, 4)), box_areas=real, areas=real,
        crowds=flags, ignored=flags, difficult=flags, image_names=(image,),
    )  # fmt: skip


def submitted(tmp_path: Path, names: tuple[str, ...], image: str = "one.jpg", **split: str) -> list[str]:
    smoke = load_protocol("smoke").model_dump()
    data = {"kind": "voc", "root": ".", "classes": list(names), "train": [{"split": "train"}], "val": [split]}
    protocol = Protocol.model_validate(smoke | {"data": data})
    found = Detections(np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros((0, 4)), np.zeros(0), np.zeros(0))
    path = write_voc(truth_of(names, image), found, protocol, "x-seed0", tmp_path / "out")
    with tarfile.open(path) as archive:
        return archive.getnames()


def test_a_submission_holds_files_of_its_classes(tmp_path: Path):
    names = submitted(tmp_path, ("dog", "traffic light"), split="test", folder="sub/VOC2007")
    assert names == [f"results/sub/VOC2007/Main/comp4_det_test_{name}.txt" for name in ("dog", "traffic light")]


@pytest.mark.parametrize("name", ["../x", "a/../../x", "/etc/x", "a\\b", "a\nb", "", ".."])
def test_a_class_that_is_no_name_of_a_file_is_not_submitted(tmp_path: Path, name: str):
    with pytest.raises(ResultError, match="VOC names a file after it"):
        submitted(tmp_path, ("dog", name), split="test")
    with pytest.raises(ResultError, match="VOC names a file after it"):
        submitted(tmp_path, ("dog",), split=name or "..")
    with pytest.raises(ResultError, match="VOC names a file after it"):
        submitted(tmp_path, ("dog",), split="test", folder=f"{name or '..'}/x")
    assert not (tmp_path / "out").exists()


def test_an_image_with_a_space_in_its_name_is_not_submitted(tmp_path: Path):
    with pytest.raises(ResultError, match="image 'a b': VOC's lines are split at spaces"):
        submitted(tmp_path, ("dog",), image="a b.jpg", split="test")


def tar_of(path: Path, name: str, kind: bytes, link: str = "") -> None:
    with tarfile.open(path, "w") as archive:
        good = tarfile.TarInfo("VOCdevkit/good.txt")
        archive.addfile(good, io.BytesIO())
        member = tarfile.TarInfo(name)
        member.type, member.linkname = kind, link
        archive.addfile(member)


@pytest.mark.parametrize(
    ("name", "kind", "link"),
    [
        ("../x", tarfile.REGTYPE, ""),
        ("a/../../x", tarfile.REGTYPE, ""),
        ("inside", tarfile.SYMTYPE, "VOCdevkit/good.txt"),
        ("inside", tarfile.LNKTYPE, "VOCdevkit/good.txt"),
        ("outside", tarfile.SYMTYPE, "/etc/passwd"),
        ("pipe", tarfile.FIFOTYPE, ""),
        ("device", tarfile.CHRTYPE, ""),
    ],
)
def test_tars_with_members_that_are_no_files_of_theirs(tmp_path: Path, name: str, kind: bytes, link: str):
    tar_of(tmp_path / "a.tar", name, kind, link)
    with pytest.raises(DataError, match="unsafe member"):
        unpack(tmp_path / "a.tar", tmp_path / "target")
    assert {path.name for path in tmp_path.iterdir()} == {"a.tar", "target"}
    assert not (tmp_path / "target" / name).is_symlink()


@pytest.mark.parametrize("name", ["../x", "/x", "a/../../x", "..\\x", "C:x"])
def test_zips_with_members_that_leave_the_folder(tmp_path: Path, name: str):
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr(name, "x")
    with pytest.raises(DataError, match="unsafe member"):
        unpack(tmp_path / "a.zip", tmp_path / "target")
    assert not list((tmp_path / "target").iterdir())


def test_a_zip_member_without_a_name_is_no_traceback(tmp_path: Path):
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("./", "")
    unpack(tmp_path / "a.zip", tmp_path / "target")
