"""Lengths that count as one schedule: who is pooled with whom, and that the level holds."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from replication.verdicts.blocks import blocked_terms
from replication.verdicts.document import judge
from replication.verdicts.evidence import Question
from replication.verdicts.holm import adjusted
from replication.verdicts.intervals import Side, p_value
from replication.verdicts.pooling import claim_blocks
from replication.verdicts.schedules import by_schedule

TABLES = ["boxes-T1"]


def named(runs, tolerance=0.05):
    return {name: sorted(group) for name, group in by_schedule(runs, tolerance).items()}


def test_a_length_at_most_5_percent_below_the_longest_is_of_its_schedule(made):
    lengths = {"base": 400, "libra": 391, "least": 380, "short": 379, "half": 200}
    assert named({name: [made(name, 0, length)] for name, length in lengths.items()}) == {
        "380 to 400 iterations of 4 images at rate 0.001": ["base", "least", "libra"],
        "379 iterations of 4 images at rate 0.001": ["short"],
        "200 iterations of 4 images at rate 0.001": ["half"],
    }


def test_small_steps_do_not_join_lengths_that_are_far_apart_whatever_the_order(made):
    lengths = {"a": 400, "b": 388, "c": 376, "d": 364}
    found = {
        frozenset(map(tuple, named({name: [made(name, 0, lengths[name])] for name in order}).values()))
        for order in itertools.permutations(lengths)
    }
    assert found == {frozenset({("a", "b"), ("c", "d")})}


def test_another_batch_or_rate_is_another_schedule(made):
    runs = {"a": [made("a", 0, 400)], "b": [made("b", 0, 400, batch=8)], "c": [made("c", 0, 400, lr=0.002)]}
    assert [len(group) for group in named(runs).values()] == [1, 1, 1]


def test_unrecorded_schedules_are_one_and_runs_of_two_are_none(made):
    runs = {
        "a": [made("a", 0, None)],
        "b": [made("b", 0, 300, lr=None)],
        "c": [made("c", 0, 400)],
        "d": [made("d", 0, 400), made("d", 1, 200)],
        "e": [made("e", 0, 400), made("e", 1, 391)],
    }
    assert named(runs) == {
        "": ["a", "b"],
        "391 to 400 iterations of 4 images at rate 0.001": ["c", "e"],
        "200 iterations of 4 images at rate 0.001": [],
    }


def test_nearly_equal_lengths_are_pooled_in_blocks_spreads_and_halves(add_run, protocol, catalog, results, judging):
    """Real and base, a pair of 391 iterations, are judged with the runs of 400 and not with those of 300."""
    lengths = {"base": 391, "real": 391, "null": 400, "worse": 400, "once": 300}
    for place, (variant, iterations) in enumerate(lengths.items()):
        made = {"iterations": iterations, "batch": 4, "lr": 0.001}
        for seed, offset in enumerate(np.random.default_rng(place).normal(0, 0.3, 4)):
            add_run(protocol, variant, seed, 36.0 + offset, provenance=made)
    document = judge(catalog, protocol, results, TABLES, judging)
    entry = next(one for one in document["verdicts"] if one["id"] == "real-AP")
    assert entry["terms"]["blocks"]["variants"] == 4
    assert entry["terms"]["unblocked"]["seed_df"] == 12
    spread = document["spreads"]["AP (iou), 391 to 400 iterations of 4 images at rate 0.001"]
    assert (spread["variants"], spread["df"]) == (4, 12)
    strict = judge(catalog, protocol, results, TABLES, judging.model_copy(update={"schedule_tolerance": 0.01}))
    alone = next(one for one in strict["verdicts"] if one["id"] == "real-AP")
    assert alone["terms"]["blocks"]["variants"] == 2
    assert (
        entry["estimates"]["this benchmark"]["minimum_detectable_gain"]
        < alone["estimates"]["this benchmark"]["minimum_detectable_gain"]
    )


def test_a_variant_set_apart_does_not_move_the_schedule(made, catalog, judging):
    """A control that trains longer is no sample, and so not the longest either."""
    lengths = {"base": 400, "real": 385, "null": 400, "worse": 385, "once": 410}
    runs = {
        name: [made(name, seed, length, 30 + value) for seed, value in enumerate(np.sin(np.arange(3) * (place + 2)))]
        for place, (name, length) in enumerate(lengths.items())
    }
    paper = catalog.papers["boxes"]
    question = Question(paper, paper.tables[0], next(claim for claim in paper.claims if claim.row == "real"))
    assert set(claim_blocks(question, runs, judging, {"once"}).own) == {"base", "real", "null", "worse"}
    assert set(claim_blocks(question, runs, judging).own) == {"base", "real", "null", "once"}


@pytest.mark.parametrize("seeds", [3, 5])
@pytest.mark.parametrize(("own_sd", "most"), [(1.0, 5.0), (3.0, 8.0)])
def test_claims_on_runs_of_nearly_the_others_length_keep_the_level(made, catalog, judging, seeds, own_sd, most, rng):
    """Two claims among three variants of 391 iterations beside four of 400, no true difference.

    The documentation has the rate for a shorter schedule that varies three times as much throughout.
    """
    trials, wrong = 300, 0
    names = ["base", "real", "null", "a", "b", "c", "d"]
    paper = catalog.papers["boxes"]
    claims = [next(claim for claim in paper.claims if claim.row == row and claim.primary) for row in ("real", "null")]
    questions = [Question(paper, paper.tables[0], claim) for claim in claims]
    sd = np.repeat([own_sd, 1.0], [3, 4])[:, None]
    for common in rng.normal(size=(trials, 1, seeds)):
        points = 30 + sd * rng.normal(size=(7, seeds)) + common
        runs = {
            name: [made(name, seed, 391 if place < 3 else 400, value) for seed, value in enumerate(own)]
            for place, (name, own) in enumerate(zip(names, points, strict=True))
        }
        p = []
        for question in questions:
            blocks = claim_blocks(question, runs, judging)
            assert len(blocks.own) == 7
            row, baseline = question.row.variant, question.baseline.variant
            sides = [Side(points[names.index(name)]) for name in (row, baseline)]
            p.append(p_value(blocked_terms(*sides, blocks.difference(row, baseline)), "this benchmark", 0.0))
        wrong += bool((adjusted(np.array(p)) <= 0.05).any())
    share = most / 100
    assert 100 * wrong / trials <= most + 300 * np.sqrt(share * (1 - share) / trials)
