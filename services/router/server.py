"""The gRPC server: its life from the first bind to the end of the drain."""

import asyncio
import gc
import resource
import signal
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import cast

import grpc
from grpc_health.v1 import health, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from bandit.wire import (
    catalog_pb2,
    catalog_pb2_grpc,
    feedback_pb2,
    feedback_pb2_grpc,
    learning_pb2,
    learning_pb2_grpc,
    router_pb2,
    router_pb2_grpc,
)
from services.listening import Listening, address_of, listening
from services.logs import Outage, logger
from services.router.catalog_servicer import CatalogServicer
from services.router.compose import Parts, composed, now
from services.router.gate import Gate
from services.router.grpc_server import Server
from services.router.readiness import Readiness
from services.router.servicers import FeedbackServicer, LearningServicer, RouterServicer
from services.router.wrapping import Calls
from services.settings import Settings

SERVICES: Sequence[str] = tuple(
    file.DESCRIPTOR.services_by_name[name].full_name
    for file, name in (
        (router_pb2, "Router"),
        (feedback_pb2, "Feedback"),
        (catalog_pb2, "Catalog"),
        (learning_pb2, "Learning"),
    )
)
_READINESS_INTERVAL_S = 0.05
_QUIET_S = 0.2  # for calls that were sent before the drain began and are still in the queues
_LEAST_FLUSH_S = 0.5
_CALLS_OF_A_CONNECTION = 500
_MOST_UNSEEN = 20_000
_WINDOW_BYTES = 2**20  # of what is sent on one stream and not read yet
_ASK_AFTER_MS, _ANSWER_WITHIN_MS = 60_000, 20_000  # whether the other end is still there
_ASKED_EVERY_MS = 10_000  # the most often that a caller may ask us: no client asks more often
_METADATA_BYTES, _MOST_METADATA_BYTES = 8 * 1024, 16 * 1024
_GREETING_MS = 10_000  # for a connection to begin as HTTP/2 does, and to take in our settings
_IDLE_MS = 300_000  # after which a connection without calls is closed
_OWN_FILES = 128  # descriptors that are not for connections of callers

_log = logger(__name__)


class CannotListen(Exception):
    """The address cannot be bound."""

    def __init__(self, address: str) -> None:
        super().__init__(f"cannot listen on {address}: it is in use, or not of this machine")


class StoppedServing(Exception):
    """gRPC's server came to its end by itself."""


async def serve(
    settings: Settings,
    *,
    tell_ready: Callable[[int], None] = lambda _port: None,
) -> None:
    """
    Serve until SIGTERM or SIGINT, then drain.

    tell_ready   called with the port once every service is ready
    Raises CannotListen, StoppedServing, and BadSettings where it must not listen so.
    """
    how = listening(settings)
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopping.set)
    async with composed(settings) as parts:
        server = Server(_options(settings))
        gate = Gate(
            parts.credentials,
            is_open=how.is_local,
            takes_certificates=how.takes_client_certificates,
            max_streams=settings.max_streams,
            workers=settings.workers,
            clock=now,
        )
        calls = Calls(
            parts.telemetry.server(server),
            gate,
            most_under_way=settings.max_calls,
        )
        readiness = _add_services(server, calls, parts, settings, stopping)
        port = _bound(server, settings, how)
        await server.start()
        _log.info(
            "listening",
            address=address_of(settings.host, port),
            tls=how.certificates is not None,
        )
        preparing = asyncio.create_task(_prepare(parts, how, readiness, lambda: tell_ready(port)))
        try:
            await _told_to_stop(stopping, server)
        except StoppedServing:
            await parts.backlog.flush(within_s=settings.grace_s)
            raise
        _log.info("draining")
        parts.telemetry.ready(False)
        preparing.cancel()
        await asyncio.wait([preparing])
        readiness.set(False)
        deadline = loop.time() + settings.grace_s
        await _drained(server, calls, settings.grace_s)
        await parts.backlog.flush(within_s=max(_LEAST_FLUSH_S, deadline - loop.time()))
    _log.info("stopped")


def _options(settings: Settings) -> Sequence[tuple[str, int]]:
    """
    What gRPC is told of limits.

    A connection has so many calls under way; further ones wait with their caller.  Left to itself
    gRPC resets those that a new connection sends before it knows of that, and cancels calls without
    a word when a thousand have not been looked at yet: here each is looked at, and told.

    Connections that nobody uses are closed, be it that they never begin, never read, are gone
    without a word or merely idle, and there are never so many that no file could be opened.
    """
    return (
        ("grpc.max_receive_message_length", settings.max_message_bytes),
        ("grpc.max_send_message_length", -1),
        ("grpc.max_concurrent_streams", _CALLS_OF_A_CONNECTION),
        ("grpc.http.overload_protection", 0),
        # A window that stays: gRPC would let it grow with the time that a loaded machine takes.
        ("grpc.http2.bdp_probe", 0),
        ("grpc.http2.lookahead_bytes", _WINDOW_BYTES),
        ("grpc.max_metadata_size", _METADATA_BYTES),
        ("grpc.absolute_max_metadata_size", _MOST_METADATA_BYTES),
        ("grpc.server_handshake_timeout_ms", _GREETING_MS),
        # Limits hold for a caller from when it says that it knows them.
        ("grpc.http2.settings_timeout", _GREETING_MS),
        ("grpc.max_connection_idle_ms", _IDLE_MS),
        ("grpc.max_allowed_incoming_connections", _most_connections()),
        ("grpc.server.max_pending_requests", _MOST_UNSEEN),
        ("grpc.server.max_pending_requests_hard_limit", _MOST_UNSEEN),
        # Two services on one port would share its calls without a word.
        ("grpc.so_reuseport", int(settings.workers > 1)),
        *_keepalive(settings),
    )


def _keepalive(settings: Settings) -> Sequence[tuple[str, int]]:
    """
    How long a connection lives, and how its ends find out that the other one is gone.

    At its age a connection takes no new calls, which its client sends on another one; those under
    way, and streams, go on for as long as they like.  gRPC draws the age within 10% of what is set.
    Left to itself it looks for a caller that is gone every two hours, and ends the connection of
    one that asks us more often than every five minutes while a stream of its is silent.
    """
    age_s = settings.max_connection_age_s
    return (
        ("grpc.keepalive_time_ms", _ASK_AFTER_MS),
        ("grpc.keepalive_timeout_ms", _ANSWER_WITHIN_MS),
        ("grpc.http2.ping_timeout_ms", _ANSWER_WITHIN_MS),  # it is this one that counts
        ("grpc.keepalive_permit_without_calls", 1),
        ("grpc.http2.max_pings_without_data", 0),
        ("grpc.http2.min_ping_interval_without_data_ms", _ASKED_EVERY_MS),
        *((("grpc.max_connection_age_ms", age_s * 1000),) if age_s is not None else ()),
    )


def _most_connections() -> int:
    """As many as there may be open files, but for our own; all that are allowed are used."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    return min(max(most - _OWN_FILES, _OWN_FILES), 2**31 - 1)


def _add_services(
    server: grpc.aio.Server,
    calls: Calls,
    parts: Parts,
    settings: Settings,
    stopping: asyncio.Event,
) -> Readiness:
    most = settings.max_batch
    wrapping = cast("grpc.aio.Server", calls)  # as far as the generated code uses one
    tenants = parts.tenants
    router_pb2_grpc.add_RouterServicer_to_server(
        RouterServicer(tenants, max_batch=most, stopping=stopping), wrapping
    )
    feedback_pb2_grpc.add_FeedbackServicer_to_server(
        FeedbackServicer(tenants, max_batch=most, stopping=stopping), wrapping
    )
    catalog_pb2_grpc.add_CatalogServicer_to_server(CatalogServicer(tenants), wrapping)
    learning_pb2_grpc.add_LearningServicer_to_server(LearningServicer(tenants), wrapping)
    readiness = Readiness(SERVICES)
    health_pb2_grpc.add_HealthServicer_to_server(readiness, server)
    names = [*SERVICES, health.SERVICE_NAME, reflection.SERVICE_NAME]
    reflection.enable_server_reflection(names, server)
    return readiness


def _bound(server: grpc.aio.Server, settings: Settings, how: Listening) -> int:
    """The port; of a Unix socket 0."""
    address = address_of(settings.host, settings.port)
    try:
        port = (
            server.add_insecure_port(address)
            if how.certificates is None
            else server.add_secure_port(address, how.certificates.credentials())
        )
    except RuntimeError:
        raise CannotListen(address) from None
    if port == 0:
        raise CannotListen(address)
    return 0 if address == settings.host else port


async def _prepare(
    parts: Parts,
    how: Listening,
    readiness: Readiness,
    tell_ready: Callable[[], None],
) -> None:
    """Become ready as soon as all is there: the encoder, the schema, the first snapshots."""
    loading = asyncio.create_task(parts.encoder.load())
    outage = Outage(_log, "waiting for the database")
    while True:
        try:
            if await asyncio.to_thread(parts.is_migrated):
                break
            outage.began(RuntimeError("its schema is not this version's: run `migrate`"))
        except Exception as error:
            # Whatever is wrong with the database, it may be put right while we wait.
            outage.began(error)
        await asyncio.sleep(_READINESS_INTERVAL_S)
    outage.ended()
    while not parts.snapshots.is_loaded:
        if not await parts.snapshots.refresh():
            await asyncio.sleep(_READINESS_INTERVAL_S)
    while not parts.credentials.is_loaded:
        if not await parts.credentials.refresh():
            await asyncio.sleep(_READINESS_INTERVAL_S)
    if not parts.credentials.held:
        _log.info(
            "no key exists: everybody on this machine may call"
            if how.is_local
            else "no key exists: every call is refused; `bandit-router key create` makes one"
        )
    await loading
    # What is here stays: a collector that looks at it again and again stops the world each time.
    gc.collect()
    gc.freeze()
    readiness.set(True)
    _log.info("ready")
    parts.telemetry.ready(True)
    tell_ready()


async def _told_to_stop(stopping: asyncio.Event, server: grpc.aio.Server) -> None:
    """Wait for that; whoever listens no longer must not go on as if."""
    ended = asyncio.create_task(server.wait_for_termination())
    told = asyncio.create_task(stopping.wait())
    await asyncio.wait([ended, told], return_when=asyncio.FIRST_COMPLETED)
    if not stopping.is_set():
        raise StoppedServing(f"gRPC's server has ended: {ended.exception()!r}")


async def _drained(server: grpc.aio.Server, calls: Calls, grace_s: float) -> None:
    """
    Finish what has come; then streams that would never end, such as health's, are cut.

    For up to half the grace calls are still taken, until none come: what waits in gRPC's own queue
    when a server stops is cancelled unseen.
    """
    await _until_quiet(calls, within_s=grace_s / 2)
    stopping = asyncio.create_task(server.stop(grace_s / 2))
    await _until_quiet(calls, within_s=grace_s / 2)
    await server.stop(None)
    await stopping


async def _until_quiet(calls: Calls, *, within_s: float) -> None:
    with suppress(TimeoutError):
        await asyncio.wait_for(calls.until_quiet(for_s=_QUIET_S), within_s)
