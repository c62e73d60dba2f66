"""The environment that both pages are rendered in."""

from __future__ import annotations

from pathlib import Path

import jinja2
from markupsafe import Markup

TEMPLATES = Path(__file__).parent / "templates"


def html_environment() -> jinja2.Environment:
    """Templates whose values are escaped, and in which an unknown name is an error; ``style`` and ``script``
    are the page's own.
    """
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    for name, file in (("style", "page.css"), ("script", "page.js")):
        environment.globals[name] = Markup((TEMPLATES / file).read_text())
    return environment
