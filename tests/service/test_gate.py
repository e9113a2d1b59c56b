"""Who comes in, without a network: what a gate and a caller's usage do by themselves."""

import asyncio
from contextlib import suppress
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bandit.domain.credential import Scope
from bandit.domain.errors import MissingKey, RateLimited, Unavailable
from bandit.routing.credentials import CredentialKeeper
from bandit.store.memory_credentials import MemoryCredentials
from services.router.gate import Gate
from services.router.request import Request
from services.router.served_credentials import ServedCredentials
from services.router.usage import BURST_S, Usage
from tests.builders import NOW

SELECT = "/bandit.router.v1.Router/Select"


class Store(MemoryCredentials):
    """One that can be away."""

    is_away = False

    def version(self):
        if self.is_away:
            raise Unavailable("away")
        return super().version()


class World:
    def __init__(self, *, is_open=True, workers=1):
        self.now = NOW
        self.store = Store()
        self.served = ServedCredentials(self.store)
        self.gate = Gate(
            self.served,
            is_open=is_open,
            takes_certificates=False,
            max_streams=2,
            workers=workers,
            clock=lambda: self.now,
        )
        self.keeper = CredentialKeeper(
            self.store, clock=lambda: self.now, random_bytes=lambda size: bytes(range(size))
        )

    async def admitted(self, *metadata):
        return await self.gate.admit(Request(SELECT, metadata, None), None)


def bearer(token):
    return ("authorization", f"Bearer {token}")


async def test_nobody_comes_in_before_the_keys_are_read():
    world = World()

    with pytest.raises(Unavailable):
        await world.admitted()

    await world.served.refresh()
    assert (await world.admitted()).tenant == "default"


async def test_where_others_can_call_a_key_is_needed_from_the_beginning():
    world = World(is_open=False)
    await world.served.refresh()

    with pytest.raises(MissingKey):
        await world.admitted()


async def test_known_keys_go_on_while_the_database_is_away():
    world = World()
    token = world.keeper.create(tenant="acme", name="me", scopes=[Scope.SELECT]).token
    await world.served.refresh()
    world.store.is_away = True

    assert not await world.served.refresh()

    assert (await world.admitted(bearer(token))).tenant == "acme"
    with pytest.raises(MissingKey):
        await world.admitted()


async def test_a_key_expires_without_a_look_into_the_database():
    world = World()
    token = world.keeper.create(
        tenant="acme", name="me", scopes=[Scope.SELECT], lifetime=timedelta(hours=1)
    ).token
    await world.served.refresh()
    await world.admitted(bearer(token))
    world.store.is_away = True
    world.now += timedelta(hours=1)

    with pytest.raises(Exception, match="expired"):
        await world.admitted(bearer(token))


async def test_many_unknown_keys_cost_few_looks():
    world = World()
    await world.served.refresh()
    looks = 0
    version = world.store.version

    def counted():
        nonlocal looks
        looks += 1
        return version()

    world.store.version = counted
    unknown = [bearer(f"br_{n}_secret") for n in range(50)]

    await asyncio.gather(*(world.admitted(each) for each in unknown), return_exceptions=True)

    assert looks <= 2


async def test_workers_share_a_keys_rate():
    world = World(workers=4)
    token = world.keeper.create(
        tenant="acme", name="me", scopes=[Scope.SELECT], calls_per_second=8.0
    ).token
    await world.served.refresh()

    for _ in range(2):
        await world.admitted(bearer(token))

    with pytest.raises(RateLimited, match="2 calls per second"):
        await world.admitted(bearer(token))


@given(
    st.floats(0.1, 100.0),
    st.lists(st.floats(0.0, 2.0), min_size=1, max_size=100),
)
def test_in_no_time_are_there_more_calls_than_the_rate_and_one_burst(rate, pauses):
    """Of any stretch of T seconds: at most max(1, rate) + rate * T."""
    now = 0.0
    usage = Usage(calls_per_second=rate, max_streams=1, clock=lambda: now)
    taken = []

    for pause in pauses:
        now += pause
        with suppress(RateLimited):
            usage.call()
            taken.append(now)

    burst = max(1.0, rate * BURST_S)
    for first in range(len(taken)):
        for last in range(first, len(taken)):
            assert last - first + 1 <= burst + rate * (taken[last] - taken[first]) + 1e-6


def test_after_the_pause_that_is_told_a_call_is_taken():
    now = 0.0
    usage = Usage(calls_per_second=2.0, max_streams=1, clock=lambda: now)
    usage.call()
    usage.call()

    with pytest.raises(RateLimited) as raised:
        usage.call()
    now += raised.value.retry_after_s + 1e-9

    usage.call()


def test_streams_are_counted_while_they_last():
    usage = Usage(calls_per_second=None, max_streams=1, clock=lambda: 0.0)

    with usage.stream(), pytest.raises(RateLimited, match="1 streams at once"), usage.stream():
        pass

    with usage.stream():
        pass
