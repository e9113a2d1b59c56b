"""Every port twice: in memory and in Postgres."""

from collections.abc import AsyncIterator
from dataclasses import dataclass

import pytest
import pytest_asyncio

from bandit.domain.decision import Decision
from bandit.domain.policy import Policy
from bandit.routing.history import History
from bandit.routing.ledger import Ledger, LedgerReader
from bandit.routing.log_fold import RebuildStore
from bandit.routing.ports import (
    ActivationLog,
    Catalog,
    DecisionLog,
    LearningStore,
    OutcomeLog,
    PosteriorReader,
)
from bandit.store.memory import MemoryStore
from bandit.store.memory_history import MemoryHistory
from bandit.store.postgres.activations import PostgresActivationLog
from bandit.store.postgres.catalog import PostgresCatalog
from bandit.store.postgres.decisions import PostgresDecisionLog
from bandit.store.postgres.engine import make_engine
from bandit.store.postgres.history import PostgresHistory
from bandit.store.postgres.learning import PostgresLearning
from bandit.store.postgres.ledger import PostgresLedger
from bandit.store.postgres.outcomes import PostgresOutcomeLog
from bandit.store.postgres.posteriors import PostgresPosteriors
from bandit.store.postgres.rebuilding import PostgresRebuilds
from tests.builders import a_decision, a_policy, an_event


@dataclass(frozen=True)
class Store:
    """One store, seen through each of its ports."""

    catalog: Catalog
    decisions: DecisionLog
    outcomes: OutcomeLog
    posteriors: PosteriorReader
    learning: LearningStore
    ledger: Ledger
    accounts: LedgerReader
    activations: ActivationLog
    history: History | None = None
    rebuilds: RebuildStore | None = None

    def with_policy(self, policy: Policy | None = None) -> Policy:
        policy = policy or a_policy()
        self.catalog.create(policy, an_event())
        return policy

    async def with_decision(self, policy: Policy, **changes: object) -> Decision:
        decision = a_decision(policy, **changes)
        await self.decisions.record([decision])
        return decision


def in_memory() -> Store:
    store = MemoryStore()
    history = MemoryHistory(store)
    return Store(store, store, store, store, store, store, store, store, history, history)


@pytest_asyncio.fixture(params=["memory", "postgres"])
async def store(request) -> AsyncIterator[Store]:
    if request.param == "memory":
        yield in_memory()
        return
    url = request.getfixturevalue("database_url")
    engine = make_engine(url)
    decisions, outcomes = PostgresDecisionLog(url), PostgresOutcomeLog(url)
    ledger, activations = PostgresLedger(engine), PostgresActivationLog(url)
    yield Store(
        PostgresCatalog(engine),
        decisions,
        outcomes,
        PostgresPosteriors(engine),
        PostgresLearning(engine, hold_timeout_ms=20_000),  # these tests may share a busy machine
        ledger,
        ledger,
        activations,
        PostgresHistory(engine),
        PostgresRebuilds(engine),
    )
    await decisions.close()
    await outcomes.close()
    await activations.close()
    engine.dispose()


@pytest.fixture
def policy(store) -> Policy:
    return store.with_policy()
