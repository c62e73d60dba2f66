"""Tooltips: on the words of the glossary, on no others, and never as markup of what was given."""

from __future__ import annotations

from replication.report.drawing import described, first_sentence
from replication.report.filters import arxiv, boxes, linked, short
from replication.report.glossary import GLOSSARY, VERDICTS, gloss, glossary, term
from replication.report.head import ran_on
from replication.report.samples import Box
from replication.verdicts.rules import Verdict


def test_every_verdict_is_explained():
    words = set(Verdict.__args__)
    assert words - set(VERDICTS) <= {"not testable here"}
    assert glossary(["gain"]) == GLOSSARY | {"gain": VERDICTS["gain"]}


def test_words_get_a_tooltip_and_the_rest_is_escaped():
    shown = gloss("AP75 (IoU) of <b> AP-like APs")
    assert shown.startswith(
        f'<abbr title="{GLOSSARY["AP75"]}">AP75</abbr> (<abbr title="{GLOSSARY["IoU"]}">IoU</abbr>)'
    )
    assert "&lt;b&gt;" in shown
    assert "APs" in shown
    assert shown.count("<abbr") == 3


def test_a_word_that_is_not_in_the_glossary_stays_plain():
    assert term("gain", kind="verdict good") == f'<abbr class="verdict good" title="{VERDICTS["gain"]}">gain</abbr>'
    assert term("<x>") == "<span>&lt;x&gt;</span>"
    assert term("Run", "Runs").endswith(">Runs</abbr>")


def test_links_are_made_of_arxiv_numbers_and_addresses_only():
    assert arxiv("1902.09630") == '<a href="https://arxiv.org/abs/1902.09630">arXiv 1902.09630</a>'
    assert linked("<i> arXiv 1902.09630, https://a.example/x; owner/name") == (
        '&lt;i&gt; <a href="https://arxiv.org/abs/1902.09630">arXiv 1902.09630</a>, '
        '<a href="https://a.example/x">https://a.example/x</a>; owner/name'
    )
    assert 'href="javascript' not in linked("javascript:alert(1)")


def test_names(protocol):
    assert short("Libra R-CNN: Towards Balanced Learning") == "Libra R-CNN"
    assert short("Feature Selective Anchor-Free Module for Detection") == "Feature Selective Anchor-Free Module…"
    assert ran_on(protocol, "R-50") == "EfficientNet-Lite0 for R-50"
    assert ran_on(protocol, "R-101") == "R-101"
    other = protocol.model_copy(update={"backbones": {"R-101": "efficientnet_lite1"}})
    assert ran_on(other, "R-101") == "EfficientNet-Lite1 for R-101"


def test_pictures_are_described_for_those_who_do_not_see_them():
    document = described('<?xml version="1.0"?>\n<svg width="8"><g/></svg>', "a < b", "c & d")
    assert '<svg width="8" role="img">\n <title>a &lt; b</title>\n <desc>c &amp; d</desc><g/></svg>' in document
    assert first_sentence("Gains, claimed and measured. More.") == "Gains, claimed and measured"
    assert first_sentence("One.") == "One"
    assert boxes([Box(0, 0, 1, 1, "seven", 0.876), Box(0, 0, 1, 1, "one", None)]) == "seven 0.88, one"
    assert boxes([]) == "no box"
