"""Comparisons as text and as a page: the same numbers in every form, nothing loaded from elsewhere."""

from __future__ import annotations

import json
import re
import shutil
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from support.simulation import coco_documents, detector, population

from replication.errors import DataError
from replication.evaluation.bootstrap import point
from replication.evaluation.influence import leave_one_out
from replication.evaluation.matching import match
from replication.report.comparison import format_comparison
from replication.report.comparison_images import differing_images
from replication.report.comparison_page import comparison_page
from replication.verdicts.arm_reading import read_arms
from replication.verdicts.arms import Resampling
from replication.verdicts.comparison import compare_arms
from replication.verdicts.comparison_records import Options


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Ground truth of 40 images, which are there, three arms of two runs, a class with a name to escape."""
    folder = tmp_path_factory.mktemp("comparison")
    truth = population(7, 40, 4, tail=0.6)
    for arm, skill in (("A", 0.8), ("B", 1.4), ("C", 0.9)):
        for seed in range(2):
            document, records = coco_documents(truth, detector(truth, 10 * seed + ord(arm), skill, per_image=10))
            (folder / f"{arm}_seed{seed}.json").write_text(json.dumps(records))
    document["categories"][0]["name"] = "salt_&_<pepper>"
    (folder / "images").mkdir()
    for image in document["images"]:
        image["file_name"] = f"{image['id']}.jpg"
        Image.new("RGB", (64, 48), (90, 120, 150)).save(folder / "images" / image["file_name"])
    (folder / "truth.json").write_text(json.dumps(document))
    return folder


def read(folder: Path, names: str = "AB", truth: str = "truth.json"):
    files = {name: sorted(folder.glob(f"{name}_seed*.json")) for name in names}
    return read_arms(folder / truth, files, Resampling(replicates=80))


@pytest.fixture(scope="module")
def arms(folder):
    return read(folder)


@pytest.fixture(scope="module")
def comparison(arms):
    return compare_arms(arms, Options(("AP", "AP75"), claimed=2.0, practical=0.5))


@pytest.mark.parametrize("form", ["table", "markdown", "latex"])
def test_the_answer_comes_first_and_all_parts_follow(comparison, form):
    text = format_comparison(comparison, form)
    first = text.split("\n")[0]
    expected = (
        comparison.sentence.replace("%", "\\%").replace("\N{MINUS SIGN}", "$-$")
        if form == "latex"
        else comparison.sentence
    )
    assert expected in first
    for part in (
        "Verdict on B against A",
        "Minimum detectable gain",
        "Claimed gain of 2 AP",
        "Standard deviation between",
    ):
        assert part in text
    for part in ("by size of objects", "by class", "by kind of mistake", "localisation", "APs", "AP75"):
        assert part in text
    assert f"{comparison.arms[0].mean['AP']:.2f}" in text


def test_latex_is_escaped(comparison):
    text = format_comparison(comparison, "latex")
    assert r"salt\_\&\_" in text
    assert text.count(r"\begin{tabular}") == text.count(r"\end{tabular}") >= 5
    assert "\N{MINUS SIGN}" not in text
    assert not re.search(r"(?<!\\)[%#]", text)


def test_markdown_tables_have_their_columns(comparison):
    for line in (line for line in format_comparison(comparison, "markdown").split("\n") if line.startswith("|")):
        assert line.endswith("|")
    assert "**B is" in format_comparison(comparison, "markdown") or "**Inconcl" in format_comparison(
        comparison, "markdown"
    )


def test_the_terminal_shows_the_classes_of_the_greatest_differences(comparison, monkeypatch):
    monkeypatch.setattr("replication.report.comparison.SHOWN", 2)
    text = format_comparison(comparison)
    greatest = sorted(comparison.contrasts[0].classes, key=lambda one: -abs(one.difference))
    assert all(one.name in text for one in greatest[:2])
    assert not any(one.name in text for one in greatest[2:])
    assert f"{len(greatest) - 2} classes with smaller differences" in text


def test_several_arms_have_a_sentence_and_tables_each(folder):
    text = format_comparison(compare_arms(read(folder, "ABC")))
    assert text.index("B ") < text.index("\n")
    assert "\nC is" in text or "\nInconclusive whether C" in text
    assert "B \N{MINUS SIGN} A by class" in text
    assert "C \N{MINUS SIGN} A by class" in text


def test_one_run_has_dashes_where_nothing_is_known(folder):
    files = {name: [folder / f"{name}_seed0.json"] for name in "AB"}
    found = compare_arms(read_arms(folder / "truth.json", files, Resampling(replicates=80)), Options(claimed=1.0))
    for form in ("table", "markdown", "latex"):
        text = format_comparison(found, form)
        assert "No verdict on B against A" in text
        assert "Minimum detectable gain" not in text
    assert "no verdict" in comparison_page(found, read_arms(folder / "truth.json", files, Resampling(replicates=80)))


class _Page(HTMLParser):
    """Everything that a page would load, and the words in it."""

    def __init__(self) -> None:
        super().__init__()
        self.loaded: list[str] = []
        self.words: list[str] = []
        self.open: list[str] = []

    def handle_starttag(self, tag, attrs):
        self.loaded += [value for name, value in attrs if name in ("src", "href", "xlink:href") and value]
        self.open.append(tag)

    def handle_data(self, data):
        self.words.append(data)


def parsed(html: str) -> _Page:
    page = _Page()
    page.feed(html)
    return page


def test_the_page_is_self_contained_and_the_same_again(comparison, arms, folder):
    html = comparison_page(comparison, arms, folder / "images")
    assert html == comparison_page(comparison, arms, folder / "images")
    page = parsed(html)
    assert all(target.startswith(("data:", "#")) for target in page.loaded)
    text = " ".join(page.words)
    assert comparison.sentence in text
    assert "salt_&_<pepper>" in text
    assert html.count('<figure class="curves">') == 3
    for arm in comparison.arms:
        assert all(digest in text for digest in arm.sha256)


def test_the_page_shows_the_images_on_which_arms_differ_most(comparison, arms, folder):
    page = comparison_page(comparison, arms, folder / "images")
    assert "Images on which the arms differ most" in page
    assert page.count("data:image/jpeg") == 6
    assert "Images on which" not in comparison_page(comparison, arms)


def test_influence_is_ap_with_the_image_less_ap_without(folder):
    truth = population(7, 40, 4, tail=0.6)
    found = detector(truth, 3, 1.0, per_image=10)
    matches = match(truth, found)
    influence = leave_one_out(matches, "AP50")
    from dataclasses import replace

    for image in (0, 17, 39):
        kept, rows = truth.images != image, found.images != image
        columns = ("images", "labels", "boxes", "box_areas", "areas", "crowds", "ignored", "difficult")
        smaller = replace(truth, **{key: getattr(truth, key)[kept] for key in columns})
        fewer = replace(
            found, **{key: getattr(found, key)[rows] for key in ("images", "labels", "boxes", "box_areas", "scores")}
        )
        expected = point(matches).metric("AP50")[0] - point(match(smaller, fewer)).metric("AP50")[0]
        assert influence[image] == pytest.approx(expected, abs=1e-9)


def test_images_are_ordered_by_what_they_add(arms, folder):
    shown = differing_images(arms, arms.arms[1], folder / "images")
    values = [one.influence for one in shown]
    assert values[:3] == sorted(values[:3], reverse=True)
    assert min(values[:3]) > 0 > max(values[3:])
    assert [label for label, _ in shown[0].panels] == ["objects", "A", "B"]
    boxes = shown[0].panels[0][1]
    assert all(box.score is None and box.width > 0 for box in boxes)
    assert all(box.score >= 0.3 for _, found in shown[0].panels[1:] for box in found)


def test_broken_images_are_passed_over(arms, folder, tmp_path):
    shutil.copytree(folder / "images", tmp_path / "images")
    best = differing_images(arms, arms.arms[1], tmp_path / "images")[0]
    (tmp_path / "images" / best.name).write_bytes(b"no image")
    names = [one.name for one in differing_images(arms, arms.arms[1], tmp_path / "images")]
    assert len(names) == 5
    assert best.name not in names


def test_a_folder_without_the_images_is_named(arms, folder, tmp_path):
    with pytest.raises(DataError, match=r"none of the images of .*truth\.json is there, such as 3\.jpg"):
        differing_images(arms, arms.arms[1], tmp_path)


def test_images_without_names_are_refused(folder, tmp_path):
    document = json.loads((folder / "truth.json").read_text())
    for image in document["images"]:
        del image["file_name"]
    (folder / "nameless.json").write_text(json.dumps(document))
    arms = read(folder, truth="nameless.json")
    with pytest.raises(DataError, match=r"nameless\.json: images have no file_name"):
        differing_images(arms, arms.arms[1], folder / "images")


def test_curves_and_classes_are_drawn_for_every_arm(folder):
    arms = read(folder, "ABC")
    html = comparison_page(compare_arms(arms), arms)
    assert html.count('<figure class="curves">') == 4
    assert np.all([f">{name}<" in html for name in "ABC"])
