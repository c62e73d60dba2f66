"""README and docs/results.md show what the archived reference results say, and not what somebody typed."""

from __future__ import annotations

import re
from pathlib import Path

import click
import pytest
import readme

from replication.catalog import load_protocol
from replication.cli import main
from replication.cli.main import replication as group
from replication.results.files import read_json

ROOT = Path(__file__).resolve().parents[2]
COMMAND = re.compile(r"(?:^ *|[$&/] ?|bin/)replication ([a-z].*)")
LINK = re.compile(r"\]\(([^)#:]+?)(#[^)]*)?\)|src=\"([^\"]+)\"")
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
DEEPER = sorted((ROOT / "docs").glob("*/*.md"))  # their links, also to pages that are made: tests/docs


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
        "giou-T2: GIoU loss over MSE",
        "fsaf-T1: AB + FSAF online over RetinaNet",
        "libra-T1: Libra R-CNN over Faster R-CNN (reimpl)",
        "libra-T2: + balanced L1 loss over baseline",
    ]


def blocks_of(page: Path) -> list[str]:
    """The fenced blocks of a page, lines that a backslash continues joined."""
    fenced = re.findall(r"```[a-z]*\n(.*?)```", page.read_text(), flags=re.DOTALL)
    return [re.sub(r"\\\n\s*", " ", block) for block in fenced]


def test_the_output_of_evaluate_is_real(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    block = next(block for block in blocks_of(ROOT / "README.md") if block.startswith("$ replication evaluate"))
    command, _, output = block.partition("\n")
    monkeypatch.chdir(ROOT)
    assert main(command.split()[2:]) == 0
    assert [line.rstrip() for line in capsys.readouterr().out.splitlines()] == output.splitlines()


@pytest.mark.parametrize("page", [*PAGES, *DEEPER], ids=lambda page: page.name)
def test_commands_of_the_pages_have_the_verbs_and_options_that_there_are(page: Path) -> None:
    lines = [line for block in blocks_of(page) for line in block.splitlines()]
    commands = [match[1].split("#")[0].split() for line in lines if (match := COMMAND.search(line))]
    for verb, *arguments in commands:
        command = group.get_command(click.Context(group), verb)
        assert command is not None, f"{page.name}: {verb}"
        known = {option for parameter in command.params for option in parameter.opts}
        used = {argument.partition("=")[0] for argument in arguments if argument.startswith("--")}
        assert used <= known, f"{page.name}: {verb}: {used - known}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_of_the_pages_lead_somewhere(page: Path) -> None:
    targets = [first or last for first, _, last in LINK.findall(page.read_text())]
    missing = [target for target in targets if not (page.parent / target).exists()]
    assert not missing, f"{page.name}: {missing}"


def test_every_primary_claim_with_numbers_has_a_line() -> None:
    block = readme.reference_results(load_protocol("mini"), readme.REFERENCE)
    lines = block.split("\n\n")[0].splitlines()[2:]
    entries = read_json(readme.REFERENCE / "mini" / "verdicts.json", "verdicts/4")["verdicts"]
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
