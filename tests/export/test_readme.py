"""The README shows what the archived reference results say, and not what somebody typed."""

from __future__ import annotations

from pathlib import Path

import pytest
import readme

from replication.catalog import load_protocol
from replication.results.files import read_json

README = Path(__file__).resolve().parents[2] / "README.md"


def test_the_tables_are_those_of_the_archive() -> None:
    text = README.read_text()
    again = readme.replace(text, readme.reference_results(load_protocol("mini"), readme.REFERENCE))
    assert text == again, "run `make readme`"


def test_every_primary_claim_with_numbers_has_a_line() -> None:
    block = readme.reference_results(load_protocol("mini"), readme.REFERENCE)
    lines = block.split("\n\n")[0].splitlines()[2:]
    entries = read_json(readme.REFERENCE / "mini" / "verdicts.json", "verdicts/2")["verdicts"]
    judged = [one for one in entries if one["primary"] and one["measured"] is not None]
    distinct = {(one["row"]["variant"], one["baseline"]["variant"], one["column"]["metric"]) for one in judged}
    assert len(lines) == len(distinct) > 0
    shown = " ".join(lines)
    assert all(f"**{one['verdict']}**" in shown for one in judged)


def test_a_block_is_replaced_between_its_marks_alone() -> None:
    before, after = "# title\n\n", "\n## more\n"
    text = f"{before}{readme.BEGIN}\nold\n\n{readme.END}{after}"
    assert readme.replace(text, "new\n") == f"{before}{readme.BEGIN}\nnew\n\n{readme.END}{after}"
    with pytest.raises(ValueError, match="no block between"):
        readme.replace(text.replace(readme.END, ""), "new\n")
