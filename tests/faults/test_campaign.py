"""Faults at seeded moments of every verb: one message, an exit code, and the next run ends in the undisturbed bytes.

The default suite has a few of each kind, `make test-slow` many. Both print how many.
"""

from __future__ import annotations

import random
import shutil
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.faults import Campaign, Ending, Fault, content, copied, end, run, start

VARIANT = "faster_rcnn_R50_giou"
SETTING = ["--protocol", "smoke"]
RUN = ["--variant", VARIANT, "--seed", "0"]
TABLES = ["--tables", "giou-T5"]
STEPS: dict[str, list[str]] = {
    "prepare": ["prepare", *SETTING],
    "train": ["train", *SETTING, *RUN, "--wait", "--replace"],
    "detect": ["detect", *SETTING, *RUN],
    "evaluate": ["evaluate", *SETTING, *RUN],
    "verdicts": ["verdicts", *SETTING, *TABLES],
    "tables": ["tables", *SETTING, *TABLES],
    "report": ["report", *SETTING, *TABLES],
}
"""The rules of the workflow, in its order."""
RPN = {
    "train": ["train", *SETTING, "--variant", "rpn_R50"],
    "proposals": ["proposals", *SETTING, "--variant", "rpn_R50"],
    "figures": ["figures", *SETTING, "--paper", "libra_rcnn", "--name", "balanced_l1"],
}
"""Rules that other tables need."""


class World:
    """The results before and after every step, undisturbed."""

    def __init__(self, folder: Path, steps: dict[str, list[str]]) -> None:
        self.folder, self.steps = folder, steps
        self.before: dict[str, Path] = {}
        self.after: dict[str, dict[str, object]] = {}
        self.whole: dict[str, Ending] = {}
        results = folder / "undisturbed"
        results.mkdir(parents=True)
        for name, command in steps.items():
            self.before[name] = copied(results, folder / "before" / name)
            self.whole[name] = run(command, results)
            assert self.whole[name].code == 0, self.whole[name].error
            self.after[name] = content(results)

    def again(self, name: str) -> Path:
        """A results folder in which the step is next, elsewhere than the undisturbed one was."""
        return copied(self.before[name], self.folder / "disturbed" / "results")

    def check(self, name: str, results: Path, what: str) -> None:
        """The next run ends in the bytes of the undisturbed one, and leaves nothing else."""
        ending = run(self.steps[name], results)
        assert ending.code == 0, (name, what, ending)
        found, expected = content(results), self.after[name]
        assert {key for key in found | expected if found.get(key) != expected.get(key)} == set(), (name, what)


@pytest.fixture(scope="module")
def own_datasets(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Of this module alone: killed processes leave their data behind."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DETECTRON2_DATASETS", str(tmp_path_factory.mktemp("datasets")))
        patch.setenv("OMP_NUM_THREADS", "1")
        yield


@pytest.fixture(scope="module")
def world(own_datasets: None, tmp_path_factory: pytest.TempPathFactory) -> World:
    return World(tmp_path_factory.mktemp("world"), STEPS)


@pytest.fixture(scope="module")
def campaign(pytestconfig: pytest.Config) -> Iterator[Campaign]:
    """Prints the count at the end."""
    campaign = Campaign()
    yield campaign
    reporter = pytestconfig.pluginmanager.get_plugin("terminalreporter")
    reporter.write_line(f"\nfault campaign: {campaign}")


def one_message(ending: Ending, what: object) -> None:
    lines = [line for line in ending.error.splitlines() if line.startswith("error: ")]
    assert (ending.code, len(lines)) == (2, 1), (what, ending)
    assert "Traceback" not in ending.error, (what, ending)


def killed_within(world: World, campaign: Campaign, name: str, at: int) -> None:
    results = world.again(name)
    ending = run(world.steps[name], results, Fault("kill", at))
    assert ending.code in (-signal.SIGKILL, 0), (name, at, ending)
    if ending.code:  # the first run may have made folders that are there now
        campaign.count("kill -9 in a file operation")
    world.check(name, results, f"killed in operation {at}")


def signalled(world: World, campaign: Campaign, name: str, number: signal.Signals, share: float) -> None:
    results = world.again(name)
    ending = run(world.steps[name], results, number=number, after=share * world.whole[name].seconds)
    if number == signal.SIGINT:
        assert ending.code in (0, 130), (name, share, ending)
    else:
        assert ending.code in (0, -number, 128 + number), (name, share, ending)
    assert "Traceback" not in ending.error or ending.code == 130, (name, share, ending)
    campaign.count(f"{number.name} at a random moment")
    world.check(name, results, f"{number.name} after {share:.0%}")


def refused(world: World, campaign: Campaign, name: str, fault: Fault) -> None:
    results = world.again(name)
    ending = run(world.steps[name], results, fault)
    if fault.kind == "read-only" or ending.code != 0:  # a limit may be larger than all that is written
        one_message(ending, (name, fault))
    campaign.count(f"{fault.kind} disk" if fault.kind == "full" else fault.kind)
    world.check(name, results, str(fault))


def garbled(world: World, campaign: Campaign, name: str, path: Path, content: bytes) -> None:
    """An input that is no longer what was written: a message, and with it restored the same bytes."""
    results = world.again(name)
    good = (results / path).read_bytes()
    (results / path).write_bytes(content)
    one_message(run(world.steps[name], results), (name, path, len(content)))
    campaign.count("truncated or garbled input")
    (results / path).write_bytes(good)
    world.check(name, results, f"garbled {path}")


def two_at_once(world: World, campaign: Campaign) -> None:
    results = world.again("train")
    begun = time.monotonic()
    both = [start([*STEPS["train"][:3], *RUN], results, Fault()) for _ in range(2)]
    endings = [end(started, begun) for started in both]
    codes = sorted(ending.code for ending in endings)
    assert codes in ([0, 2], [0, 0]), endings  # the second may come when the first has finished
    for ending in endings:
        if ending.code:
            assert "another process is working on this run (process " in ending.error
            one_message(ending, "two trainings")
    campaign.count("two trainings on one folder")
    world.check("train", results, "two trainings")


FOLDER = Path("smoke") / "runs" / VARIANT / "seed0"
INPUTS = {
    "detect": [FOLDER / "model_final.pth", FOLDER / "provenance.json"],
    "evaluate": [FOLDER / "detections.json", FOLDER / "provenance.json", Path("smoke/data.json")],
    # One run, so nothing is resampled: of detections and ground truth see tests/verdicts/test_replicates.py.
    "verdicts": [FOLDER / "metrics.json", FOLDER / "provenance.json"],
    "tables": [FOLDER / "metrics.json", FOLDER / "provenance.json"],
    "report": [FOLDER / "curves.jsonl", Path("smoke/verdicts.json"), Path("smoke/ground_truth.json")],
}


def test_a_few_of_each(world: World, campaign: Campaign):
    dice = random.Random(13)
    for name in ("train", "detect", "evaluate"):
        killed_within(world, campaign, name, dice.randint(1, world.whole[name].operations))
    signalled(world, campaign, "train", signal.SIGKILL, 0.7)
    refused(world, campaign, "evaluate", Fault("full", limit=100))
    refused(world, campaign, "report", Fault("read-only"))
    garbled(world, campaign, "evaluate", FOLDER / "detections.json", b'[{"image_id": 1, "cat')


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("name", STEPS)
def test_killed_in_file_operations(world: World, campaign: Campaign, name: str):
    """All of them where they are few, else 25 drawn."""
    operations = range(1, world.whole[name].operations + 1)
    for at in sorted(random.Random(name).sample(operations, min(25, len(operations)))):
        killed_within(world, campaign, name, at)


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("name", STEPS)
def test_signals_at_random_moments(world: World, campaign: Campaign, name: str):
    dice = random.Random(f"{name} moments")
    for number, times in ((signal.SIGKILL, 8), (signal.SIGINT, 3), (signal.SIGTERM, 3)):
        for _ in range(times):
            signalled(world, campaign, name, number, dice.random())


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("name", STEPS)
def test_disks_that_are_full_or_read_only(world: World, campaign: Campaign, name: str):
    refused(world, campaign, name, Fault("read-only"))
    before, after = content(world.before[name]), world.after[name]
    sizes = {len(value) for key, value in after.items() if isinstance(value, bytes) and before.get(key) != value}
    for limit in sorted({0, 1, *(size // 2 for size in sizes), *(max(size - 1, 0) for size in sizes)}):
        refused(world, campaign, name, Fault("full", limit=limit))


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("name", INPUTS)
def test_inputs_that_are_truncated_or_garbled(world: World, campaign: Campaign, name: str):
    dice = random.Random(f"{name} inputs")
    for path in INPUTS[name]:
        good = (world.before[name] / path).read_bytes()
        for damaged in (b"", good[: dice.randint(1, len(good) - 2)], bytes(len(good)), b"\xff" + good[1:]):
            garbled(world, campaign, name, path, damaged)


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_two_trainings_on_one_folder(world: World, campaign: Campaign):
    for _ in range(5):
        two_at_once(world, campaign)


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("shift", [-86_400 * 400, 86_400 * 400])
def test_clocks_that_jumped(world: World, campaign: Campaign, shift: int):
    """Files of another year, as a clock that was wrong leaves them."""
    import os

    for name in STEPS:
        results = world.again(name)
        for path in results.rglob("*"):
            os.utime(path, (time.time() + shift, time.time() + shift))
        campaign.count("clock jump")
        world.check(name, results, f"clock {shift}")


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_proposals_and_figures(own_datasets: None, campaign: Campaign, tmp_path: Path):
    world = World(tmp_path / "rpn", RPN)
    for name in ("proposals", "figures"):
        for at in range(1, world.whole[name].operations + 1):
            killed_within(world, campaign, name, at)
        refused(world, campaign, name, Fault("read-only"))
        refused(world, campaign, name, Fault("full", limit=10))
        signalled(world, campaign, name, signal.SIGKILL, 0.5)
    shutil.rmtree(world.folder)
