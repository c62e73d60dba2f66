"""Words of the page that a reader may not know, and what they mean: as tooltips, and as a list at the end."""

from __future__ import annotations

import re
from collections.abc import Collection

from markupsafe import Markup, escape

GLOSSARY = {
    "AP": "Average precision: the area under the precision-recall curve, averaged over classes and over overlap "
    "thresholds from 0.50 to 0.95, on 0 to 100 or 0 to 1.",
    "AP50": "Average precision where a detection counts from an overlap of 0.50 with an object on.",
    "AP75": "Average precision where a detection counts from an overlap of 0.75 on: it rewards boxes that fit.",
    "IoU": "Intersection over union: the area that two boxes share, divided by the area that they cover together.",
    "GIoU": "Generalized intersection over union: IoU minus the share of the smallest enclosing box that neither of "
    "the two covers. Below 0 for boxes far apart.",
    "Run": "One training of a variant with its own seed, and its evaluation: the unit of replication.",
    "95% interval": "Made so that, were the experiment repeated, 95 of 100 such intervals would hold the true value.",
    "Interval for new images": "Allows for other runs and for other test images of the same kind.",
    "Interval for this benchmark": "Allows for other runs on the same test images; narrower, and says less.",
    "Holm": "Holm's procedure: among many claims some look significant by chance; it widens the intervals so that the "
    "chance of even one false verdict among a paper's claims stays at the registered level.",
    "Minimum detectable gain": "The smallest true gain that these runs would have detected with the registered power. "
    "A smaller one may be there unseen.",
    "Needed": "Runs per variant, or test images, either of which would detect the claimed gain.",
}
"""The word or words as the page has them, and their meaning in a sentence or two."""

VERDICTS = {
    "inconclusive": "The interval holds both a gain and none: these runs do not tell.",
    "withheld": "The numbers are there, and no verdict is given on them, e.g. since a control failed; the "
    "reason is given.",
    "withdrawn": "Something was found to be wrong with the runs behind this verdict; the reason is given.",
    "gain": "The whole interval is above 0, among all claims of the paper.",
    "loss": "The whole interval is below 0, among all claims of the paper.",
    "no gain of practical size": "The whole interval is below the smallest gain that would matter.",
    "reproduced": "The whole interval is above half of the claimed gain.",
    "not reproduced": "The whole interval is below half of the claimed gain.",
    "single run": "One run per variant: how runs vary is not known, so there is no verdict.",
    "blocked": "The baseline is too far off, or runs are missing.",
    "not testable": "The protocol cannot test this claim, whatever runs there are.",
}
"""What each verdict means."""

_TERMS = re.compile(r"\b(" + "|".join(sorted(map(re.escape, GLOSSARY), key=len, reverse=True)) + r")\b")


def glossary(verdicts: Collection[str]) -> dict[str, str]:
    """The words with their meanings, and those of the verdicts given."""
    return GLOSSARY | {word: meaning for word, meaning in VERDICTS.items() if word in verdicts}


def gloss(text: str) -> Markup:
    """The text, escaped, with a tooltip on every word of the glossary."""
    parts = _TERMS.split(text)
    return Markup("").join(term(part) if place % 2 else escape(part) for place, part in enumerate(parts))


def term(word: str, shown: str = "", kind: str = "") -> Markup:
    """One word of the glossary with its tooltip; plain where the glossary does not have it.

    ``shown`` stands in its place, ``kind`` is the element's class.
    """
    meaning = GLOSSARY.get(word) or VERDICTS.get(word)
    tag = "abbr" if meaning else "span"
    kinds = Markup(' class="{}"').format(kind) if kind else Markup("")
    title = Markup(' title="{}"').format(meaning) if meaning else Markup("")
    return Markup("<{}{}{}>{}</{}>").format(Markup(tag), kinds, title, shown or word, Markup(tag))
