"""The recipes of container images, read as text: no container tool is needed."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
RECIPES = sorted((ROOT / "envs").glob("*.Dockerfile"))
LOCKED = re.compile(r"^([a-z0-9-]+)==(\S+)", re.MULTILINE)


def instructions(recipe: Path) -> list[list[str]]:
    """Its lines, those that go on joined, as words; without comments."""
    text = re.sub(r"\\\n\s*", "", re.sub(r"^#.*\n", "", recipe.read_text(), flags=re.MULTILINE))
    return [line.split() for line in text.splitlines() if line.strip()]


def test_there_is_one_to_judge_and_one_to_train():
    assert [recipe.name for recipe in RECIPES] == ["judge.Dockerfile", "train.Dockerfile"]


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda recipe: recipe.name)
def test_a_recipe_copies_what_is_there_and_is_sent(recipe: Path):
    sent = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    sources = [source for name, *words in instructions(recipe) if name == "COPY" for source in words[:-1]]
    assert sources
    for source in sources:
        assert (ROOT / source).exists(), source
        assert source.partition("/")[0] in sent, source


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda recipe: recipe.name)
def test_a_recipe_names_its_base_and_installs_by_hashes_alone(recipe: Path):
    lines = instructions(recipe)
    (base,) = [words[1] for words in lines if words[0] == "FROM"]
    assert re.fullmatch(r"docker\.io/library/python:3\.1[12]-slim-\w+", base)
    (run,) = [" ".join(words) for words in lines if words[0] == "RUN"]
    assert "--require-hashes" in run or run.endswith("python envs/environment.py")
    assert {words[0] for words in lines} <= {"FROM", "ENV", "COPY", "RUN", "WORKDIR", "ENTRYPOINT", "CMD"}
    assert [words[0] for words in lines][-2:] == ["ENTRYPOINT", "CMD"]


def test_the_judging_lock_is_part_of_the_whole_one_and_holds_no_torch():
    judge, whole = ((ROOT / "envs" / name).read_text() for name in ("judge.txt", "requirements.txt"))
    assert set(LOCKED.findall(judge)) <= set(LOCKED.findall(whole))
    names = {name for name, _ in LOCKED.findall(judge)}
    assert {"numpy", "numba", "pydantic", "matplotlib"} <= names
    assert not names & {"torch", "torchvision", "snakemake"}
    assert judge.count("--hash=sha256:") >= len(names)
