from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest
import torch

from replication.datasets import load_split
from replication.errors import ConfigError, DataError
from replication.results.run import Run
from replication.training.config import run_config
from replication.training.data import BatchSampler, share_of, train_loader, training_records, val_loader


def take(sampler: BatchSampler, count: int) -> list[list[tuple[int, int]]]:
    return list(itertools.islice(iter(sampler), count))


WIDE = [True, False, True, True, False, False, True, False, True]


def test_sampler_skips_to_the_iteration_it_is_started_at():
    whole = take(BatchSampler(WIDE, 2, seed=3), 40)
    assert take(BatchSampler(WIDE, 2, seed=3, start=17), 23) == whole[17:]


def test_sampler_depends_on_the_seed():
    assert take(BatchSampler(WIDE, 2, seed=3), 9) != take(BatchSampler(WIDE, 2, seed=4), 9)


def test_batches_hold_one_aspect_group_and_every_image_comes_once_an_epoch():
    batches = take(BatchSampler(WIDE, 2, seed=0), 90)
    assert all(len({WIDE[index] for _, index in batch}) == 1 for batch in batches)
    seen = sorted(key for batch in batches for key in batch)
    assert len({position for position, _ in seen}) == len(seen)
    first_epochs = [index for position, index in seen if position < 8 * len(WIDE)]
    counts = np.bincount(first_epochs, minlength=len(WIDE))
    assert counts.min() == counts.max() == 8


def test_processes_share_the_stream():
    stream = take(BatchSampler([True] * 9, 1, seed=5), 12)
    left = take(BatchSampler([True] * 9, 1, seed=5, rank=0, world_size=2), 6)
    right = take(BatchSampler([True] * 9, 1, seed=5, rank=1, world_size=2), 6)
    assert [batch for pair in zip(left, right, strict=True) for batch in pair] == stream


def loaded(job: Run, workers: int, start: int = 0, count: int = 4) -> list[torch.Tensor]:
    split = load_split(job.protocol, "train")
    protocol = job.protocol.model_copy(update={"workers": workers})
    cfg = run_config(job.variant, protocol, 0, len(split.classes), Path())
    batches = itertools.islice(train_loader(cfg, training_records(split.records), start), count)
    return [item["image"] for batch in batches for item in batch]


def test_batches_are_the_same_for_any_number_of_workers_and_after_a_resume(job: Run):
    alone = loaded(job, workers=0)
    for other in (loaded(job, workers=2), loaded(job, workers=0, start=0)):
        assert all(torch.equal(a, b) for a, b in zip(alone, other, strict=True))
    resumed = loaded(job, workers=1, start=2, count=2)
    assert all(torch.equal(a, b) for a, b in zip(alone[4:], resumed, strict=True))


def test_images_are_flipped_by_position_not_always_alike(job: Run):
    """With the flip on, one image over several epochs is seen both ways."""
    split = load_split(job.protocol, "train")
    cfg = run_config(job.variant, job.protocol, 0, 10, Path())
    one = training_records(split.records)[:2]
    images = [batch[0]["image"] for batch in itertools.islice(train_loader(cfg, [one[0]], 0), 8)]
    assert len({image.numpy().tobytes() for image in images}) == 2


def test_loading_leaves_numpys_random_state_alone(job: Run):
    np.random.seed(11)
    expected = np.random.RandomState(11).rand()
    loaded(job, workers=0)
    assert np.random.rand() == expected


@pytest.mark.parametrize("workers", [0, 1])
def test_a_truncated_image_is_named(job: Run, tmp_path: Path, workers: int):
    split = load_split(job.protocol, "val")
    broken = tmp_path / "broken.jpg"
    whole = Path(split.records[0]["file_name"]).read_bytes()
    broken.write_bytes(whole[: len(whole) // 2])
    records = [{**split.records[0], "file_name": str(broken)}]
    cfg = run_config(job.variant, job.protocol.model_copy(update={"workers": workers}), 0, 10, Path())
    with pytest.raises(DataError, match=r"broken\.jpg: cannot be read.*truncated") as caught:
        next(iter(val_loader(cfg, records)))
    assert "\n" not in str(caught.value)


def test_a_size_that_disagrees_with_the_annotation_is_named(job: Run):
    record = {**load_split(job.protocol, "val").records[0], "height": 7}
    cfg = run_config(job.variant, job.protocol, 0, 10, Path())
    with pytest.raises(DataError, match="Mismatched image shape"):
        next(iter(val_loader(cfg, [record])))


def test_images_without_objects_are_not_trained_on():
    thing = {"iscrowd": 0}
    records = [{"annotations": []}, {"annotations": [thing]}, {"annotations": [{"iscrowd": 1}]}]
    assert training_records(records) == [{"annotations": [thing]}]
    with pytest.raises(DataError, match="no image with an object"):
        training_records(records[:1])


def test_a_share_of_the_images_is_the_same_for_every_run() -> None:
    records = [{"image_id": number} for number in range(101)]
    half = share_of(records, 0.5)
    assert len(half) == 50
    assert half == share_of(records, 0.5)
    assert half == sorted(half, key=lambda record: record["image_id"])
    assert half not in (records[:50], records[::2])
    assert share_of(records, 1.0) == records
    assert len(share_of(records[:1], 0.1)) == 1
    for wrong in (0.0, -0.5, 1.5):
        with pytest.raises(ConfigError, match=r"DATASETS\.TRAIN_SHARE: .* is not greater than 0 and at most 1"):
            share_of(records, wrong)
