"""Claims on the page: shared ones once, and colour by verdict alone."""

from __future__ import annotations

import pytest
from support.claim_entries import entry

from replication.report.claims import bounds, decisive, distinct, interval_of, tone
from replication.report.filters import sortable


def test_a_claim_that_two_tables_share_is_one_that_names_both():
    shown = distinct([entry(id="a", table="T1"), entry(id="b", table="T2"), entry(id="c", table="T1", metric="AP75")])
    assert [(one["id"], one["tables"]) for one in shown] == [("a", ["T1", "T2"]), ("c", ["T1"])]


@pytest.mark.parametrize(
    "change",
    [
        {"metric": "AP50"}, {"criterion": "giou"}, {"variant": "other"}, {"paper": "another"}, {"claimed": 0.7},
        {"verdict": "withdrawn", "reason": "wrong"}, {"primary": False},
    ],
)  # fmt: skip
def test_what_differs_in_anything_is_another_claim(change):
    assert len(distinct([entry(id="a", table="T1"), entry(id="b", table="T2", **change)])) == 2


def test_rows_without_a_variant_are_never_the_same():
    assert len(distinct([entry(id="a", variant=None), entry(id="b", variant=None)])) == 2


def test_colours_say_for_against_or_open():
    words = ("reproduced", "gain", "not reproduced", "loss", "no gain of practical size", "withheld", "inconclusive")
    assert [tone(word) for word in words] == ["good", "good", "bad", "bad", "bad", "withdrawn", "open"]


def test_the_interval_of_a_single_run_is_of_the_images_and_decides_nothing():
    one = entry(estimand=None, estimates={}, image_interval={"low": -1.0, "high": 2.0})
    assert decisive(one) is None
    assert interval_of(one) == {"low": -1.0, "high": 2.0}
    assert bounds(one) == "\N{MINUS SIGN}1.00 to +2.00"


def test_claims_of_all_units_are_sorted_in_points():
    one = entry(unit="fraction", claimed=0.012, measured=-0.004)
    assert [sortable(one, what) for what in ("claimed", "measured", "low", "detectable")] == [
        "1.2",
        "-0.4",
        "-60",
        "90",
    ]
    assert sortable(entry(measured=None, estimand=None, estimates={}), "measured") == ""
