"""A page taken apart: what its tables hold, what it loads, whether its tags balance."""

from __future__ import annotations

from html.parser import HTMLParser

VOID = {"meta", "link", "br", "img", "input"}


class Page(HTMLParser):
    """Text of the table cells by table and row, attributes that load something, and open tags."""

    def __init__(self, text):
        super().__init__()
        self.tables, self.references, self.stack, self.unbalanced = {}, [], [], []
        self.table = self.row = None
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        given = dict(attributes)
        self.references += [value for key, value in attributes if key in ("href", "src")]
        if tag not in VOID:
            self.stack.append(tag)
        if tag == "table":
            self.table = self.tables.setdefault(given.get("data-table"), {})
        if tag == "tr":
            self.row = self.table.setdefault(given.get("data-row"), [])
        if tag == "td":
            self.row.append("")

    def handle_startendtag(self, tag, attributes):
        self.references += [value for key, value in attributes if key in ("href", "src")]

    def handle_endtag(self, tag):
        if not self.stack or self.stack.pop() != tag:
            self.unbalanced.append(tag)

    def handle_data(self, text):
        if "td" in self.stack and text.strip():
            self.row[-1] = f"{self.row[-1]} {text.strip()}".strip()
