"""Looks at planned numbers of runs: levels of the textbook, and the overall level of t tests."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from replication.errors import ConfigError
from replication.verdicts.sequential import look_levels, normal_levels

ALPHA = 0.05
DESIGNS = [[3, 5], [2, 4, 6], [3, 5, 10]]


def overall(runs, levels, rng, image: float, gain: float = 0.0, trials: int = 60_000) -> float:
    """Chance that any look of a pooled t test rejects."""
    one, other = rng.normal(0, 1, (2, trials, runs[-1]))
    common = rng.normal(gain, image, trials) if image else np.full(trials, gain)
    rejected = np.zeros(trials, np.bool_)
    for count, level in zip(runs, levels, strict=True):
        seed = (one[:, :count].var(axis=1, ddof=1) + other[:, :count].var(axis=1, ddof=1)) / count
        variance = seed + image**2
        t = np.abs(one[:, :count].mean(axis=1) - other[:, :count].mean(axis=1) + common) / np.sqrt(variance)
        rejected |= 2 * stats.t.sf(t, (2 * count - 2) * (variance / seed) ** 2) <= level
    return float(rejected.mean())


def test_normal_levels_are_those_of_the_textbook():
    """Bounds 2.963, 1.969 of two equal looks, O'Brien-Fleming spending; 2.157, 2.201 of Pocock's (Lan and DeMets)."""
    obf = stats.norm.isf(np.array(normal_levels([5, 10], ALPHA, "obrien-fleming")) / 2)
    np.testing.assert_allclose(obf, [2.963, 1.969], atol=1e-3)
    pocock = stats.norm.isf(np.array(normal_levels([5, 10], ALPHA, "pocock")) / 2)
    np.testing.assert_allclose(pocock, [2.157, 2.201], atol=1e-3)


@pytest.mark.parametrize("spending", ["obrien-fleming", "pocock"])
@pytest.mark.parametrize("runs", DESIGNS, ids=str)
def test_all_looks_together_keep_the_level(runs, spending):
    levels = look_levels(runs, ALPHA, spending)
    rng = np.random.default_rng(8)
    rates = [overall(runs, levels, rng, image) for image in (0.0, 0.2, 0.3, 0.4, 0.7, 1.4)]
    error = 3 * np.sqrt(ALPHA * (1 - ALPHA) / 60_000)
    assert max(rates) <= ALPHA + error
    assert max(rates) >= ALPHA - 3 * error, "no level is given away"


def test_looking_without_a_plan_breaks_the_level():
    rng = np.random.default_rng(8)
    assert overall([3, 5], [ALPHA, ALPHA], rng, 0.0) > 0.07


def test_the_plan_costs_little_power():
    rng = np.random.default_rng(8)
    planned = overall([3, 5], look_levels([3, 5], ALPHA), rng, 0.0, 1.9)
    assert planned > overall([5], [ALPHA], rng, 0.0, 1.9) - 0.05


def test_pocock_spends_more_at_the_first_look():
    early, late = (look_levels([3, 5], ALPHA, name) for name in ("pocock", "obrien-fleming"))
    assert early[0] > 2 * late[0]
    assert early[1] < late[1]


def test_one_look_has_the_whole_level():
    assert look_levels([4], 0.1) == (0.1,)


@pytest.mark.parametrize("runs", [[], [1, 3], [5, 3], [3, 3]])
def test_looks_that_are_none_are_refused(runs):
    with pytest.raises(ConfigError, match="rising numbers of runs per arm"):
        look_levels(runs, ALPHA)


def test_unknown_spending_is_refused():
    with pytest.raises(ConfigError, match="spending 'haybittle'"):
        look_levels([3, 5], ALPHA, "haybittle")  # type: ignore[arg-type]
