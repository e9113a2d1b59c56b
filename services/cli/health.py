"""`bandit-router health`: one question to a router, for what asks every few seconds."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from services.cli.failures import CommandError
from services.cli.options import DEFAULT_TARGET, Target, Timeout
from services.cli.output import escaped, show

if TYPE_CHECKING:
    import grpc

READY = "bandit.router.v1.Router"
ALIVE = ""  # gRPC's name for the whole process


def health(
    target: Target = DEFAULT_TARGET,
    alive: Annotated[
        bool, typer.Option("--alive", help="Ask whether it answers at all, ready or not.")
    ] = False,
    timeout: Timeout = 3.0,
    tls_ca: Annotated[
        Path | None,
        typer.Option(help="Certificate that vouches for the router's; absent: no TLS."),
    ] = None,
    tls_name: Annotated[
        str | None,
        typer.Option(help="Name in the router's certificate, where it is not the target's."),
    ] = None,
    tls_certificate: Annotated[
        Path | None, typer.Option(help="A certificate of the caller's own, where one is asked for.")
    ] = None,
    tls_key: Annotated[Path | None, typer.Option(help="The key of that certificate.")] = None,
) -> None:
    """
    Ask a router whether it is ready: exit code 0 if so, 1 if not.

    For the health checks of containers; `doctor` looks at more, and takes longer.

    \b
    bandit-router health
    bandit-router health --tls-ca /etc/bandit-router/ca.crt --tls-name bandit-router
    """
    import grpc
    from grpc_health.v1 import health_pb2, health_pb2_grpc

    service = ALIVE if alive else READY
    with _channel(target, tls_ca, tls_name, tls_certificate, tls_key) as channel:
        stub = health_pb2_grpc.HealthStub(channel)
        try:
            answer = stub.Check(  # type: ignore[attr-defined]
                health_pb2.HealthCheckRequest(service=service), timeout=timeout
            )
        except grpc.RpcError as error:
            raise CommandError(
                f"{target} does not answer", hint=f"{error.code().name} {error.details()}"
            ) from None
    if answer.status != health_pb2.HealthCheckResponse.SERVING:
        raise CommandError(f"{target} is not ready")
    show(f"{escaped(target)} is {'alive' if alive else 'ready'}")


def _channel(
    target: str,
    ca: Path | None,
    name: str | None,
    certificate: Path | None,
    key: Path | None,
) -> "grpc.Channel":
    import grpc

    if ca is None:
        return grpc.insecure_channel(target)
    credentials = grpc.ssl_channel_credentials(
        root_certificates=ca.read_bytes(),
        private_key=None if key is None else key.read_bytes(),
        certificate_chain=None if certificate is None else certificate.read_bytes(),
    )
    named = [] if name is None else [("grpc.ssl_target_name_override", name)]
    return grpc.secure_channel(target, credentials, named)
