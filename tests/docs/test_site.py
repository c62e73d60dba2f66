"""The documentation site, without building it: what is made, what is linked, and that its commands exist or are run."""

from __future__ import annotations

import ast
import json
import posixpath
import re
import runpy
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import site_pages
import yaml

from replication.cli import main
from replication.cli.main import HOMES
from replication.cli.main import replication as group
from replication.results import schemas

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
PAGES = [*(ROOT / name for name in site_pages.ROOT_PAGES), ROOT / "config" / "README.md", *sorted(DOCS.rglob("*.md"))]
TUTORIALS = sorted((DOCS / "tutorials").glob("*.md"))
BLOCK = re.compile(r"^( *)```(\w*)\n(.*?)^\1``` *$", re.MULTILINE | re.DOTALL)
CONFIG_KEYS = {"protocol", "tables", "seeds", "backbones", "results", "configs", "gpus"}


def name(page: Path) -> str:
    return str(page.relative_to(ROOT))


def blocks(page: Path) -> Iterator[tuple[str, str]]:
    """Language and text of the fenced blocks, joined where a backslash continues a line."""
    for _, language, text in BLOCK.findall(page.read_text()):
        yield language, re.sub(r"\\\n\s*", " ", text)


def commands(page: Path) -> Iterator[list[str]]:
    """The words of every command line in a block; comments, prompts and the folder of the environment are left out."""
    for _, text in blocks(page):
        for line in text.splitlines():
            words = line.split("#")[0].strip().removeprefix("$ ").removeprefix(".venv/bin/")
            if re.match(r"(replication|snakemake|make|python) ", words):
                yield shlex.split(words)


class Loader(yaml.SafeLoader):
    """Takes mkdocs.yml, whose tags MkDocs alone knows."""


def navigation(entries: Any = None) -> Iterator[str]:
    """Every page that mkdocs.yml names."""
    entries = yaml.load((ROOT / "mkdocs.yml").read_text(), Loader)["nav"] if entries is None else entries
    for entry in entries:
        (target,) = entry.values()
        yield from [target] if isinstance(target, str) else navigation(target)


@pytest.fixture(scope="module")
def made() -> dict[str, str]:
    return site_pages.made_pages()


def test_every_page_stands_in_the_navigation_once_and_every_entry_is_a_page(made: dict[str, str]) -> None:
    written = {str(page.relative_to(DOCS)) for page in DOCS.rglob("*.md")}
    root = {site_pages.site_address(page) for page in site_pages.ROOT_PAGES}
    entries = list(navigation())
    assert sorted(entries) == sorted(written | root | {page for page in made if page.endswith(".md")})


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_links_and_their_anchors_lead_somewhere(page: Path, made: dict[str, str]) -> None:
    text = site_pages.FENCE.sub("", page.read_text())
    for match in site_pages.LINK.finditer(text):
        target = (page.parent / match[1]).resolve()
        address = posixpath.relpath(target, DOCS)
        assert address in made or target.exists(), match[1]
        if match[2]:
            assert match[2][1:] in anchors(made.get(address) or target.read_text()), match[0]


def anchors(text: str) -> set[str]:
    """Anchors of a page's heads, as Python-Markdown makes them."""
    heads = re.findall(r"^#+ (.*)$", site_pages.FENCE.sub("", text), re.MULTILINE)
    return {re.sub(r"[-\s]+", "-", re.sub(r"[^\w\s-]", "", head).strip().lower()) for head in heads}


@pytest.mark.parametrize(
    ("page", "before", "after"),
    [
        ("index.md", "[a](docs/compare.md) ![b](docs/images/report.png)", "[a](compare.md) ![b](images/report.png)"),
        ("index.md", "[a](CONTRIBUTING.md)", "[a](project/CONTRIBUTING.md)"),
        ("project/CONTRIBUTING.md", "[a](docs/extending.md#a-loss)", "[a](../extending.md#a-loss)"),
        ("cluster.md", "[a](../configs/costs.yaml)", "[a](source/configs/costs.yaml.md)"),
        ("howto/own-paper.md", "[a](../../examples/diou)", "[a](../source/examples/diou/index.md)"),
        ("tutorials/evaluate-fast.md", "[a](../evaluate.md) [b](#c) [d](https://e.org/f.md)", None),
        ("index.md", "```\n[a](docs/b.md)\n```\n", None),
    ],
)
def test_links_are_those_of_the_site(page: str, before: str, after: str | None) -> None:
    assert site_pages.relinked(before, page) == (before if after is None else after)


def test_files_outside_of_docs_that_pages_link_to_are_shown() -> None:
    found = site_pages.linked_sources(["cluster.md", "howto/own-paper.md"])
    assert {"configs/costs.yaml", "examples/diou", "envs/train.Dockerfile"} <= found
    assert (ROOT / "configs" / "costs.yaml").read_text() in site_pages.source_page("configs/costs.yaml")
    assert "`losses/diou.py`" in site_pages.source_page("examples/diou")


def test_the_command_line_has_every_verb_and_option(made: dict[str, str]) -> None:
    parts = re.split(r"^## ", made["reference/cli.md"], flags=re.MULTILINE)[1:]
    assert [part.split("\n")[0] for part in parts] == list(HOMES)
    for verb, part in zip(HOMES, parts, strict=True):
        command = group.get_command(None, verb)  # type: ignore[arg-type]
        assert command is not None
        options = {text for one in command.params for text in one.opts if text.startswith("--")}
        assert [text for text in options if text not in part] == [], verb
        assert "\b" not in part


def test_every_file_of_a_results_folder_is_described_with_its_schema(made: dict[str, str]) -> None:
    page = made["reference/result-files.md"]
    kinds = [kind for kind in schemas.Document.__subclasses__() if kind.__module__.startswith(f"{schemas.__name__}.")]
    assert len(kinds) == 9
    for kind in kinds:
        schema = json.loads(made[f"reference/schemas/{kind.SCHEMA.partition('/')[0]}.json"])
        assert f"## `{kind.SCHEMA}`" in page
        assert set(schema["$defs"][kind.__name__]["properties"]) >= set(kind.__struct_fields__)
        assert all(f"| `{field}` |" in page for field in kind.__struct_fields__)
    assert all(json.loads(made[f"reference/schemas/{kind}.json"])["properties"] for kind in ("claim", "costs"))


def test_documents_for_programs_have_the_versions_that_are_written() -> None:
    code = "\n".join(path.read_text() for path in (ROOT / "replication").rglob("*.py"))
    written = set(re.findall(r'^SCHEMA = "([^"]+)"', code, re.MULTILINE))
    assert written - {"embedded/1"} == {schema for schema, _, _ in site_pages.PRINTED}


def test_the_rates_are_those_that_the_simulation_is_held_to() -> None:
    tree = ast.parse((ROOT / "tests" / "verdicts" / "test_simulation.py").read_text())
    values = {one.targets[0].id: one.value for one in tree.body if isinstance(one, ast.Assign)}  # type: ignore[attr-defined]
    table, single, odds = (ast.literal_eval(values[key]) for key in ("TABLE", "ONE_SEED", "PROBABILITIES"))
    page = (DOCS / "reference" / "statistics.md").read_text()
    for method in ("combined", "seeds", "welch", "images"):
        assert " | ".join(" / ".join(map(str, table[world][method])) for world in table) in page
    assert " | ".join(str(single[world]) for world in table) in page
    for gain, runs, *shares in odds:
        assert " | ".join([f"| {gain} | {runs}", *(" / ".join(map(str, share)) for share in shares)]) in page


def test_tests_of_the_differences_from_pycocotools_exist() -> None:
    named = set(re.findall(r"`(test_\w+)`", (DOCS / "explanation" / "pycocotools.md").read_text()))
    code = "\n".join(path.read_text() for path in (ROOT / "tests" / "evaluation").glob("*.py"))
    assert named
    assert not [one for one in named if f"def {one}(" not in code]


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_commands_exist(page: Path) -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    for program, *words in commands(page):
        if program == "make":
            assert words[0] in targets, words
            words = [word for text in words if text.startswith("ARGS=") for word in shlex.split(text[5:])]
        if program in ("make", "snakemake") and "--config" in words:
            pairs = [word for word in words[words.index("--config") + 1 :] if "=" in word and not word.startswith("-")]
            assert {pair.partition("=")[0] for pair in pairs} <= CONFIG_KEYS, pairs
        if program == "python" and words[0].endswith(".py") and "/" in words[0]:
            assert (ROOT / words[0]).is_file(), words


@pytest.mark.parametrize("page", TUTORIALS, ids=name)
def test_tutorials_print_what_they_say(
    page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Every block with a prompt, in order, in a folder like the repository's; output may go on after what is shown."""
    for folder in ("docs", "tests"):
        (tmp_path / folder).symlink_to(ROOT / folder)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    for text in [text for language, text in blocks(page) if language == "console"]:
        command, _, shown = text.partition("\n")
        run(shlex.split(command.removeprefix("$ ")), monkeypatch)
        printed = [line.rstrip() for line in capsys.readouterr().out.splitlines()]
        assert printed[: len(shown.splitlines())] == shown.splitlines()


def run(words: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    program, *arguments = words
    expanded = [str(path) for word in arguments for path in (sorted(Path().glob(word)) if "*" in word else [word])]
    if program == "replication":
        assert main(expanded) == 0
    else:
        assert program == "python"
        with monkeypatch.context() as patch:
            patch.setattr(sys, "argv", expanded)
            runpy.run_path(expanded[0], run_name="__main__")


@pytest.mark.slow
def test_the_site_builds_and_its_pages_load_nothing_from_elsewhere() -> None:
    """`make docs`, which needs a package index for its first call."""
    done = subprocess.run([sys.executable, "envs/build_docs.py"], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    pages = list((ROOT / "build" / "site").rglob("*.html"))
    assert len(pages) > len(list(navigation()))
    loads = re.compile(r'<(?:script|link|img)\b[^>]*(?:src|href)="(https?:[^"]+)"')
    assert not [found for page in pages for found in loads.findall(page.read_text())]
