"""
How gRPC itself treats the calls: which it repeats, how long a message may be.

A call is repeated only where a repetition does no harm: reads, calls that carry a decision id or a
sequence, and changes that say what is to be rather than what to add.  It is so on UNAVAILABLE, and
on CANCELLED, which is what a router that stops answers to those that it has not looked at.  gRPC
takes either a `retryPolicy` or a `hedgingPolicy` for a method, never both.  Retries it is: a second
copy of a slow `Select` would meet the same Postgres, and double the load when it is least welcome.
"""

import json
from pathlib import Path

import grpc

from bandit.domain.host import host_of, is_of_this_machine

MOST_ATTEMPTS = 4
LONGEST_MESSAGE_BYTES = 4 * 1024 * 1024  # what the service takes

_PACKAGE = "bandit.router.v1"
_REPEATABLE = (
    ("Router", None),
    ("Feedback", None),
    ("Learning", "GetState"),
    ("Learning", "ListSnapshots"),
    ("Catalog", "GetPolicy"),
    ("Catalog", "ListPolicies"),
    ("Catalog", "UpdateArm"),
    ("Catalog", "SetArmStatus"),
    ("Catalog", "SetPrice"),
)


def service_config() -> str:
    """The service config in JSON, as any gRPC client in any language takes it."""
    names = [
        {"service": f"{_PACKAGE}.{service}"} | ({"method": method} if method else {})
        for service, method in _REPEATABLE
    ]
    retry = {
        "maxAttempts": MOST_ATTEMPTS,
        "initialBackoff": "0.1s",
        "maxBackoff": "2s",
        "backoffMultiplier": 3,
        "retryableStatusCodes": ["UNAVAILABLE", "CANCELLED"],
    }
    config = {
        "methodConfig": [{"name": names, "retryPolicy": retry}],
        # A service that answers nothing but errors is not helped by more calls.
        "retryThrottling": {"maxTokens": 100, "tokenRatio": 0.1},
    }
    return json.dumps(config)


def channel_options() -> list[tuple[str, str | int]]:
    """What the client's channels are opened with."""
    return [
        ("grpc.service_config", service_config()),
        ("grpc.enable_retries", 1),
        ("grpc.max_receive_message_length", 4 * LONGEST_MESSAGE_BYTES),
        # A router that was started again is found again at once, not after gRPC's two minutes.
        ("grpc.initial_reconnect_backoff_ms", 200),
        ("grpc.max_reconnect_backoff_ms", 2_000),
        # A connection that died silently (a load balancer, a sleeping laptop) is noticed.
        ("grpc.keepalive_time_ms", 60_000),
        ("grpc.keepalive_timeout_ms", 10_000),
    ]


def metadata(*, key: str | None, source: str | None) -> tuple[tuple[str, str], ...]:
    """What goes with every call: who makes it."""
    given = (("authorization", None if key is None else f"Bearer {key}"), ("bandit-source", source))
    return tuple((name, value) for name, value in given if value is not None)


def check_place(target: str, key: str | None) -> None:
    """Refuse, by ValueError, to send a key to another machine over an open connection."""
    if key is not None and not is_of_this_machine(host_of(target)):
        raise ValueError(
            f"key: would travel to {target} in the open; give credentials=tls(), or plaintext=True"
            " where something else encrypts"
        )


def tls(
    *,
    ca: Path | None = None,
    certificate: Path | None = None,
    certificate_key: Path | None = None,
) -> grpc.ChannelCredentials:
    """
    Credentials for TLS, from PEM files; OSError where one cannot be read.

    ca                            who signed the service's certificate; None: who gRPC believes
    certificate, certificate_key  to show to a service that asks for them
    """

    def content(file: Path | None) -> bytes | None:
        return None if file is None else file.read_bytes()

    return grpc.ssl_channel_credentials(content(ca), content(certificate_key), content(certificate))
