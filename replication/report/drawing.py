"""What all figures share: colours, style, and an SVG document of a matplotlib figure."""

from __future__ import annotations

import base64
import io
import re
from dataclasses import dataclass
from xml.sax.saxutils import escape

from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.figure import Figure

COLORS = ("#3f7fd8", "#e07b1a", "#1fa3b5", "#c2488f", "#8a63d2", "#a8892b", "#5f87a0", "#9c6b50")
"""Told apart on white and on near-black, and in the commonest colour blindnesses by lightness order. Green and red are
not among them: they say what a verdict is.
"""

INK = "#68707c"
"""Colour of axes and text; ``adaptive`` turns it into the page's own text colour."""

STYLE = {
    "svg.fonttype": "none",
    "font.sans-serif": ["DejaVu Sans", "Arial"],  # what else matplotlib names stands in every text of an SVG document
    "text.parse_math": False,  # labels are users' words, in which a dollar sign is one
    "font.size": 11,
    "axes.edgecolor": INK,
    "axes.labelcolor": INK,
    "text.color": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlesize": 11,
    "axes.titleweight": "bold",
    "lines.linewidth": 1.8,
}


@dataclass(frozen=True)
class Drawing:
    """A figure of the page: the name of its file, an SVG document as drawn, and the text that says what it shows."""

    name: str
    drawn: str
    caption: str

    @property
    def svg(self) -> str:
        """The document with a title and a description, which screen readers read out."""
        return described(self.drawn, f"{self.name.partition('_')[0]}: {first_sentence(self.caption)}", self.caption)

    @property
    def element(self) -> Markup:
        """The figure as an element of an HTML page."""
        return Markup(adaptive(self.svg))

    @property
    def uri(self) -> str:
        """The document as a data URI."""
        return data_uri("image/svg+xml", self.svg)


def data_uri(mime: str, text: str) -> str:
    """A file that a page carries within itself."""
    return f"data:{mime};base64,{base64.b64encode(text.encode()).decode()}"


def svg(figure: Figure) -> str:
    """A figure as an SVG document without dates, to be called inside of the figure's ``rc_context``."""
    buffer = io.StringIO()
    figure.savefig(
        buffer, format="svg", transparent=True, metadata=dict.fromkeys(("Creator", "Date", "Format", "Type"))
    )
    return compact(buffer.getvalue())


def compact(document: str) -> str:
    """A drawn document with coordinates of a hundredth of a point and without what says nothing, of half the size.

    That is indentation, rotations by 0, and the letter L before each point of a polyline.
    """
    document = re.sub(r"(?<![\w#.-])(-?\d+\.\d{2})\d+(?![\w.])", r"\1", document)
    document = re.sub(r' transform="rotate\(-?0 [^)]*\)"', "", document)
    document = re.sub(r' d="([^"]*)"', lambda path: f' d="{_polyline(path[1])}"', document)
    return re.sub(r"\n\s+", "\n", document)


def _polyline(path: str) -> str:
    """Path data on one line; pairs of numbers after M or L are points of a line (SVG 1.1, sections 8.3.2 and 8.3.4)."""
    path = " ".join(path.split())
    return path if re.search(r"[^MLz\d\s.+-]", path) else re.sub(r"(?<=\d) L (?=[\d-])", " ", path)


def described(document: str, title: str, description: str) -> str:
    """The document with ``<title>`` and ``<desc>`` as its first elements, as one picture to screen readers."""
    start = document.index("<svg ")
    end = document.index(">", start)
    texts = f"\n <title>{escape(title)}</title>\n <desc>{escape(description)}</desc>"
    return f'{document[:end]} role="img">{texts}{document[end + 1 :]}'


def first_sentence(text: str) -> str:
    """Up to the first full stop or colon that ends a part of a sentence."""
    return re.split(r"[.:] ", text, maxsplit=1)[0].rstrip(".")


def adaptive(document: str) -> str:
    """The ``<svg>`` element alone, to stand in an HTML page: text and axes in the page's colour and font.

    The names of matplotlib's groups, which are the same in every figure of a page, are left out.
    """
    element = document[document.index("<svg ") :]
    element = re.sub(r'(<svg [^>]*?) width="[^"]*"', r"\1", element.replace('height="', 'data-height="', 1), count=1)
    element = re.sub(r"font: ([^;\"]*?px) [^;\"]*", r"font-size: \1", element)  # as matplotlib before 3.11 writes it
    element = re.sub(r"font-family: [^;\"]*; ", "", element)
    element = re.sub(r'<g id="[A-Za-z][\w.]*_\d+"', "<g", element)
    return element.replace(INK, "currentColor").strip()


def grid(panel: Axes) -> None:
    """Faint lines behind what is drawn."""
    panel.grid(color=INK, alpha=0.18, linewidth=0.7)
    panel.set_axisbelow(True)


def stroke(place: int) -> tuple[str, str]:
    """Colour and dash of the line at a place of a legend, told apart for 24 places."""
    return COLORS[place % len(COLORS)], ("-", "--", ":")[place // len(COLORS) % 3]


def shared_legend(figure: Figure, panel: Axes) -> None:
    """The labels of one panel, for all of them, below."""
    handles, labels = panel.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=min(3, len(labels)), frameon=False)
