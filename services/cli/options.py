"""Arguments that several commands take."""

from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from bandit.client import RouterClient

Target = Annotated[
    str,
    typer.Option("--target", envvar="BANDIT_TARGET", help="Where the service listens: host:port."),
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON, for machines.")]
Timeout = Annotated[
    float, typer.Option("--timeout", min=0.001, help="Seconds to wait for the answer.")
]
PolicyName = Annotated[str, typer.Argument(metavar="POLICY", help="Name of the policy.")]
ArmName = Annotated[str, typer.Argument(metavar="ARM", help="Name of the arm.")]
DatabaseUrl = Annotated[
    str | None,
    typer.Option(
        "--database-url",
        help="A postgresql:// URL; else from BANDIT_DATABASE_URL or the configuration file.",
        show_default=False,
    ),
]
Port = Annotated[
    int | None,
    typer.Option("--port", help="Port to listen on; 0: any that is free.", show_default=False),
]
Host = Annotated[
    str | None, typer.Option("--host", help="Address to listen on.", show_default=False)
]

DEFAULT_TARGET = "127.0.0.1:50051"


def connect(target: str, *, timeout_s: float = 10.0, source: str | None = None) -> "RouterClient":
    """A client of the service at `target`."""
    from bandit.client import RouterClient

    return RouterClient(target, timeout_s=timeout_s, source=source)
