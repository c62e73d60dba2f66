"""Hooks of MkDocs: the pages that are made, and links that leave docs/. What is made stands in ``site_pages``."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))
import site_pages
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add what is made of the package, the pages of the repository's root, and the files that pages link to."""
    written = [file.src_uri for file in files.documentation_pages()]
    root = [site_pages.site_address(name) for name in site_pages.ROOT_PAGES]
    made = site_pages.made_pages()
    made |= {page: (site_pages.ROOT / site_pages.repository_address(page)).read_text() for page in root}
    for name in site_pages.linked_sources([*written, *root]):
        made[site_pages.site_address(name)] = site_pages.source_page(name)
    for address, content in made.items():
        files.append(File.generated(config, address, content=content))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files, **_: Any) -> str:
    """Links as the site has them, in all pages that somebody wrote."""
    address = page.file.src_uri
    return markdown if address.startswith("source/") else site_pages.relinked(markdown, address)
