"""The data of Libra R-CNN's figures: from a trained detector's own proposals, and from the loss by autograd."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from replication.catalog import load_catalog, load_protocol
from replication.cli import main
from replication.errors import ConfigError
from replication.inference.figures import balanced_l1, write_sampling
from replication.results.files import read_json
from replication.results.run import Run
from replication.training.run import train

CATALOG, SMOKE = load_catalog(), load_protocol("smoke")


def job(results: Path, variant: str = "faster_rcnn_R50") -> Run:
    return Run(CATALOG.variants[variant], SMOKE, 0, results)


def test_negatives_of_a_trained_detector(tmp_path: Path) -> None:
    train(job(tmp_path))
    path = write_sampling(job(tmp_path))
    data = read_json(path, "figure/1")
    assert data["edges"] == pytest.approx([k / 20 for k in range(11)])
    counts = data["counts"]
    assert set(counts) == {"candidates", "random", "iou_balanced", "hard"}
    total = {name: sum(found) for name, found in counts.items()}
    assert total["random"] == total["iou_balanced"] == total["hard"]
    # 16 RoIs an image, at most 4 of them positive
    assert 12 * data["images"] <= total["random"] <= 16 * data["images"]
    assert total["candidates"] <= 32 * data["images"]
    for name in ("random", "iou_balanced", "hard"):
        assert all(one <= every for one, every in zip(counts[name], counts["candidates"], strict=True))
    # Beyond the first third (IoU 0.15 is the border within the fourth bin) balanced sampling has more than random.
    assert sum(counts["iou_balanced"][4:]) > sum(counts["random"][4:])
    assert data["data_hash"]
    again = write_sampling(job(tmp_path))
    assert read_json(again, "figure/1") == data


def test_lines_are_the_paper_s_gradients() -> None:
    data = balanced_l1()
    smooth, first = data["lines"][0], data["lines"][1]
    assert smooth["label"] == "smooth L1"
    at = data["error"].index(pytest.approx(0.5))
    assert smooth["gradient"][at] == pytest.approx(0.5)
    assert first["gradient"][at] == pytest.approx(0.2 * math.log((math.exp(5) - 1) * 0.5 + 1))
    for line in data["lines"][1:]:  # smaller alpha, steeper near 0; all bounded by gamma
        assert line["gradient"][-1] == pytest.approx(1.0)
        assert line["loss"][0] == 0
    tenth = [line["gradient"][10] for line in data["lines"]]
    assert min(tenth[1:]) > tenth[0]


@pytest.mark.parametrize("variant", ["fast_rcnn_R50", "retinanet_R50", "rpn_R50"])
def test_a_detector_without_two_stages_is_refused(variant: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=rf"--variant {variant}: figure 3 needs"):
        write_sampling(job(tmp_path, variant))


def test_figure_3_needs_a_trained_run_and_figure_5_none(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    where = ["figures", "--protocol", "smoke", "--results", str(tmp_path)]
    assert main([*where, "--variant", "faster_rcnn_R50"]) == 2
    assert "train the run first" in capfd.readouterr().err
    assert main(where) == 0
    path = tmp_path / "smoke" / "figures" / "libra_balanced_l1.json"
    assert [*path.parent.iterdir()] == [path]
    assert capfd.readouterr().out == f"{path}\n"
    assert {key: value for key, value in read_json(path, "figure/1").items() if key != "schema"} == balanced_l1()
