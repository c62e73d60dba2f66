"""Statistics against values by hand, and what a reader of result files refuses."""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from typing import Any

import pytest
from scipy.stats import binom

from replication.catalog import Protocol
from replication.errors import ResultError
from replication.results.files import write_json
from replication.timing.latency import (
    SHOWN,
    TRAINING,
    latencies,
    ratio_text,
    read_latency,
    slug,
    summarise,
)


def put(folder: Path, variant: str, model: list[float], post: list[float], session: str = "s", **more: Any) -> Path:
    path = folder / f"{variant}.json"
    body = {
        "variant": variant,
        "protocol": "smoke",
        "session": {"id": session},
        "rounds": {"model": model, "postprocessing": post},
        **dict.fromkeys(SHOWN),
        **more,
    }
    write_json(path, "latency/1", body)
    return path


def test_median_and_interval_of_ten_rounds():
    # Of 10 values the 2nd and the 9th enclose the median with 1 - 2 (1 + 10) / 2^10 = 97.9%; the 3rd and 8th with 89%.
    found = summarise([3, 9, 1, 7, 5, 2, 10, 4, 8, 6])
    assert (found.median, found.low, found.high) == (5.5, 2.0, 9.0)


@pytest.mark.parametrize("rounds", [1, 2, 5, 6, 20, 25])
def test_interval_covers_by_the_binomial(rounds: int):
    found = summarise([float(value) for value in range(1, rounds + 1)])
    if rounds < 6:
        assert (found.low, found.high) == (None, None)
        return
    assert found.low is not None
    assert found.high is not None
    below = int(found.low) - 1
    assert int(found.high) == rounds - below
    # The median lies outside when at most `below` values are under it, or over it.
    assert 1 - 2 * binom.cdf(below, rounds, 0.5) >= 0.95
    assert 1 - 2 * binom.cdf(below + 1, rounds, 0.5) < 0.95


def test_interval_covers_the_true_median_by_counting():
    # All 2^6 ways in which six values can lie on the two sides of the true median.
    sides = list(itertools.product((-1.0, 1.0), repeat=6))
    covered = 0
    for side in sides:
        found = summarise([sign * (1 + index) for index, sign in enumerate(side)])
        assert found.low is not None
        assert found.high is not None
        covered += found.low <= 0 <= found.high
    assert covered / len(sides) == 62 / 64


def test_ratio_is_paired_by_round(tmp_path: Path):
    # The machine slows down by half from the second round on; the ratio does not see it.
    base = read_latency(put(tmp_path, "a", [80.0, 120.0, 120.0], [20.0, 30.0, 30.0]), "smoke", "a")
    fast = read_latency(put(tmp_path, "b", [70.0, 105.0, 105.0], [10.0, 15.0, 15.0]), "smoke", "b")
    assert base.totals == (100.0, 150.0, 150.0)
    assert base.total.median == 150.0
    assert fast.stage("postprocessing").median == 15.0
    ratio = fast.ratio_to(base)
    assert ratio is not None
    assert ratio.median == pytest.approx(0.8)
    assert ratio_text(ratio) == "0.800"
    assert ratio_text(base.ratio_to(base)) == "1.000"


def step(rounds: list[float], **more: Any) -> dict[str, Any]:
    return {**dict.fromkeys(TRAINING), "rounds": rounds, **more}


def test_ratios_of_a_training_step_are_paired_by_round(tmp_path: Path):
    rounds = [80.0, 120.0, 120.0], [20.0, 30.0, 30.0]
    steps = {"training": step([400.0, 600.0, 700.0], processor_rounds=[200.0] * 3), "processor_rounds": [50.0] * 3}
    base = read_latency(put(tmp_path, "a", *rounds, **steps), "smoke", "a")
    dear = {"training": step([440.0, 660.0, 770.0], processor_rounds=[210.0] * 3), "processor_rounds": [60.0] * 3}
    own = read_latency(put(tmp_path, "b", *rounds, **dear), "smoke", "b")
    assert own.taken("training") == (440.0, 660.0, 770.0)
    assert ratio_text(own.ratio_to(base, "training")) == "1.100"
    assert ratio_text(own.ratio_to(base, "inference", "processor")) == "1.200"
    assert ratio_text(own.ratio_to(base, "training", "processor")) == "1.050"
    # A file from before there was a training step, and one of a GPU, whose process waits.
    old = read_latency(put(tmp_path, "c", *rounds), "smoke", "c")
    assert old.taken("training") == old.taken("inference", "processor") == ()
    assert old.ratio_to(base, "training") is None
    assert ratio_text(old.ratio_to(base)) == "1.000"
    assert old.ratio_to(base, "inference", "processor") is None


def test_no_ratio_between_sessions(tmp_path: Path):
    one = read_latency(put(tmp_path, "a", [80.0], [20.0]), "smoke", "a")
    other = read_latency(put(tmp_path, "b", [80.0], [20.0], session="later"), "smoke", "b")
    assert one.ratio_to(other) is None
    assert ratio_text(one.ratio_to(other)) == "-"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"protocol": "mini"}, "protocol is 'mini', its place says 'smoke'"),
        ({"variant": "b"}, "variant is 'b', its place says 'a'"),
        ({"session": {}}, "session.id is missing"),
        ({"rounds": {"model": [1.0]}}, "expected the stages model, postprocessing"),
        ({"rounds": {"model": [1.0, 2.0], "postprocessing": [1.0]}}, "the same number of times above 0"),
        ({"rounds": {"model": [], "postprocessing": []}}, "the same number of times above 0"),
        ({"rounds": {"model": [-1.0], "postprocessing": [1.0]}}, "the same number of times above 0"),
        ({"rounds": {"model": [True], "postprocessing": [1.0]}}, "the same number of times above 0"),
        ({"rounds": {"model": "1", "postprocessing": [1.0]}}, "the same number of times above 0"),
        ({"training": {"rounds": [1.0]}}, "training: images, sizes, .* missing"),
        ({"training": [1.0]}, "training: rounds, images, .* missing"),
        ({"training": step([])}, "training.rounds: expected 1 times above 0, one per round"),
        ({"training": step([1.0, 2.0])}, "training.rounds: expected 1 times above 0, one per round"),
        ({"training": step([1.0], processor_rounds=[0.0])}, "training.processor_rounds: expected 1 times"),
        ({"processor_rounds": [-1.0]}, "processor_rounds: expected 1 times above 0"),
    ],
)
def test_wrong_files_are_refused(tmp_path: Path, change: dict[str, Any], message: str):
    path = put(tmp_path, "a", [1.0], [1.0])
    write_json(path, "latency/1", {**json.loads(path.read_text()), **change, "schema": "latency/1"})
    with pytest.raises(ResultError, match=message) as caught:
        read_latency(path, "smoke", "a")
    assert str(path) in str(caught.value)


def test_a_file_without_what_is_shown_is_refused(tmp_path: Path):
    path = put(tmp_path, "a", [1.0], [1.0])
    document = json.loads(path.read_text())
    del document["flops"], document["weights"]
    path.write_text(json.dumps(document))
    with pytest.raises(ResultError, match=r"a\.json: weights, flops missing; time the variant again"):
        read_latency(path, "smoke", "a")


def test_another_version_and_broken_json_are_refused(tmp_path: Path):
    write_json(tmp_path / "a.json", "latency/9", {})
    with pytest.raises(ResultError, match="latency/9"):
        read_latency(tmp_path / "a.json", "smoke", "a")
    (tmp_path / "a.json").write_text("{")
    with pytest.raises(ResultError, match="not readable as JSON"):
        read_latency(tmp_path / "a.json", "smoke", "a")


def test_one_device_is_shown_the_fullest_then_the_plainest(tmp_path: Path, protocol: Protocol):
    here = tmp_path / "smoke" / "latency"
    assert latencies(protocol, tmp_path, ["a", "b"]) == {}
    put(here / "cpu_480x640", "a", [5.0], [1.0])
    put(here / "cpu_480x640", "b", [5.0], [1.0])
    put(here / "cpu", "a", [3.0], [1.0])
    (here / "timed.done").touch()
    found = latencies(protocol, tmp_path, ["a", "b", "c"])
    assert {name: one.totals for name, one in found.items()} == {"a": (6.0,), "b": (6.0,)}
    put(here / "cpu", "b", [3.0], [1.0])
    assert latencies(protocol, tmp_path, ["b", "a"])["a"].totals == (4.0,)


def test_slug():
    assert slug("NVIDIA H100 80GB HBM3") == "nvidia_h100_80gb_hbm3"
