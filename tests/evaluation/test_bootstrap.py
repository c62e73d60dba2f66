"""Weighted average precision against duplicated data, and the bootstrap's draws."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from support.reference import plain_pycocotools
from support.simulation import coco_documents, detector, population, subset

from replication.errors import ConfigError
from replication.evaluation import METRICS, bootstrap, point
from replication.evaluation.bootstrap import COCO_GRID, GRIDS, Grid, image_weights, weighted
from replication.evaluation.matching import AREAS, match
from replication.formats.columns import Detections, GroundTruth

EXACT = 1e-12


@pytest.fixture(scope="module")
def pair():
    truth = population(11, 30, 5)
    # No equal scores in an image and class: their order among copies is not that of one image.
    detections = detector(truth, 12, per_image=25)
    rng = np.random.default_rng(0)
    return truth, replace(detections, scores=detections.scores + rng.random(len(detections)) * 1e-9)


@pytest.fixture(scope="module")
def matches(pair):
    return match(*pair)


def test_ones_are_the_estimate(matches):
    ones = weighted(matches, np.ones((3, 30), np.uint8), AREAS)
    for area in AREAS:
        for row in ones.precision[area]:
            assert np.array_equal(row, point(matches).precision[area][0], equal_nan=True)


@pytest.mark.parametrize("seed", range(12))
def test_a_replicate_equals_pycocotools_on_the_duplicated_images(pair, matches, seed):
    truth, detections = pair
    weights = np.bincount(np.random.default_rng(seed).integers(0, 30, 30), minlength=30)
    chosen = np.repeat(np.arange(30), weights)
    copies, (found,) = subset(truth, [detections], chosen)
    precision, _ = plain_pycocotools(*coco_documents(copies, found))
    ours = weighted(matches, weights[None], AREAS)
    for a, area in enumerate(AREAS):
        cells = np.nan_to_num(ours.precision[area][0], nan=-1)
        np.testing.assert_allclose(cells, precision[:, :, a, 2], rtol=0, atol=EXACT)


@pytest.mark.parametrize("criterion", ["giou", "voc07", "voc", "voc07_giou"])
def test_a_replicate_equals_our_own_estimate_on_the_duplicated_images(pair, criterion):
    truth, detections = pair
    weights = np.bincount(np.random.default_rng(3).integers(0, 30, 30), minlength=30)
    copies, (found,) = subset(truth, [detections], np.repeat(np.arange(30), weights))
    ours = weighted(match(truth, detections, criterion), weights[None], AREAS)
    theirs = point(match(copies, found, criterion))
    for area in AREAS:
        np.testing.assert_allclose(ours.precision[area], theirs.precision[area], rtol=0, atol=EXACT)


def slow_precision(matches, weights, area, intervals):
    """Average precision (T, C) by the definition: repeated entries, an envelope, a search; -1 without objects."""
    a = AREAS.index(area)
    result = np.full((len(matches.thresholds), len(matches.class_ids)), np.nan)
    recalls = np.linspace(0, 1, intervals + 1)
    for c in range(len(matches.class_ids)):
        objects = slice(*matches.truth_starts[c : c + 2])
        counts = (matches.truth_areas[objects] >> a) & 1 == 1
        number = weights[matches.truth_image[objects][counts]].astype(int).sum()
        own = slice(*matches.starts[c : c + 2])
        for t in range(len(matches.thresholds) if number else 0):
            times = weights[matches.image[own]].astype(int)
            true = np.repeat((matches.true[a, own] >> t) & 1, times)
            kept = np.repeat((matches.ignored[a, own] >> t) & 1, times) == 0
            hits = np.cumsum(true[kept])
            precision = hits / np.arange(1, len(hits) + 1)
            envelope = np.maximum.accumulate(precision[::-1])[::-1]
            places = np.searchsorted(hits / number, recalls, side="left")
            result[t, c] = np.append(envelope, 0)[places].mean()
    return result


@pytest.mark.parametrize("largest", [1, 3, 255])
def test_weights_up_to_255_by_the_definition(matches, largest):
    weights = np.random.default_rng(largest).integers(0, largest + 1, (3, 30))
    ours = weighted(matches, weights, AREAS)
    for area in AREAS:
        for row, own in zip(weights, ours.precision[area], strict=True):
            expected = slow_precision(matches, row, area, 100)
            np.testing.assert_allclose(own, expected, rtol=0, atol=EXACT)


def test_sums_of_many_large_weights_do_not_overflow():
    """120,000 false detections ahead of the only true one, each 255 times: sixteen bits hold 257 of them."""
    false, images = 120_000, 40
    box = np.array([[0.0, 0, 10, 10]])
    truth = GroundTruth(
        np.arange(images), np.full((images, 2), 500.0), np.array([1]), ("a",), np.array([0]), np.array([0]), box,
        np.array([100.0]), np.array([100.0]), *np.zeros((3, 1), bool),
    )  # fmt: skip
    boxes = np.concatenate([np.repeat(box + 100, false, axis=0), box])
    image = np.append(np.arange(false) % images, 0)
    detections = Detections(
        image, np.zeros(false + 1, int), boxes, np.full(false + 1, 100.0), np.linspace(1, 0, false + 1)
    )
    result = weighted(match(truth, detections, max_detections=10**6), np.full((1, images), 255))
    # The curve's only height is reached after all copies of the true detection.
    assert result.precision["all"][0, 0, 0] == pytest.approx(255 / (255 * (false + 1)), rel=1e-9)


def test_weights_that_are_no_weights(matches):
    with pytest.raises(ConfigError, match=r"shape \(1, 29\), expected \(replicates, 30 images\)"):
        weighted(matches, np.ones((1, 29)))
    for bad in (0.5, -1, 256):
        with pytest.raises(ConfigError, match="whole numbers from 0 to 255"):
            weighted(matches, np.full((1, 30), bad))
    with pytest.raises(ConfigError, match="at least 1"):
        bootstrap(matches, 0)


def test_leaving_images_out_is_a_slice(pair, matches):
    truth, detections = pair
    chosen = np.arange(7, 19)
    part, (found,) = subset(truth, [detections], chosen)
    weights = np.isin(np.arange(30), chosen)[None]
    np.testing.assert_allclose(
        weighted(matches, weights).precision["all"], point(match(part, found)).precision["all"], rtol=0, atol=EXACT
    )


def test_a_class_that_a_replicate_lacks_is_left_out_of_its_mean(matches):
    here = np.isin(np.arange(30), matches.truth_image[: matches.truth_starts[1]])
    result = weighted(matches, np.stack([~here, np.ones(30, bool)]))
    assert np.isnan(result.precision["all"][0, :, 0]).all()
    assert result.metric("AP")[0] == pytest.approx(100 * np.nanmean(result.precision["all"][0]))
    assert not np.isnan(result.metric("AP", np.arange(5) > 0)).any()
    assert np.isnan(result.metric("AP", np.arange(5) == 0)[0])


def test_draws_are_those_of_a_multinomial():
    weights = image_weights(4000, 50, seed=3)
    assert (weights.sum(axis=1) == 50).all()
    assert weights.mean() == 1
    # Means of 4000 binomials (50, 1/50) of variance 0.98, and the variance itself.
    assert abs(weights.mean(axis=0) - 1).max() < 5 * np.sqrt(0.98 / 4000)
    assert weights.var() == pytest.approx(0.98, rel=0.02)
    correlation = np.corrcoef(weights.T)[np.triu_indices(50, 1)]
    assert correlation.mean() == pytest.approx(-1 / 49, abs=0.002)
    assert abs(np.corrcoef(weights[:-1].ravel(), weights[1:].ravel())[0, 1]) < 0.01
    other = image_weights(4000, 50, seed=4)
    assert abs(np.corrcoef(weights.ravel(), other.ravel())[0, 1]) < 0.01


def test_draws_are_keyed_by_seed_replicate_and_draw_alone():
    whole = image_weights(300, 20, seed=5)
    for start in (1, 128, 299):
        assert np.array_equal(image_weights(300 - start, 20, seed=5, first=start), whole[start:])
    assert not np.array_equal(whole, image_weights(300, 20, seed=6))
    for seed in (0, 7, 2**40):
        assert image_weights(3, 10, seed).tolist() == [drawn_in_python(seed, replicate, 10) for replicate in range(3)]


def drawn_in_python(seed, replicate, units):
    """The draws in whole numbers of any size: they must not change, or published intervals could not be had again."""
    step, full = 0x9E3779B97F4A7C15, 2**64 - 1

    def mixed(value):
        value = ((value ^ (value >> 30)) * 0xBF58476D1CE4E5B9) & full
        value = ((value ^ (value >> 27)) * 0x94D049BB133111EB) & full
        return value ^ (value >> 31)

    key = mixed((mixed((seed + step) & full) + replicate * step) & full)
    weights = [0] * units
    for draw in range(units):
        weights[(mixed((key + (draw + 1) * step) & full) >> 32) * units >> 32] += 1
    return weights


@pytest.mark.parametrize("threads", [1, 2, 8])
def test_same_bytes_for_any_number_of_threads_and_replicates(matches, threads):
    expected = bootstrap(matches, 400, seed=1, areas=AREAS, threads=1)
    drawn = bootstrap(matches, 400, seed=1, areas=AREAS, threads=threads)
    fewer = bootstrap(matches, 150, seed=1, areas=AREAS, threads=threads)
    for area in AREAS:
        assert drawn.precision[area].tobytes() == expected.precision[area].tobytes()
        assert fewer.precision[area].tobytes() == expected.precision[area][:150].tobytes()


def test_two_runs_are_paired(pair, matches):
    """A run and its copy under other class-preserving noise share their images: their replicates go together."""
    rival = match(pair[0], detector(pair[0], 13, per_image=25))
    one, two = (bootstrap(run, 2000, seed=2).metric("AP") for run in (matches, rival))
    assert np.array_equal(one, bootstrap(matches, 2000, seed=2).metric("AP"))
    assert np.corrcoef(one, two)[0, 1] > 0.3
    apart = bootstrap(rival, 2000, seed=3).metric("AP")
    assert abs(np.corrcoef(one, apart)[0, 1]) < 0.08


def test_replicates_are_weightings_by_the_drawn_images(matches):
    drawn = bootstrap(matches, 140, seed=9, areas=AREAS)
    given = weighted(matches, image_weights(140, 30, seed=9), AREAS)
    for name in METRICS:
        assert np.array_equal(drawn.metric(name), given.metric(name), equal_nan=True)


def test_clusters_are_drawn_as_a_whole(matches):
    clusters = np.arange(30) // 3 * 100
    drawn = bootstrap(matches, 50, seed=4, clusters=clusters)
    weights = image_weights(50, 10, seed=4)[:, np.arange(30) // 3]
    assert np.array_equal(drawn.precision["all"], weighted(matches, weights).precision["all"], equal_nan=True)
    with pytest.raises(ConfigError, match="clusters name 29 images, the matches are of 30"):
        bootstrap(matches, 5, clusters=np.arange(29))


def test_single_images_as_clusters_change_nothing(matches):
    plain, single = (bootstrap(matches, 50, clusters=clusters) for clusters in (None, np.arange(30)))
    assert np.array_equal(plain.precision["all"], single.precision["all"], equal_nan=True)


def test_points_that_a_tie_does_not_reach():
    """The ten of COCO's 101 and the three of VOC's 11, as numpy's grids have them."""
    for grid, points, name in (
        (COCO_GRID, np.linspace(0, 1, 101), "COCO"),
        (GRIDS["voc07"], np.arange(11) * 0.1, "VOC"),
    ):
        k = np.arange(len(points))
        above = points > k / grid.intervals
        assert above.sum() == {"COCO": 10, "VOC": 3}[name]
        told = k * (1 / grid.intervals) * grid.probe * grid.intervals > k * grid.probe
        assert np.array_equal(told, above)
    assert Grid(0.0).probe == 0
