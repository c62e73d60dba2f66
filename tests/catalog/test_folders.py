"""Folders of users' own papers, variants, protocols and costs beside the built-in ones."""

from __future__ import annotations

import json
import os
import shlex
from pathlib import Path
from typing import Any

import pytest
import yaml

from replication.catalog import CONFIGS, config_folders, load_catalog, load_protocol
from replication.catalog.schedule import training_iterations
from replication.catalog.variants import read_variant, resolve
from replication.cli import main
from replication.errors import ConfigError
from replication.planning.costs import recorded_costs
from replication.planning.plan import make_plan
from replication.planning.steps import steps
from replication.planning.workflow import from_workflow, where
from replication.results.fingerprint import settings_fingerprint, training_fingerprint

PROTOCOL = {
    "name": "toy_scale",
    "title": "Toy",
    "data": {"kind": "embedded", "seed": 0, "train": 1, "val": 1, "size": [64, 64]},
    "batch": 1,
    "iterations": {"GeneralizedRCNN": 10, "ReplicationRetinaNet": 10},
    "tables": ["toy-T1"],
    "checkpoint_every": 1,
}


def write(path: Path, content: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(yaml.safe_dump(content, sort_keys=False))
    return path


@pytest.fixture
def own(configs: Any) -> Path:
    """A user's folder: a paper whose two variants start from built-in ones, and a protocol to run them."""
    configs.variants = {
        "new_R50": {"_BASE_": "retinanet_R50.yaml", "MODEL": {"RETINANET": {"SMOOTH_L1_LOSS_BETA": 0.5}}},
        "old_R50": {"_BASE_": "retinanet_R50.yaml"},
    }
    folder: Path = configs.write()
    write(folder / "protocols" / "toy_scale.yaml", PROTOCOL)
    return folder


def test_a_users_folder_adds_to_the_built_in_one(own: Path):
    alone, both = load_catalog(), load_catalog(CONFIGS, own)
    assert set(both.papers) == {*alone.papers, "toy"}
    assert set(both.variants) == {*alone.variants, "new_R50", "old_R50"}
    assert set(both.protocols) == {*alone.protocols, "toy_scale"}
    assert {name: both.papers[name] for name in alone.papers} == alone.papers
    assert load_protocol("toy_scale", both.folders) == both.protocols["toy_scale"]
    plan = make_plan(both, load_protocol("toy_scale", both.folders), own / "results")
    assert [run.variant.name for run in plan.runs] == ["old_R50", "new_R50"]
    assert training_iterations(both.variants["new_R50"], plan.protocol) == 10


def test_a_bare_base_beside_the_file_comes_before_the_built_in_one(own: Path):
    built_in = resolve(CONFIGS / "variants" / "retinanet_R50.yaml")
    assert resolve(own / "variants" / "old_R50.yaml") == built_in
    changed = {"_BASE_": str(CONFIGS / "variants" / "retinanet_R50.yaml"), "SOLVER": {"MAX_ITER": 7}}
    write(own / "variants" / "Base-Own.yaml", changed)
    write(own / "variants" / "old_R50.yaml", {"_BASE_": "Base-Own.yaml"})
    assert read_variant(own / "variants" / "old_R50.yaml").iterations == 7
    write(own / "variants" / "Base-RetinaNet.yaml", changed)
    write(own / "variants" / "old_R50.yaml", {"_BASE_": "Base-RetinaNet.yaml"})
    assert read_variant(own / "variants" / "old_R50.yaml").iterations == 7
    load_catalog(CONFIGS, own)  # the base of the same name is no variant, so no name is defined twice
    write(own / "variants" / "old_R50.yaml", {"_BASE_": "variants/Base-RetinaNet.yaml"})
    with pytest.raises(ConfigError, match=r"old_R50\.yaml: _BASE_: .* does not exist; give a path relative to this"):
        load_catalog(CONFIGS, own)


def test_a_training_does_not_depend_on_the_folder_of_its_variant(own: Path):
    catalog = load_catalog(CONFIGS, own)
    copied, built_in, changed = (catalog.variants[name] for name in ("old_R50", "retinanet_R50", "new_R50"))
    protocol = catalog.protocols["toy_scale"]
    assert training_fingerprint(copied, protocol) == training_fingerprint(built_in, protocol)
    assert training_fingerprint(changed, protocol) != training_fingerprint(built_in, protocol)


def test_a_test_time_variant_takes_weights_from_another_folder(own: Path):
    leaf = {
        "_BASE_": "retinanet_R50.yaml",
        "MODEL": {"WEIGHTS_FROM": "retinanet_R50"},
        "TEST": {"AUG": {"ENABLED": True}},
    }
    write(own / "variants" / "new_R50.yaml", leaf)
    catalog = load_catalog(CONFIGS, own)
    variant, source = catalog.variants["new_R50"], catalog.variants["retinanet_R50"]
    assert variant.trained == source
    assert source.trained == source
    protocol = catalog.protocols["toy_scale"]
    assert training_fingerprint(variant, protocol) == training_fingerprint(source, protocol)
    assert settings_fingerprint(variant) != settings_fingerprint(source)
    assert "source" not in variant.model_dump()
    with pytest.raises(ConfigError, match=r"new_R50\.yaml: MODEL\.WEIGHTS_FROM: 'retinanet_R50' is not a built"):
        _ = read_variant(variant.path).trained


@pytest.mark.parametrize("file", ["papers/giou.yaml", "variants/retinanet_R50.yaml", "protocols/mini.yaml"])
def test_a_name_that_is_defined_twice_names_both_files(own: Path, file: str):
    (own / file).write_bytes((CONFIGS / file).read_bytes())
    with pytest.raises(ConfigError) as caught:
        load_catalog(CONFIGS, own)
    name = Path(file).stem
    assert str(caught.value) == f"{own / file}: {name!r} is already defined in {CONFIGS / file}; rename one of them"


def test_a_table_that_two_papers_have_names_both_files(own: Path):
    text = (CONFIGS / "papers" / "giou.yaml").read_text()
    (own / "papers" / "giou_v2.yaml").write_text(text.replace("id: giou\n", "id: giou_v2\n", 1))
    with pytest.raises(ConfigError) as caught:
        load_catalog(CONFIGS, own)
    first = str(caught.value).splitlines()[0]
    assert first.startswith(f"{own / 'papers' / 'giou_v2.yaml'}: tables: id 'giou-T1' is also used in {CONFIGS}")


def test_papers_are_found_by_their_exact_id(own: Path, configs: Any):
    for name in ("giou_v2", "gio"):
        table = configs.table | {"id": f"{name}-T1"}
        configs.others[name] = configs.paper | {"id": name, "tables": [table], "claims": [], "deviations": []}
    configs.write()
    catalog = load_catalog(CONFIGS, own)
    owners = {
        **{"giou_v2": "giou_v2", "giou_v2_forest": "giou_v2", "giou_v2-T1": "giou_v2", "giou_v2-T1_curves": "giou_v2"},
        **{"giou": "giou", "giou_forest": "giou", "giou-T5": "giou", "giou-T5_mistakes": "giou", "gio-T1": "gio"},
    }
    assert {name: catalog.paper_of(name) for name in owners} == owners
    for name in ("giou-T55", "giouT5", "other"):
        with pytest.raises(KeyError):
            catalog.paper_of(name)


def test_costs_of_all_folders_count(own: Path):
    cost = {"s_per_iter": 0.5, "device": "cpu", "source": "here"}
    write(own / "costs.yaml", {"costs": {"toy_scale": {"new_R50": cost}, "mini": {"new_R50": cost}}})
    both = recorded_costs(CONFIGS, own)
    assert both.keys() - recorded_costs().keys() == {("toy_scale", "new_R50"), ("mini", "new_R50")}
    assert recorded_costs().items() <= both.items()
    catalog = load_catalog(CONFIGS, own)
    plan = make_plan(catalog, catalog.protocols["toy_scale"], own / "results")
    assert {step.run.variant.name: step.seconds for step in steps(plan)} == {"old_R50": None, "new_R50": 5.0}


def test_a_cost_that_is_recorded_twice_names_both_files(own: Path):
    cost = {"s_per_iter": 0.5, "device": "cpu", "source": "here"}
    protocol, variant = next(iter(recorded_costs()))
    path = write(own / "costs.yaml", {"costs": {protocol: {variant: cost}}})
    with pytest.raises(ConfigError) as caught:
        recorded_costs(CONFIGS, own)
    assert str(caught.value).startswith(f"{path}: costs.{protocol}.{variant}: is also in {CONFIGS / 'costs.yaml'}")


def test_a_protocol_file_may_not_share_the_name_of_a_users_one(own: Path, tmp_path_factory: pytest.TempPathFactory):
    path = write(tmp_path_factory.mktemp("elsewhere") / "mine.yaml", PROTOCOL)
    assert load_protocol(str(path)).name == "toy_scale"
    with pytest.raises(ConfigError) as caught:
        load_protocol(str(path), (CONFIGS, own))
    assert str(own / "protocols" / "toy_scale.yaml") in str(caught.value)
    assert load_protocol(str(own / "protocols" / "toy_scale.yaml"), (CONFIGS, own)).name == "toy_scale"


def test_folders_come_from_option_and_variable_each_once(
    own: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
):
    other = write(tmp_path_factory.mktemp("other") / "protocols" / "x.yaml", PROTOCOL).parents[1]
    monkeypatch.delenv("REPLICATION_CONFIGS", raising=False)
    assert config_folders() == (CONFIGS,)
    assert config_folders([own, own, CONFIGS]) == (CONFIGS, own)
    monkeypatch.setenv("REPLICATION_CONFIGS", f"{other}{os.pathsep}{own}{os.pathsep}")
    assert config_folders([own]) == (CONFIGS, other, own)


@pytest.mark.parametrize(
    ("files", "message"),
    [
        (["notes.txt"], "has none of papers/*.yaml, variants/*.yaml, protocols/*.yaml; "),
        (["costs.yaml"], "has none of papers/*.yaml"),
        (["variants/a.yaml", "papers/b.yml"], "papers/b.yml: only files named *.yaml are read; rename it"),
        (["variants/a.yaml", "verdicts.yaml"], "verdicts.yaml: the rules of judging are the same for all papers"),
    ],
)
def test_a_folder_that_would_not_be_read_whole(tmp_path: Path, files: list[str], message: str):
    for name in files:
        write(tmp_path / name, {})
    with pytest.raises(ConfigError) as caught:
        config_folders([tmp_path])
    assert str(caught.value).startswith(f"{tmp_path}: {message}")
    with pytest.raises(ConfigError, match="nowhere: no such folder"):
        config_folders([tmp_path / "nowhere"])


def test_the_command_line_takes_folders(own: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch):
    assert main(["catalog", "--configs", str(own), "--format", "json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert [paper["id"] for paper in document["papers"]] == ["fsaf", "giou", "libra_rcnn", "toy"]
    paths = {variant["name"]: variant["path"] for variant in document["variants"]}
    assert paths["new_R50"] == str(own / "variants" / "new_R50.yaml")
    assert paths["retinanet_R50"] == "variants/retinanet_R50.yaml"
    plan = ["plan", "--protocol", "toy_scale", "--results", str(own / "results"), "--format", "json"]
    assert main([*plan, "--configs", str(own)]) == 0
    by_option = capsys.readouterr().out
    monkeypatch.setenv("REPLICATION_CONFIGS", str(own))
    assert main(plan) == 0
    assert capsys.readouterr().out == by_option
    assert main(["plan", "--configs", str(own / "papers")]) == 2
    assert "papers: has none of papers/*.yaml" in capsys.readouterr().err


def test_the_workflow_takes_folders_and_hands_them_on(own: Path, monkeypatch: pytest.MonkeyPatch):
    spaced = own.rename(own.with_name("my configs"))
    config = {"protocol": "toy_scale", "configs": str(spaced), "results": "my results"}
    assert [run.variant.name for run in from_workflow(config).runs] == ["old_R50", "new_R50"]
    assert from_workflow({**config, "configs": [str(spaced)]}).runs == from_workflow(config).runs
    options = ["--protocol=toy_scale", "--results=my results", f"--configs={spaced}"]
    assert shlex.split(where(config)) == options
    monkeypatch.setenv("REPLICATION_CONFIGS", str(spaced))
    assert shlex.split(where({**config, "configs": []})) == options
    for wrong in (3, "", [None]):
        with pytest.raises(ConfigError, match="--config configs: expected a folder or a list of folders"):
            from_workflow({**config, "configs": wrong})
