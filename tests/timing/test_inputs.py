"""The fixed list of images: the same every time, of the sizes that a model is tested at."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from detectron2.config import CfgNode

from replication.catalog import Catalog, Protocol, load_protocol
from replication.errors import DataError
from replication.timing.inputs import COCO_SIZES, find_source, make_inputs, shapes
from replication.timing.subjects import subject_config

CPU = torch.device("cpu")


@pytest.fixture
def no_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DETECTRON2_DATASETS", str(tmp_path / "nothing"))


def test_a_small_protocol_takes_its_own_images_at_its_own_sizes(protocol: Protocol, config: Callable[[str], CfgNode]):
    source = find_source(protocol, 4)
    assert (source.text, source.num_classes, len(source.chosen)) == ("validation images", 10, 4)
    inputs = make_inputs(source, config("retinanet_R50"), None, CPU)
    assert all(min(size) == 64 and max(size) <= 80 for size in shapes(inputs))
    again = make_inputs(find_source(protocol, 4), config("retinanet_R50"), None, CPU)
    assert all(torch.equal(a[0]["image"], b[0]["image"]) for a, b in zip(inputs, again, strict=True))
    assert inputs[0][0]["image"].dtype == torch.uint8
    assert {(batch[0]["height"], batch[0]["width"]) for batch in inputs} == set(source.sizes)
    assert len(find_source(protocol, 100).chosen) == 6  # there are no more


@pytest.mark.usefixtures("no_data")
def test_without_coco_a_seeded_list_of_its_sizes(catalog: Catalog, capfd: pytest.CaptureFixture[str]):
    paper = load_protocol("paper")
    source = find_source(paper, 40)
    told = capfd.readouterr()
    assert "noise in sizes of COCO images replaces the validation images: " in told.out + told.err
    assert "instances_val2017.json: no such file" in told.out + told.err
    assert source == find_source(paper, 40)
    assert (source.num_classes, source.split) == (80, None)
    assert set(source.sizes) <= set(COCO_SIZES)
    # The commonest size is a third of the list.
    assert 5 <= source.sizes.count((480, 640)) <= 20
    cfg = subject_config(catalog, paper, "retinanet_R50", 80, CPU)
    small = find_source(paper, 3)
    inputs = make_inputs(small, cfg, None, CPU)
    for (height, width), (new_height, new_width) in zip(small.sizes, shapes(inputs), strict=True):
        scale = min(800 / min(height, width), 1333 / max(height, width))
        assert abs(new_height - height * scale) <= 0.5
        assert abs(new_width - width * scale) <= 0.5
    assert 100 < inputs[0][0]["image"].float().mean() < 155  # noise from 0 to 255


@pytest.mark.usefixtures("no_data")
def test_own_data_that_are_missing_are_an_error():
    with pytest.raises(DataError, match=r"custom/val\.json"):
        find_source(load_protocol("custom"), 4)


def test_one_size_for_all(protocol: Protocol, config: Callable[[str], CfgNode]):
    source = find_source(protocol, 3)
    inputs = make_inputs(source, config("retinanet_R50"), (48, 96), CPU)
    assert shapes(inputs) == [(48, 96)] * 3
    # What comes out is still scaled to the image's own size.
    assert inputs[0][0]["height"] == source.sizes[0][0]
    full = make_inputs(source, config("retinanet_R50"), None, CPU)
    assert inputs[0][0]["image"].float().mean() == pytest.approx(full[0][0]["image"].float().mean().item(), abs=2)
