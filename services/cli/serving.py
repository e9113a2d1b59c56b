"""`bandit-router up`, `serve`, `learn` and `migrate`: the service, whole and in its parts."""

import os
import sys
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from services.cli.options import DEFAULT_TARGET, DatabaseUrl, Host, Port
from services.cli.output import escaped, show

if TYPE_CHECKING:
    from services.settings import Settings
    from services.supervisor import Stack

DataDir = Annotated[
    Path | None,
    typer.Option(
        "--data-dir",
        help="Where the service's own Postgres keeps its data; absent: nowhere for long.",
        show_default=False,
    ),
]

Workers = Annotated[
    int | None,
    typer.Option(help="Router processes on one port; absent: one.", show_default=False),
]


def up(
    database_url: DatabaseUrl = None,
    data_dir: DataDir = None,
    host: Host = None,
    port: Port = None,
    workers: Workers = None,
) -> None:
    """
    Run everything: a Postgres of its own, migrations, router and learner, until Ctrl-C.

    \b
    bandit-router up
    bandit-router up --data-dir ./data --port 50051
    bandit-router up --database-url postgresql://user@host/database
    """
    from services.listening import listening
    from services.logs import configure
    from services.settings import Settings
    from services.supervisor import Stack

    settings = Settings.load(
        database_url=database_url, data_dir=data_dir, host=host, port=port, workers=workers
    )
    listening(settings)
    configure(settings, process="supervisor")
    with suppress(KeyboardInterrupt), Stack.start(settings) as stack:  # which is how it ends
        _greet(settings, stack)
        stack.wait()


def _greet(settings: "Settings", stack: "Stack") -> None:
    target = stack.target
    show(f"[bold green]ready[/] at {escaped(target)}; Ctrl-C ends it")
    if stack.metrics_url is not None:
        show(f"  metrics {escaped(stack.metrics_url)}")
    if settings.database_url is None:  # whoever gave a URL knows it, and it may hold a password
        show(f"  database {escaped(stack.database_url)}")
    if settings.database_url is None and settings.data_dir is None:
        show("  [yellow]nothing is kept after that: --data-dir or --database-url keeps it[/]")
    elsewhere = "" if target == DEFAULT_TARGET else f" --target {target}"
    show(f"  bandit-router policy create chat --arm small=0.1,0.4 --arm large=2.5,10{elsewhere}")
    show(f'  bandit-router select chat "What is the capital of France?" --explain{elsewhere}')
    sys.stdout.flush()


def serve(
    database_url: DatabaseUrl = None,
    host: Host = None,
    port: Port = None,
    workers: Workers = None,
) -> None:
    """
    Run the router alone, on a database that is migrated.

    \b
    bandit-router serve --database-url postgresql://user@host/database --workers 2
    BANDIT_DATABASE_URL=postgresql://user@host/database bandit-router serve --port 50051
    """
    from services.listening import listening
    from services.settings import Settings

    settings = Settings.load(database_url=database_url, host=host, port=port, workers=workers)
    listening(settings)
    if settings.workers > 1:
        _serve_together(settings)
        return
    _become("services.router", settings, database_url=database_url, host=host, port=port)


def _serve_together(settings: "Settings") -> None:
    """Several routers on one port; one that dies is started again."""
    from services.logs import configure
    from services.supervisor import Stack

    configure(settings, process="supervisor")
    with suppress(KeyboardInterrupt), Stack.start(settings, routers_only=True) as stack:
        show(f"[bold green]ready[/] at {escaped(stack.target)}; Ctrl-C ends it")
        if stack.metrics_url is not None:
            show(f"  metrics {escaped(stack.metrics_url)}")
        sys.stdout.flush()
        stack.wait()


def learn(database_url: DatabaseUrl = None) -> None:
    """
    Run a learner alone; of several on one database, one works and the others stand by.

    \b
    bandit-router learn --database-url postgresql://user@host/database
    """
    from services.settings import Settings

    settings = Settings.load(database_url=database_url)
    _become("services.learner", settings, database_url=database_url)


def migrate(database_url: DatabaseUrl = None) -> None:
    """
    Bring a database to the schema of this version; harmless when repeated.

    \b
    bandit-router migrate --database-url postgresql://user@host/database
    """
    from migrations.upgrade import upgrade
    from services.cli.database import Database
    from services.settings import Settings

    url = Settings.load(database_url=database_url).database_dsn
    upgrade(url)
    show(f"the schema is at {escaped(Database(url).facts().revision)}, the newest")


def _become(module: str, settings: "Settings", **given: object) -> None:
    """
    Go on as another program in this same process, to which signals then go directly.

    Its arguments travel as environment variables: a password in a URL is not for the process list.
    """
    settings.database_dsn  # noqa: B018 - refuses here, where the error is one line
    changes = {
        f"BANDIT_{key.upper()}": str(value) for key, value in given.items() if value is not None
    }
    sys.stdout.flush()
    os.execve(  # noqa: S606 - this interpreter, our own module
        sys.executable, [sys.executable, "-m", module], {**os.environ, **changes}
    )
