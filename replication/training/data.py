"""Batches that depend on the seed and the iteration only: not on workers, nor on interruptions."""

from __future__ import annotations

import itertools
import signal
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from detectron2.config import CfgNode
from detectron2.data import DatasetMapper
from detectron2.data.common import DatasetFromList
from detectron2.utils import comm
from torch.utils.data import DataLoader, Dataset, Sampler

from replication.errors import ConfigError, DataError
from replication.training.augmentation import training_mapper
from replication.training.proposals import OpenProposals

Record = dict[str, Any]
Key = tuple[int, int]  # position in the stream of images, index of the record


class BatchSampler(Sampler[list[Key]]):
    """Endless batches of (position, index), each of one aspect-ratio group, from iteration ``start`` on.

    Every epoch is a fresh permutation drawn from ``seed``. Wide and tall images are batched apart, as Detectron2
    does, but decided on the records alone, so that a resumed run can skip to the batch it stopped at.
    With several processes the images of the stream are dealt out in turn.
    """

    def __init__(
        self, wide: list[bool], batch: int, seed: int, start: int = 0, rank: int = 0, world_size: int = 1
    ) -> None:
        self.wide, self.batch, self.seed, self.start = wide, batch, seed, start
        self.rank, self.world_size = rank, world_size

    def _stream(self) -> Iterator[int]:
        generator = torch.Generator()
        generator.manual_seed(self.seed)
        while True:
            yield from torch.randperm(len(self.wide), generator=generator).tolist()

    def _batches(self) -> Iterator[list[Key]]:
        buckets: tuple[list[Key], list[Key]] = ([], [])
        mine = itertools.islice(enumerate(self._stream()), self.rank, None, self.world_size)
        for position, index in mine:
            bucket = buckets[self.wide[index]]
            bucket.append((position, index))
            if len(bucket) == self.batch:
                yield bucket[:]
                bucket.clear()

    def __iter__(self) -> Iterator[list[Key]]:
        return itertools.islice(self._batches(), self.start, None)


class MappedRecords(Dataset[Any]):
    """Records read and augmented by Detectron2's mapper, with random numbers keyed by (seed, position).

    With ``proposals`` each record gets its image's.

    An image that cannot be read is returned as a DataError, which ``checked`` raises in the main process: raised
    inside a worker it would arrive as a traceback.
    """

    def __init__(
        self, records: list[Record], mapper: DatasetMapper, seed: int, proposals: OpenProposals | None = None
    ) -> None:
        self.records = DatasetFromList(records, copy=False, serialize=True)
        self.mapper, self.seed, self.proposals = mapper, seed, proposals

    def __len__(self) -> int:
        return len(self.records)

    def __getitem__(self, key: Key) -> Record | DataError:
        position, index = key
        record = self.records[index]
        if self.proposals is not None:
            record = self.proposals.add_to(record)
        state = np.random.get_state()
        # Detectron2's augmentations draw from numpy's global state, so that is what has to be keyed.
        np.random.seed(np.random.SeedSequence([self.seed, position]).generate_state(4))
        try:
            mapped: Record = self.mapper({**record, "position": position})
            return mapped
        except (OSError, ValueError, SyntaxError) as error:
            # Pillow raises SyntaxError for a broken PNG.
            return DataError(
                f"{record['file_name']}: cannot be read: {error}. Replace the file or take the image out of the "
                "annotations; `replication doctor` lists all such images."
            )
        finally:
            np.random.set_state(state)


def training_records(records: list[Record]) -> list[Record]:
    """Without images that have no object to learn from (crowds alone do not count), as Detectron2 does."""
    kept = [r for r in records if any(not a.get("iscrowd", 0) for a in r["annotations"])]
    if not kept:
        raise DataError("the training split has no image with an object; nothing can be learnt from it")
    return kept


def share_of(records: list[Record], share: float) -> list[Record]:
    """The same random part of the records for every seed, in their order; ConfigError for a share out of (0, 1]."""
    if not 0 < share <= 1:
        raise ConfigError(f"DATASETS.TRAIN_SHARE: {share} is not greater than 0 and at most 1")
    count = max(1, round(share * len(records)))
    chosen = np.random.default_rng(0).permutation(len(records))[:count]
    return [records[index] for index in sorted(chosen)]


def train_loader(
    cfg: CfgNode, records: list[Record], start: int, proposals: OpenProposals | None = None
) -> Iterator[list[Record]]:
    """Batches of mapped records for this process, from iteration ``start`` on."""
    world = comm.get_world_size()
    batch, rest = divmod(cfg.SOLVER.IMS_PER_BATCH, world)
    if rest:
        raise DataError(f"batch {cfg.SOLVER.IMS_PER_BATCH} cannot be shared by {world} processes; choose a multiple")
    sampler = BatchSampler(
        [r["width"] > r["height"] for r in records] if cfg.DATALOADER.ASPECT_RATIO_GROUPING else [True] * len(records),
        batch,
        cfg.SEED,
        start,
        comm.get_rank(),
        world,
    )
    loader = DataLoader(
        MappedRecords(records, training_mapper(cfg), cfg.SEED, proposals),
        batch_sampler=sampler,
        num_workers=cfg.DATALOADER.NUM_WORKERS,
        collate_fn=_same,
        worker_init_fn=_ignore_termination,
        generator=torch.Generator(),  # else starting a loader draws from the state that an iteration was keyed with
    )
    return checked(loader)


def val_loader(cfg: CfgNode, records: list[Record], proposals: OpenProposals | None = None) -> Iterator[list[Record]]:
    """One mapped record at a time, in order; in its original size where TEST.AUG resizes it."""
    mapper = DatasetMapper(cfg, is_train=False)
    if cfg.TEST.AUG.ENABLED:
        mapper = DatasetMapper(is_train=False, augmentations=[], image_format=cfg.INPUT.FORMAT)
    loader = DataLoader(
        MappedRecords(records, mapper, cfg.SEED, proposals),
        batch_sampler=[[(i, i)] for i in range(len(records))],
        num_workers=cfg.DATALOADER.NUM_WORKERS,
        collate_fn=_same,
    )
    return checked(loader)


def checked(loader: DataLoader[Any]) -> Iterator[list[Record]]:
    """The loader's batches; raises the DataError of the first image that could not be read."""
    for batch in loader:
        for item in batch:
            if isinstance(item, DataError):
                raise item
        yield batch


def _ignore_termination(worker: int) -> None:
    """A cluster sends SIGTERM to all processes; the main one still needs its workers to finish the iteration."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)


def _same(batch: list[Any]) -> list[Any]:
    return batch
