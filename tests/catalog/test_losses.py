"""Which losses a user's files enter, read without running them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from replication.catalog import load_catalog
from replication.catalog.losses import BUILT_IN, own_losses
from replication.errors import ConfigError

ENTERS = '@box_reg_loss("{name}", on="boxes")\ndef loss(pred, target, reduction="none"):\n    return pred\n'


def write(folder: Path, file: str, text: str) -> Path:
    path = folder / "losses" / file
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def test_names_are_read_however_the_decorator_is_written(tmp_path: Path):
    text = (
        "import replication.detectors.losses as losses\n"
        "from replication.detectors.losses import box_reg_loss\n"
        + ENTERS.format(name="a")
        + '@losses.box_reg_loss(name="b", on="deltas")\ndef other(pred, target, reduction="none"): ...\n'
        + "def helper(): ...\n"
    )
    path = write(tmp_path, "mine.py", text)
    write(tmp_path, "_helpers.py", "x = 1\n")
    assert own_losses([tmp_path]) == {"a": path, "b": path}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("def loss(:\n", "mine.py: line 1: not Python"),
        ("x = 1\n", "mine.py: enters no loss; write @box_reg_loss"),
        (ENTERS.format(name="giou"), "mine.py: loss 'giou': there is a built-in loss of that name"),
    ],
)
def test_a_wrong_file_is_named(tmp_path: Path, text: str, message: str):
    write(tmp_path, "mine.py", text)
    with pytest.raises(ConfigError, match=message.replace("(", r"\(")):
        own_losses([tmp_path])


def test_two_files_that_enter_one_name(tmp_path: Path):
    first = write(tmp_path, "first.py", ENTERS.format(name="same"))
    write(tmp_path, "second.py", ENTERS.format(name="same"))
    with pytest.raises(ConfigError, match=rf"second\.py: loss 'same': is already entered in {first}"):
        own_losses([tmp_path])


def test_a_variant_knows_the_files_of_its_losses_also_those_of_its_base(tmp_path: Path):
    path = write(tmp_path, "mine.py", ENTERS.format(name="mine"))
    write(tmp_path, "unused.py", ENTERS.format(name="unused"))
    (tmp_path / "variants").mkdir()
    leaf = "_BASE_: faster_rcnn_R50_giou.yaml\nMODEL: {ROI_BOX_HEAD: {BBOX_REG_LOSS_TYPE: mine}}\n"
    (tmp_path / "variants" / "one.yaml").write_text(leaf)
    (tmp_path / "variants" / "two.yaml").write_text("_BASE_: one.yaml\nSOLVER: {BASE_LR: 0.01}\n")
    from replication.catalog import CONFIGS

    variants = load_catalog(CONFIGS, tmp_path).variants
    assert variants["one"].losses == variants["two"].losses == (path,)
    assert variants["faster_rcnn_R50_giou"].losses == ()


def test_the_names_that_are_taken_are_those_of_the_registry():
    code = (
        "from replication.detectors.losses import BOX_REG_LOSS_REGISTRY as losses; "
        "print(*sorted(['mse', *dict(losses)]))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert tuple(done.stdout.split()) == BUILT_IN
