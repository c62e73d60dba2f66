"""Files of users' losses are run when a model needs them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from replication.catalog import load_protocol
from replication.catalog.variants import read_variant
from replication.detectors.losses import BOX_REG_LOSS_REGISTRY, load_losses
from replication.errors import ConfigError
from replication.training.config import config_hash, run_config

HEAD = "import torch\nfrom replication.detectors.losses import box_reg_loss\n\n"
LOSS = HEAD + (
    '@box_reg_loss("mine", on="boxes", defaults={"SCALE": 2.0})\n'
    'def mine(pred, target, scale, reduction="none"):\n'
    "    return scale * (pred - target).abs().sum()\n"
)


@pytest.fixture(autouse=True)
def _none_left() -> Iterator[None]:
    yield
    load_losses([])
    assert "mine" not in BOX_REG_LOSS_REGISTRY


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "losses" / "mine.py"
    path.parent.mkdir()
    path.write_text(LOSS)
    return path


def test_a_file_enters_its_loss_in_the_one_registry(file: Path):
    load_losses([file])
    load_losses([file])
    boxes = torch.tensor([[0.0, 0.0, 2.0, 2.0]])
    assert BOX_REG_LOSS_REGISTRY.get("mine").function(boxes, boxes + 1, scale=2.0) == 8.0


def test_a_changed_file_replaces_what_it_entered(file: Path):
    load_losses([file])
    file.write_text(LOSS.replace("scale * (", "10 * scale * ("))
    load_losses([file])
    boxes = torch.tensor([[0.0, 0.0, 2.0, 2.0]])
    assert BOX_REG_LOSS_REGISTRY.get("mine").function(boxes, boxes + 1, scale=2.0) == 80.0


def test_its_settings_are_keys_of_the_configs_that_use_it_alone(file: Path):
    path = file.parent.parent / "variants" / "own.yaml"
    path.parent.mkdir()
    text = "_BASE_: faster_rcnn_R50_giou.yaml\nMODEL: {ROI_BOX_HEAD: {BBOX_REG_LOSS_TYPE: mine, MINE: {SCALE: 3.0}}}\n"
    path.write_text(text)
    protocol, plain = load_protocol("smoke"), read_variant(path.parent / "own.yaml", {})
    base = read_variant(file.parents[1] / "variants" / "own.yaml", {"mine": file})
    assert base.losses == (file,)
    cfg = run_config(base, protocol, 0, 3, Path("out"))
    assert cfg.MODEL.ROI_BOX_HEAD.MINE.SCALE == 3.0
    assert "MINE" in cfg.MODEL.RPN
    with pytest.raises(ConfigError, match=r"own\.yaml: Non-existent config key: MODEL\.ROI_BOX_HEAD\.MINE"):
        run_config(plain, protocol, 0, 3, Path("out"))


def test_the_config_of_another_variant_does_not_depend_on_what_was_loaded_before(file: Path):
    from replication.catalog import load_catalog

    variant, protocol = load_catalog().variants["faster_rcnn_R50_giou"], load_protocol("smoke")
    before = config_hash(run_config(variant, protocol, 0, 3, Path("out")))
    load_losses([file])
    assert config_hash(run_config(variant, protocol, 0, 3, Path("out"))) == before


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("1 / 0\n", r"mine\.py: line 1: ZeroDivisionError: division by zero; correct the file"),
        (
            LOSS + "\nimport no_such_module\n",
            r"mine\.py: line 8: ModuleNotFoundError: No module named 'no_such_module'",
        ),
        (LOSS.replace("mine", "giou"), r"mine\.py: line 4: AssertionError: .*'giou' was already registered"),
        ("x = 1\n", r"mine\.py: enters no loss"),
        ("def f(:\n", r"mine\.py: line 1: SyntaxError"),
        ("raise SystemExit\n", r"mine\.py: line 1: SystemExit"),
    ],
)
def test_a_file_that_fails_is_named_with_the_line_and_leaves_nothing(file: Path, text: str, message: str):
    file.write_text(text)
    before = dict(BOX_REG_LOSS_REGISTRY)
    with pytest.raises(ConfigError, match=message):
        load_losses([file])
    assert dict(BOX_REG_LOSS_REGISTRY) == before


def test_a_missing_file(file: Path):
    file.unlink()
    with pytest.raises(ConfigError, match=r"mine\.py: not readable: No such file"):
        load_losses([file])
