"""What is told of decisions, whatever becomes of those who asked for them."""

import asyncio

import pytest

from bandit.routing.backlog import Backlog
from services.telemetry.instruments import Instruments
from services.telemetry.observed import CountedBacklog
from services.telemetry.router_metrics import RouterMetrics
from tests.builders import a_decision, a_policy, an_event
from tests.fickle_log import FickleLog
from tests.unit.routing.test_backlog import Diary


class World:
    def __init__(self):
        self.policy = a_policy("chat")
        self.log = FickleLog()
        self.log.store.create(self.policy, an_event())
        self.made = Instruments()
        metrics = RouterMetrics(self.made, calls_limit=1)
        self.inner = Backlog(
            self.log, Diary(), commit_wait_s=0.05, most_decisions=100, most_bytes=10**9
        )
        self.backlog = CountedBacklog(
            self.inner,
            lambda decisions, durable: metrics.decided(decisions, durable, lambda _: self.policy),
        )

    def value(self, name, **labels):
        told = {"policy": "chat", **labels}
        return self.made.registry.get_sample_value(f"bandit_router_{name}", told) or 0

    def decisions(self, arm, durable):
        name = self.policy.arms[arm].name
        return self.value("decisions_total", arm=name, durable=durable)


@pytest.fixture
async def world():
    made = World()
    yield made
    await made.inner.close()


async def test_new_decisions_are_counted_by_their_arms_and_repeated_ones_are_not(world):
    small, large = world.policy.arms
    first = [a_decision(world.policy, arm=small) for _ in range(3)]
    second = [a_decision(world.policy, arm=large, propensity=0.04), first[0]]

    await world.backlog.record(first)
    answers = await world.backlog.record(second)

    assert [answer.replayed for answer in answers] == [False, True]
    assert (world.decisions(0, "true"), world.decisions(1, "true")) == (3, 1)
    assert world.decisions(0, "false") == 0
    assert world.value("low_propensity_decisions_total") == 1


async def test_a_decision_whose_caller_left_is_counted_as_not_confirmed(world):
    world.log.open.clear()
    asking = asyncio.create_task(world.backlog.record([a_decision(world.policy)]))
    await asyncio.sleep(0.01)

    asking.cancel()
    await asyncio.wait([asking])
    world.log.open.set()
    await world.inner.flush(within_s=5)

    assert len(world.log.written) == 1
    assert (world.decisions(0, "true"), world.decisions(0, "false")) == (0, 1)


async def test_a_decision_that_is_not_confirmed_in_time_is_counted_once(world):
    world.log.is_away = True
    decision = a_decision(world.policy)

    (answer,) = await world.backlog.record([decision])
    world.log.is_away = False
    await world.inner.flush(within_s=5)
    await world.backlog.record([decision])

    assert not answer.durable
    assert (world.decisions(0, "true"), world.decisions(0, "false")) == (0, 1)
