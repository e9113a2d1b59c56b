"""The use cases on the in-memory store, under replay: the code of production without the wire."""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from uuid import UUID

import numpy as np
from numpy.typing import NDArray

from bandit.domain.decision import DecisionId
from bandit.domain.objective import Objective
from bandit.domain.outcome import OutcomeRow
from bandit.domain.policy import ContextSource, PolicySettings
from bandit.domain.price import Price
from bandit.domain.query import Query
from bandit.evaluation.replay import Arrival, Ask, Choice
from bandit.evaluation.stream import key_of
from bandit.evaluation.table import OutcomeTable
from bandit.features.encoder import Encoder
from bandit.features.schema import contexts_of, schema_of
from bandit.kernels.jit import Array
from bandit.routing.catalog import CatalogKeeper, NewArm
from bandit.routing.deciding import decide
from bandit.routing.learner import fold_due
from bandit.routing.snapshot import snapshot_of
from bandit.store.memory import MemoryStore

_START = datetime.fromisoformat("2026-01-01T00:00:00+00:00")
_STEP = timedelta(seconds=1)
POLICY = "replay"


def table_contexts(
    table: OutcomeTable, settings: PolicySettings, encoder: Encoder, vectors: Array | None
) -> NDArray[np.float32]:
    """(queries, features): the contexts of a whole table, made once for all seeds."""
    source = settings.context.source
    queries = [
        Query(
            policy=POLICY,
            text=text if source is ContextSource.TEXT else None,
            vector=None if vectors is None else vectors[row],
        )
        for row, text in enumerate(table.texts)
    ]
    return contexts_of(schema_of(settings.context), queries, encoder)


class InProcessRouter:
    """
    Implements `ReplayRouter`.

    The clock is simulated: a second per decision.
    """

    def __init__(
        self,
        table: OutcomeTable,
        contexts: NDArray[np.float32],
        settings: PolicySettings,
        prices: Mapping[str, Price],
        *,
        seed: int,
    ) -> None:
        self._table = table
        self._contexts = contexts
        self._now = _START
        self._store = MemoryStore()
        ids = (UUID(int=number) for number in range(1, 1 << 30))
        keeper = CatalogKeeper(
            self._store,
            clock=lambda: self._now,
            new_id=lambda: next(ids),
            random_bytes=bytes,
        )
        self._policy = keeper.create_policy(
            POLICY,
            settings,
            [NewArm(model, price=prices.get(model)) for model in table.models],
            key=key_of(seed),
            who="replay",
        )
        self._position = {arm.id: i for i, arm in enumerate(self._policy.arms)}
        self._learned = set(settings.objectives)
        self._snapshot = snapshot_of(
            self._policy, learned_version=0, changed={}, previous=None, now=self._now
        )

    def choose(self, asks: Sequence[Ask]) -> list[Choice]:
        """Decide and record, as the service does."""
        decisions = []
        for ask in asks:
            query = Query(
                policy=POLICY,
                tradeoff=ask.tradeoff,
                input_tokens=int(self._table.request_tokens[ask.row]),
            )
            decisions.append(
                decide(
                    self._snapshot,
                    query,
                    self._contexts[ask.row],
                    decision_id=DecisionId(ask.decision_id),
                    at=self._now,
                )
            )
            self._now += _STEP
        self._store.record_now(decisions)
        choices = []
        for decision in decisions:
            quality, cost_usd, latency_ms = decision.chosen["mean"].tolist()
            choices.append(
                Choice(
                    arm=self._position[decision.arm_id],
                    propensity=decision.propensity,
                    predicted=(quality, cost_usd, latency_ms),
                )
            )
        return choices

    def report(self, arrivals: Sequence[Arrival]) -> None:
        """Append, fold and publish."""
        rows: list[OutcomeRow] = []
        for arrival in arrivals:
            values = {
                Objective.QUALITY: arrival.quality,
                Objective.COST: arrival.cost_usd,
                Objective.LATENCY: arrival.latency_ms,
            }
            rows.extend(
                OutcomeRow(
                    DecisionId(arrival.decision_id), objective, "replay", 0, value, self._now
                )
                for objective, value in values.items()
                if value is not None and objective in self._learned
            )
        self._store.append_now(self._policy.id, rows)
        while self._store.pending(self._policy.id):
            fold_due(self._store, self._policy, now=self._now)
        known = {cell: learned.version for cell, learned in self._snapshot.cells.items()}
        version, changed = self._store.learned(
            self._policy.id, self._snapshot.schema.id, known=known
        )
        self._snapshot = snapshot_of(
            self._policy,
            learned_version=version,
            changed=changed,
            previous=self._snapshot,
            now=self._now,
        )
