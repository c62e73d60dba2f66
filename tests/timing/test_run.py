"""Timing as a whole: order, result files, interruption, weights, and errors that a user can cause."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from replication import cli
from replication.catalog import Catalog, Protocol
from replication.errors import ConfigError, ResultError, TimingError
from replication.results.files import read_json
from replication.results.layout import Layout
from replication.results.lease import lease
from replication.results.run import Run
from replication.timing import run as run_room
from replication.timing.latency import read_latency
from replication.timing.run import RoundTimes, Settings, interleave, one_pass, time_variants
from replication.timing.subjects import Subject, choose_runs, compile_parts, memory_errors, subject_config
from replication.training.checkpoint import write_checkpoint
from replication.training.run import train

FAST = Settings(rounds=6, images=2, warmup=1, candidates=5, training_steps=0)
VARIANTS = ["retinanet_R50", "faster_rcnn_R50_giou"]


def test_rounds_are_taken_in_turns():
    order: list[str] = []
    done: list[tuple[str, int, list[Any]]] = []

    def passing(name: str) -> Callable[[], dict[Any, float]]:
        def one() -> dict[Any, float]:
            order.append(name)
            return {"model": float(len(order)), "postprocessing": 0.5}

        return one

    interleave(
        {name: passing(name) for name in "ABC"}, 3, lambda name, taken: done.append((name, len(order), list(taken)))
    )
    assert "".join(order) == "ABCABCABC"
    # Each is finished right after its own last pass, with the times of its own passes.
    assert [(name, count) for name, count, _ in done] == [("A", 7), ("B", 8), ("C", 9)]
    assert [one["model"] for one in done[1][2]] == [2.0, 5.0, 8.0]


def test_a_pass_is_the_mean_over_its_images(subject: Callable[..., Subject], clock: Any):
    one = subject("mask_rcnn_R50_giou")
    spent = one_pass(one, clock)
    # Four marks and the end are five readings: model, post-processing, model, post-processing, a tick each.
    assert spent == {"model": pytest.approx(2000.0), "postprocessing": pytest.approx(2000.0)}
    assert clock.ticks == 5 * len(one.inputs)
    assert clock.synchronised == 2 * len(one.inputs)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Results of two variants, timed by the command line."""
    results = tmp_path_factory.mktemp("results")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DETECTRON2_DATASETS", str(tmp_path_factory.mktemp("data")))
        options = ["--rounds", "6", "--images", "2", "--warmup", "1", "--candidates", "5", "--device", "cpu"]
        where = ["--protocol", "smoke", "--results", str(results), "--variants", ",".join(VARIANTS)]
        assert cli.main(["time", *where, *options]) == 0
    return results


def files(results: Path) -> dict[str, dict[str, Any]]:
    folder = results / "smoke" / "latency" / "cpu"
    return {path.stem: json.loads(path.read_text()) for path in sorted(folder.iterdir())}


def test_two_variants_by_the_command_line(made: Path):
    found = files(made)
    assert sorted(found) == sorted(VARIANTS)
    for name, document in found.items():
        assert document["schema"] == "latency/1"
        assert (document["variant"], document["protocol"]) == (name, "smoke")
        assert document["session"]["order"] == VARIANTS
        assert {key: len(values) for key, values in document["rounds"].items()} == {"model": 6, "postprocessing": 6}
        totals = [sum(pair) for pair in zip(*document["rounds"].values(), strict=True)]
        assert document["ms_per_image"]["total"] == {
            "median": pytest.approx(sum(sorted(totals)[2:4]) / 2),
            "low": pytest.approx(min(totals)),
            "high": pytest.approx(max(totals)),
        }
        assert read_latency(made / "smoke" / "latency" / "cpu" / f"{name}.json", "smoke", name).totals == tuple(totals)
    assert len({document["session"]["id"] for document in found.values()}) == 1


def test_a_file_says_all_that_is_needed_to_judge_it(made: Path):
    document = files(made)["retinanet_R50"]
    method = document["method"]
    assert method["batch"] == 1
    assert method["clock"] == "time.perf_counter"
    assert (method["rounds"], method["warmup_passes"], method["threads"]) == (6, 1, 1)
    assert (method["precision"], method["compiled"]) == ("fp32", False)
    assert len(document["inputs"]["sizes"]) == len(document["inputs"]["image_ids"]) == 2
    assert document["weights"]["candidates"] == 5
    assert document["candidates"]["per_level"] == {"head.cls_score": [5.0] * 5}
    assert document["parameters"] > 1e6
    assert document["flops"]["total"] == sum(document["flops"]["by_part"].values()) > 1e6
    assert document["peak_memory"]["bytes"] > 4 * document["parameters"]
    assert set(document["stages"]) == {"model", "postprocessing"}
    for when in ("before", "after"):
        assert {"time", "load_average", "cpu_mhz", "gpu"} == set(document["state"][when])
    assert 0 < document["state"]["cpu_share"] <= 1.05
    assert document["state"]["before"]["time"] <= document["state"]["after"]["time"]
    assert {"commit", "dirty", "packages", "python", "platform", "cpu", "device", "timing_fingerprint"} <= set(document)
    assert document["packages"]["torch"] == torch.__version__.partition("+")[0]


def test_a_training_step_is_timed_in_the_same_rounds(made: Path):
    for name, document in files(made).items():
        step = document["training"]
        assert (step["images"], step["steps_per_round"], step["warmup_steps"]) == (2, 2, 1)
        assert (step["objects_per_image"], step["weights"]) == (7, "random")
        assert step["sizes"] == document["inputs"]["sizes"]
        assert len(step["rounds"]) == len(step["processor_rounds"]) == len(document["processor_rounds"]) == 6
        # More than a pass: backward of two images, the optimizer, its momentum and the gradients.
        assert step["ms_per_step"]["median"] > document["ms_per_image"]["total"]["median"]
        assert step["peak_memory"]["bytes"] > 3 * 4 * document["parameters"]
        one = read_latency(made / "smoke" / "latency" / "cpu" / f"{name}.json", "smoke", name)
        assert one.taken("training") == tuple(step["rounds"])
        # Loose: a clock that counts the same work, whatever else the machine does.
        for what in ("inference", "training"):
            assert sum(one.taken(what, "processor")) <= 1.1 * sum(one.taken(what))


def test_the_screen_has_a_column_a_variant(protocol: Protocol, tmp_path: Path, capfd: pytest.CaptureFixture[str]):
    where = ["--protocol", protocol.name, "--results", str(tmp_path), "--device", "cpu"]
    few = ["--rounds", "1", "--images", "1", "--warmup", "1", "--candidates", "5", "--training-steps", "1"]
    assert cli.main(["time", *where, "--variants", ",".join(VARIANTS), *few]) == 0
    screen = capfd.readouterr().out
    lines = {line[: line.find("  ")]: line.split("  ") for line in screen.splitlines() if "  " in line}
    assert [name.strip() for name in lines["variant"][1:] if name] == VARIANTS
    for head in ("ratio", "ratio, processor time", "training, ratio", "training, ratio, processor time"):
        first, other = (text.strip() for text in lines[head][1:] if text)
        assert first == "1.000"
        assert float(other) > 0
    assert "on a fixed batch of 2 images" in screen
    one = ["--variants", VARIANTS[0], "--training-steps", "0", "--format", "json"]
    assert cli.main(["time", *where, *few, *one]) == 0
    printed = capfd.readouterr()
    document = json.loads(printed.out)  # progress goes to standard error
    assert "rounds of 1 variants" in printed.err
    assert document["schema"] == "timings/1"
    for timing in document["timings"]:
        written = json.loads(Path(timing["file"]).read_text())
        assert {key: timing[key] for key in written} == written


def test_a_training_step_is_timed_only_as_trainings_run():
    assert Settings().trains
    assert Settings(precision="tf32").trains
    for changed in ({"training_steps": 0}, {"precision": "bf16"}, {"precision": "fp16"}, {"compiled": True}):
        assert not replace(Settings(), **changed).trains


def test_an_interruption_leaves_the_finished_and_the_older_files(
    made: Path, catalog: Catalog, protocol: Protocol, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    results = tmp_path / "results"
    shutil.copytree(made, results)
    before = files(results)
    passes: list[str] = []

    def interrupted(subject: Subject, *_: Any) -> RoundTimes:
        passes.append(subject.name)
        if len(passes) == 4:  # the second variant, in the last of two rounds
            raise KeyboardInterrupt
        return RoundTimes({"model": 1.0, "postprocessing": 2.0}, processor=2.5)

    monkeypatch.setattr(run_room, "one_round", interrupted)
    with pytest.raises(KeyboardInterrupt):
        time_variants(catalog, protocol, results, VARIANTS, replace(FAST, rounds=2, device="cpu"))
    after = files(results)
    assert after["retinanet_R50"]["rounds"] == {"model": [1.0, 1.0], "postprocessing": [2.0, 2.0]}
    assert after["retinanet_R50"]["processor_rounds"] == [2.5, 2.5]
    assert "training" not in after["retinanet_R50"]
    assert after["faster_rcnn_R50_giou"] == before["faster_rcnn_R50_giou"]
    # Nothing half-written lies beside them.
    assert sorted(path.name for path in (results / "smoke" / "latency" / "cpu").iterdir()) == [
        "faster_rcnn_R50_giou.json",
        "retinanet_R50.json",
    ]


def test_settings_that_change_times_change_the_folder(catalog: Catalog, protocol: Protocol, tmp_path: Path):
    assert Settings().suffix() == Settings(rounds=99, images=1, weights="trained").suffix() == ""
    assert Settings(weights="random", candidates=50).suffix() == "_random_50_candidates"
    assert replace(FAST, size=(48, 64), precision="bf16", compiled=True, threads=2).suffix() == (
        "_48x64_2_threads_bf16_compiled"
    )
    settings = replace(FAST, rounds=1, size=(48, 64), precision="bf16", device="cpu")
    one = time_variants(catalog, protocol, tmp_path, ["retinanet_R50"], settings)[0]
    assert one.path == tmp_path / "smoke" / "latency" / "cpu_48x64_bf16" / "retinanet_R50.json"
    assert one.document.inputs.sizes == ((48, 64),) * 2
    assert read_json(one.path, "latency/1")["flops"]["input"] == [48, 64]
    other = time_variants(catalog, protocol, tmp_path, ["retinanet_R50"], settings, tmp_path / "here")[0]
    assert other.path == tmp_path / "here" / "retinanet_R50.json"


@pytest.mark.parametrize("side", [96, 128])
def test_yolov3_beside_the_others_at_one_size(catalog: Catalog, protocol: Protocol, tmp_path: Path, side: int):
    """As docs/timing.md times it at 416 and 608: interleaved, on the same square inputs."""
    names = ["yolov3_D53_giou", *VARIANTS]
    settings = replace(FAST, rounds=2, size=(side, side), device="cpu", training_steps=1)
    timed = time_variants(catalog, protocol, tmp_path, names, settings)
    assert [one.variant for one in timed] == names
    assert {one.path.parent.name for one in timed} == {f"cpu_{side}x{side}"}
    assert {one.document.inputs.sizes for one in timed} == {((side, side),) * 2}
    assert len({one.session for one in timed}) == 1
    yolo = timed[0]
    assert min(yolo.rounds["model"]) > 0
    assert min(yolo.rounds["postprocessing"]) > 0
    assert yolo.document.candidates.per_image == 3 * FAST.candidates
    assert yolo.ratio_to(timed[1]) is not None
    assert yolo.ratio_to(timed[2], "training") is not None


def test_what_detectron2_ships_is_timed_beside(catalog: Catalog, protocol: Protocol, tmp_path: Path):
    names = ["detectron2:retinanet_R50", "retinanet_R50"]
    found = time_variants(catalog, protocol, tmp_path, names, replace(FAST, rounds=1, device="cpu"))
    assert [one.path.name for one in found] == ["detectron2_retinanet_R50.json", "retinanet_R50.json"]
    for key in ("flops", "parameters", "candidates"):
        assert getattr(found[0].document, key) == getattr(found[1].document, key)
    cpu = torch.device("cpu")
    assert subject_config(catalog, protocol, names[0], 10, cpu).MODEL.META_ARCHITECTURE == "RetinaNet"
    rcnn = subject_config(catalog, protocol, "detectron2:faster_rcnn_R50", 10, cpu)
    assert rcnn.MODEL.ROI_HEADS.NAME == "StandardROIHeads"


@pytest.fixture
def trained(catalog: Catalog, protocol: Protocol, tmp_path: Path) -> Path:
    results = tmp_path / "results"
    train(Run(catalog.variants["retinanet_R50"], protocol, 0, results))
    return results


def test_trained_weights_are_taken_where_all_have_them(catalog: Catalog, protocol: Protocol, trained: Path):
    settings = replace(FAST, rounds=1, device="cpu")
    settings = replace(settings, training_steps=1)
    ours, theirs = time_variants(catalog, protocol, trained, ["retinanet_R50", "detectron2:retinanet_R50"], settings)
    assert {one.document.training.weights for one in (ours, theirs) if one.document.training} == {"trained"}
    for one in (ours, theirs):
        assert one.document.weights.kind == "trained"
        run = read_json(one.path, "latency/1")["weights"]["run"]
        assert (run["variant"], run["seed"], run["iterations"]) == ("retinanet_R50", 0, 6)
    assert ours.document.candidates == theirs.document.candidates
    # A trained model beside an untrained one would have other candidates.
    assert choose_runs(catalog, protocol, trained, VARIANTS, "auto") == dict.fromkeys(VARIANTS)
    assert choose_runs(catalog, protocol, trained, ["retinanet_R50"], "random") == {"retinanet_R50": None}
    with pytest.raises(ResultError, match="no finished run of faster_rcnn_R50_giou"):
        choose_runs(catalog, protocol, trained, VARIANTS, "trained")


def test_a_test_time_variant_is_timed_with_its_source_s_weights(catalog: Catalog, protocol: Protocol, trained: Path):
    source = catalog.variants["retinanet_R50"]
    anew = source.model_copy(update={"name": "anew", "weights_from": source.name, "source": source})
    more = catalog.model_copy(update={"variants": {**catalog.variants, "anew": anew}})
    files = Layout(trained, "smoke").run("retinanet_R50", 0)
    names = ["anew", "detectron2:anew", "retinanet_R50"]
    assert choose_runs(more, protocol, trained, names, "trained") == dict.fromkeys(names, files)


def test_a_test_in_several_views_is_not_timed_as_if_it_were_one(catalog: Catalog, protocol: Protocol, tmp_path: Path):
    name = "fsaf_X101_joint_jitter_tta"
    with pytest.raises(ConfigError, match=rf"--variants {name}: TEST\.AUG\.ENABLED: .* cannot be timed"):
        time_variants(catalog, protocol, tmp_path, [name], replace(FAST, device="cpu"))


def test_weights_of_another_model_are_one_message(catalog: Catalog, protocol: Protocol, trained: Path):
    path = trained / "smoke" / "runs" / "retinanet_R50" / "seed0" / "model_final.pth"
    write_checkpoint({"model": {"head.cls_score.weight": torch.zeros(3)}}, path)
    with pytest.raises(TimingError, match=r"model_final\.pth: does not fit the model: .*cls_score"):
        time_variants(catalog, protocol, trained, ["retinanet_R50"], replace(FAST, device="cpu"))


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory"),
        MemoryError(),
        RuntimeError("DefaultCPUAllocator: can't allocate memory: ..."),
    ],
)
def test_out_of_memory_is_one_message(error: Exception):
    message = "some_variant: out of memory on cpu; time fewer variants at once"
    with pytest.raises(TimingError, match=message), memory_errors("some_variant", torch.device("cpu")):
        raise error


def test_other_errors_are_bugs_and_stay():
    with pytest.raises(RuntimeError, match="shapes do not match"), memory_errors("x", torch.device("cpu")):
        raise RuntimeError("shapes do not match")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--variants", "no_such"], "variant 'no_such' is not built; known: "),
        (["--variants", "detectron2:no_such"], "variant 'no_such' is not built"),
        (["--variants", "retinanet_R50", "--device", "cuda"], "torch sees no GPU"),
        (["--tables", "giou-T5"], "none of them has a latency column"),
        (["--tables", "no_such"], "table 'no_such' is unknown"),
        (["--variants", "retinanet_R50", "--weights", "trained"], "no finished run of retinanet_R50"),
    ],
)
def test_errors_of_a_user_are_one_message(
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    arguments: list[str],
    message: str,
):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    assert cli.main(["time", "--protocol", "smoke", "--results", str(tmp_path), *arguments]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert "Traceback" not in error


@pytest.mark.parametrize("out", [None, "elsewhere"])
def test_two_processes_do_not_time_into_one_folder(capsys: pytest.CaptureFixture[str], tmp_path: Path, out: str | None):
    folder = tmp_path / out if out else tmp_path / "smoke" / "latency"
    where = ["time", "--protocol", "smoke", "--results", str(tmp_path), "--variants", "retinanet_R50"]
    with lease(folder / ".lock", "these times"):
        assert cli.main([*where, *(["--out", str(folder)] if out else [])]) == 2
    error = capsys.readouterr().err
    assert f"error: {folder}: another process is working on these times (process " in error
    assert [path.name for path in folder.iterdir()] == [".lock"]


@pytest.mark.parametrize("size", ["480", "480x", "0x640", "480x640x3", "-1x5"])
def test_a_wrong_size_is_refused(capsys: pytest.CaptureFixture[str], size: str):
    assert cli.main(["time", f"--size={size}"]) == 2
    assert "expected HEIGHTxWIDTH" in capsys.readouterr().err


def test_without_variants_those_of_the_latency_tables(catalog: Catalog, protocol: Protocol):
    assert protocol.name == "smoke"
    assert catalog.latency_tables(protocol) == ["fsaf-T2"]
    assert catalog.latency_tables(catalog.protocols["paper"]) == ["fsaf-T2", "libra-T1"]
    assert catalog.latency_tables(catalog.protocols["paper_voc"]) == []


@pytest.mark.slow
@pytest.mark.parametrize("name", VARIANTS)
def test_compiled_parts_find_the_same(subject: Callable[..., Subject], clock: Any, name: str):
    """With the backend that captures the graphs and runs them as they are: generating code takes minutes."""
    one = subject(name)
    eager = [one.run(batch)[0]["instances"] for batch in one.inputs]
    compile_parts(one, backend="eager")
    for batch, expected in zip(one.inputs, eager, strict=True):
        found = one.run(batch)[0]["instances"]
        assert torch.allclose(found.scores, expected.scores, atol=1e-4)
        assert torch.allclose(found.pred_boxes.tensor, expected.pred_boxes.tensor, atol=1e-2)
    assert one_pass(one, clock) == {"model": pytest.approx(1000.0), "postprocessing": pytest.approx(1000.0)}
