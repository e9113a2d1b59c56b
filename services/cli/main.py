"""The command `bandit-router`: its groups put together, and its way of failing."""

import logging
import os
import sys
from collections.abc import Sequence
from typing import Annotated

import typer

from services.cli import (
    arms,
    budgets,
    calls,
    config,
    doctor,
    health,
    history,
    keys,
    policies,
    serving,
    state,
    tail,
)
from services.cli.bench import bench
from services.cli.demo import demo
from services.cli.failures import (
    BAD_USAGE,
    FAILED,
    INTERRUPTED,
    explain,
    is_foreseen,
    one_line,
    was_interrupted,
)
from services.cli.replay import replay
from services.cli.replay_command import ReplayCommand

app = typer.Typer(
    name="bandit-router",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
)

_START = "Start"
_USE = "Use"
_LOOK = "Look"

app.command(rich_help_panel=_START)(serving.up)
app.command(rich_help_panel=_START)(serving.serve)
app.command(rich_help_panel=_START)(serving.learn)
app.command(rich_help_panel=_START)(serving.migrate)
app.command(rich_help_panel=_START)(demo)

app.add_typer(policies.app, name="policy", rich_help_panel=_USE)
app.add_typer(arms.app, name="arm", rich_help_panel=_USE)
app.add_typer(arms.price_app, name="price", rich_help_panel=_USE)
app.add_typer(budgets.app, name="budget", rich_help_panel=_USE)
app.add_typer(keys.app, name="key", rich_help_panel=_USE)
app.command(rich_help_panel=_USE)(calls.select)
app.command(rich_help_panel=_USE)(calls.activate)
app.command(rich_help_panel=_USE)(calls.report)

app.command(rich_help_panel=_USE)(history.rebuild)
app.command(rich_help_panel=_USE)(history.rollback)

app.command(rich_help_panel=_LOOK)(state.state)
app.command(rich_help_panel=_LOOK)(history.snapshots)
app.command(rich_help_panel=_LOOK)(tail.tail)
app.command(rich_help_panel=_LOOK)(doctor.doctor)
app.command(rich_help_panel=_LOOK)(health.health)
app.add_typer(config.app, name="config", rich_help_panel=_LOOK)
app.command(
    rich_help_panel=_LOOK,
    context_settings={"allow_extra_args": True, "ignore_unknown_options": True},
)(bench)
app.command(cls=ReplayCommand, rich_help_panel=_LOOK)(replay)


@app.callback()
def _describe(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version and exit.", is_eager=True)
    ] = False,
) -> None:
    """
    Decides which model answers a query, and learns from what comes back.

    \b
    bandit-router up
    bandit-router policy create chat --arm small=0.1,0.4 --arm large=2.5,10
    bandit-router select chat "What is the capital of France?"
    bandit-router state chat

    A service that asks for a key finds it in BANDIT_KEY; BANDIT_CA names the PEM file of who signed
    its certificate.

    Exit codes: 0 done, 1 failed, 2 asked for something that makes no sense.
    """
    if version:
        from importlib.metadata import version as version_of

        typer.echo(version_of("bandit-router"))
        raise typer.Exit


def run(arguments: Sequence[str]) -> int:
    """Carry out a command line; the exit code."""
    try:
        code = app(list(arguments), prog_name="bandit-router", standalone_mode=False)
    except typer.Abort:
        return INTERRUPTED
    except Exception as error:
        if was_interrupted(error):
            return INTERRUPTED
        if type(error).__name__ == "NoArgsIsHelpError":
            typer.echo(str(error))
            return BAD_USAGE
        if not is_foreseen(error) and os.environ.get("BANDIT_DEBUG"):
            raise
        message, code = explain(error)
        hint = "" if is_foreseen(error) else " (BANDIT_DEBUG=1 shows where)"
        print(f"error: {one_line(message)}{hint}", file=sys.stderr)
        return code
    return code if isinstance(code, int) else 0


def main() -> None:
    """The entry point."""
    logging.basicConfig(level=logging.WARNING)  # before a library does, at a level of its own
    try:
        code = run(sys.argv[1:])
        sys.stdout.flush()
    except BrokenPipeError:
        # Whoever read the output has gone, as `head` does: nobody is left to tell.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = FAILED
    raise SystemExit(code)
