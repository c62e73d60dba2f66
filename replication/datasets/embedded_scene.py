"""One scene of the embedded set: digits and clutter pasted back to front on a photograph.

Only integer arithmetic, Pillow's resampling and NumPy's frozen ``RandomState`` stream decide a pixel, so a scene is the
same on every machine.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw

from replication.datasets.embedded_sources import Pixels, Sources

Mask = npt.NDArray[np.bool_]
Random = np.random.RandomState

INK = 96  # alpha (of 255) from which a pixel belongs to an object: masks and boxes are cut there
SIDES = (0.06, 0.70)  # longest box side as a share of the shorter image side
ASPECT = 1.3  # width is stretched by a factor log-uniform in [1 / ASPECT, ASPECT]
INK_LEVELS = (170, 256)  # red, green and blue of ink: light, on photographs that are darkened
MAX_TILT = 10.0  # degrees
EMPTY_SHARE = 0.04  # share of images without an object
MAX_OBJECTS = 8
MIN_VISIBLE = 0.8  # an object keeps at least this share of its ink; a placement that would hide more is not made
OUTSIDE = 0.05  # a placement may leave the image by up to this share of the item's side
MIN_CONTRAST = 90  # luma levels (of 255) between ink and what lies under it
TRIES = 12


@dataclass(frozen=True)
class SceneObject:
    """A digit: class index 0..9 and its visible mask (H, W)."""

    label: int
    mask: Mask


@dataclass(frozen=True)
class Scene:
    """Pixels (H, W, 3) uint8 RGB and the digits in them."""

    pixels: Pixels
    objects: tuple[SceneObject, ...]


@dataclass
class _Canvas:
    """The picture so far. ``owner`` (H, W) holds the index of the digit whose ink is on top, or -1."""

    pixels: Pixels
    owner: npt.NDArray[np.int64]
    ink: list[int] = field(default_factory=list)
    labels: list[int] = field(default_factory=list)

    def hides_too_much(self, rows: slice, columns: slice, ink: Mask) -> bool:
        """Whether new ink there would leave a digit with less than MIN_VISIBLE of its ink."""
        covered = np.bincount(self.owner[rows, columns][ink] + 1, minlength=len(self.ink) + 1)[1:]
        visible = np.bincount(self.owner.ravel() + 1, minlength=len(self.ink) + 1)[1:]
        return any(
            lost and left - lost < MIN_VISIBLE * full
            for lost, left, full in zip(covered.tolist(), visible.tolist(), self.ink, strict=True)
        )


def draw_scene(random: Random, sources: Sources, height: int, width: int) -> Scene:
    """A scene of ``height`` x ``width`` pixels with 0 to MAX_OBJECTS digits among clutter."""
    canvas = _Canvas(_background(random, sources, height, width), np.full((height, width), -1, dtype=np.int64))
    side = min(height, width)
    digits = 0 if random.random_sample() < EMPTY_SHARE else random.randint(1, MAX_OBJECTS + 1)
    items = [(True, _log_uniform(random, *SIDES) * side) for _ in range(digits)]
    items += [(False, _log_uniform(random, *SIDES) * side) for _ in range(random.randint(0, 3))]
    # Large items mostly lie behind small ones: else large digits would leave few small ones visible.
    depth = [size * _log_uniform(random, 0.4, 2.5) for _, size in items]
    for index in sorted(range(len(items)), key=lambda item: -depth[item]):
        is_digit, size = items[index]
        if is_digit:
            _add_digit(random, canvas, sources, round(size))
        else:
            _add_clutter(random, canvas, sources, round(size))
    found = tuple(SceneObject(label, canvas.owner == index) for index, label in enumerate(canvas.labels))
    return Scene(canvas.pixels, found)


def _log_uniform(random: Random, low: float, high: float) -> float:
    return float(low * (high / low) ** random.random_sample())


def _background(random: Random, sources: Sources, height: int, width: int) -> Pixels:
    """A crop of a photograph at a random zoom, perhaps mirrored, darkened, with random contrast and tint."""
    photograph = sources.photographs[random.randint(len(sources.photographs))]
    largest = min(photograph.height / height, photograph.width / width)
    zoom = _log_uniform(random, min(0.6, largest), min(3.0, largest))
    crop_height, crop_width = int(height * zoom), int(width * zoom)
    top = random.randint(photograph.height - crop_height + 1)
    left = random.randint(photograph.width - crop_width + 1)
    box = (left, top, left + crop_width, top + crop_height)
    pixels = np.asarray(photograph.resize((width, height), Image.Resampling.BICUBIC, box=box)).astype(np.int64)
    if random.random_sample() < 0.5:
        pixels = pixels[:, ::-1]
    gain = random.randint(25, 56) + random.randint(-8, 9, size=3)  # per cent
    shift = random.randint(-65, -24)
    toned: Pixels = np.clip((pixels - 128) * gain // 100 + 128 + shift, 0, 255).astype(np.uint8)
    return toned


def _glyph(random: Random, ink: Pixels, side: int) -> Pixels:
    """Alpha of a glyph, tilted, stretched and cut to its ink, its longest side ``side`` pixels."""
    large = Image.fromarray(ink).resize((ink.shape[1] * 4, ink.shape[0] * 4), Image.Resampling.BICUBIC)
    tilt = MAX_TILT * (2 * random.random_sample() - 1)
    large = large.rotate(tilt, Image.Resampling.BICUBIC, expand=True)
    large = large.crop(large.point([255 * (value >= INK) for value in range(256)]).getbbox())
    width = large.width * _log_uniform(random, 1 / ASPECT, ASPECT)
    scale = side / max(width, large.height)
    size = (max(2, round(width * scale)), max(2, round(large.height * scale)))
    alpha = np.asarray(large.resize(size, Image.Resampling.LANCZOS)).astype(np.int64)
    # Thin strokes fade when they become narrower than a pixel: bring the darkest ink back to full.
    full: Pixels = np.clip(alpha * 255 // max(1, int(alpha.max())), 0, 255).astype(np.uint8)
    return full


def _add_digit(random: Random, canvas: _Canvas, sources: Sources, side: int) -> None:
    index = random.randint(len(sources.labels))
    alpha = _glyph(random, sources.glyphs[index], side)
    place = _place(random, canvas, alpha)
    if place is None:
        return
    rows, columns, part = place
    _paint(random, canvas, rows, columns, part)
    canvas.owner[rows, columns][part >= INK] = len(canvas.ink)
    canvas.ink.append(int((alpha >= INK).sum()))
    canvas.labels.append(int(sources.labels[index]))


def _add_clutter(random: Random, canvas: _Canvas, sources: Sources, side: int) -> None:
    """A cut-up digit, a stroke, or a patch of another photograph; hides digits but is none."""
    kind = random.randint(10)
    if kind < 5:
        alpha = _glyph(random, _cut_up(random, sources), side)
    elif kind < 8:
        alpha = _glyph(random, _stroke(random), side)
    else:
        alpha = np.full((side, max(2, round(side * _log_uniform(random, 0.4, 1.0)))), 255, dtype=np.uint8)
    place = _place(random, canvas, alpha)
    if place is None:
        return
    rows, columns, part = place
    if kind < 8:
        _paint(random, canvas, rows, columns, part)
    else:
        canvas.pixels[rows, columns] = _background(random, sources, *part.shape)
    canvas.owner[rows, columns][part >= INK] = -1


def _cut_up(random: Random, sources: Sources) -> Pixels:
    """The quarters of a digit's ink exchanged and turned; never a 1, whose pieces are 1s."""
    while True:
        index = random.randint(len(sources.labels))
        if sources.labels[index] != 1:
            break
    ink = sources.glyphs[index]
    quarters = [ink[y : y + 10, x : x + 10] for y in (4, 14) for x in (4, 14)]
    turned = [np.rot90(quarters[old], 1 + random.randint(3)) for old in random.permutation(4)[: random.randint(3, 5)]]
    turned += [np.zeros((10, 10), dtype=np.uint8)] * (4 - len(turned))
    joined: Pixels = np.pad(np.block([[turned[0], turned[1]], [turned[2], turned[3]]]), 4)
    return joined


def _stroke(random: Random) -> Pixels:
    """A zigzag of a pen, (28, 28); always bent, so that it is not a 1."""
    image = Image.new("L", (112, 112))
    points = [(16, 96), (16, 16), (96, 96), (96, 16), (56, 56)]
    chosen = [points[index] for index in random.permutation(5)[: random.randint(4, 6)]]
    shaken = [(x + random.randint(-14, 15), y + random.randint(-14, 15)) for x, y in chosen]
    ImageDraw.Draw(image).line(shaken, fill=255, width=random.randint(8, 16), joint="curve")
    return np.asarray(image.resize((28, 28), Image.Resampling.LANCZOS))


def _place(random: Random, canvas: _Canvas, alpha: Pixels) -> tuple[slice, slice, Pixels] | None:
    """Rows, columns and the part of ``alpha`` inside the image for a random place that hides no digit; None if none."""
    height, width = alpha.shape
    rows, columns = canvas.owner.shape
    for _ in range(TRIES):
        top = _offset(random, height, rows)
        left = _offset(random, width, columns)
        inside = alpha[max(0, -top) : rows - top, max(0, -left) : columns - left]
        where = slice(max(0, top), min(rows, top + height)), slice(max(0, left), min(columns, left + width))
        if (inside >= INK).sum() < MIN_VISIBLE * (alpha >= INK).sum():
            continue
        if not canvas.hides_too_much(*where, inside >= INK):
            return *where, inside
    return None


def _offset(random: Random, side: int, limit: int) -> int:
    outside = int(side * OUTSIDE)
    return int(random.randint(-outside, limit - side + outside + 1))


def _paint(random: Random, canvas: _Canvas, rows: slice, columns: slice, alpha: Pixels) -> None:
    """Blend ink of one colour, which differs in luma from what it covers, over the canvas."""
    under = canvas.pixels[rows, columns].astype(np.int64)
    colour = _ink_colour(random, int(_luma(under)[alpha >= INK].sum()) // max(1, int((alpha >= INK).sum())))
    weight = alpha.astype(np.int64)[:, :, None] * random.randint(205, 256) // 255
    canvas.pixels[rows, columns] = ((under * (255 - weight) + colour * weight + 127) // 255).astype(np.uint8)


def _ink_colour(random: Random, under: int) -> npt.NDArray[np.int64]:
    for _ in range(TRIES):
        colour = random.randint(*INK_LEVELS, size=3).astype(np.int64)
        if abs(int(_luma(colour)) - under) >= MIN_CONTRAST:
            return colour
    return np.full(3, 255, dtype=np.int64)


def _luma(rgb: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Brightness 0..255 of RGB in the last axis (ITU-R BT.601)."""
    weighted: npt.NDArray[np.int64] = rgb @ np.array([299, 587, 114]) // 1000
    return weighted
