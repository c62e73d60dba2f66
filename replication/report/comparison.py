"""A comparison of arms as text for the terminal, Markdown, or LaTeX: the answer first, then what it rests on."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from tabulate import tabulate

from replication.report.tables import escape_latex
from replication.verdicts.comparison_records import ArmComparison, ClaimAnswer, Contrast, Effect
from replication.verdicts.comparison_words import MINUS, decimals, number, p_text, signed, span

Form = Literal["table", "markdown", "latex"]
_FORMATS = {"table": "simple", "markdown": "github", "latex": "latex_booktabs"}
WIDTH = 110
"""Columns of text in the terminal; the answer itself stays on one line."""
SHOWN = 12
"""Classes in the terminal, those of the greatest differences."""


@dataclass(frozen=True)
class Block:
    """A table with its heading and a note on what its numbers are."""

    title: str
    heads: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    note: str = ""


def format_comparison(comparison: ArmComparison, form: Form = "table") -> str:
    """The comparison as text."""
    parts = [_paragraph(comparison.sentence, form, True)]
    parts += [_paragraph(line, form) for line in facts(comparison)]
    for block in blocks(comparison, SHOWN if form == "table" else None):
        table = tabulate(block.rows, block.heads, _FORMATS[form], disable_numparse=True, colalign=_alignment(block))
        parts.append(_heading(block.title, form) + "\n" + table.replace(MINUS, "$-$" if form == "latex" else MINUS))
        if block.note:
            parts.append(_paragraph(block.note, form))
    return "\n\n".join(parts) + "\n"


def _alignment(block: Block) -> list[str] | None:
    return ["left", *["right"] * (len(block.heads) - 1)] if block.rows else None


def _paragraph(text: str, form: Form, strong: bool = False) -> str:
    if form == "latex":
        text = escape_latex(text).replace(MINUS, "$-$")
        return f"\\textbf{{{text}}}" if strong else text
    if form == "markdown" and strong:
        return "\n".join(f"**{line}**  " for line in text.split("\n")).rstrip()
    return textwrap.fill(text, WIDTH) if form == "table" and not strong else text


def _heading(text: str, form: Form) -> str:
    if form == "latex":
        return f"\\paragraph{{{escape_latex(text).replace(MINUS, '$-$')}}}\n"
    return f"### {text}\n" if form == "markdown" else text


def facts(comparison: ArmComparison) -> Iterator[str]:
    """What the answer is made of, a sentence each."""
    if comparison.registration is not None:
        yield registration_text(comparison)
    for contrast in comparison.contrasts:
        yield verdict_text(comparison, contrast)
        if contrast.claim is not None:
            yield claim_text(comparison, contrast, contrast.claim)
        if contrast.terms is not None:
            yield spread_text(comparison, contrast)
    drawn = comparison.resampling
    yield (
        f"{comparison.objects} objects on {comparison.images} images, criterion {drawn.criterion}"
        f"{' of masks' if drawn.masks else ''}; "
        f"{drawn.replicates} resamplings of the images, seed {drawn.seed}. New images: other runs and other images of "
        "the same kind; this benchmark: other runs on these images."
    )


def verdict_text(comparison: ArmComparison, contrast: Contrast) -> str:
    """The verdict with its qualifiers, and the gain that these runs could detect."""
    metric, options = comparison.options.metric, comparison.options
    qualifiers = f" ({'; '.join(contrast.qualifiers)})" if contrast.qualifiers else ""
    text = f"Verdict on {contrast.arm} against {contrast.baseline}, {options.estimand}: {contrast.verdict}{qualifiers}."
    if contrast.minimum_detectable_gain is None:
        return text
    gain = number(contrast.minimum_detectable_gain, 2)
    return f"{text} Minimum detectable gain: {gain} {metric} with {100 * options.power:g}% power."


def claim_text(comparison: ArmComparison, contrast: Contrast, claim: ClaimAnswer) -> str:
    """What is said of the claimed gain, and what it takes to say more."""
    metric, wanted = comparison.options.metric, f"{100 * comparison.options.power:g}% power"
    text = (
        f"Claimed gain of {claim.claimed:g} {metric}: {claim.verdict}, judged against half of it ({claim.cut:g}). "
        f"Such a gain is found to hold with {100 * claim.power:.0f}% power by these runs; "
    )
    if claim.seeds_needed is not None:
        return f"{text}{wanted} needs {claim.seeds_needed} runs per arm."
    if claim.images_needed is not None:
        return f"{text}{wanted} needs more test images: {claim.images_needed} with these numbers of runs."
    return f"{text}{wanted} is out of reach with these images and numbers of runs."


def spread_text(comparison: ArmComparison, contrast: Contrast) -> str:
    """How much of the spread of runs is noise of the images."""
    arms = {arm.name: arm for arm in comparison.arms}
    metric = comparison.options.metric
    parts = []
    for name in (contrast.baseline, contrast.arm):
        sd, noise = arms[name].sd[metric], arms[name].image_noise
        if sd is not None and noise is not None:
            parts.append(f"{name} {number(sd, 2)} (of which images alone explain {number(noise, 2)})")
    terms = contrast.terms
    used = "" if terms is None else f"; {terms.spread}, {terms.df:.1f} degrees of freedom"
    return f"Standard deviation between runs, {metric}: {', '.join(parts)}{used}."


def registration_text(comparison: ArmComparison) -> str:
    """When the claim was registered, as far as that can be shown, and what the look is."""
    note = comparison.registration
    assert note is not None
    reason = f" ({note['reason']})" if note["reason"] else ""
    text = f"Claim {note['claim']}, hash {note['hash'][:12]}, of {note['registered']}: {note['when']}{reason}."
    if len(note["looks"]) > 1:
        text += f" Look at {note['look']} of {note['looks'][-1]} runs per arm, level {100 * note['level']:.2g}%."
        undecided = any(one.verdict == "inconclusive" for one in comparison.contrasts)
        if note["next_look"] is not None and undecided:
            text += f" Undecided: the next look is at {note['next_look']} runs per arm."
    return text


def blocks(comparison: ArmComparison, classes: int | None = None) -> Iterator[Block]:
    """All tables; ``classes`` limits how many classes are shown."""
    yield _arms(comparison)
    options = comparison.options
    several = len(comparison.contrasts) > 1
    for one in comparison.contrasts:
        title = f"{one.arm} {MINUS} {one.baseline}"
        supported = () if one.supported is None else (one.supported,)
        rows = [*one.metrics, *supported]
        labels = [effect.name for effect in one.metrics]
        labels += [f"{options.metric}, classes of 10 objects or more"] * len(supported)
        rows[0] = one.effect  # with the p of the verdict, which is adjusted over the arms
        yield _effects(title, "metric", rows, labels, one)
        if one.sizes:
            yield _effects(f"{title} by size of objects", "metric", one.sizes, [size.name for size in one.sizes], one)
        chosen = sorted(one.classes, key=lambda effect: -abs(effect.difference))[:classes]
        if chosen:
            left = len(one.classes) - len(chosen)
            note = f"AP; {left} classes with smaller differences are in the other formats." if left else "AP."
            note += f" p after Holm over {'arms and ' if several else ''}classes of 10 objects or more."
            block = _effects(f"{title} by class", "class", chosen, [effect.name for effect in chosen], one)
            yield replace(block, note=note)
        yield _mistakes(title, one)


def _arms(comparison: ArmComparison) -> Block:
    metrics = list(comparison.arms[0].mean)
    heads = ("arm", "runs", *(f"{name} (SD)" for name in metrics))
    rows = []
    for arm in comparison.arms:
        values = [
            number(arm.mean[name], 2) + (f" ({number(sd, 2)})" if (sd := arm.sd[name]) is not None else "")
            if name in arm.mean
            else "-"
            for name in metrics
        ]
        rows.append((arm.name, str(arm.runs), *values))
    return Block("Arms, mean over runs", heads, tuple(rows))


def _effects(title: str, head: str, effects: Sequence[Effect], labels: Sequence[str], contrast: Contrast) -> Block:
    heads = (head, contrast.baseline, contrast.arm, "difference", "new images", "this benchmark", "p (Holm)")
    rows = []
    for effect, label in zip(effects, labels, strict=True):
        digits = max(1, decimals(effect.new_images))
        rows.append(
            (
                label,
                number(effect.baseline, 2),
                number(effect.arm, 2),
                signed(effect.difference, 2),
                span(effect.new_images, digits),
                span(effect.this_benchmark, digits),
                p_text(effect.p_holm if effect.p_holm is not None else effect.p),
            )
        )
    return Block(title, heads, tuple(rows))


def _mistakes(title: str, contrast: Contrast) -> Block:
    heads = ("mistakes", contrast.baseline, contrast.arm, "difference", "interval", "number", "difference in number")
    rows = tuple(
        (
            one.kind,
            number(one.baseline, 2),
            number(one.arm, 2),
            signed(one.difference, 2),
            span(one.interval, 2),
            f"{one.baseline_count:.0f}",
            signed(one.arm_count - one.baseline_count, 0),
        )
        for one in sorted(contrast.mistakes, key=lambda one: one.difference)
    )
    note = (
        "What mistakes cost: AP50 that repairing all of a kind gains, mean over runs; a negative difference is what "
        f"{contrast.arm} does better. Intervals for this benchmark, each kind by itself."
    )
    return Block(f"{title} by kind of mistake", heads, rows, note)
