"""IoU-balanced sampling: the drawn distribution against the paper's formula, and every case with too few candidates."""

from __future__ import annotations

import math
from collections import Counter
from typing import Any

import pytest
import torch
from detectron2.config import CfgNode, get_cfg
from detectron2.layers import ShapeSpec
from detectron2.modeling.roi_heads import StandardROIHeads
from detectron2.structures import Boxes, Instances
from detectron2.utils.events import EventStorage
from scipy.stats import chi2
from torch import Tensor

from replication.detectors import ReplicationROIHeads, add_replication_config
from replication.detectors.libra import BalancedSampler
from replication.detectors.libra.sampling import choose_balanced, choose_evenly, iou_bins
from replication.errors import ConfigError

BACKGROUND = 7


def sampler(**changes: Any) -> BalancedSampler:
    settings = {"negatives": True, "positives": False, "num_bins": 3, "released": False, "negative_below": 0.5}
    return BalancedSampler(**{**settings, **changes})


def candidates(per_bin: list[int], below: float = 0.5) -> Tensor:
    """Overlaps of as many negatives in each equal bin of [0, below) as the list says, the first bin with its 0."""
    width = below / len(per_bin)
    return torch.cat([width * (k + torch.linspace(0, 0.99, count)) for k, count in enumerate(per_bin)])


def draw(one: BalancedSampler, overlaps: Tensor, wanted: int, times: int) -> Tensor:
    """How often each of the negatives was drawn."""
    counts = torch.zeros(len(overlaps))
    labels = torch.full((len(overlaps),), BACKGROUND)
    for _ in range(times):
        positive, negative = one(labels, torch.zeros_like(labels), overlaps, wanted, 0.25, BACKGROUND)
        assert len(positive) == 0
        assert len(negative.unique()) == len(negative) == min(wanted, len(overlaps))
        counts[negative] += 1
    return counts


def chi_square(counts: Tensor, probability: Tensor, times: int) -> float:
    """Sum of squared standard scores of draws with known marginal probability."""
    variance = times * probability * (1 - probability)
    return float((((counts - times * probability) ** 2) / variance).sum())


@pytest.mark.parametrize("num_bins", [2, 3, 5])
def test_each_negative_is_drawn_with_the_paper_s_probability(num_bins: int) -> None:
    """p_k = (N / K) / M_k (equation 3) for each of the candidates of bin k, here with bins of very different size."""
    torch.manual_seed(num_bins)
    sizes = [400, 90, 45, 35, 30][:num_bins]
    wanted, times = 20 * num_bins, 2000
    counts = draw(sampler(num_bins=num_bins), candidates(sizes), wanted, times)
    probability = torch.cat([torch.full((size,), wanted / num_bins / size) for size in sizes])
    degrees = sum(sizes)
    # Draws without replacement are negatively correlated within a bin, which makes the sum smaller, never larger.
    assert chi_square(counts, probability, times) < chi2.ppf(0.9999, degrees)
    for bin_counts in counts.split(sizes):  # exactly an equal share each time
        assert bin_counts.sum() == times * wanted / num_bins
    uniform = torch.full((degrees,), wanted / degrees)
    assert chi_square(counts, uniform, times) > 10 * degrees  # and the test would see random sampling


def test_random_sampling_fails_the_same_test() -> None:
    torch.manual_seed(0)
    sizes, times = [400, 90, 45], 500
    counts = draw(sampler(negatives=False, positives=True), candidates(sizes), 60, times)
    balanced = torch.cat([torch.full((size,), 20 / size) for size in sizes])
    assert chi_square(counts, balanced, times) > 10 * sum(sizes)
    assert chi_square(counts, torch.full((535,), 60 / 535), times) < chi2.ppf(0.9999, 535)


def test_a_short_bin_gives_all_and_the_rest_is_filled_at_random() -> None:
    """Bins of 5 and 0 candidates: 5 + 0 + share 20, and 35 more drawn at random from the 480 left in the first."""
    torch.manual_seed(1)
    counts = draw(sampler(), torch.cat([candidates([500, 0, 0]), torch.tensor([0.2, 0.21, 0.22, 0.23, 0.24])]), 60, 500)
    assert counts[500:].tolist() == [500.0] * 5
    probability = torch.full((500,), 55 / 500)
    assert chi_square(counts[:500], probability, 500) < chi2.ppf(0.9999, 500)


@pytest.mark.parametrize(
    ("sizes", "expected"),
    [
        # Shares of 384 / 3 = 128; the 88 that the third lacks are drawn from 1072 + 172 left: 75.8 and 12.2 of them.
        ([1200, 300, 40], [203.8, 140.2, 40.0]),
        # Shares of 76; 117 + 4 are drawn from 1124 + 224 + 24 left: 99.1, 19.8 and 2.1 of them.
        ([1200, 300, 100, 20, 15], [175.1, 95.8, 78.1, 20.0, 15.0]),
    ],
)
def test_what_small_bins_lack_is_filled_with_equal_probability(sizes: list[int], expected: list[float]) -> None:
    """The mean of drawn counts against the exact one, share + lack x left / all left, within four standard errors."""
    torch.manual_seed(7)
    groups, times = torch.arange(len(sizes)).repeat_interleave(torch.tensor(sizes)), 2000
    drawn = torch.stack(
        [
            torch.bincount(groups[choose_balanced(groups, 384 // len(sizes), 384)], minlength=len(sizes))
            for _ in range(times)
        ]
    ).double()
    assert (drawn.sum(dim=1) == 384).all()
    close = 4 * drawn.std(dim=0) / math.sqrt(times) + 0.05  # the expected ones are rounded
    assert ((drawn.mean(dim=0) - torch.tensor(expected)).abs() <= close).all()


@pytest.mark.parametrize(("share", "count"), [(20, 40), (4, 5)])
def test_too_many_shares_are_cut_with_equal_probability(share: int, count: int) -> None:
    """Groups of 400 and 30: the cut takes from both alike, however much larger one is."""
    torch.manual_seed(8)
    groups = torch.tensor([0] * 400 + [1] * 30)
    wanted, times = min(count, 2 * share - 1), 4000
    taken = [int((groups[choose_balanced(groups, share, wanted)] == 1).sum()) for _ in range(times)]
    spread = torch.tensor(taken).double().std().item()
    assert sum(taken) / times == pytest.approx(wanted / 2, abs=4 * spread / math.sqrt(times) + 1e-9)


def test_the_one_more_falls_on_small_and_large_groups_alike() -> None:
    """Five of groups of 4 and 40: 2.5 each on average."""
    torch.manual_seed(9)
    groups, times = torch.tensor([0] * 4 + [1] * 40), 4000
    small = [int((groups[choose_evenly(groups, 5)] == 0).sum()) for _ in range(times)]
    assert set(small) == {2, 3}
    assert sum(small) / times == pytest.approx(2.5, abs=4 * 0.5 / math.sqrt(times))


def test_what_does_not_divide_is_filled_at_random() -> None:
    torch.manual_seed(2)
    sizes = [100, 100, 100]
    for _ in range(20):
        counts = draw(sampler(), candidates(sizes), 62, 1)
        assert sorted(part.sum().item() for part in counts.split(sizes)) in ([20, 20, 22], [20, 21, 21])


@pytest.mark.parametrize("overlap", [0.0, 0.3, 0.499999])
def test_all_in_one_bin(overlap: float) -> None:
    torch.manual_seed(3)
    counts = draw(sampler(), torch.full((50,), overlap), 30, 40)
    assert chi_square(counts, torch.full((50,), 30 / 50), 40) < chi2.ppf(0.9999, 50)


def test_released_bins_end_at_the_largest_iou_of_all_candidates() -> None:
    """With added ground truth (IoU 1) the bins are thirds of [0, 1): half of what the second holds is no negative."""
    torch.manual_seed(4)
    overlaps = torch.cat([torch.linspace(0, 0.33, 300), torch.linspace(0.34, 0.49, 60), torch.ones(4)])
    labels = torch.full((364,), BACKGROUND)
    labels[360:] = 0
    chosen = sampler(released=True)(labels, torch.zeros_like(labels), overlaps, 94, 0.25, BACKGROUND)[1]
    below = (overlaps[chosen] < 1 / 3).sum().item()
    # 90 negatives: 30 of each of two bins, the third is empty; its 30 come from 270 + 30 left, about 27 to 3.
    assert len(chosen) == 90
    assert 50 <= below <= 60
    paper = sampler()(labels, torch.zeros_like(labels), overlaps, 94, 0.25, BACKGROUND)[1]
    assert Counter(iou_bins(overlaps[paper], 0.5, 3).tolist()) == {0: 30, 1: 30, 2: 30}


def test_bins() -> None:
    overlaps = torch.tensor([0.0, 0.1666, 0.1667, 0.3333, 0.3334, 0.4999, 0.5, 1.0, -0.1])
    assert iou_bins(overlaps, 0.5, 3).tolist() == [0, 0, 1, 1, 2, 2, 2, 2, 0]
    assert iou_bins(torch.zeros(2), torch.tensor(0.0), 3).tolist() == [0, 0]
    assert iou_bins(torch.zeros(0), 0.5, 3).shape == (0,)


def test_positives_are_balanced_over_ground_truths() -> None:
    """60 of 300, 30 and 30 candidates of three objects: 20 each, always."""
    torch.manual_seed(5)
    matches = torch.tensor([4] * 300 + [1] * 30 + [9] * 30)
    labels, overlaps = torch.zeros(360, dtype=torch.long), torch.full((360,), 0.8)
    one = sampler(positives=True, negatives=False)
    counts = torch.zeros(360)
    for _ in range(300):
        positive, negative = one(labels, matches, overlaps, 240, 0.25, BACKGROUND)
        assert Counter(matches[positive].tolist()) == {4: 20, 1: 20, 9: 20}
        assert len(negative) == 0
        counts[positive] += 1
    probability = torch.tensor([20 / 300] * 300 + [20 / 30] * 60)
    assert chi_square(counts, probability, 300) < chi2.ppf(0.9999, 360)


def test_an_object_with_few_candidates_gives_all() -> None:
    matches = torch.tensor([0] * 100 + [1] * 3)
    labels, overlaps = torch.zeros(103, dtype=torch.long), torch.full((103,), 0.8)
    positive, _ = sampler(positives=True)(labels, matches, overlaps, 80, 0.25, BACKGROUND)
    assert Counter(matches[positive].tolist()) == {0: 17, 1: 3}


@pytest.mark.parametrize(("objects", "wanted"), [(65, 128), (200, 128), (3, 128)])
def test_no_ground_truth_has_two_positives_more_than_another(objects: int, wanted: int) -> None:
    """Neither where the share is no whole number nor with more objects than positives."""
    torch.manual_seed(0)
    matches = torch.arange(objects).repeat_interleave(torch.arange(objects) % 7 * 20 + 60)
    for _ in range(20):
        counts = torch.bincount(matches[choose_evenly(matches, wanted)], minlength=objects)
        assert counts.sum() == wanted
        assert counts.max() - counts.min() <= 1


def test_who_runs_out_leaves_its_share_to_the_others() -> None:
    matches = torch.tensor([0] * 2 + [1] * 50 + [2] * 50)
    counts = torch.bincount(matches[choose_evenly(matches, 32)])
    assert counts.tolist() == [2, 15, 15]


def test_released_share_of_positives_is_one_more_cut_at_random() -> None:
    """round(20 / 3) + 1 = 8 each, 24, of which 4 are cut: no object has more than 8."""
    torch.manual_seed(6)
    matches = torch.arange(3).repeat_interleave(50)
    labels, overlaps = torch.zeros(150, dtype=torch.long), torch.full((150,), 0.8)
    seen = set()
    for _ in range(60):
        positive, _ = sampler(positives=True, released=True)(labels, matches, overlaps, 80, 0.25, BACKGROUND)
        found = Counter(matches[positive].tolist())
        assert sum(found.values()) == 20
        assert max(found.values()) <= 8
        seen.add(tuple(sorted(found.values())))
    assert {(4, 8, 8), (6, 6, 8)} & seen
    assert len(seen) > 2


@pytest.mark.parametrize("released", [False, True])
@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        ([], (0, 0)),
        ([-1, -1], (0, 0)),
        ([0, 0, 0], (2, 0)),  # no negatives: a quarter of eight
        ([BACKGROUND] * 5, (0, 5)),
        ([BACKGROUND] * 20, (0, 8)),
        ([0, BACKGROUND, -1], (1, 1)),
        ([3] * 9 + [BACKGROUND] * 2, (2, 2)),
    ],
)
def test_few_candidates(labels: list[int], expected: tuple[int, int], released: bool) -> None:
    given = torch.tensor(labels, dtype=torch.long)
    overlaps = torch.where(given == BACKGROUND, 0.2, 0.7)
    one = sampler(positives=True, released=released)
    positive, negative = one(given, torch.zeros_like(given), overlaps, 8, 0.25, BACKGROUND)
    assert (len(positive), len(negative)) == expected
    assert all(labels[i] not in (-1, BACKGROUND) for i in positive.tolist())
    assert all(labels[i] == BACKGROUND for i in negative.tolist())


def test_the_seed_decides() -> None:
    groups = torch.randint(0, 3, (500,), generator=torch.Generator().manual_seed(0))
    drawn = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        drawn.append(choose_balanced(groups, 10, 40).tolist())
    assert drawn[0] == drawn[1] != drawn[2]


def config(**changes: Any) -> CfgNode:
    cfg = get_cfg()
    add_replication_config(cfg)
    cfg.MODEL.ROI_HEADS.IN_FEATURES = ["p2"]
    cfg.MODEL.ROI_HEADS.NUM_CLASSES = BACKGROUND
    cfg.MODEL.ROI_HEADS.BATCH_SIZE_PER_IMAGE = 64
    cfg.MODEL.ROI_BOX_HEAD.NAME = "FastRCNNConvFCHead"
    cfg.MODEL.ROI_BOX_HEAD.NUM_FC = 1
    cfg.MODEL.ROI_BOX_HEAD.FC_DIM = 8
    cfg.MODEL.ROI_BOX_HEAD.POOLER_RESOLUTION = 2
    for key, value in changes.items():
        cfg.MODEL.ROI_HEADS.SAMPLER[key] = value
    return cfg


def heads(kind: type = ReplicationROIHeads, **changes: Any) -> Any:
    return kind(config(**changes), {"p2": ShapeSpec(channels=4, stride=4)})


def scene(objects: int = 3, count: int = 400) -> tuple[Instances, Instances]:
    """Proposals all over, a part of them near the objects."""
    generator = torch.Generator().manual_seed(objects)
    corner = torch.rand(objects, 2, generator=generator) * 100
    truth = torch.cat([corner, corner + 40], dim=1)
    anywhere = torch.rand(count, 2, generator=generator) * 100
    boxes = torch.cat([anywhere, anywhere + 20 + torch.rand(count, 2, generator=generator) * 40], dim=1)
    if objects:
        near = truth[torch.randint(0, objects, (count,), generator=generator)]
        boxes = torch.cat([boxes, near + torch.randn(count, 4, generator=generator) * 8])
    proposals, targets = Instances((160, 160)), Instances((160, 160))
    proposals.proposal_boxes, proposals.objectness_logits = Boxes(boxes), torch.zeros(len(boxes))
    targets.gt_boxes, targets.gt_classes = Boxes(truth), torch.arange(objects)
    targets.gt_marks = torch.arange(objects) * 10
    return proposals, targets


def sample(module: Any, *scenes: tuple[Instances, Instances]) -> tuple[list[Instances], dict[str, float]]:
    torch.manual_seed(11)
    with EventStorage() as storage:
        sampled = module.label_and_sample_proposals([one[0] for one in scenes], [one[1] for one in scenes])
        return sampled, {key: value for key, (value, _) in storage.latest().items()}


def test_off_is_detectron2s_sampling_bit_for_bit() -> None:
    ours, logged = sample(heads(), scene(), scene(0))
    theirs, logged_there = sample(heads(StandardROIHeads), scene(), scene(0))
    for one, other in zip(ours, theirs, strict=True):
        assert one.get_fields().keys() == other.get_fields().keys()
        assert torch.equal(one.proposal_boxes.tensor, other.proposal_boxes.tensor)
        assert torch.equal(one.gt_classes, other.gt_classes)
    assert {key: logged[key] for key in logged_there} == logged_there


def test_on_labels_and_targets_are_detectron2s() -> None:
    """Each sampled RoI has the class and targets of the object it overlaps most, and counts are kept."""
    (sampled, empty), logged = sample(heads(NEGATIVES="iou_balanced", POSITIVES="gt_balanced"), scene(), scene(0))
    assert len(sampled) == len(empty) == 64
    assert (empty.gt_classes == BACKGROUND).all()
    assert not empty.has("gt_boxes")
    _, targets = scene()
    from detectron2.structures import pairwise_iou

    overlaps, best = pairwise_iou(sampled.proposal_boxes, targets.gt_boxes).max(dim=1)
    positive = sampled.gt_classes != BACKGROUND
    assert torch.equal(positive, overlaps >= 0.5)
    assert torch.equal(sampled.gt_classes[positive], best[positive])
    assert torch.equal(sampled.gt_marks, best * 10)
    assert torch.equal(sampled.gt_boxes.tensor, targets.gt_boxes.tensor[best])
    assert positive.sum() == 16
    assert logged["roi_head/num_fg_samples"] == 8
    assert logged["roi_head/num_bg_samples"] == 56
    assert Counter(sampled.gt_classes[positive].tolist()).most_common(1)[0][1] <= 6


def test_the_share_of_each_bin_is_logged() -> None:
    balanced = sample(heads(NEGATIVES="iou_balanced"), scene())[1]
    shares = [balanced[f"sampling/negatives_bin{k}"] for k in (1, 2, 3)]
    assert sum(shares) == pytest.approx(1)
    assert shares == pytest.approx([1 / 3] * 3, abs=1 / 48)
    plain = sample(heads(), scene())[1]
    assert plain["sampling/negatives_bin1"] > 0.5
    assert not any(key.startswith("sampling") for key in sample(heads(), scene(0))[1])
    assert "sampling/negatives_bin5" in sample(heads(NEGATIVES="iou_balanced", NUM_BINS=5), scene())[1]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"NEGATIVES": "hard"}, r"MODEL\.ROI_HEADS\.SAMPLER\.NEGATIVES: 'hard' is unknown; .* random, iou_balanced"),
        ({"POSITIVES": "all"}, r"SAMPLER\.POSITIVES: 'all' is unknown"),
        ({"FORM": "2019"}, r"SAMPLER\.FORM: '2019' is unknown; choose from paper, released"),
        ({"NUM_BINS": 0}, r"SAMPLER\.NUM_BINS: 0 is less than 1"),
    ],
)
def test_a_wrong_setting_is_named(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        heads(**changes)


def test_small_images_can_spread_their_rois_over_the_levels() -> None:
    """FPN, equation 1: at 224 px on P4 every RoI up to 112 px is P2's; at 56 px all four differ."""
    cfg = config()
    cfg.MODEL.ROI_HEADS.IN_FEATURES = ["p2", "p3", "p4", "p5"]
    shapes = {f"p{level}": ShapeSpec(channels=4, stride=2**level) for level in (2, 3, 4, 5)}
    maps = [torch.full((1, 4, 256 // 2**level, 256 // 2**level), float(level)) for level in (2, 3, 4, 5)]
    boxes = [Boxes(torch.tensor([[20.0, 20.0, 20.0 + side, 20.0 + side] for side in (14, 28, 56, 112)]))]

    def pooled_from() -> list[float]:
        pooler = ReplicationROIHeads(cfg, shapes).box_pooler
        return [float(value) for value in pooler(maps, boxes).mean(dim=(1, 2, 3))]

    assert pooled_from() == [2, 2, 2, 3]
    cfg.MODEL.ROI_HEADS.CANONICAL_BOX_SIZE = 56
    assert pooled_from() == [2, 3, 4, 5]
    cfg.MODEL.ROI_HEADS.CANONICAL_LEVEL = 5
    assert pooled_from() == [3, 4, 5, 5]


@pytest.mark.parametrize("size", [0, -56])
def test_a_wrong_canonical_size_is_named(size: int) -> None:
    cfg = config()
    cfg.MODEL.ROI_HEADS.CANONICAL_BOX_SIZE = size
    with pytest.raises(ConfigError, match=rf"MODEL\.ROI_HEADS\.CANONICAL_BOX_SIZE: {size} is not greater than 0"):
        ReplicationROIHeads(cfg, {"p2": ShapeSpec(channels=4, stride=4)})


def test_a_switch_adds_no_parameter() -> None:
    plain, balanced = heads(), heads(NEGATIVES="iou_balanced", POSITIVES="gt_balanced")
    assert plain.state_dict().keys() == balanced.state_dict().keys()
    balanced.load_state_dict(plain.state_dict())
    assert math.isclose(balanced.negative_below, 0.5)
