"""A training and its detections with cached features of a frozen backbone are those without, byte for byte."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from detectron2.modeling import build_model

from replication.catalog import Protocol, load_catalog
from replication.errors import ConfigError
from replication.inference.detect import detect
from replication.results.run import Run
from replication.timing.subjects import subject_config
from replication.training.config import config_hash, run_config
from replication.training.run import train


def frozen(job: Run, name: str, folder: str, seed: int = 0, **keys: Any) -> Run:
    """A run of the small protocol with a backbone that is not trained."""
    content = job.protocol.model_dump()
    overrides = {group: dict(values) for group, values in content["overrides"].items()}
    for group in ("ReplicationRetinaNet", "GeneralizedRCNN", "YOLOv3"):
        overrides.setdefault(group, {}).update({"MODEL.BACKBONE.FREEZE_AT": 5, **keys})
    protocol = Protocol.model_validate({**content, "name": "own", "overrides": overrides})
    return Run(load_catalog().variants[name], protocol, seed, job.results / folder)


def cached(job: Run, name: str, folder: str, seed: int = 0) -> Run:
    return frozen(job, name, folder, seed, **{"MODEL.EFFICIENTNET_LITE.FEATURES": "cached"})


def results(run: Run) -> tuple[dict[str, torch.Tensor], bytes]:
    train(run)
    return torch.load(run.files.model, weights_only=True)["model"], detect(run).read_bytes()


@pytest.mark.parametrize(
    "name", ["faster_rcnn_R50_giou", "retinanet_R50", "fsaf_R50_joint", "libra_rcnn_R50", "yolov3_D53_giou"]
)
def test_the_same_bytes_with_the_cache_and_without(job: Run, name: str) -> None:
    """Without it; with it, while it fills; and with another seed's run having filled it."""
    plain = results(frozen(job, name, "plain"))
    first = results(cached(job, name, "shared"))
    other = cached(job, name, "shared", seed=1)
    results(other)
    kept = {path: path.stat().st_mtime_ns for path in other.layout.features.glob("*/*.f32")}
    assert kept
    found = results(cached(job, name, "again"))
    for weights, boxes in (first, found):
        assert weights.keys() == plain[0].keys()
        assert all(torch.equal(weights[key], plain[0][key]) for key in weights)
        assert boxes == plain[1]
    train(cached(job, name, "shared"), restart=True)
    assert {path: path.stat().st_mtime_ns for path in other.layout.features.glob("*/*.f32")} == kept


def test_a_backbone_that_is_trained_is_refused_before_the_first_iteration(job: Run) -> None:
    run = frozen(
        job, "retinanet_R50", "a", **{"MODEL.EFFICIENTNET_LITE.FEATURES": "cached", "MODEL.BACKBONE.FREEZE_AT": 3}
    )
    with pytest.raises(ConfigError, match=r"set MODEL\.BACKBONE\.FREEZE_AT to 5"):
        train(run)


def test_where_features_lie_is_no_setting_and_an_unknown_one_is_named(job: Run, tmp_path: Path) -> None:
    run = cached(job, "retinanet_R50", "a")

    def made(features: Path | None) -> Any:
        return run_config(run.variant, run.protocol, 0, 10, run.folder, features=features)

    assert config_hash(made(tmp_path / "a")) == config_hash(made(None))
    wrong = frozen(job, "retinanet_R50", "b", **{"MODEL.EFFICIENTNET_LITE.FEATURES": "stored"})
    with pytest.raises(ConfigError, match="FEATURES: 'stored' is unknown; choose from computed, cached"):
        train(wrong)


def test_timing_never_uses_it(job: Run) -> None:
    """A latency with features from disk would be none of the detector's."""
    run = cached(job, "retinanet_R50", "a")
    cfg = subject_config(load_catalog(), run.protocol, "retinanet_R50", 10, torch.device("cpu"))
    assert (cfg.MODEL.EFFICIENTNET_LITE.FEATURES, cfg.MODEL.EFFICIENTNET_LITE.CACHE) == ("cached", "")
    computing = build_model(cfg).backbone.bottom_up
    assert set(computing(torch.zeros(1, 3, 64, 64))) == {"res2", "res3", "res4", "res5"}
    assert not run.layout.features.exists()
