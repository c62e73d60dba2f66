"""What `replication new-paper` writes loads as it is, and replaces nothing."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import yaml
from jsonschema import Draft7Validator

from replication import cli
from replication.catalog import config_folders, load_catalog
from replication.catalog.schema import paper_schema, protocol_schema, variant_schema
from replication.catalog.starter import write_starter
from replication.errors import ConfigError


def test_its_files_are_taken_by_every_verb_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.chdir(tmp_path)
    assert cli.main(["new-paper", "lucid", "--to", "own"]) == 0
    written = capsys.readouterr().out.splitlines()
    assert written[:3] == ["own/papers/lucid.yaml", "own/variants/lucid_R50.yaml", "own/protocols/lucid.yaml"]
    assert cli.main(written[3].removeprefix("next: replication ").split()) == 0
    assert "lucid_R50" in capsys.readouterr().out
    assert cli.main(["catalog", "--configs", "own"]) == 0
    assert cli.main(["doctor", "--configs", "own", "--protocol", "lucid", "--format", "json"]) == 0
    assert json.loads(capsys.readouterr().out.partition("\n{")[2].join(["{", ""]))["counts"]["error"] == 0


def test_an_editor_finds_the_schema_of_each_file(tmp_path: Path):
    for path, schema in zip(
        write_starter("lucid", tmp_path), (paper_schema(), variant_schema(), protocol_schema()), strict=True
    ):
        first = path.read_text().splitlines()[0]
        named = re.fullmatch(r"# yaml-language-server: \$schema=(\S+)", first)
        assert named
        assert json.loads((path.parent / named[1]).read_text()) == schema
        assert not list(Draft7Validator(schema).iter_errors(yaml.safe_load(path.read_text())))


def test_its_comments_are_right_once_they_are_no_comments(tmp_path: Path):
    """A claim, a deviation, a command: as a user would take the marks away."""
    paper, variant, _ = write_starter("lucid", tmp_path)
    text = paper.read_text().replace("claims: []", "claims:").replace("deviations: []", "deviations:")
    text = re.sub(r"^#(  -|    )", r"\1", text, flags=re.MULTILINE)
    numbers = iter(["{AP: 38.0, AP75: null}", "{AP: 39.2, AP75: null}"])
    paper.write_text(re.sub(r"\{AP: null, AP75: null\}", lambda _: next(numbers), text))
    lines = variant.read_text().splitlines()
    variant.write_text("\n".join(line[2:] for line in lines if re.match(r"# (run|code|backbone):", line)))
    (tmp_path / "train.py").write_text("")
    catalog = load_catalog(*config_folders([tmp_path]))
    assert [claim.gain for claim in catalog.papers["lucid"].claims] == [1.2]
    assert catalog.variants["lucid_R50"].code == (tmp_path / "train.py",)


def test_a_second_paper_in_one_folder(tmp_path: Path):
    write_starter("first", tmp_path)
    write_starter("second", tmp_path)
    assert {"first", "second"} < load_catalog(*config_folders([tmp_path])).papers.keys()


@pytest.mark.parametrize("name", ["Lucid", "1st", "a-b", "", "../a"])
def test_a_name_that_cannot_name_files(tmp_path: Path, name: str):
    with pytest.raises(ConfigError, match="expected small letters"):
        write_starter(name, tmp_path)
    assert not list(tmp_path.iterdir())


def test_nothing_is_replaced(tmp_path: Path):
    (tmp_path / "variants").mkdir()
    (tmp_path / "variants" / "lucid_R50.yaml").write_text("mine")
    with pytest.raises(ConfigError, match=r"lucid_R50\.yaml: exists and is not replaced"):
        write_starter("lucid", tmp_path)
    assert [path.name for path in tmp_path.rglob("*") if path.is_file()] == ["lucid_R50.yaml"]


def test_a_name_that_is_built_in(tmp_path: Path):
    with pytest.raises(ConfigError, match="paper 'giou': there is one already"):
        write_starter("giou", tmp_path)
