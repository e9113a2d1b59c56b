"""Arguments that several commands take."""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from services.cli.failures import BAD_USAGE, CommandError

if TYPE_CHECKING:
    import grpc

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
Tenant = Annotated[str, typer.Option("--tenant", metavar="NAME", help="Whose it is.")]

DEFAULT_TENANT = "default"
DEFAULT_TARGET = "127.0.0.1:50051"


def connect(target: str, *, timeout_s: float = 10.0, source: str | None = None) -> "RouterClient":
    """
    A client of the service at `target`.

    With the key in BANDIT_KEY, where there is one, and over TLS where BANDIT_CA names a file or
    BANDIT_TLS is set: secrets are not for the process list.  Raises CommandError where the key
    would travel in the open.
    """
    from bandit.client import RouterClient

    try:
        return RouterClient(
            target,
            key=os.environ.get("BANDIT_KEY") or None,
            timeout_s=timeout_s,
            source=source,
            credentials=channel_credentials(),
            plaintext=bool(os.environ.get("BANDIT_PLAINTEXT")),
        )
    except ValueError:
        raise CommandError(
            f"the key in BANDIT_KEY would travel to {target} in the open",
            hint="set BANDIT_TLS or BANDIT_CA, or BANDIT_PLAINTEXT where something else encrypts",
            exit_code=BAD_USAGE,
        ) from None


def channel_credentials() -> "grpc.ChannelCredentials | None":
    """
    For TLS, from BANDIT_CA, BANDIT_CERTIFICATE and BANDIT_CERTIFICATE_KEY; None: without.

    BANDIT_TLS alone: with the authorities that gRPC believes.
    """
    from bandit.client import tls

    ca, certificate, key = (
        Path(named) if (named := os.environ.get(variable)) else None
        for variable in ("BANDIT_CA", "BANDIT_CERTIFICATE", "BANDIT_CERTIFICATE_KEY")
    )
    if ca is None and certificate is None and not os.environ.get("BANDIT_TLS"):
        return None
    return tls(ca=ca, certificate=certificate, certificate_key=key)
