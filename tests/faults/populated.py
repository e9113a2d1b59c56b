"""A database with decisions, and outcomes that arrive in any order, without processes around it."""

import random
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta

from bandit.domain.decision import Decision
from bandit.domain.objective import HEADS, Objective
from bandit.domain.outcome import Disposition, OutcomeRow
from bandit.domain.policy import PolicySettings
from bandit.routing.learner import Folded, fold_due
from bandit.store.postgres.catalog import PostgresCatalog
from bandit.store.postgres.decisions import PostgresDecisionLog
from bandit.store.postgres.engine import make_engine
from bandit.store.postgres.learning import PostgresLearning
from bandit.store.postgres.outcomes import PostgresOutcomeLog
from bandit.store.postgres.partitions import keep_partitions
from tests.builders import A_CONTEXT, a_decision, a_policy, an_event, an_outcome
from tests.faults.acknowledged import Acknowledged, Told
from tests.faults.checker import Checked, checked

PATIENCE_MS = 30_000  # a machine may be busy: what is tested here is not how quick it is


class Populated:
    """A policy on a migrated database, and a learner of this process."""

    def __init__(self, url: str, *, now: datetime | None = None) -> None:
        self.url = url
        self.now = now if now is not None else datetime.now(UTC)
        self.engine = make_engine(url, pool_size=8)
        keep_partitions(self.engine, self.now)
        self.learning = PostgresLearning(self.engine, hold_timeout_ms=PATIENCE_MS)
        self.catalog = PostgresCatalog(self.engine)
        self.policy = a_policy(
            settings=PolicySettings(context=A_CONTEXT, half_life_hours={Objective.LATENCY: 24.0}),
            created_at=self.now - timedelta(days=30),
        )
        self.catalog.create(self.policy, an_event())
        self.told = Acknowledged()

    async def decide(self, count: int, draw: random.Random) -> list[Decision]:
        """Decisions of the last minutes, stored."""
        decisions = [
            a_decision(
                self.policy,
                at=self.now - timedelta(seconds=draw.uniform(0, 300)),
                arm=draw.choice(self.policy.arms),
                context=[*(draw.gauss(0, 1) for _ in range(3)), 1.0],
            )
            for _ in range(count)
        ]
        log = PostgresDecisionLog(self.url, statement_timeout_ms=PATIENCE_MS)
        try:
            for recorded in await log.record(decisions):
                assert not isinstance(recorded, Exception), recorded
        finally:
            await log.close()
        names = {arm.id: arm.name for arm in self.policy.arms}
        for each in decisions:
            arm = names[each.arm_id]
            self.told.decided(
                Told(self.policy.name, each.id, arm, each.propensity, is_durable=True)
            )
        return decisions

    async def report(self, rows: list[OutcomeRow]) -> None:
        """Outcomes, stored."""
        log = PostgresOutcomeLog(self.url, statement_timeout_ms=PATIENCE_MS)
        try:
            dispositions = await log.append(self.policy.id, rows)
        finally:
            await log.close()
        for row, disposition in zip(rows, dispositions, strict=True):
            key = (self.policy.name, row.decision_id, row.objective, row.source, row.sequence)
            self.told.sent[key] = row.value
            if disposition is not Disposition.IGNORED:
                self.told.outcomes[key] = row.value
                self.told.first_time[key] += disposition is not Disposition.DUPLICATE

    def fold(self, **changes: int) -> Folded | None:
        """One micro-batch."""
        return fold_due(self.learning, self.policy, now=self.now + timedelta(hours=1), **changes)

    def fold_all(self) -> None:
        """All that is due."""
        while (folded := self.fold()) is not None and folded.settled:
            pass

    def checked(self) -> Checked:
        """Held against what was told."""
        return checked(self.url, self.told)


def outcomes_of(
    decisions: list[Decision], draw: random.Random, *, sequence: int = 0
) -> list[OutcomeRow]:
    """Every head of every decision, in any order."""
    rows = [
        an_outcome(decision, head, value=draw.uniform(0.01, 1.0), sequence=sequence)
        for decision in decisions
        for head in HEADS
    ]
    draw.shuffle(rows)
    return rows


@contextmanager
def populated(url: str, *, now: datetime | None = None) -> Iterator[Populated]:
    """A policy on that database; its connections end with the block."""
    made = Populated(url, now=now)
    try:
        yield made
    finally:
        made.engine.dispose()
