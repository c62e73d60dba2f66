"""What a protocol's file says that claims rest on: by table, with the claims in words; wrong ids are refused."""

from __future__ import annotations

from typing import Any

import pytest

from replication.catalog import Protocol, load_catalog, load_protocol, mechanisms
from replication.errors import ConfigError
from replication.planning.plan import make_plan

CATALOG, MINI = load_catalog(), load_protocol("mini")
CLAIMS = ["libra-T2-sampling-over-baseline-AP", "libra-T2-sampling-over-baseline-AP75"]


def saying(*entries: dict[str, Any]) -> Protocol:
    return Protocol.model_validate(MINI.model_dump() | {"mechanisms": entries})


def test_a_table_s_text_comes_before_its_claims_which_are_named_once() -> None:
    protocol = saying({"claims": CLAIMS, "text": "few\n  bins"}, {"tables": ["libra-T2", "fsaf-T1"], "text": "levels"})
    assert mechanisms(CATALOG, protocol) == {
        "libra-T2": ("levels", "+ IoU-balanced sampling over baseline: few bins"),
        "fsaf-T1": ("levels",),
    }


@pytest.mark.parametrize(
    ("entries", "words"),
    [
        ([{"tables": ["libra-T9"], "text": "t"}], "table 'libra-T9' is unknown"),
        ([{"claims": ["libra-T2"], "text": "t"}], "claim 'libra-T2' is unknown"),
        (
            [{"tables": ["fsaf-T1"], "text": "t"}, {"tables": ["fsaf-T1"], "text": "u"}],
            "table 'fsaf-T1' is listed twice",
        ),
    ],
)
def test_wrong_ids_stop_the_plan(entries: list[dict[str, Any]], words: str, tmp_path: Any) -> None:
    with pytest.raises(ConfigError, match=f"protocol mini: mechanisms: {words}"):
        make_plan(CATALOG, saying(*entries), tmp_path)


def test_an_entry_is_about_something() -> None:
    with pytest.raises(ValueError, match="name at least one claim or table"):
        saying({"text": "t"})


def test_every_table_that_mini_runs_is_explained() -> None:
    assert set(MINI.tables) <= set(mechanisms(CATALOG, MINI))
