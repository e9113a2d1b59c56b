"""`bandit-router health`: one question to a router, for what asks every few seconds."""

from typing import Annotated

import typer

from services.cli.failures import CommandError
from services.cli.options import DEFAULT_TARGET, Target, Timeout, channel_credentials
from services.cli.output import escaped, show

READY = "bandit.router.v1.Router"
ALIVE = ""  # gRPC's name for the whole process


def health(
    target: Target = DEFAULT_TARGET,
    alive: Annotated[
        bool, typer.Option("--alive", help="Ask whether it answers at all, ready or not.")
    ] = False,
    tls_name: Annotated[
        str | None,
        typer.Option(
            help="Name in the router's certificate, where it is not the target's.",
            show_default=False,
        ),
    ] = None,
    timeout: Timeout = 3.0,
) -> None:
    """
    Ask a router whether it is ready: exit code 0 if so, 1 if not.

    For the health checks of containers; `doctor` looks at more, and takes longer.  Over TLS where
    BANDIT_CA names a file.

    \b
    bandit-router health
    BANDIT_CA=/etc/bandit-router/tls/ca.crt bandit-router health --tls-name bandit-router
    """
    import grpc
    from grpc_health.v1 import health_pb2, health_pb2_grpc

    credentials = channel_credentials()
    options = [] if tls_name is None else [("grpc.ssl_target_name_override", tls_name)]
    with (
        grpc.insecure_channel(target)
        if credentials is None
        else grpc.secure_channel(target, credentials, options)
    ) as channel:
        stub = health_pb2_grpc.HealthStub(channel)
        request = health_pb2.HealthCheckRequest(service=ALIVE if alive else READY)
        try:
            answer = stub.Check(request, timeout=timeout)  # type: ignore[attr-defined]
        except grpc.RpcError as error:
            raise CommandError(
                f"{target} does not answer", hint=f"{error.code().name} {error.details()}"
            ) from None
    if answer.status != health_pb2.HealthCheckResponse.SERVING:
        raise CommandError(f"{target} is not ready")
    show(f"{escaped(target)} is {'alive' if alive else 'ready'}")
