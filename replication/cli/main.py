"""The entry point: finds the verb, runs it, and turns what goes wrong into one message and an exit code.

Exit codes: 0 done, 1 a bug (with a traceback) or what `verify` has found wrong, 2 the user's input or machine, with one
message that says what to do, 130 interrupted.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Sequence

import click

from replication import __version__
from replication.cli.verb import HELP, examples
from replication.errors import did_you_mean

MODULES = {
    "catalog": ("catalog", "plan"),
    "own": ("new-paper", "schema"),
    "data": ("data", "weights", "prepare", "doctor"),
    "runs": ("train", "proposals", "detect", "figures"),
    "evaluation": ("evaluate",),
    "compare": ("compare", "register"),
    "timing": ("time",),
    "results": ("verdicts", "tables", "report"),
    "exports": ("export", "submission", "archive"),
    "elsewhere": ("import-run", "merge", "verify"),
}
"""The modules of this package that hold verbs, and which, in the order of the pipeline."""

HOMES = {verb: module for module, verbs in MODULES.items() for verb in verbs}


class Verbs(click.Group):
    """The verbs by name; a verb's module is imported when the verb, or its line of help, is asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Names in the order of the pipeline."""
        return list(HOMES)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The verb of that name; None when there is none."""
        if cmd_name not in HOMES:
            return None
        module = importlib.import_module(f"replication.cli.{HOMES[cmd_name]}")
        command: click.Command = getattr(module, cmd_name.replace("-", "_"))
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Every verb with the first sentence of its help."""
        with formatter.section("Verbs"):
            lines = [(name, self.get_command(ctx, name)) for name in HOMES]
            formatter.write_dl([(name, command.get_short_help_str(limit=200)) for name, command in lines if command])

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """As click does, but an unknown verb is answered with the closest ones."""
        if args[0] not in HOMES and not args[0].startswith("-"):
            close = did_you_mean(args[0], HOMES)
            raise click.UsageError(f"no verb {args[0]!r}; {close}verbs: {', '.join(HOMES)}", ctx)
        return super().resolve_command(ctx, args)


@click.group(
    cls=Verbs,
    context_settings=HELP,
    subcommand_metavar="VERB ...",
    epilog=examples(
        "replication VERB --help",
        "replication plan                                  what would run for the protocol `mini`",
        "replication evaluate detections.json truth.json   AP of any detections",
        'eval "$(_REPLICATION_COMPLETE=bash_source replication)"   completion in bash; zsh_source and fish_source too',
    ),
)
@click.version_option(__version__, prog_name="replication", message="%(prog)s %(version)s")
def replication() -> None:
    """Test whether the gains claimed by detection papers replicate. Every step of the pipeline is a verb."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one verb; returns the exit code."""
    try:
        code = replication.main(arguments, prog_name="replication", standalone_mode=False)
    except click.exceptions.NoArgsIsHelpError as error:
        error.show()
        return error.exit_code
    except click.ClickException as error:
        _print_usage(error)
        return error.exit_code
    except click.Abort:
        print("interrupted: what is finished is kept; run the same command again to continue", file=sys.stderr)
        return 130
    return int(code or 0)


def _print_usage(error: click.ClickException) -> None:
    """How the verb at fault is called, then what is wrong."""
    ctx = getattr(error, "ctx", None)
    if ctx is not None:
        print(f"{ctx.get_usage()}\nTry `{ctx.command_path} --help`.\n", file=sys.stderr)
    print(f"error: {error.format_message()}", file=sys.stderr)
