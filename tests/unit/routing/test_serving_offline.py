"""What callers get from a router and report to it while its log fails or hangs."""

import asyncio
from dataclasses import replace
from itertools import count

import numpy as np
import pytest

from bandit.domain.budget import Budget
from bandit.domain.errors import (
    BudgetExhausted,
    DecisionIdReused,
    Unavailable,
    Unconfirmed,
    UnknownDecision,
)
from bandit.domain.outcome import Disposition, Report
from bandit.domain.policy import Algorithm, PolicySettings, WhenOffline
from bandit.domain.query import Query
from bandit.evaluation.stream import decision_id
from bandit.routing.backlog import Backlog
from bandit.routing.budgets import Budgets
from bandit.routing.feedback import Feedback
from bandit.routing.router import Router
from bandit.routing.snapshot import snapshot_of
from tests.builders import A_CONTEXT, NOW, a_policy, an_event
from tests.fickle_log import FickleLog

MY_ID = decision_id(7, 7)
PATIENCE_S = 0.05


class Quiet:
    """Implements `Witness`."""

    def began(self, error):
        pass

    def ended(self, counts):
        pass


class SilentLedger:
    """Implements `Ledger`: it never answers."""

    async def exchange(self, wishes):
        await asyncio.Event().wait()


class Served:
    """Implements `Snapshots` and `Policies`: one policy, never changed."""

    def __init__(self, policy):
        self._policy = policy
        self._snapshot = snapshot_of(policy, learned_version=1, changed={}, previous=None, now=NOW)

    def get(self, policy):
        return self._snapshot

    def policy(self, name):
        return self._policy


class SilentOutcomes:
    """Implements `OutcomeLog`: it never answers."""

    async def append(self, policy_id, rows, **_options):
        await asyncio.Event().wait()


class World:
    """A router and its feedback on a log that does as it is told."""

    def __init__(self, when_offline=WhenOffline.SERVE, *, budget=None, outcomes=None):
        settings = PolicySettings(
            context=A_CONTEXT, algorithm=Algorithm.UNIFORM, when_offline=when_offline
        )
        self.policy = replace(a_policy("chat", settings=settings), budget=budget, budget_epoch=1)
        self.log = FickleLog()
        self.log.store.create(self.policy, an_event())
        self.backlog = Backlog(
            self.log, Quiet(), commit_wait_s=PATIENCE_S, most_decisions=100, most_bytes=10**9
        )
        ids, served = count(), Served(self.policy)
        self.router = Router(
            served,
            self.backlog,
            encoder=None,
            ledger=self.log.store if budget is None else SilentLedger(),
            budgets=Budgets(),
            clock=lambda: NOW,
            new_id=lambda: decision_id(0, next(ids)),
            patience_s=PATIENCE_S,
        )
        self.feedback = Feedback(
            served,
            self.backlog,
            outcomes or self.log.store,
            clock=lambda: NOW,
            patience_s=PATIENCE_S,
        )

    async def select(self, **changes):
        query = {"policy": "chat", "vector": np.ones(3), "fingerprint": b"request", **changes}
        [answer] = await self.router.select([Query(**query)])
        return answer

    async def report(self, answer, **changes):
        decision = answer.recorded.decision
        report = Report(
            policy="chat",
            decision_id=decision.id,
            arm=self.policy.arm(decision.arm_id).name,
            quality=0.5,
        )
        [result] = await self.feedback.report([replace(report, **changes)])
        return result

    async def goes_away(self):
        self.log.is_away = True
        first = await self.select()
        while not self.backlog.is_away:
            await asyncio.sleep(0.001)
        return first

    async def comes_back(self):
        self.log.is_away = False
        await self.backlog.flush(within_s=10)


@pytest.fixture
async def world():
    made = World()
    yield made
    await made.backlog.close()


@pytest.fixture
async def refusing():
    made = World(WhenOffline.REFUSE)
    yield made
    await made.backlog.close()


async def test_a_decision_is_served_and_said_not_to_be_durable(world):
    await world.goes_away()

    answer = await world.select(decision_id=MY_ID)

    assert not answer.recorded.durable
    await world.comes_back()
    assert world.log.written[-1] is answer.recorded.decision


async def test_an_id_asked_again_gets_the_answer_that_waits(world):
    await world.goes_away()
    first = await world.select(decision_id=MY_ID)

    again = await world.select(decision_id=MY_ID)
    no_arm_now = await world.select(decision_id=MY_ID, deny_arms=("small", "large"))
    other = await world.select(decision_id=MY_ID, fingerprint=b"another")

    for answer in (again, no_arm_now):
        assert answer.recorded.decision is first.recorded.decision
        assert answer.recorded.replayed
        assert not answer.recorded.durable
    assert isinstance(other, DecisionIdReused)


async def test_a_policy_may_refuse_what_is_not_confirmed(refusing):
    """The first to notice waits; nobody does after that, and nothing more is put in line."""
    first = await refusing.goes_away()
    later = [await refusing.select() for _ in range(5)]

    assert isinstance(first, Unconfirmed)
    assert all(type(answer) is Unavailable for answer in later)
    assert refusing.backlog.counts.waiting == 1
    await refusing.comes_back()
    answer = await refusing.select()
    assert answer.recorded.durable
    assert len(refusing.log.written) == 2


async def test_a_refused_decision_is_found_by_a_retry_once_it_is_stored(refusing):
    refusing.log.is_away = True
    refused = await refusing.select(decision_id=MY_ID)
    assert isinstance(refused, Unconfirmed)
    await refusing.comes_back()

    again = await refusing.select(decision_id=MY_ID)

    assert again.recorded.replayed
    assert again.recorded.durable
    assert again.recorded.decision is refusing.log.written[0]


async def test_a_limit_stays_hard_while_no_lease_can_be_had():
    """A ledger that hangs is waited for a moment; then the limit counts as used up."""
    limited = World(budget=Budget(limit_usd=1.0))
    loop = asyncio.get_running_loop()
    started = loop.time()

    answers = await asyncio.gather(*(limited.select() for _ in range(50)))

    assert all(isinstance(answer, BudgetExhausted) for answer in answers)
    assert loop.time() - started < 4 * PATIENCE_S


async def test_a_report_of_a_decision_that_waits_is_to_be_sent_again(world):
    await world.goes_away()
    answer = await world.select(decision_id=MY_ID)

    refused = await world.report(answer)
    unknown = await world.report(answer, decision_id=decision_id(9, 9))
    await world.comes_back()
    [taken] = await world.report(answer)

    assert isinstance(refused, Unavailable)
    assert refused.retry_after_s > 0
    assert isinstance(unknown, UnknownDecision)
    assert taken.disposition is Disposition.ACCEPTED


async def test_an_outcome_that_is_not_confirmed_in_time_is_not_acknowledged():
    world = World(outcomes=SilentOutcomes())
    answer = await world.select()

    refused = await world.report(answer)

    assert isinstance(refused, Unconfirmed)
