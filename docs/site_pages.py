"""Pages of the documentation site that are made, not written: the verbs, the schemas, and the files that pages link to.

Every page has one address in the repository and one on the site: docs/ is the site's root, README.md its first page,
other pages of the repository's root are in project/, and any other file that a page links to is shown under source/.
"""

from __future__ import annotations

import inspect
import json
import posixpath
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import click
import msgspec

ROOT = Path(__file__).resolve().parents[1]
ROOT_PAGES = ("README.md", "CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md")
LINK = re.compile(r"\]\((?!\w+:|#)([^)#\s]+)((?:#[^)\s]*)?)\)")
FENCE = re.compile(r"^( *)```.*?^\1``` *$", re.MULTILINE | re.DOTALL)
LANGUAGES = {".py": "python", ".yaml": "yaml", ".yml": "yaml", ".toml": "toml", ".smk": "python", ".json": "json"}
KINDS = {
    "paper": "`papers/*.yaml`: tables, rows, published numbers, claims, deviations",
    "variant": "`variants/*.yaml`: one detector",
    "protocol": "`protocols/*.yaml`: data, image size, schedule, batch, seeds, backbones",
    "costs": "`costs.yaml`: training costs, for `plan`",
    "claim": "`claim.yaml` of `register`",
}
PRINTED = (
    ("verdicts/4", "`verdicts.json`", "replication verdicts"),
    ("interim_verdicts/2", "`verdicts --interim --format json`", "replication verdicts"),
    ("comparison/1", "`compare --format json`", "replication compare"),
    ("claim/1", "`claim.json`", "replication register"),
    ("evaluation/1", "`evaluate --format json`", "replication evaluate"),
    ("verification/1", "`verify --format json`", "replication verify"),
    ("catalog/1", "`catalog --format json`", "replication catalog"),
    ("plan/1", "`plan --format json`", "replication plan"),
)
"""Documents for programs that the package writes and does not read by a record: version, where, and the verb."""


def site_address(path: str) -> str:
    """Where a file or folder of the repository stands on the site."""
    if path == "README.md":
        return "index.md"
    if path in ROOT_PAGES:
        return f"project/{path}"
    if path.startswith("docs/"):
        return path.removeprefix("docs/")
    return f"source/{path}/index.md" if (ROOT / path).is_dir() else f"source/{path}.md"


def repository_address(page: str) -> str:
    """The file of the repository that a page of the site is made of."""
    if page == "index.md":
        return "README.md"
    return page.removeprefix("project/") if page.startswith("project/") else f"docs/{page}"


def relinked(text: str, page: str) -> str:
    """A page's text with links as the site has them; blocks of code are left alone."""
    here, folder = posixpath.dirname(page), posixpath.dirname(repository_address(page))

    def link(match: re.Match[str]) -> str:
        target = site_address(posixpath.normpath(posixpath.join(folder, match[1])))
        return f"]({posixpath.relpath(target, here or '.')}{match[2]})"

    parts, end = [], 0
    for fence in FENCE.finditer(text):
        parts += [LINK.sub(link, text[end : fence.start()]), fence[0]]
        end = fence.end()
    return "".join([*parts, LINK.sub(link, text[end:])])


def linked_sources(pages: Sequence[str]) -> set[str]:
    """Files and folders of the repository that no page is made of, and to which one of these pages links."""
    found = set()
    for page in pages:
        folder = posixpath.dirname(repository_address(page))
        text = FENCE.sub("", (ROOT / repository_address(page)).read_text())
        targets = {posixpath.normpath(posixpath.join(folder, match[1])) for match in LINK.finditer(text)}
        found |= {name for name in targets if not name.startswith("docs/") and name not in ROOT_PAGES}
    return {name for name in found if (ROOT / name).exists()}


def source_page(path: str) -> str:
    """A file as a page that shows it; a folder as a list of what is in it."""
    place = ROOT / path
    if place.is_dir():
        names = sorted(str(one.relative_to(place)) for one in place.rglob("*") if _is_shown(one))
        return "\n".join([f"# `{path}`", "", "A folder of the repository:", "", *(f"- `{name}`" for name in names), ""])
    return f"# `{path}`\n\n````{LANGUAGES.get(place.suffix, 'text')}\n{place.read_text()}\n````\n"


def _is_shown(path: Path) -> bool:
    return path.is_file() and "__pycache__" not in path.parts


def made_pages() -> dict[str, str]:
    """Every page that is made of the package itself, and the schemas, by its address on the site."""
    schemas = {f"reference/schemas/{name}.json": json.dumps(one, indent=1) for name, one in _schemas()}
    made = {"reference/cli.md": cli_page(), "reference/config-files.md": config_page()}
    return made | {"reference/result-files.md": result_page()} | schemas


def cli_page() -> str:
    """All verbs with their arguments, options and examples, as the parser has them."""
    from replication.cli.main import HOMES, replication

    text = ["# Command line", "", "Made from the parser; `replication VERB --help` says the same.", ""]
    group = click.Context(replication, info_name="replication")
    for name in HOMES:
        command = replication.get_command(group, name)
        assert command is not None
        text += _verb(command, click.Context(command, parent=group, info_name=name))
    return "\n".join(text)


def _verb(command: click.Command, ctx: click.Context) -> Iterator[str]:
    usage = command.get_usage(ctx).removeprefix("Usage: ")
    yield from (f"## {ctx.info_name}", "", inspect.cleandoc(command.help or ""), "", "```text", usage, "```", "")
    options = [one for one in command.params if isinstance(one, click.Option)]
    records = [record for one in options if (record := one.get_help_record(ctx))]
    if records:
        yield from ("| option | effect |", "| --- | --- |")
        yield from (f"| `{option}` | {_cell(effect)} |" for option, effect in records)
        yield ""
    if command.epilog:
        lines = inspect.cleandoc(command.epilog.replace("\b", "")).splitlines()[1:]
        yield from ("```bash", *(line.strip() for line in lines), "```", "")


def _cell(text: str) -> str:
    """Text that a cell of a table takes for text, outside of code."""
    return re.sub(r"([|<\[\]])", r"\\\1", re.sub(r"\s+", " ", text))


def config_page() -> str:
    """The files that users write, each with its JSON Schema."""
    text = [
        "# Files that you write",
        "",
        "Made from the records that read them; `replication schema KIND` prints one.",
        "",
    ]
    for kind, what in KINDS.items():
        text += [f"## {kind}", "", f"{what}. [JSON Schema](schemas/{kind}.json)", ""]
    return "\n".join(text)


def result_page() -> str:
    """The files of a results folder, field by field, and the documents for programs."""
    from replication.results import schemas

    text = [
        "# Files of a results folder",
        "",
        "Made from the records in `replication/results/schemas`. Every file is written whole or not at all, and its"
        " `schema` names its version; a reader refuses another. A field with a default may be absent.",
        "",
    ]
    kinds = _records(schemas.Document)
    for kind in kinds:
        text += _record(kind, f"`{kind.SCHEMA}`")
        text += [f"[JSON Schema](schemas/{kind.SCHEMA.partition('/')[0]}.json)", ""]
    text += ["## Mappings inside of these files", ""]
    for part in _records(schemas.Part):
        if not issubclass(part, schemas.Document):
            text += _record(part, part.__name__, "###")
    text += ["## Documents for programs", "", "| schema | where | made by |", "| --- | --- | --- |"]
    text += [f"| `{schema}` | {where} | `{verb}` |" for schema, where, verb in PRINTED]
    return "\n".join([*text, ""])


def _records(base: type) -> list[Any]:
    """The records of the package of schemas that are of a kind, in the order in which they stand there."""
    from replication.results.schemas import archives, data, latency, runs

    return [
        one
        for module in (runs, data, latency, archives)
        for one in vars(module).values()
        if inspect.isclass(one) and one.__module__ == module.__name__ and issubclass(one, base)
    ]


def _record(kind: Any, head: str, level: str = "##") -> list[str]:
    """Name, docstring and fields of a record; types as they stand in its source."""
    types = inspect.get_annotations(kind)
    lines = [f"{level} {head}", "", inspect.cleandoc(kind.__doc__).replace("``", "`"), ""]
    lines += ["| field | type | default |", "| --- | --- | --- |"]
    for one in msgspec.structs.fields(kind):
        default = "required" if one.required else f"`{_default(one)}`"
        lines.append(f"| `{one.encode_name}` | `{types[one.name]}` | {default} |")
    return [*lines, ""]


def _default(one: msgspec.structs.FieldInfo) -> str:
    value = one.default if one.default is not msgspec.NODEFAULT else one.default_factory()  # type: ignore[operator]
    return json.dumps(value)


def _schemas() -> Iterator[tuple[str, Any]]:
    """The JSON Schema of every kind of file, by its name."""
    from replication.cli.main import main
    from replication.results import schemas

    for kind in KINDS:
        yield kind, _printed(main, kind)
    for record in _records(schemas.Document):
        yield record.SCHEMA.partition("/")[0], msgspec.json.schema(record)


def fenced_doctests(text: str) -> str:
    """A docstring whose examples stand in blocks of code, as Markdown needs them."""
    return re.sub(r"^>>> .*?(?=\n\n|\Z)", lambda block: f"```pycon\n{block[0]}\n```", text, flags=re.M | re.S)


def _printed(main: Any, kind: str) -> Any:
    """What ``replication schema KIND`` prints."""
    import contextlib
    import io

    with contextlib.redirect_stdout(io.StringIO()) as printed:
        main(["schema", kind])
    return json.loads(printed.getvalue())
