"""Where the parts of the router's process meet."""

import asyncio
import secrets
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from uuid import UUID

import numpy as np
from numpy.typing import NDArray

from bandit.domain.errors import Unavailable
from bandit.domain.tenant import Tenant
from bandit.features.encoder import Encoder, WordLlamaEncoder
from bandit.routing.activation import Activation
from bandit.routing.backlog import Backlog
from bandit.routing.budgets import Budgets
from bandit.routing.catalog import CatalogKeeper
from bandit.routing.router import Router
from bandit.store.postgres.activations import PostgresActivationLog
from bandit.store.postgres.catalog import PostgresCatalog
from bandit.store.postgres.credentials import PostgresCredentials
from bandit.store.postgres.decisions import PostgresDecisionLog
from bandit.store.postgres.engine import make_engine
from bandit.store.postgres.history import PostgresHistory
from bandit.store.postgres.ledger import PostgresLedger
from bandit.store.postgres.listener import changes
from bandit.store.postgres.outcomes import PostgresOutcomeLog
from bandit.store.postgres.partitions import keep_partitions
from bandit.store.postgres.posteriors import PostgresPosteriors
from bandit.store.postgres.rebuilding import PostgresRebuilds
from migrations.current import is_current
from services.logs import Outage, logger
from services.router.books import keep_books
from services.router.budget_state import SpendingReader
from services.router.freshness import (
    FreshActivation,
    FreshCatalog,
    FreshFeedback,
    FreshLearning,
    FreshRouter,
)
from services.router.history import ServedHistory
from services.router.outages import BacklogWitness, tell_loss
from services.router.served_credentials import ServedCredentials
from services.router.snapshots import ServedSnapshots
from services.router.tenants import TenantParts, Tenants, TenantSnapshots
from services.router.uuid7 import RANDOM_BYTES, Uuid7s, uuid7
from services.settings import Settings
from services.telemetry.router import RouterTelemetry
from services.telemetry.sources import Sources

_PARTITIONS_EVERY_S = 3600.0
_PARTITIONS_RETRY_S = 5.0
_FAREWELL_S = 0.5  # for what is put back at the end of the process
_MIB = 1024 * 1024

_log = logger(__name__)


@dataclass(frozen=True, slots=True)
class Parts:
    """
    What the server serves.

    is_migrated   whether the database's schema is this version's; blocks
    """

    telemetry: RouterTelemetry
    tenants: Tenants
    credentials: ServedCredentials
    snapshots: ServedSnapshots
    encoder: "LoadedLater"
    backlog: Backlog
    is_migrated: Callable[[], bool]


class LoadedLater:
    """An `Encoder` that is loaded in a thread while the process starts."""

    name = WordLlamaEncoder.name

    def __init__(self) -> None:
        self._encoder: Encoder | None = None

    async def load(self) -> None:
        """Read the weights; the first text is embedded with all its lazy parts loaded."""
        self._encoder = await asyncio.to_thread(_loaded_encoder)

    def embed(self, texts: list[str]) -> NDArray[np.float64]:
        """(texts, length); see `Encoder`."""
        if self._encoder is None:  # before readiness
            self._encoder = _loaded_encoder()
        return self._encoder.embed(texts)


def now() -> datetime:
    """The moment, in UTC."""
    return datetime.now(UTC)


def new_id() -> UUID:
    """An id that sorts by the moment."""
    return uuid7(now(), secrets.token_bytes(RANDOM_BYTES))


@asynccontextmanager
async def composed(settings: Settings) -> AsyncIterator[Parts]:
    """The parts over the settings' database, which need not be there yet; closed at the end."""
    url = settings.database_dsn
    async with AsyncExitStack() as closing:
        telemetry = RouterTelemetry(settings)
        closing.push_async_callback(telemetry.close)
        engine = make_engine(url)
        closing.callback(engine.dispose)
        decisions, outcomes = PostgresDecisionLog(url), PostgresOutcomeLog(url)
        closing.push_async_callback(decisions.close)
        closing.push_async_callback(outcomes.close)
        activations = PostgresActivationLog(url)
        closing.push_async_callback(activations.close)
        backlog = Backlog(
            telemetry.decision_log(decisions),
            BacklogWitness(),
            commit_wait_s=settings.commit_wait_ms / 1000,
            most_decisions=settings.offline_buffer,
            most_bytes=settings.offline_buffer_mib * _MIB,
        )
        closing.push_async_callback(_given_up, backlog)
        catalog, posteriors = PostgresCatalog(engine), PostgresPosteriors(engine)
        encoder = LoadedLater()
        snapshots = ServedSnapshots(
            catalog,
            posteriors,
            clock=now,
            poll_interval_s=settings.poll_interval_ms / 1000,
        )
        outcomes_told_of = telemetry.outcome_log(outcomes)
        counted = telemetry.backlog(backlog, snapshots.policy_of)
        keeper = CatalogKeeper(catalog, clock=now, new_id=new_id, random_bytes=secrets.token_bytes)
        keeping_days = _keep_days(partial(keep_partitions, engine))
        ledger, budgets = PostgresLedger(engine), Budgets()
        closing.push_async_callback(_hand_back, budgets, ledger)
        keeping_books = keep_books(budgets, ledger, snapshots, clock=now)
        own_engine = make_engine(url, pool_size=1)
        closing.callback(own_engine.dispose)
        credentials = ServedCredentials(PostgresCredentials(own_engine))
        closing.callback(credentials.close)
        for task in (
            snapshots.keep_fresh(),
            credentials.keep_fresh(),
            _wake((snapshots.wake, credentials.wake), url),
            keeping_days,
            keeping_books,
            telemetry.keep(Sources(backlog, snapshots, budgets, engine, now)),
        ):
            closing.push_async_callback(_cancelled, asyncio.create_task(task))
        rebuilding = ThreadPoolExecutor(1, thread_name_prefix="rebuild")
        # Waits for the rebuild under way; those behind it do not begin.
        closing.callback(partial(rebuilding.shutdown, wait=True, cancel_futures=True))

        def parts_of(tenant: Tenant) -> TenantParts:
            own = TenantSnapshots(snapshots, tenant)
            router = Router(
                own,
                counted,
                encoder,
                ledger,
                budgets=budgets,
                clock=now,
                new_id=Uuid7s(now, secrets.token_bytes),
            )
            spending = SpendingReader(ledger, budgets, clock=now)
            return TenantParts(
                router=FreshRouter(router, own),
                activation=FreshActivation(Activation(own, backlog, activations, clock=now), own),
                feedback=FreshFeedback(
                    telemetry.feedback(own, backlog, outcomes_told_of, clock=now), own
                ),
                catalog=FreshCatalog(keeper.of(tenant), catalog, own, clock=now),
                learning=FreshLearning(catalog, posteriors, own, spending, clock=now),
                history=ServedHistory(
                    catalog,
                    PostgresHistory(engine),
                    PostgresRebuilds(engine),
                    own,
                    rebuilding,
                    clock=now,
                    tenant=tenant,
                ),
            )

        yield Parts(
            telemetry=telemetry,
            tenants=Tenants(parts_of),
            credentials=credentials,
            snapshots=snapshots,
            encoder=encoder,
            backlog=backlog,
            is_migrated=lambda: is_current(engine),
        )


async def _wake(sleepers: Sequence[Callable[[], None]], url: str) -> None:
    """Look at once when the database tells of a change, instead of at the next poll."""
    async for _ in changes(url):
        for wake in sleepers:
            wake()


async def _keep_days(make_partitions: Callable[[datetime], int]) -> None:
    """See that the log has room for the days to come, at the start and hourly."""
    outage = Outage(_log, "making partitions")
    while True:
        try:
            await asyncio.to_thread(make_partitions, now())
        except Exception as error:
            # Whatever it is, the learner may do it instead, and there is room for a week.
            outage.began(error)
            await asyncio.sleep(_PARTITIONS_RETRY_S)
        else:
            outage.ended()
            await asyncio.sleep(_PARTITIONS_EVERY_S)


async def _hand_back(budgets: Budgets, ledger: PostgresLedger) -> None:
    """What this process still holds of limits goes back to the others."""
    wishes = budgets.hand_back(now())
    with suppress(Unavailable, TimeoutError):  # then it stays taken, until its window ends
        async with asyncio.timeout(_FAREWELL_S):
            await ledger.exchange(wishes)


async def _given_up(backlog: Backlog) -> None:
    tell_loss(await backlog.close())


async def _cancelled(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.wait([task])


def _loaded_encoder() -> Encoder:
    encoder = WordLlamaEncoder()
    encoder.embed(["ready"])
    return encoder
