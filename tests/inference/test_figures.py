"""The data of papers' own figures; Libra R-CNN's: a trained detector's own proposals, and the loss by autograd."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from replication.catalog import FigureData, load_catalog, load_protocol
from replication.cli import main
from replication.errors import ConfigError
from replication.inference.figures import _compute, write_figure_data
from replication.inference.papers.libra_rcnn import balanced_l1, sampling
from replication.results.files import read_json
from replication.results.run import Run
from replication.training.run import train

CATALOG, SMOKE = load_catalog(), load_protocol("smoke")


def job(results: Path, variant: str = "faster_rcnn_R50") -> Run:
    return Run(CATALOG.variants[variant], SMOKE, 0, results)


def test_negatives_of_a_trained_detector(tmp_path: Path) -> None:
    train(job(tmp_path))
    path = write_figure_data(CATALOG, SMOKE, tmp_path, "libra_rcnn", "sampling")
    assert path == tmp_path / "smoke" / "figures" / "data" / "libra_rcnn" / "sampling.json"
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
    again = write_figure_data(CATALOG, SMOKE, tmp_path, "libra_rcnn", "sampling")
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
    with pytest.raises(ConfigError, match=r"figure_data: sampling: variant: expected a detector with an RPN"):
        sampling(job(tmp_path, variant))


def test_figure_3_needs_a_trained_run_and_figure_5_none(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    where = ["figures", "--protocol", "smoke", "--results", str(tmp_path), "--paper", "libra_rcnn"]
    assert main([*where, "--name", "sampling"]) == 2
    assert "train the run first" in capfd.readouterr().err
    assert main([*where, "--name", "balanced_l1"]) == 0
    path = tmp_path / "smoke" / "figures" / "data" / "libra_rcnn" / "balanced_l1.json"
    assert [*path.parent.iterdir()] == [path]
    assert capfd.readouterr().out == f"{path}\n"
    assert {key: value for key, value in read_json(path, "figure/1").items() if key != "schema"} == balanced_l1()


def test_every_declared_figure_has_a_function(tmp_path: Path) -> None:
    for paper in CATALOG.papers.values():
        for data in paper.figure_data:
            assert callable(_compute(paper.id, data.name))


@pytest.mark.parametrize(
    ("paper", "name", "words"),
    [
        ("libra", "sampling", "figures: --paper libra: unknown; known: fsaf, giou, libra_rcnn"),
        ("libra_rcnn", "samples", "declares no such figure_data; declared: sampling, balanced_l1"),
        ("giou", "sampling", "declares no such figure_data; declared: none"),
    ],
)
def test_what_no_paper_declares_is_refused(paper: str, name: str, words: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=words):
        write_figure_data(CATALOG, SMOKE, tmp_path, paper, name)


def test_declared_data_that_nothing_computes_are_refused(tmp_path: Path) -> None:
    own = CATALOG.papers["giou"].model_copy(update={"figure_data": (FigureData(name="dots"),)})
    declaring = CATALOG.model_copy(update={"papers": CATALOG.papers | {"giou": own}})
    with pytest.raises(ConfigError, match=r"papers/giou\.yaml: figure_data: dots: nothing computes it; add it to"):
        write_figure_data(declaring, SMOKE, tmp_path, "giou", "dots")
