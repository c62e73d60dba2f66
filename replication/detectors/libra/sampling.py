"""IoU-balanced sampling of negatives, and positives balanced over ground truths (Libra R-CNN, section 3.1)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from detectron2.layers import nonzero_tuple
from detectron2.structures import Boxes, pairwise_iou
from detectron2.utils.events import get_event_storage
from torch import Tensor

from replication.errors import ConfigError

CHOICES = {
    "NEGATIVES": ("random", "iou_balanced"),
    "POSITIVES": ("random", "gt_balanced"),
    "FORM": ("paper", "released"),
}


def iou_bins(overlaps: Tensor, upper: float | Tensor, num_bins: int) -> Tensor:
    """Index (N,) of the bin, of ``num_bins`` equal ones over [0, upper), that each overlap (N,) lies in.

    An overlap at or beyond an end belongs to the bin at that end. ``upper`` may be a tensor of one value.
    """
    scaled = overlaps * (num_bins / torch.as_tensor(upper).clamp(min=1e-12))
    return scaled.long().clamp(0, num_bins - 1)


def choose_balanced(groups: Tensor, share: int | Tensor, count: int) -> Tensor:
    """Indices of ``count`` of N candidates: up to ``share`` of each group, drawn at random, the rest from all others.

    ``groups`` (N,) numbers each candidate's group. So a member of a group of M candidates is drawn with probability
    share / M where every group has at least ``share`` and they make up ``count`` (equation 3: (N / K) / M_k). What a
    smaller group lacks is filled with equal probability from all that are left. When the shares are more than
    ``count``, ``count`` of them are taken with equal probability; N or fewer candidates are all taken.
    Random numbers are torch's, on the device of ``groups``.
    """
    return _lowest((_random_rank(groups) >= share).byte(), count)


def number_of_groups(groups: Tensor) -> Tensor:
    """How many different values the groups (N,) have, N >= 1, left on their device."""
    return groups.sort().values.diff().ne(0).sum() + 1


def choose_evenly(groups: Tensor, count: int) -> Tensor:
    """Indices of ``count`` of N candidates, from each group as many as from any other, or one fewer, while they last.

    Which of a group, and which groups give the one more, is random, each with equal probability; ``groups`` (N,)
    numbers each candidate's group.
    """
    return _lowest(_random_rank(groups), count)


def _random_rank(groups: Tensor) -> Tensor:
    """Each candidate's place (N,) in a random order of its own group, from 0."""
    order = torch.randperm(len(groups), device=groups.device)
    by_group, inverse = torch.sort(groups[order], stable=True)
    rank = torch.empty_like(order)
    rank[order[inverse]] = torch.arange(len(groups), device=groups.device) - torch.searchsorted(by_group, by_group)
    return rank


def _lowest(keys: Tensor, count: int) -> Tensor:
    """Indices of the ``count`` lowest of N keys, in random order among equal ones.

    The order is drawn anew: in the one that gave the ranks, members of large groups come first at each rank.
    """
    order = torch.randperm(len(keys), device=keys.device)
    return order[torch.argsort(keys[order], stable=True)[:count]]


@dataclass(frozen=True)
class BalancedSampler:
    """Chooses positives and negatives, each at random or balanced.

    ``negative_below`` is the IoU from which a candidate is no negative any more, the end of the paper's bins.
    ``released`` says whether bins end at the largest IoU of all candidates instead, positives and added ground truth
    included (which makes it 1), and whether each ground truth's share is round(P / G) + 1, cut at random, as in the
    authors' code; in the paper's form no ground truth has two positives more than another that has some left.
    """

    negatives: bool
    positives: bool
    num_bins: int
    released: bool
    negative_below: float

    @classmethod
    def from_config(cls, node: Any, key: str, negative_below: float) -> BalancedSampler | None:
        """From the SAMPLER node that lies at ``key``; None when all is random, ConfigError for what is unknown."""
        for name, known in CHOICES.items():
            if node[name] not in known:
                raise ConfigError(f"{key}.{name}: {node[name]!r} is unknown; choose from {', '.join(known)}")
        if node.NUM_BINS < 1:
            raise ConfigError(f"{key}.NUM_BINS: {node.NUM_BINS} is less than 1")
        negatives, positives = node.NEGATIVES != "random", node.POSITIVES != "random"
        if not negatives and not positives:
            return None
        return cls(negatives, positives, node.NUM_BINS, node.FORM == "released", negative_below)

    def __call__(
        self, labels: Tensor, matches: Tensor, overlaps: Tensor, count: int, positive_fraction: float, background: int
    ) -> tuple[Tensor, Tensor]:
        """Indices of sampled positives and negatives, ``count`` or, of too few candidates, fewer together.

        Args:
            labels: (N,) -1 to ignore, ``background`` for negatives, anything else for positives.
            matches: (N,) index of each candidate's ground truth.
            overlaps: (N,) its IoU with it.
            count: number of samples wanted.
            positive_fraction: part of ``count`` that positives may take.
            background: the label of negatives.

        Counts are those of ``detectron2.modeling.sampling.subsample_labels``.
        """
        positive = nonzero_tuple((labels != -1) & (labels != background))[0]
        negative = nonzero_tuple(labels == background)[0]
        wanted = min(len(positive), int(count * positive_fraction))
        chosen = positive[self._positives(matches[positive], wanted)]
        wanted = min(len(negative), count - wanted)
        return chosen, negative[self._negatives(overlaps[negative], overlaps, wanted)]

    def _positives(self, matches: Tensor, wanted: int) -> Tensor:
        if not self.positives or wanted == len(matches):
            return torch.randperm(len(matches), device=matches.device)[:wanted]
        if not self.released:
            return choose_evenly(matches, wanted)
        share = (wanted / number_of_groups(matches).double()).round() + 1  # half to even, as Python rounds
        return choose_balanced(matches, share, wanted)

    def _negatives(self, overlaps: Tensor, of_all: Tensor, wanted: int) -> Tensor:
        if not self.negatives or wanted == len(overlaps):
            return torch.randperm(len(overlaps), device=overlaps.device)[:wanted]
        upper = of_all.max() if self.released else self.negative_below
        return choose_balanced(iou_bins(overlaps, upper, self.num_bins), wanted // self.num_bins, wanted)


@torch.no_grad()
def log_negative_bins(
    boxes: Sequence[Boxes], negative: Sequence[Tensor], objects: Sequence[Boxes], negative_below: float, num_bins: int
) -> None:
    """Put the share of the sampled negatives in each bin over [0, negative_below) into the event storage.

    ``boxes`` are the sampled ones of each image, ``negative`` (N,) says which of them are negatives, ``objects`` is
    its ground truth. Names are ``sampling/negatives_bin1`` .. ``binK``; nothing is put where no image has both.
    Measured on the boxes that were sampled, whatever sampled them.
    """
    overlaps = [
        pairwise_iou(truth, each).max(dim=0).values.masked_fill(~of_image, -1)
        for each, of_image, truth in zip(boxes, negative, objects, strict=True)
        if len(each) and len(truth)
    ]
    if not overlaps:
        return
    together = torch.cat(overlaps)
    bins = iou_bins(together, negative_below, num_bins)[:, None] == torch.arange(num_bins, device=together.device)
    counts = (bins & (together >= 0)[:, None]).sum(dim=0).tolist()  # one wait for the GPU
    if not any(counts):
        return
    storage = get_event_storage()
    for number, value in enumerate(counts, start=1):
        storage.put_scalar(f"sampling/negatives_bin{number}", value / sum(counts))
