"""Clocks that step, by hours and back, change nothing in what is learned."""

import asyncio
import random
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from uuid import UUID

import numpy as np
import pytest

from bandit.domain.decision import Recorded
from bandit.domain.errors import BanditError
from bandit.domain.objective import HEADS
from bandit.domain.outcome import Receipt, Report
from bandit.domain.query import Query
from bandit.routing.backlog import Backlog
from bandit.routing.budgets import Budgets
from bandit.routing.feedback import Feedback
from bandit.routing.router import Answer, Router
from bandit.routing.snapshot import Snapshot, snapshot_of
from bandit.store.postgres.decisions import PostgresDecisionLog
from bandit.store.postgres.ledger import PostgresLedger
from bandit.store.postgres.outcomes import PostgresOutcomeLog
from services.learner.loop import Learner
from services.router.compose import LoadedLater
from services.router.outages import BacklogWitness
from services.router.uuid7 import RANDOM_BYTES, uuid7
from tests.faults.acknowledged import Told
from tests.faults.populated import Populated, populated

ROUNDS = 30
FURTHEST = timedelta(hours=20)


class SteppingClock:
    """Goes on for a while, then steps forwards or back; the same steps for the same seed."""

    def __init__(self, start: datetime, seed: int) -> None:
        self._start = self._now = start
        self._draw = random.Random(seed)

    def __call__(self) -> datetime:
        self._now += timedelta(milliseconds=self._draw.uniform(0, 50))
        if self._draw.random() < 0.1:
            self._now = self._start + self._draw.uniform(-1, 1) * FURTHEST
        return self._now


class Served:
    """One policy, and the snapshot of it that is served."""

    def __init__(self, snapshot: Snapshot) -> None:
        self._snapshot = snapshot

    def get(self, policy: str) -> Snapshot:
        return self._snapshot

    def policy(self, name: str):
        return self._snapshot.policy


@pytest.fixture
def world(new_database, template) -> Iterator[Populated]:
    noon = datetime.now(UTC).replace(hour=12)
    with new_database(template) as url, populated(url, now=noon) as made:
        yield made


@pytest.mark.parametrize("seed", [1, 2])
async def test_a_router_and_a_learner_with_stepping_clocks_learn_the_log(
    world: Populated, seed: int
) -> None:
    """Three clocks that have nothing to do with each other: ids, outcomes and folds."""
    draw = random.Random(seed)
    routers, reporters, learners = (SteppingClock(world.now, 10 * seed + n) for n in range(3))
    policy = world.policy
    served = Served(
        snapshot_of(policy, learned_version=0, changed={}, previous=None, now=world.now)
    )
    decisions, outcomes = PostgresDecisionLog(world.url), PostgresOutcomeLog(world.url)
    backlog = Backlog(
        decisions, BacklogWitness(), commit_wait_s=5.0, most_decisions=1000, most_bytes=10**8
    )
    router = Router(
        served,
        backlog,
        LoadedLater(),
        PostgresLedger(world.engine),
        budgets=Budgets(),
        clock=routers,
        new_id=lambda: uuid7(routers(), draw.randbytes(RANDOM_BYTES)),
    )
    feedback = Feedback(served, backlog, outcomes, clock=reporters)
    stopping = threading.Event()
    learner = Learner(
        world.learning,
        world.catalog,
        make_partitions=lambda _: 0,
        graduate=lambda policy, at: [],
        keep_snapshot=lambda policy, at: None,
        clock=learners,
        interval_s=0.001,
    )
    learning = threading.Thread(target=learner.run, args=[stopping])
    learning.start()
    try:
        for _ in range(ROUNDS):
            vectors = [np.array([draw.gauss(0, 1) for _ in range(3)]) for _ in range(5)]
            answers = await router.select([Query(policy=policy.name, vector=v) for v in vectors])
            told = [decided(world, answer) for answer in answers]
            for sequence in range(2):
                reports = [report(policy.name, each, draw, sequence) for each in told]
                for sent, heard in zip(reports, await feedback.report(reports), strict=True):
                    acknowledge(world, sent, heard)
        for _ in range(200):
            if not world.learning.policies_with_due(now=world.now + timedelta(days=2)):
                break
            await asyncio.sleep(0.05)
    finally:
        stopping.set()
        learning.join()
        await decisions.close()
        await outcomes.close()

    found = world.checked()
    assert found.findings == []
    assert found.decisions == ROUNDS * 5


def decided(world: Populated, answer: Answer | BanditError) -> Told:
    assert isinstance(answer, Answer), answer
    recorded: Recorded = answer.recorded
    arm = answer.policy.arm(recorded.decision.arm_id).name
    told = Told(
        answer.policy.name,
        UUID(int=recorded.decision.id.int),
        arm,
        recorded.decision.propensity,
        is_durable=recorded.durable,
    )
    world.told.decided(told)
    return told


def report(policy: str, told: Told, draw: random.Random, sequence: int) -> Report:
    return Report(
        policy,
        told.id,
        told.arm,
        quality=draw.random(),
        cost_usd=draw.uniform(0.001, 0.01),
        latency_ms=draw.uniform(100, 1000),
        sequence=sequence,
    )


def acknowledge(world: Populated, sent: Report, heard: list[Receipt] | BanditError) -> None:
    assert not isinstance(heard, BanditError), heard
    values = dict(zip(HEADS, (sent.quality, sent.cost_usd, sent.latency_ms), strict=True))
    for receipt in heard:
        key = (sent.policy, sent.decision_id, receipt.objective, sent.source, sent.sequence)
        world.told.sent[key] = values[receipt.objective]
        world.told.outcomes[key] = values[receipt.objective]
