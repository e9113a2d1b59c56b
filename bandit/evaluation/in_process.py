"""The use cases on the in-memory store, under replay: the code of production without the wire."""

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from functools import lru_cache
from uuid import UUID

import numpy as np
from numpy.typing import NDArray

from bandit.domain.arm import ArmId
from bandit.domain.budget import Budget
from bandit.domain.decision import Decision, DecisionId
from bandit.domain.errors import BanditError
from bandit.domain.objective import Objective
from bandit.domain.offline_prior import OfflinePrior
from bandit.domain.outcome import OutcomeRow
from bandit.domain.policy import ContextSource, Policy, PolicySettings
from bandit.domain.preference import Tradeoff
from bandit.domain.price import Price
from bandit.domain.query import Query
from bandit.evaluation.replay import Arrival, Ask, Choice
from bandit.evaluation.stream import key_of
from bandit.evaluation.table import OutcomeTable
from bandit.features.encoder import Encoder
from bandit.features.schema import contexts_of, schema_of
from bandit.kernels.jit import Array
from bandit.policies.spending import NO_TERMS
from bandit.routing.budgets import Budgets
from bandit.routing.catalog import CatalogKeeper, NewArm
from bandit.routing.deciding import Asked, decide_each, scores_of
from bandit.routing.exploring import graduate
from bandit.routing.learner import MICRO_BATCH, fold_due
from bandit.routing.ports import Cell, StoredSums
from bandit.routing.snapshot import snapshot_of
from bandit.store.memory import MemoryStore

_START = datetime.fromisoformat("2026-01-01T00:00:00+00:00")
_STEP = timedelta(seconds=1)
POLICY = "replay"
ENCODED_AT_ONCE = 256


def table_contexts(
    table: OutcomeTable,
    settings: PolicySettings,
    encoder: Encoder,
    vectors: Array | None,
    *,
    on_queries: Callable[[int], None] = lambda queries: None,
) -> NDArray[np.float32]:
    """
    (queries, features): the contexts of a whole table, made once for all seeds.

    on_queries  is told of every batch how many queries it had
    """
    source = settings.context.source
    schema = schema_of(settings.context)
    contexts = np.empty((len(table), schema.features), dtype=np.float32)
    for first in range(0, len(table), ENCODED_AT_ONCE):
        rows = range(first, min(first + ENCODED_AT_ONCE, len(table)))
        queries = [
            Query(
                policy=POLICY,
                text=table.texts[row] if source is ContextSource.TEXT else None,
                vector=None if vectors is None else vectors[row],
            )
            for row in rows
        ]
        contexts[first : rows.stop] = contexts_of(schema, queries, encoder)
        on_queries(len(rows))
    return contexts


@lru_cache(maxsize=1024)
def _query(tradeoff: Tradeoff, input_tokens: int) -> Query:
    """Kept, since many rows of a table ask the same, and checking takes as long as deciding."""
    return Query(policy=POLICY, tradeoff=tradeoff, input_tokens=input_tokens)


class InProcessRouter:
    """
    Implements `ReplayRouter`.

    The clock is simulated: a second per decision.
    models   those that are there from the beginning; None: all of the table
    offline  priors of these models from outcomes recorded elsewhere
    """

    def __init__(
        self,
        table: OutcomeTable,
        contexts: NDArray[np.float32],
        settings: PolicySettings,
        prices: Mapping[str, Price],
        *,
        seed: int,
        models: Sequence[str] | None = None,
        budget: Budget | None = None,
        offline: Mapping[str, Mapping[Objective, OfflinePrior]] | None = None,
    ) -> None:
        self._table = table
        self._contexts = contexts
        self._budget = budget
        self._budgets = Budgets()
        self._now = _START
        self._store = MemoryStore()
        ids = (UUID(int=number) for number in range(1, 1 << 30))
        self._keeper = CatalogKeeper(
            self._store,
            clock=lambda: self._now,
            new_id=lambda: next(ids),
            random_bytes=bytes,
        )
        self._policy = self._keeper.create_policy(
            POLICY,
            settings,
            [
                NewArm(model, price=prices.get(model), offline=(offline or {}).get(model, {}))
                for model in models or table.models
            ],
            key=key_of(seed),
            who=POLICY,
        )
        if budget is not None:
            self._policy = self._keeper.set_budget(POLICY, budget, who=POLICY)
        self._position: dict[ArmId, int] = {}
        self._learned = set(settings.objectives)
        self._learned_version = 0
        self._snapshot = snapshot_of(
            self._policy, learned_version=0, changed={}, previous=None, now=self._now
        )
        self._find_arms()

    def choose(self, asks: Sequence[Ask]) -> list[Choice]:
        """Decide and record, as the service does."""
        asked = [self._asked(ask, place) for place, ask in enumerate(asks)]
        scores = scores_of(self._snapshot, asked)
        # Where spending is limited or paced, each decision moves the terms of the next.
        is_free = self._budgets.is_free(self._snapshot.policy, self._snapshot.arms)
        size = len(asked) if is_free else 1
        decisions = []
        for first in range(0, len(asked), size):
            group = asked[first : first + size]
            terms = NO_TERMS if is_free else self._budgets.terms(self._snapshot, group[0].at)
            for decided in decide_each(
                self._snapshot, group, scores[first : first + size], terms=terms
            ):
                if isinstance(decided, BanditError):
                    raise decided
                if not is_free:
                    self._budgets.book(self._snapshot, decided)
                decisions.append(decided.decision)
        self._now += len(asked) * _STEP
        self._store.record_now(decisions)
        return [self._choice(decision) for decision in decisions]

    def _asked(self, ask: Ask, place: int) -> Asked:
        query = _query(ask.tradeoff, int(self._table.request_tokens[ask.row]))
        at = self._now + place * _STEP
        return Asked(query, self._contexts[ask.row], DecisionId(ask.decision_id), at)

    def _choice(self, decision: Decision) -> Choice:
        quality, cost_usd, latency_ms = decision.chosen["mean"].tolist()
        return Choice(
            arm=self._position[decision.arm_id],
            propensity=decision.propensity,
            predicted=(quality, cost_usd, latency_ms),
        )

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
        changed = self._fold()
        if graduate(
            self._policy, self._keeper, self._store, self._store, now=self._now, who=POLICY
        ):
            self._policy = self._keeper.get_policy(POLICY)
        self._keep_books()
        self._publish(changed)

    def _fold(self) -> dict[Cell, StoredSums]:
        """Fold all that is due; the cells that changed by it."""
        changed: dict[Cell, StoredSums] = {}
        while folded := fold_due(self._store, self._policy, now=self._now):
            changed.update(folded.written)
            self._learned_version = folded.learned_version or self._learned_version
            if folded.settled + folded.held < MICRO_BATCH:
                break
        return changed

    def begin_measuring(self) -> None:
        """The account of the budget begins anew."""
        if self._budget is not None:
            self._adopt(self._keeper.set_budget(POLICY, self._budget, who=POLICY))

    def set_price(self, model: str, price: Price) -> None:
        """Put a list price in force, as its owner would."""
        self._adopt(self._keeper.set_price(POLICY, model, price, valid_from=None, who=POLICY))

    def add_arm(self, model: str, price: Price | None) -> None:
        """Add an arm to the running policy; it starts as the service has it start."""
        self._adopt(self._keeper.add_arm(POLICY, NewArm(model, price=price), who=POLICY))

    def remove_arm(self, model: str) -> None:
        """Retire an arm."""
        self._adopt(self._keeper.remove_arm(POLICY, model, who=POLICY))

    def _adopt(self, policy: Policy) -> None:
        self._policy = policy
        self._find_arms()
        self._keep_books()
        self._publish({})

    def _keep_books(self) -> None:
        wishes = self._budgets.asked([self._policy], self._now)
        if wishes:
            self._budgets.told(wishes, self._store.exchange_now(wishes), self._now)

    def _find_arms(self) -> None:
        self._position = {arm.id: self._table.models.index(arm.name) for arm in self._policy.arms}

    def _publish(self, changed: Mapping[Cell, StoredSums]) -> None:
        self._snapshot = snapshot_of(
            self._policy,
            learned_version=self._learned_version,
            changed=changed,
            previous=self._snapshot,
            now=self._now,
        )
