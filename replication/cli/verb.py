"""What all verbs share: how they are declared, how they fail, their options, and what most of them work on."""

from __future__ import annotations

import errno
import functools
import os
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click
from click.shell_completion import CompletionItem

from replication.errors import ReplicationError

if TYPE_CHECKING:
    from replication.catalog import Catalog, Protocol
    from replication.results.run import Run

HELP = {"help_option_names": ["-h", "--help"], "show_default": True, "max_content_width": 110}
USERS_MACHINE = (errno.ENOSPC, errno.EROFS, errno.EACCES, errno.EDQUOT)
"""Errors of the system that are neither a bug nor wrong input."""

TRAINING_PACKAGES = ("torch", "torchvision", "detectron2", "efficientnet_lite_pytorch", "mlxtend", "skimage")
"""What the extra `train` installs, by the names that are imported."""

Function = TypeVar("Function", bound=Callable[..., Any])


class Verb(click.Command):
    """A command whose errors are one message on standard error and an exit code."""

    def invoke(self, ctx: click.Context) -> int:
        """Run the verb; returns the exit code."""
        try:
            code: int = super().invoke(ctx) or 0
            sys.stdout.flush()
            return code
        except ReplicationError as error:
            return _fail(str(error))
        except ModuleNotFoundError as error:
            if (error.name or "").partition(".")[0] not in TRAINING_PACKAGES:
                raise
            return _fail(
                f"{ctx.info_name} needs {error.name}, which is not installed: in a checkout of the repository run "
                "`pip install ./envs/detectron2 '.[train]'`"
            )
        except BrokenPipeError:
            # The reader, such as `head`, has enough; Python would report the pipe again when it closes it.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return 0
        except OSError as error:
            if error.errno not in USERS_MACHINE:
                raise
            place = error.filename or ctx.params.get("results") or "output"
            return _fail(f"{place}: {error.strerror}; free disk space or choose a writable folder")


def _fail(message: str) -> int:
    print(f"error: {message}", file=sys.stderr)
    return 2


def verb(*commands: str) -> Callable[[Callable[..., Any]], click.Command]:
    """Declare a function as the verb of its name; ``commands`` are the examples of its help."""
    return click.command(cls=Verb, context_settings=HELP, epilog=examples(*commands))


def examples(*commands: str) -> str:
    """The end of a help text; the mark keeps click from wrapping its lines."""
    return "\b\nExamples:\n" + "\n".join(f"  {command}" for command in commands)


def names(text: str) -> list[str]:
    """Comma-separated names, each once."""
    return list(dict.fromkeys(name for name in text.split(",") if name))


FILE = click.Path(path_type=Path)
COUNT = click.IntRange(min=1)


@dataclass(frozen=True)
class Setting:
    """What most verbs work on: the catalog, one of its protocols, and the folder of all results."""

    catalog: Catalog
    protocol: Protocol
    results: Path

    def tables(self, names: Sequence[str] | None) -> list[str]:
        """The tables that are asked for; when none are, those that an archive was judged on, else the protocol's."""
        from replication.results.layout import Layout

        layout = Layout(self.results, self.protocol.name)
        if names or not (layout.archive.exists() and layout.verdicts.exists()):
            return list(names or self.protocol.tables)
        from replication.results.files import read_json, reading
        from replication.verdicts.output import SCHEMA

        with reading(layout.verdicts, "verdicts"):
            return list(read_json(layout.verdicts, SCHEMA)["tables"])

    def run(self, variant: str, seed: int) -> Run:
        """One run of a variant; ConfigError for a variant that is not built."""
        from replication.results.run import Run

        return Run(self.catalog.variant(variant), self.protocol, seed, self.results)


def complete(kind: str) -> Callable[[click.Context, click.Parameter, str], list[CompletionItem]]:
    """Completion by what the catalog holds: ``tables``, ``variants`` or ``protocols``."""

    def completed(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        from replication.catalog import config_folders, load_catalog

        before, comma, begun = incomplete.rpartition(",")
        try:
            names = getattr(load_catalog(*config_folders(ctx.params.get("configs") or ())), kind)
        except ReplicationError:
            return []
        return [CompletionItem(f"{before}{comma}{name}") for name in names if name.startswith(begun)]

    return completed


configs_option = click.option(
    "--configs",
    type=FILE,
    multiple=True,
    metavar="DIR",
    help="Folder of your own papers/, variants/, protocols/ to add to the built-in ones; repeatable. "
    "$REPLICATION_CONFIGS adds folders too.",
)
results_option = click.option(
    "--results", type=FILE, default=Path("results"), metavar="DIR", help="Folder of all results."
)
tables_option = click.option(
    "--tables",
    type=names,
    metavar="IDS",
    shell_complete=complete("tables"),
    help="Comma-separated table ids.  [default: the protocol's; of an archive, its own]",
)
seed_option = click.option(
    "--seed",
    type=click.IntRange(min=0),
    metavar="N",
    default=0,
    help="Which run of the variant: its runs are the seeds 0, 1, 2, ...",
)
format_option = click.option(
    "--format", "form", type=click.Choice(["table", "json"]), default="table", help="Text tables, or JSON for programs."
)


def protocol_option(
    text: str = "Name of a protocol, or path of a .yaml file.", default: str | None = "mini"
) -> Callable[[Function], Function]:
    """``--protocol``."""
    return click.option(
        "--protocol",
        default=default,
        metavar="NAME",
        shell_complete=complete("protocols"),
        help=text,
    )


def variant_option(
    text: str = "A built variant; `replication catalog` lists them.", **attributes: Any
) -> Callable[[Function], Function]:
    """``--variant``; ``attributes`` are ``required`` or ``default``."""
    return click.option("--variant", metavar="NAME", shell_complete=complete("variants"), help=text, **attributes)


def with_setting(function: Callable[..., Any]) -> Callable[..., Any]:
    """Give a verb the options ``--protocol``, ``--results``, ``--configs``, and their `Setting` as its argument."""

    @functools.wraps(function)
    def wrapper(protocol: str, results: Path, configs: Sequence[Path], **options: Any) -> Any:
        return function(load_setting(protocol, results, configs), **options)

    return protocol_option()(results_option(configs_option(wrapper)))


def load_setting(protocol: str, results: Path, configs: Iterable[Path]) -> Setting:
    """Read the catalog and the protocol."""
    from replication.catalog import config_folders, load_catalog, load_protocol

    folders = config_folders(configs)
    return Setting(load_catalog(*folders), load_protocol(protocol, folders), results)


def print_json(document: dict[str, Any]) -> None:
    """Print a document for programs."""
    import json

    print(json.dumps(document, indent=1))


def print_written(setting: Setting, paths: Iterable[Path]) -> None:
    """Print the files that a verb has written, for programs: schema ``written/1``."""
    files = [str(path) for path in paths]
    print_json({"schema": "written/1", "protocol": setting.protocol.name, "files": files})
