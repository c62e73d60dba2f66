"""README and docs/results.md show what the archived reference results say, and not what somebody typed."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import readme

from replication.catalog import load_protocol
from replication.results.files import read_json

ROOT = Path(__file__).resolve().parents[2]
LINK = re.compile(r"\]\(([^)#:]+?)(#[^)]*)?\)|src=\"([^\"]+)\"")
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]


@pytest.mark.parametrize("page", ["README.md", "docs/results.md"])
def test_the_tables_are_those_of_the_archive(page: str) -> None:
    text = (ROOT / page).read_text()
    blocks = readme.pages(load_protocol("mini"), readme.REFERENCE)
    assert text == readme.replace(text, blocks[ROOT / page]), "run `make readme`"


def test_the_readme_has_the_largest_claim_of_each_table() -> None:
    lines = readme.headline_results(load_protocol("mini"), readme.REFERENCE).splitlines()[2:]
    claims = [line.split("|")[1].strip() for line in lines]
    assert claims == [
        "giou-T5: GIoU loss over smooth L1",
        "giou-T7: GIoU loss over smooth L1",
        "fsaf-T1: AB + FSAF online over RetinaNet",
        "libra-T1: Libra R-CNN over Faster R-CNN (reimpl)",
        "libra-T2: + balanced L1 loss over baseline",
    ]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_of_the_pages_lead_somewhere(page: Path) -> None:
    targets = [first or last for first, _, last in LINK.findall(page.read_text())]
    missing = [target for target in targets if not (page.parent / target).exists()]
    assert not missing, f"{page.name}: {missing}"


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
