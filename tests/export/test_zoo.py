"""The forms of model zoos, read back and held against their specifications and the runs' own files."""

from __future__ import annotations

import json
import math
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any, Literal

import pytest
import yaml
from pydantic import BaseModel, ConfigDict, Field

from replication import cli
from replication.catalog import CONFIGS, Catalog, load_protocol
from replication.errors import ConfigError, ResultError
from replication.export import write_export
from replication.report.head import NOT_COMPARABLE
from replication.results.files import write_json

BASE, GIOU = "faster_rcnn_R50_smooth_l1", "faster_rcnn_R50_giou"


class Strict(BaseModel):
    """Only what the specification names, in the types that it names."""

    model_config = ConfigDict(extra="forbid", strict=True)


# modelcard.md of huggingface/hub-docs: required are task.type, dataset.type and name, metrics' type and value, and
# source.url where there is a source.
class Task(Strict):
    type: Literal["object-detection", "image-segmentation"]
    name: str | None = None


class Dataset(Strict):
    type: str = Field(pattern=r"^[\w.-]+(/[\w.-]+)?$")
    name: str = Field(min_length=1)
    config: str | None = None
    split: str | None = None
    revision: str | None = None
    args: dict[str, Any] | None = None


class Metric(Strict):
    type: str = Field(pattern=r"^\w+$")
    value: float
    name: str | None = None
    config: str | None = None
    args: dict[str, Any] | None = None
    verified: Literal[False] = False


class Source(Strict):
    name: str | None = None
    url: str = Field(pattern=r"^https://")


class CardResult(Strict):
    task: Task
    dataset: Dataset
    metrics: list[Metric] = Field(min_length=1)
    source: Source | None = None


class CardModel(Strict):
    name: str
    results: list[CardResult] = Field(min_length=1)


class Card(Strict):
    model_index: list[CardModel] = Field(alias="model-index", min_length=1)


# docs/2_datamodels of paperswithcode/model-index, with OpenMMLab's form of inference times; metadata are open.
class Paper(Strict):
    url: str = Field(alias="URL", pattern=r"^https://arxiv\.org/abs/\d{4}\.\d{5}$")
    title: str = Field(alias="Title")


class Collection(Strict):
    name: str = Field(alias="Name")
    paper: Paper = Field(alias="Paper")


class Speed(BaseModel):
    value: float
    hardware: str
    backend: str
    batch_size: int = Field(alias="batch size")
    mode: Literal["FP32", "TF32", "FP16", "BF16"]
    resolution: str = Field(pattern=r"^\(\d+, \d+\)( to \(\d+, \d+\))?$")


class Metadata(BaseModel):
    training_data: str = Field(alias="Training Data")
    iterations: int = Field(alias="Iterations")
    batch_size: int = Field(alias="Batch Size")
    resources: str = Field(alias="Training Resources")
    architecture: list[str] = Field(alias="Architecture")
    flops: int | None = Field(None, alias="FLOPs")
    parameters: int | None = Field(None, alias="Parameters")
    speed: list[Speed] | None = Field(None, alias="inference time (ms/im)")


class Result(Strict):
    task: Literal["Object Detection", "Instance Segmentation"] = Field(alias="Task")
    dataset: str = Field(alias="Dataset")
    metrics: dict[str, float] = Field(alias="Metrics")


class Code(Strict):
    url: str = Field(alias="URL")
    version: str = Field(alias="Version")


class Model(Strict):
    name: str = Field(alias="Name")
    collection: str = Field(alias="In Collection")
    config: str = Field(alias="Config")
    metadata: Metadata = Field(alias="Metadata")
    results: list[Result] = Field(alias="Results", min_length=1)
    code: Code | None = Field(None, alias="Code")


class Metafile(Strict):
    collections: list[Collection] = Field(alias="Collections")
    models: list[Model] = Field(alias="Models")


def card(catalog: Catalog, results: Path, protocol: str, tables: list[str], source: str | None = None) -> Card:
    path = write_export(catalog, load_protocol(protocol), results, tables, "model-index", source)
    return Card.model_validate(yaml.safe_load(path.read_text()))


def zoo(catalog: Catalog, results: Path, protocol: str, tables: list[str], source: str | None = None) -> Metafile:
    path = write_export(catalog, load_protocol(protocol), results, tables, "metafile", source)
    return Metafile.model_validate(yaml.safe_load(path.read_text()))


def test_a_card_has_a_variant_s_numbers_to_the_last_bit(catalog, add_run, tmp_path):
    folder = add_run("mini", GIOU, 0, 100 / 3)
    found = card(catalog, tmp_path, "mini", ["giou-T5"]).model_index
    assert [model.name for model in found] == [f"{GIOU}_mini"]
    (result,) = found[0].results
    written = json.loads((folder / "metrics.json").read_text())
    for config, key in (("iou", "metrics"), ("giou", "giou_metrics")):
        values = {metric.type: metric.value for metric in result.metrics if metric.config == config}
        assert values == {name: value for name, value in written[key].items() if value is not None}
    assert all(metric.args == {"scale": "0-100", "seeds": [0]} for metric in result.metrics)


def test_several_seeds_are_a_mean_with_its_spread(catalog, add_run, tmp_path):
    aps = [40.1, 40.7, 41.6]
    for seed, ap in enumerate(aps):
        add_run("mini", BASE, seed, ap, commit=f"commit{seed // 2}")
    (model,) = card(catalog, tmp_path, "mini", ["giou-T5"]).model_index
    metric = model.results[0].metrics[0]
    assert metric.value == pytest.approx(40.8)
    assert metric.args is not None
    assert (metric.args["seeds"], metric.args["values"]) == ([0, 1, 2], aps)
    assert metric.args["sd"] == pytest.approx(math.sqrt((0.7**2 + 0.1**2 + 0.8**2) / 2))
    assert model.results[0].dataset.args is not None
    assert model.results[0].dataset.args["runs"] == {
        "seeds": [0, 1, 2], "config_hash": f"c-{BASE}", "data_hash": "d", "fingerprint": "f",
        "commits": ["commit0", "commit1"],
    }  # fmt: skip
    (zoo_model,) = zoo(catalog, tmp_path, "mini", ["giou-T5"]).models
    assert zoo_model.results[0].metrics["box AP"] == statistics.fmean(aps)


def test_other_data_never_go_by_a_benchmark_s_name(catalog, add_run, tmp_path):
    add_run("mini", GIOU)
    (result,) = card(catalog, tmp_path, "mini", ["giou-T5"]).model_index[0].results
    assert (result.dataset.type, result.dataset.split) == ("protocol-mini", "val")
    assert result.dataset.name == "protocol mini: the embedded validation images"
    args = result.dataset.args or {}
    assert args["note"] == NOT_COMPARABLE
    assert "1000 training and 1500 validation images" in args["data"]
    assert (args["images"], args["objects"]) == (300, 1238)
    (model,) = zoo(catalog, tmp_path, "mini", ["giou-T5"]).models
    assert model.results[0].dataset == result.dataset.name
    for file in ("model-index.yaml", "metafile.yml"):
        text = (tmp_path / "mini" / "export" / file).read_text()
        assert "COCO" not in text
        assert "NOT comparable" in text


def test_a_scaled_protocol_on_a_benchmark_s_data_does_not_either(catalog, add_run, tmp_path):
    content = yaml.safe_load((CONFIGS / "protocols" / "paper.yaml").read_text())
    path = tmp_path / "short.yaml"
    path.write_text(yaml.safe_dump(content | {"name": "short", "iterations": {"GeneralizedRCNN": 100}}))
    add_run("short", GIOU)
    (result,) = card(catalog, tmp_path, str(path), ["giou-T5"]).model_index[0].results
    assert result.dataset.type == "protocol-short"
    assert result.dataset.name == "protocol short: coco/annotations/instances_val2017"
    assert result.dataset.args is not None
    assert result.dataset.args["note"] == NOT_COMPARABLE


@pytest.mark.parametrize(
    ("protocol", "variant", "table", "name", "split", "criterion"),
    [
        ("paper", GIOU, "giou-T5", "COCO val2017", "val2017", "iou"),
        ("paper_voc", "faster_rcnn_R50_voc_giou", "giou-T4", "PASCAL VOC 2007 test", "test", "voc07"),
    ],
)
def test_the_papers_own_scale_is_called_by_its_benchmark(
    catalog, add_run, tmp_path, protocol, variant, table, name, split, criterion
):
    add_run(protocol, variant)
    (result,) = card(catalog, tmp_path, protocol, [table]).model_index[0].results
    assert (result.dataset.name, result.dataset.split, result.metrics[0].config) == (name, split, criterion)
    assert zoo(catalog, tmp_path, protocol, [table]).models[0].results[0].dataset == name


def test_a_test_server_s_table_is_of_another_split(catalog, add_run, tmp_path):
    add_run("paper", "libra_rcnn_R50")
    (result,) = card(catalog, tmp_path, "paper", ["libra-T1"]).model_index[0].results
    assert result.dataset.args is not None
    assert result.dataset.args["note"].startswith("Published on test-dev, whose annotations are withheld; measured on")


def test_papers_are_those_in_whose_tables_a_variant_stands(catalog, add_run, tmp_path):
    add_run("mini", "retinanet_R50")
    add_run("mini", "libra_retinanet_R50")
    shared, own = card(catalog, tmp_path, "mini", ["fsaf-T1", "libra-T1"]).model_index
    fsaf, libra = catalog.papers["fsaf"], catalog.papers["libra_rcnn"]
    args = [(model.results[0].dataset.args or {})["published_in"] for model in (shared, own)]
    assert args[0]["fsaf-T1"] == f"arXiv:1903.00621, {fsaf.title}"
    assert {name.partition("-")[0] for name in args[0]} == {"fsaf", "libra"}
    assert args[1] == {"libra-T1": f"arXiv:1904.02701, {libra.title}"}
    file = zoo(catalog, tmp_path, "mini", ["fsaf-T1", "libra-T1"])
    assert [one.name for one in file.collections] == [fsaf.title, "Libra R-CNN"]
    assert [one.paper.title for one in file.collections] == [fsaf.title, libra.title]
    assert [model.collection for model in file.models] == [fsaf.title, "Libra R-CNN"]


def test_masks_are_a_task_of_their_own(catalog, add_run, tmp_path):
    masks = {"AP": 30.25, "AP50": 50.5, "AP75": 31.0, "APs": None, "APm": 30.0, "APl": 35.0}
    add_run("mini", "mask_rcnn_R50_giou", mask_metrics=masks)
    boxes, segm = card(catalog, tmp_path, "mini", ["giou-T7"]).model_index[0].results
    assert (boxes.task.type, segm.task.type) == ("object-detection", "image-segmentation")
    assert [(one.name, one.value) for one in segm.metrics[:2]] == [("mask AP", 30.25), ("mask AP50", 50.5)]
    (model,) = zoo(catalog, tmp_path, "mini", ["giou-T7"]).models
    assert [one.task for one in model.results] == ["Object Detection", "Instance Segmentation"]
    assert model.results[1].metrics["mask AP"] == 30.25
    assert "mask AP" not in model.results[0].metrics


def test_an_rpn_alone_has_recall_only(catalog, add_run, tmp_path):
    recall = {"AR100": 30.0, "AR300": 40.0, "AR1000": 50.0}
    nothing = dict.fromkeys(("AP", "AP50", "AP75", "APs", "APm", "APl"))
    add_run("mini", "rpn_R50", metrics=nothing | recall, giou_metrics=nothing)
    (model,) = zoo(catalog, tmp_path, "mini", ["libra-T3"]).models
    assert model.results[0].metrics == {f"box {name}": value for name, value in recall.items()}


def test_a_model_of_the_metafile_says_what_it_is_and_costs(catalog, add_run, tmp_path):
    add_run("mini", GIOU)
    body = {
        "variant": GIOU, "protocol": "mini", "session": {"id": "s"},
        "rounds": {"model": [150.0, 160.0, 170.0], "postprocessing": [50.0, 40.0, 50.0]},
        "device": {"type": "cpu", "name": "cpu"}, "cpu": "a processor (2 cores)",
        "method": {"rounds": 3, "threads": 1, "precision": "fp32", "compiled": False},
        "inputs": {"source": "validation images", "sizes": [[128, 160], [128, 128], [128, 160]]},
        "weights": {"kind": "trained"}, "candidates": {"per_image": 80.0, "detections": 9.0},
        "flops": {"total": 2_393_000_000}, "parameters": 3_770_000, "peak_memory": {"bytes": 2**20},
        "state": {"cpu_share": 0.99},
    }  # fmt: skip
    write_json(tmp_path / "mini" / "latency" / "cpu" / f"{GIOU}.json", "latency/1", body)
    (model,) = zoo(catalog, tmp_path, "mini", ["giou-T5"], "https://example.org/code").models
    assert (CONFIGS.parent / model.config).is_file()
    metadata = model.metadata
    assert (metadata.iterations, metadata.batch_size, metadata.resources) == (550, 8, "1x a processor (2 cores)")
    assert metadata.architecture == ["GeneralizedRCNN", "efficientnet_lite0"]
    assert (metadata.flops, metadata.parameters) == (2_393_000_000, 3_770_000)
    assert metadata.speed is not None
    (speed,) = metadata.speed
    assert (speed.value, speed.hardware, speed.backend, speed.mode) == (
        200.0,
        "a processor (2 cores)",
        "PyTorch",
        "FP32",
    )
    assert (speed.batch_size, speed.resolution) == (1, "(128, 128) to (128, 160)")
    assert model.code is not None
    assert model.code.url == "https://example.org/code"


def test_untimed_variants_have_no_times(catalog, add_run, tmp_path):
    add_run("mini", GIOU)
    metadata = zoo(catalog, tmp_path, "mini", ["giou-T5"]).models[0].metadata
    assert (metadata.speed, metadata.flops, metadata.parameters) == (None, None, None)


def test_a_source_is_named_where_one_is_given(catalog, add_run, tmp_path):
    add_run("mini", GIOU)
    (result,) = card(catalog, tmp_path, "mini", ["giou-T5"]).model_index[0].results
    assert result.source is None
    (result,) = card(catalog, tmp_path, "mini", ["giou-T5"], "https://example.org/results").model_index[0].results
    assert result.source is not None
    assert result.source.url == "https://example.org/results"


def test_the_command_writes_the_same_bytes_where_it_says(add_run, tmp_path, capsys):
    add_run("mini", BASE)
    add_run("mini", GIOU)
    where = ["--results", str(tmp_path), "--tables", "giou-T5"]
    for form, name in (("model-index", "model-index.yaml"), ("metafile", "metafile.yml")):
        assert cli.main(["export", "--format", form, *where]) == 0
        path = tmp_path / "mini" / "export" / name
        assert capsys.readouterr().out == f"{path}\n"
        assert cli.main(["export", "--format", form, *where, "--out", str(tmp_path / "own.yaml")]) == 0
        assert capsys.readouterr().out == f"{tmp_path / 'own.yaml'}\n"
        assert (tmp_path / "own.yaml").read_bytes() == path.read_bytes()
        assert "&id" not in path.read_text()


def test_what_cannot_be_exported(catalog, add_run, tmp_path):
    mini = load_protocol("mini")
    with pytest.raises(ResultError, match=r"mini/runs: no finished run of a variant of giou-T5; train"):
        write_export(catalog, mini, tmp_path, ["giou-T5"], "metafile")
    with pytest.raises(ConfigError, match="giou-T77"):
        write_export(catalog, mini, tmp_path, ["giou-T77"], "metafile")
    add_run("mini", GIOU)
    folder = add_run("mini", BASE)
    made_by = json.loads((folder / "provenance.json").read_text())
    (folder / "provenance.json").write_text(json.dumps(made_by | {"data_hash": "other"}))
    with pytest.raises(ResultError, match="data_hash differs"):
        write_export(catalog, mini, tmp_path, ["giou-T5"], "model-index")


def test_export_needs_no_torch():
    code = "import sys, replication.export; print([name for name in ('torch', 'detectron2') if name in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"


def test_a_test_time_variant_says_whose_weights_it_has(catalog, add_run, tmp_path):
    source, anew = "fsaf_X101_joint_jitter", "fsaf_X101_joint_jitter_tta"
    add_run("mini", source)
    add_run("mini", anew, ap=42.0, provenance={"weights_from": source})
    path = write_export(catalog, load_protocol("mini"), tmp_path, ["fsaf-T3"], "metafile")
    made = {one["Name"]: one["Metadata"]["Provenance"] for one in yaml.safe_load(path.read_text())["Models"]}
    assert made[f"{anew}_mini"]["weights_from"] == source
    assert "weights_from" not in made[f"{source}_mini"]
